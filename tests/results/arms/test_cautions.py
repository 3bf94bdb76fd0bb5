"""What a comparison of a run warns about, and which rows it takes for results."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

import results
from results.__main__ import main
from results.arms.cautions import (
    balance_warnings,
    budget_warnings,
    code_warnings,
    edge_warnings,
    seed_warnings,
    training_warnings,
)
from results.arms.choice import chosen_row, full_rows
from results.arms.scores import best_row
from results.plots.arms.curves import curves_info
from results.plots.arms.schedules import schedules_info
from results.records.store import RunStore
from results.statistics.overview import ArmDetails, Cost
from results.statistics.paired import paired_difference
from search_spaces.space import Range, SearchSpace
from tests.fakes.results import edit_manifest, make_trial, write_run, write_trial

NOTHING = Cost(samples_seen=0, optimizer_steps=0, train_seconds=0.0)


@pytest.fixture
def store(tmp_path):
    with RunStore.create(tmp_path / "run", {}, "") as store:
        yield store


def reload(store: RunStore) -> results.Run:
    store.flush()
    return results.load(store.run_dir)


def trained(steps: int, samples: int = 100, status: str = "completed") -> dict[str, object]:
    return {"optimizer_steps": steps, "samples_seen": samples, "status": status}


def differences(*nums: int):
    return [
        paired_difference(dict.fromkeys(range(n), 0.9), dict.fromkeys(range(n), 0.8)) for n in nums
    ]


def test_balanced_accuracy_is_told_where_it_was_recorded(store):
    for replicate, value in enumerate((0.5, 0.75)):
        trial = make_trial(role="confirm", replicate=replicate)
        write_trial(store, trial, accuracy=0.9, balanced=value)
    write_trial(store, make_trial("cosine", role="confirm"), accuracy=0.9)
    comparison = reload(store).compare()
    (line,) = [line for line in comparison.warnings if "balanced" in line]
    assert "the mean over the classes: poly 62.50 % (--metric" in line
    by_class = reload(store).compare(metric="test_balanced_accuracy")
    assert {arm.name: arm.mean for arm in by_class.arms if arm.n} == {"poly": 0.625}
    assert not [line for line in by_class.warnings if "the classes are unbalanced" in line]
    assert balance_warnings({}) == []


@pytest.mark.parametrize(
    ("nums", "words"),
    [
        ((3, 8), "only 3 paired seeds: intervals are wide"),
        ((2,), "only 2 paired seeds: their interval rests on a single degree of freedom"),
        ((0, 1), "only 1 paired seed: one says nothing about the spread"),
    ],
)
def test_few_seeds_are_warned_about(nums, words):
    (warning,) = seed_warnings(differences(*nums))
    assert warning.startswith(words)
    assert "confirm.seeds" in warning


@pytest.mark.parametrize(
    ("space", "param", "words"),
    [
        (
            "poly",
            "p",
            "poly: the best p = 4 lies at an end of its range [0.1, 4]; widen spaces.poly.p",
        ),
        ("baseline_tuned", "p", "your default (tuned): the best p = 4 lies at an end"),
        ("baseline_tuned", "p", "choose another recipe.p."),
        ("baseline_tuned:mine", "delta0", "choose another lr."),
    ],
)
def test_a_best_value_at_an_end_says_what_to_change(space, param, words):
    axis = Range(low=0.1, high=4.0, log=True)
    arm = ArmDetails(
        params={param: 4.0}, config_key="k", search=NOTHING, confirm=NOTHING, num_trials={},
        on_edge=(param,),
    )  # fmt: skip
    spaces = {"r": {space: SearchSpace(name=space, family="poly", ranges={param: axis})}}
    (warning,) = edge_warnings({space: arm}, spaces, {space: [{"run_id": "r", "space": space}]})
    assert words in warning


@pytest.mark.parametrize("nums", [(5,), (), (0, 0), (30, 5)])
def test_five_seeds_and_none_at_all_are_not(nums):
    assert seed_warnings(differences(*nums)) == []


def test_steps_that_differ_by_over_a_tenth_are_told_per_training():
    rows = {
        "poly": [trained(1000), trained(1000)],
        "batch": [trained(700), trained(1, status="diverged"), trained(720)],
        "baseline": [trained(950)],
    }
    (warning,) = budget_warnings({}, rows)
    assert "unequal optimizer steps" in warning
    assert warning.endswith("poly 1,000, batch 710, your default (not tuned) 950.")
    assert budget_warnings({}, {"poly": [trained(1000)], "batch": [trained(900)]}) == []


def test_unequal_samples_are_told():
    searched = {"poly": 1000, "cosine": 1000}
    rows = {"poly": [trained(10, 100)], "cosine": [trained(10, 80)]}
    (warning,) = budget_warnings(searched, rows)
    assert warning == "confirm trainings saw unequal samples: poly 100, cosine 80."
    (warning,) = budget_warnings({"poly": 1000, "cosine": 850}, {})
    assert warning.startswith("the arms were searched with unequal samples: poly 1,000, cosine")


def test_the_best_of_several_arms_is_claimed_with_a_correction_and_no_warning(tmp_path):
    run_dir = write_run(tmp_path / "run", arms=("poly", "cosine", "exp"), seeds=5)
    comparison = results.load(run_dir).compare()
    assert comparison.verdict.endswith("(claims corrected for all 6 comparisons).")
    assert not any("not corrected" in warning for warning in comparison.warnings)


def test_short_and_paused_trainings_are_never_taken_for_results(store):
    short = make_trial(params={"p": 0.5}, horizon=0.5)
    write_trial(store, short, accuracy=0.99)
    write_trial(store, replace(short, horizon=1.0, params={**short.params, "p": 0.4}))
    rows = reload(store).rows()
    paused = rows[0] | {"horizon": 1.0, "status": "paused", "objective": 0.98}
    lost = rows[0] | {"horizon": 1.0, "status": "oom", "objective": None}
    assert chosen_row([*rows, paused, lost]) == rows[1]
    assert best_row([*rows, paused, lost]) == rows[1]
    with pytest.raises(ValueError, match="has finished yet"):
        best_row([rows[0], paused, lost])
    assert chosen_row([rows[0], paused]) is None


def write_rungs(store):
    """Configs a (p=0.5) and b (p=2), squeezed to a half and in full; returns their rows.

    Halves: error 0.01 and 0.1, full: 0.02 and 0.01. In -log10: 2 + 1.699 and 1 + 2: of all looks
    together a is better, of the full ones b.
    """
    configs = [make_trial(params={"p": p}) for p in (0.5, 2.0)]
    for trial in configs:
        write_trial(store, replace(trial, horizon=0.5))
        write_trial(store, trial)
    rows = reload(store).rows()
    scores = (0.99, 0.98, 0.90, 0.99)
    return [row | {"objective": score} for row, score in zip(rows, scores, strict=True)]


def test_squeezed_trainings_count_as_looks_until_the_run_has_chosen(store):
    half_a, full_a, half_b, full_b = write_rungs(store)
    assert chosen_row([full_a, full_b]) == full_b
    assert chosen_row([half_a, full_a, half_b, full_b]) == full_a
    assert chosen_row([half_a, half_b, full_b]) == full_b  # a has no result


def test_the_choice_of_the_run_comes_before_the_best_full_training(store):
    half_a, full_a, half_b, full_b = (row | {"chosen": False} for row in write_rungs(store))
    half_b, full_b = half_b | {"chosen": True}, full_b | {"chosen": True}
    assert chosen_row([half_a, full_a, half_b, full_b]) == full_b
    assert chosen_row([half_a, full_a, half_b]) == half_b
    assert full_rows([half_a, full_a, half_b, full_b]) == [full_b]
    assert full_rows([half_a, full_a, half_b]) == []
    assert best_row([half_b]) == half_b


def test_a_config_chosen_without_a_full_training_is_given_in_full(store, capsys):
    short = make_trial(params={"p": 0.5}, horizon=0.5)
    write_trial(store, short, accuracy=0.99)
    write_trial(store, make_trial(params={"p": 2.0}), accuracy=0.7)
    store.update_manifest(chosen={"poly": short.config_key})
    run = reload(store)
    assert run.best() == replace(short, horizon=1.0)
    assert run.best().num_reports == 6
    (arm,) = run.compare().details.values()
    assert arm.params["p"] == 0.5
    assert main(["show", str(store.run_dir)]) == 0
    assert f"config {short.config_key}" in capsys.readouterr().out
    assert (curves_info(run), schedules_info(run)) == ((), ())


def test_the_best_of_a_paused_config_is_the_whole_training(store):
    paused = replace(make_trial(params={"p": 0.5}), until=2)
    write_trial(store, paused, status="diverged", epochs=1)
    store.update_manifest(chosen={"poly": paused.config_key})
    assert reload(store).best() == replace(paused, until=None)


def test_schedules_of_squeezed_trainings_are_not_those_used(store):
    write_trial(store, make_trial(params={"p": 0.5}, horizon=0.5))
    confirm = make_trial(params={"p": 0.5}, role="confirm")
    write_trial(store, confirm, status="running", epochs=1)
    (arm,) = schedules_info(reload(store))
    assert arm.used["lr"].tolist() == [confirm.schedule.lr_S[0]]


def test_short_trainings_cost_their_samples(store):
    short = make_trial(params={"p": 0.5}, horizon=0.5)
    write_trial(store, short)
    write_trial(store, make_trial(params={"p": 0.6}))
    details = reload(store).compare().details["poly"]
    half = 7200 // 2  # the last batch of 32 may reach beyond
    assert 7200 + half <= details.search.samples_seen < 7200 + half + 32
    assert details.params["p"] == 0.6


def test_show_tells_no_accuracy_of_short_trainings(store, capsys):
    write_trial(store, make_trial(params={"p": 0.5}, horizon=0.5), accuracy=0.99)
    store.flush()
    assert main(["show", str(store.run_dir)]) == 0
    out = capsys.readouterr().out
    assert "best: " not in out
    assert out.splitlines()[-1].split()[-1] == "-"


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"config": {"confirm": {"until": "decided"}}},
        {"config": {"confirm": {"until": "seeds"}}, "looked": True},
    ],
    ids=["until decided", "looked before"],
)
def test_seeds_that_depend_on_scores_are_judged_under_repeated_looks(tmp_path, capsys, changes):
    run_dir = write_run(tmp_path / "run", seeds=5)
    edit_manifest(run_dir, **changes)
    comparison = results.load(run_dir).compare()
    kinds = {d.interval_kind for d in comparison.pairs.values()}
    assert kinds == {"95% confidence sequence"}
    assert comparison.verdict.endswith("(for all 3 comparisons, valid under repeated looks).")
    assert main(["compare", str(run_dir), "--no-plots"]) == 0
    assert "points, 95% confidence sequence" in capsys.readouterr().out


def test_a_winner_found_after_a_verdict_is_a_second_look(tmp_path):
    """As `resume= trials=+N` leaves it: another config won, on the same seeds."""
    first, second = make_trial(params={"p": 0.5}), make_trial(params={"p": 2.0})
    with RunStore.create(tmp_path / "run", {}, "") as store:
        for day, (trial, accuracy) in enumerate([(first, 0.9), (second, 0.91)], start=1):
            for replicate in range(3):
                confirm = replace(trial, role="confirm", replicate=replicate, seed=replicate)
                started_at = datetime(2026, 1, day, tzinfo=UTC)
                score = accuracy + replicate / 1_000
                write_trial(store, confirm, accuracy=score, started_at=started_at)
        for replicate, score in enumerate((0.88, 0.89, 0.885)):
            default = make_trial("baseline", role="confirm", replicate=replicate)
            write_trial(store, replace(default, seed=replicate), accuracy=score)
    comparison = results.load(tmp_path / "run").compare()
    (claim,) = comparison.claims
    assert claim.look == 2
    assert claim.p_holm == pytest.approx(2 * claim.difference.p_value)
    assert "winners judged before" in comparison.verdict


def test_the_pairs_are_printed_within_100_columns(tmp_path, capsys):
    run_dir = write_run(tmp_path / "run", arms=("poly", "cosine", "cosine_power"), seeds=5)
    assert main(["compare", str(run_dir), "--no-plots"]) == 0
    lines = capsys.readouterr().out.splitlines()
    header = next(line for line in lines if line.startswith("pair") and "outcome" in line)
    assert header.split("  ")[0] == "pair"
    pairs = [line for line in lines if " - default  " in line]
    assert len(pairs) == 2 * 3
    assert max(map(len, [header, *pairs])) <= 100


def test_of_many_pairs_those_of_the_leader_and_the_default_are_printed(tmp_path, capsys):
    arms = ("poly", "cosine", "exp", "linear", "wsd", "constant")
    run_dir = write_run(tmp_path / "run", arms=arms, seeds=3, trials=2)
    assert main(["compare", str(run_dir), "--no-plots"]) == 0
    out = capsys.readouterr().out
    # 21 pairs of 7 arms: 6 of the default, 5 more of the leader
    assert "(10 more pairs are not shown" in out


def test_a_number_that_one_arm_alone_searched_is_told():
    assert training_warnings({}) == []
    assert training_warnings({"poly": (), "baseline": ()}) == []
    assert training_warnings({"poly": ("beta2",), "cosine": ("beta2",)}) == []
    own = {"poly": ("beta2", "weight_decay"), "cosine": ("weight_decay",), "baseline": ()}
    assert training_warnings(own) == [
        f"{names}, but by other arms: what tells them apart is not the schedule alone."
        for names in (
            "beta2: not searched or given by cosine, your default (not tuned)",
            "weight_decay: not searched or given by your default (not tuned)",
        )
    ]


def test_versions_that_changed_are_told_where_they_may_move_numbers():
    versions = {"torch": ["2.14.0", "2.15.0"], "ray": ["2.60.0", "2.61.0"]}
    changes = [
        {"at": "2026-11-26T10:00:00+00:00", "versions": versions},
        {"at": "2026-11-27T10:00:00+00:00", "versions": {"ray": ["2.61.0", "2.62.0"]}},
    ]
    assert code_warnings({"a": {}, "b": {"version_changes": changes}}) == [
        "b: torch 2.14.0 -> 2.15.0 on 2026-11-26 while it ran; trainings before and after are "
        "compared."
    ]
