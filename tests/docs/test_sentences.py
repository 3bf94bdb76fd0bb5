"""Is every sentence of docs/any_training.md run by a test? Which one, sentence by sentence."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import ROOT
from tests.docs.test_any_training import PAGE

HERE = "tests/docs/test_any_training.py"
USER, RUN = "tests/trainables/user/test_user_training.py", "tests/commands/test_user_run.py"
MEMORY = "tests/faults/test_memory.py"
PROCESS, ISOLATED = "tests/trainables/user/test_process.py", "tests/commands/test_isolated_run.py"
LOSS, API = "tests/commands/test_objective_run.py", "tests/tuner/test_api.py"
PARCEL = "tests/tuner/session/test_parcel.py"
COLUMNS = "tests/commands/test_columns_run.py"
PARAMS = "tests/tuner/plan/test_training_params.py"
EXAMPLE = f"{USER}::test_the_example_of_the_docs_trains"
POINTS = f"{USER}::test_a_training_reports_at_its_evaluation_points"
TABLE = f"{USER}::test_records_hold_what_the_table_says"
NAMED = f"{USER}::test_losses_are_the_objective_and_every_named_number_is_kept"
IN_NATS = f"{LOSS}::test_a_training_that_reports_losses_only_is_searched_and_judged_in_nats"
NOT_FINITE = f"{USER}::test_a_value_that_is_not_finite_ends_the_training_as_diverged"
LAST = f"{USER}::test_the_last_reports_test_values_are_kept_only_to_confirm"
NEWEST = f"{USER}::test_the_newest_state_counts_where_not_every_epoch_has_one"
ABANDONED = f"{USER}::test_an_abandoned_training_ends_its_thread_and_frees_what_it_held"
BROKEN = f"{RUN}::test_a_training_named_by_its_file_that_reports_percent_fails_with_that_line"
CHANGED = f"{RUN}::test_changed_code_is_refused_until_accepted_and_told_in_the_verdict"
GROUPS = "tests/trainables/test_parameter_groups.py"
HUGGING = "tests/trainables/adapters/test_transformers.py"
LIGHTNING = "tests/trainables/adapters/test_lightning.py"
SAMPLER = "tests/trainables/adapters/test_batch_sampler.py"
TORCH = "tests/trainables/adapters/test_torch_scheduler.py"
EXPORT = "tests/results/exports/test_adapters_export.py"
BY_GROUP = f"{GROUPS}::test_every_group_of_a_users_optimizer_follows_the_table_times_its_factor"
IN_HUGGING = f"{HUGGING}::test_accumulation_two_groups_and_every_batch_follow_the_table"
REFUSED = f"{HUGGING}::test_what_takes_the_scheduler_or_the_loader_away_is_refused"
IN_LIGHTNING = f"{LIGHTNING}::test_every_group_and_every_batch_follow_the_table"
GOES_ON = f"{LIGHTNING}::test_a_training_resumed_from_its_checkpoint_ends_with_the_same_weights"
LENGTH = f"{EXPORT}::test_the_command_writes_the_winner_at_another_length"
LINES = f"{EXPORT}::test_the_lines_of_each_library_train_along_the_table"
ADAPTERS = {
    "Your own loop, Trainer or scheduler follows the table through three lines": LINES,
    "These come with `pip install": "tests/docs/test_any_training.py::test_the_extras_are_named",
    "what an adapter writes into a group is that lr times the group's own factor": (
        f"{TORCH}::test_every_group_has_the_tables_lr_times_its_own_factor"
    ),
    "the backbone trains at a tenth of the table": (
        f"{GROUPS}::test_a_factor_is_the_groups_own_lr_over_the_optimizers"
    ),
    "The recorded `lr` is the table's": BY_GROUP,
    "Where all groups have one lr, the table's takes its place": (
        f"{GROUPS}::test_an_optimizer_follows_the_table_alike_in_the_search_and_from_its_export"
    ),
    "Groups that differ and of which none has the optimizer's lr need `base_lr=`": (
        f"{GROUPS}::test_groups_without_a_reference_are_refused_in_one_line"
    ),
    "Momentum is the table's where that has one": (
        f"{TORCH}::test_momentum_is_the_schedules_and_left_alone_where_that_has_none"
    ),
    "The same holds for `optimizer=mine:make`": BY_GROUP,
    "One pass over the sampler is the whole training": (
        f"{SAMPLER}::test_a_batch_that_crosses_the_border_of_an_epoch_stays_whole"
    ),
    "To go on after an interruption": f"{SAMPLER}::test_it_goes_on_at_a_step",
    "One process only": f"{SAMPLER}::test_several_processes_are_refused",
    "For a stream without a length follow lr alone": (
        f"{HUGGING}::test_a_stream_without_a_length_follows_lr_alone"
    ),
    "A subclass of `Trainer` follows in the same way": IN_HUGGING,
    "its `learning_rate` takes part only as": (
        f"{HUGGING}::test_the_trainers_own_optimizer_uses_the_table_whatever_its_learning_rate"
    ),
    "its batch is per-device batch times `gradient_accumulation_steps`": IN_HUGGING,
    "accumulation has to divide every batch of the table": (
        f"{HUGGING}::test_batches_that_accumulation_does_not_divide_are_refused"
    ),
    "A Trainer is refused with DeepSpeed": REFUSED,
    "`configure_optimizers` returns the optimizer alone": (
        f"{LIGHTNING}::test_another_loader_and_a_scheduler_of_its_own_are_refused"
    ),
    "With `accumulate_grad_batches=2` the sampler is given": IN_LIGHTNING,
    "goes on at the sample where it was": GOES_ON,
    "Lightning warns there that the loader is not resumable": GOES_ON,
    "writes the table and these lines for it": LINES,
    "stretches it to another length": LENGTH,
    "is then the `schedule` above": (
        f"{EXPORT}::test_an_exported_table_is_read_back_to_the_last_digit"
    ),
}
LEAK = f"{PROCESS}::test_a_global_of_the_users_module_leaks_only_where_trainings_share_a_process"
SCRIPT = "tests/benchmarks/test_scripts.py::test_the_script_runs_in_its_smallest_form"
SHARED = f"{PROCESS}::test_trainings_share_large_data_until_they_change_it"
DEATH = f"{ISOLATED}::test_deaths_and_hangs_are_tried_again_counted_and_the_search_goes_on"
# Words of sentences that `says` quotes nowhere -> the test that runs them.
ELSEWHERE = {
    "GradTune needs one function of you": EXAMPLE,
    "reports once at each evaluation point": POINTS,
    "A whole training (`mine.py`)": EXAMPLE,
    "or from Python, also with a function that lives in a notebook": (
        "tests/docs/test_snippets.py::test_the_search_from_python_runs_as_it_is_written"
    ),
    "Above 100 MB one line tells, by name, what is copied": (
        f"{PARCEL}::test_little_is_not_told_and_much_is_in_one_line_by_name"
    ),
    "a variable that cannot be copied is refused by its name": (
        f"{PARCEL}::test_what_cannot_travel_is_named_before_anything_starts"
    ),
    "The trainings of a worker share the memory of its arrays and tensors": SHARED,
    "what it changes becomes a copy of its own": SHARED,
    "Anything else (lists, strings) each training unpickles for itself": (
        f"{API}::test_a_function_of_a_script_is_searched_and_the_run_returned"
    ),
    "Call it before `import ray`": (
        f"{API}::test_importing_tuner_is_cheap_and_ray_imported_too_early_is_refused"
    ),
    "A larger example, one epoch of a small GPT": (
        f"{RUN}::test_one_epoch_of_a_gpt_is_searched_by_loss_killed_resumed_judged_and_exported"
    ),
    "| `trainable` | `package.module:function` or `file.py:function`": BROKEN,
    "| `dataset.train_examples` | samples of one epoch": (
        f"{RUN}::test_shorter_trainings_of_the_users_own_are_searched_first"
    ),
    "the optimizer steps up to report k = 1": POINTS,
    "each with `stage`, `first_sample`, `batch_size`": EXAMPLE,
    "`schedule.lr_S[stage]`, `schedule.momentum_S[stage]`": TABLE,
    "What is recorded of lr and batch is this table's": TABLE,
    "equal in all arms for trainings that are compared": (
        "tests/tuner/campaign/test_campaign.py::"
        "test_confirm_seeds_are_fresh_and_paired_across_arms"
    ),
    '`report.device` ("cpu" or "cuda"), `report.threads`': (
        f"{USER}::test_the_function_is_called_with_the_table_the_seed_and_what_it_may_ask"
    ),
    "numbers may be 0-d tensors": f"{USER}::test_numbers_may_come_from_numpy_and_torch",
    "`val_accuracy` in [0, 1] unless you say otherwise": (
        f"{USER}::test_a_report_that_is_not_allowed_says_why"
    ),
    "A language model reports its loss": IN_NATS,
    "names that end in accuracy, auc, f1 rise": (
        "tests/search_spaces/test_metric.py::test_a_name_tells_goal_unit_and_its_twin_on_test_data"
    ),
    "Any other numbers by name": NAMED,
    "They are drawn as curves, and any of them can be compared": IN_NATS,
    "A loss or an objective that is not finite ends the training as diverged": NOT_FINITE,
    "It ranks last; in a verdict it counts as chance": (
        "tests/results/statistics/test_losses.py::test_an_arm_with_diverged_seeds_is_never_better"
    ),
    "`test_loss` for `val_loss`, `test_bleu` for `val_bleu`": (
        f"{USER}::test_a_diverged_loss_has_no_objective_and_the_test_twin_is_demanded"
    ),
    "test_* are kept for confirm trainings alone": LAST,
    "Where testing is dear": f"{USER}::test_a_function_may_ask_whether_it_must_test",
    "a dict of tensors and plain values": NEWEST,
    "`squeezed` does not": f"{RUN}::test_shorter_trainings_of_the_users_own_are_searched_first",
    "`report` returns at once": f"{PROCESS}::test_a_function_runs_ahead_as_far_as_it_is_let",
    "only where a training is to pause": (
        f"{PROCESS}::test_a_function_waits_at_the_report_where_its_trial_pauses"
    ),
    "or it has diverged, it raises": f"{PROCESS}::test_a_diverged_function_does_not_run_on",
    "`finally` runs, `except Exception` does not see it": ABANDONED,
    "An exception of yours, a value out of range": BROKEN,
    "one costs the training 0.2 ms": SCRIPT,
    "0.15 s a training, and what the import takes": SCRIPT,
    "3.8 s for pandas, SciPy and scikit-learn together": SCRIPT,
    "those that come within 0.1 s of each other travel together": (
        "tests/trainables/test_loop.py::test_reports_that_come_fast_travel_together"
    ),
    "`search.share_prefix=true` ([one trunk, many cooldowns](search.md)) spares something only": (
        f"{RUN}::test_a_training_without_a_state_is_trained_in_full_and_shares_nothing"
    ),
    "`code=accept` goes on with other code, and the verdict says so": CHANGED,
    "The commit of your repository is recorded, and whether it had changes": CHANGED,
    "runs in the main thread of a process of its own": (
        f"{PROCESS}::test_the_function_runs_in_the_main_thread_of_its_process_and_may_handle_signals"
    ),
    "A process is forked from one that has imported torch": (
        f"{ISOLATED}::test_dry_run_tells_file_and_line_of_an_error_and_what_a_process_costs"
    ),
    "With `isolate=false` the trainings of a worker share one process": LEAK,
    "What it prints, logs or warns": (
        f"{PROCESS}::test_prints_logging_warnings_and_what_libraries_write_go_to_the_log"
    ),
    "the error of a failed training begins with the path": (
        f"{ISOLATED}::test_an_error_begins_with_its_log_and_ends_with_its_line"
    ),
    "`display_log=true` shows its last line": (
        f"{ISOLATED}::test_the_last_printed_line_is_shown_where_asked_for"
    ),
    "A process that dies (`os._exit`, a segmentation fault": DEATH,
    "`max_failures` times; then it counts as failed": DEATH,
    "The same happens to a training that hangs": DEATH,
    "by default 20 times its usual time between reports": (
        f"{PROCESS}::"
        "test_usual_times_are_this_trainings_or_the_longest_before_and_at_least_ten_minutes"
    ),
    "One that runs out of memory is tried again once": (
        f"{MEMORY}::test_a_training_of_the_users_own_is_tried_again_once_too"
    ),
    "on a GPU that it shared with others alone": (
        "tests/tuner/session/test_retries.py::"
        "test_out_of_memory_is_tried_again_once_and_alone_on_a_shared_gpu"
    ),
    "which `batch.max` fitted": (
        f"{MEMORY}::test_large_batches_that_do_not_fit_are_marked_and_the_plan_that_fits_is_told"
    ),
    "Where a training crashed or hung is in its log": (
        f"{PROCESS}::test_a_hang_is_ended_after_the_seconds_given_and_its_log_says_where"
    ),
    "Any name goes that is no column of the records already": (
        f"{PARAMS}::test_bad_names_of_a_users_training_are_one_line"
    ),
    "`intervall` would be one of your own": (
        f"{COLUMNS}::test_a_training_without_params_is_refused_before_anything_starts"
    ),
    "hand over an empty dict": f"{USER}::test_params_are_handed_to_a_function_that_takes_them",
    "are told by the schedule (`schedule.momentum_S`, its batches)": (
        f"{PARAMS}::test_lr0_follows_from_delta0_by_the_trials_own_momentum"
    ),
    "Each is a column of `results.load(...).trials`": (
        f"{COLUMNS}::test_figures_studies_and_exports_treat_them_like_any_other"
    ),
    **ADAPTERS,
}
# Pieces that say nothing of themselves: signatures, heads of tables and of lists.
HEADS = (
    *("| key | meaning |", "`train(schedule, seed, report)`:", "Any name goes:"),
    *("- The objective, what the search ranks by:",),
    "- At the last report the objective on data that chose nothing:",
)


def sentences() -> list[str]:
    """The page's prose, cut at the ends of sentences, rows and points of lists."""
    prose = re.sub(r"^```.*?^```", "", (ROOT / PAGE).read_text(), flags=re.S | re.M)
    prose = re.sub(r"^(?:    .*\n)+", "", prose, flags=re.M)
    pieces = [" ".join(piece.split()) for piece in re.split(r"\n\s*\n|\n(?=[-|#])", prose)]
    texts = [piece for piece in pieces if piece.strip("|- ") and not piece.startswith("#")]
    return [s for text in texts for s in re.split(r"(?<=[.:;])\s+(?=[A-Z`\"(])", text)]


def quotes() -> list[str]:
    """What `says` quotes."""
    calls = filter(
        lambda n: isinstance(n, ast.Call), ast.walk(ast.parse((ROOT / HERE).read_text()))
    )
    return [ast.literal_eval(c.args[0]) for c in calls if getattr(c.func, "id", "") == "says"]


def is_quoted(sentence: str) -> bool:
    """True where a quote has it whole, or some words of it."""
    length = min(25, len(sentence))
    return any(
        sentence in quote
        or any(quote[i : i + length] in sentence for i in range(len(quote) - length + 1))
        for quote in quotes()
    )


@pytest.mark.slow
def test_every_sentence_of_the_page_is_run_by_a_test() -> None:
    lacking = [
        sentence
        for sentence in sentences()
        if sentence not in HEADS
        and not is_quoted(sentence)
        and not any(words in sentence for words in ELSEWHERE)
    ]
    assert lacking == []


@pytest.mark.parametrize("words", ELSEWHERE)
def test_the_tests_named_exist_and_the_page_has_their_words(words: str) -> None:
    path, _, name = ELSEWHERE[words].partition("::")
    assert f"def {name}(" in (ROOT / path).read_text()
    assert words in " ".join(sentences())
