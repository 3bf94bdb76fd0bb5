"""A user's own loop: epochs are handed over one by one, and every report is checked."""

from __future__ import annotations

import dataclasses
import functools
import gc
import io
import math
import re
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from search_spaces.records import EpochRecord
from search_spaces.registry import allow_import
from search_spaces.schedule import Schedule
from search_spaces.trial import Recipe, TrialConfig
from tests.conftest import ROOT
from tests.fakes.losses import descend
from tests.fakes.trials import TIMES
from tests.trainables.user.threads import InThread
from trainables.failures import FunctionError
from trainables.user.adapter import UserTraining
from trainables.user.report import Report

EPOCHS, SAMPLES, BATCH = 4, 100, 30
Train = Callable[[Schedule, int, Report], object]


def user_trial(
    *, recipe: dict[str, Any] | None = None, params: dict[str, float] | None = None, **kwargs: Any
) -> TrialConfig:
    """4 epochs of 100 samples, batch 30, linear decay every epoch."""
    fields = {
        "workload": "user",
        "dataset": "none",
        "dataset_path": None,
        "data_fingerprint": "",
        "pool_examples": SAMPLES,
        "train_examples": SAMPLES,
        "num_classes": 0,
        "model": "tests.fakes.losses:descend",
        "width": None,
        "optimizer": "sgd",
        "momentum": 0.0,
        "nesterov": False,
        "weight_decay": 0.0,
        "clip_norm": None,
        "label_smoothing": 0.0,
        "epochs": EPOCHS,
        "warmup_epochs": 0.0,
        "batch0": BATCH,
        "batch_max": None,
        "trainer": "user",
    }
    made = Recipe(**fields | (recipe or {}))
    allow_import(made.model)  # as whoever names it would
    shape = {"interval": 1, "delta0": 1.0, "split": 1.0, "p": 1.0} | (params or {})
    return TrialConfig(
        space="poly",
        family="poly",
        params=shape,
        lr0=0.5,
        recipe=made,
        **{"seed": 3, **kwargs},
    )


def reporting(*epochs: dict[str, Any]) -> Train:
    """A training that only reports, these values one after the other."""

    def train(schedule: Schedule, seed: int, report: Report) -> None:
        for values in epochs:
            report(**values)

    return train


def train(
    function: Train | None = None, trial: TrialConfig | None = None, epochs: int = 99
) -> UserTraining:
    training = InThread(trial or user_trial(), trainable=function)
    while not training.finished and len(training.records) < epochs:
        training.run_epoch()
    return training


def saved(training: UserTraining) -> dict[str, Any]:
    """Its state, through a file as the workers read it."""
    buffer = io.BytesIO()
    torch.save(training.state_dict(), buffer)
    buffer.seek(0)
    state: dict[str, Any] = torch.load(buffer, weights_only=True)
    return state


def measured(records: list[EpochRecord]) -> list[dict[str, object]]:
    """The records without what a clock decides."""
    return [{k: v for k, v in dataclasses.asdict(r).items() if k not in TIMES} for r in records]


def num_threads() -> int:
    return threading.active_count()


RAISES = '    raise KeyError("my own mistake")'
GOOD = {"val_accuracy": 0.5}
LAST = {"val_accuracy": 0.75, "test_accuracy": 0.25}


@pytest.mark.parametrize(
    ("params", "horizon"),
    [({}, 1.0), ({"split": 0.0}, 1.0), ({"interval": 2, "split": 0.5}, 1.0), ({}, 0.65)],
)
def test_records_hold_what_the_table_says(params: dict[str, float], horizon: float) -> None:
    recipe = {"batch0": 5}
    training = train(descend, user_trial(recipe=recipe, params=params, horizon=horizon))
    table, steps = training.schedule, list(training.schedule.steps())
    assert len(training.records) == table.num_epochs == math.ceil(EPOCHS * horizon)
    assert sum(record.num_steps for record in training.records) == len(steps)
    for record in training.records:
        before = [s for s in steps if s.first_sample < record.epoch * SAMPLES]
        last = before[-1]
        assert record.samples_seen == last.first_sample + last.batch_size
        assert (record.stage, record.batch_size) == (last.stage, last.batch_size)
        assert record.lr == table.lr_S[last.stage]
        assert record.delta == table.delta_S[last.stage]
        assert record.decay_rate == table.decay_rate_S[last.stage]
        assert record.seconds > 0


def test_momentum_of_the_table_is_recorded() -> None:
    trial = user_trial(recipe={"momentum": 0.9}, params={"momentum_share": 1.0})
    training = train(descend, trial)
    assert [r.momentum for r in training.records] == training.schedule.momentum_S.tolist()
    assert training.records[-1].momentum < 0.9


def test_an_epoch_begins_only_when_it_is_asked_for() -> None:
    begun = []

    def function(schedule: Schedule, seed: int, report: Report) -> None:
        for epoch in range(schedule.num_epochs):
            begun.append(epoch)
            report(val_accuracy=0.5, test_accuracy=0.5)
        begun.append("the end")

    training = InThread(user_trial(), trainable=function)
    assert begun == []
    for epoch in range(EPOCHS - 1):
        training.run_epoch()
        assert begun == list(range(epoch + 1))
    training.run_epoch()
    assert begun == [*range(EPOCHS), "the end"]


def test_the_function_is_called_with_the_table_the_seed_and_what_it_may_ask() -> None:
    seen: dict[str, Any] = {}

    def function(schedule: Schedule, seed: int, report: Report) -> None:
        seen.update(schedule=schedule, seed=seed, state=report.state, epoch=report.epoch)
        seen.update(device=report.device, threads=report.threads, torch=torch.get_num_threads())
        for _ in range(schedule.num_epochs):
            report(val_accuracy=0.5, test_accuracy=0.5)
        seen["epochs"] = report.epoch

    trial = user_trial(recipe={"num_threads": 2})
    training = train(function, trial)
    assert seen.pop("schedule") is training.schedule
    assert seen == {
        **{"seed": 3, "state": None, "epoch": 0, "epochs": EPOCHS},
        **{"device": "cpu", "threads": 2, "torch": 2},
    }


def test_an_unseeded_function_gets_the_same_numbers_for_the_same_seed() -> None:
    drawn: list[list[float]] = []

    def function(schedule: Schedule, seed: int, report: Report) -> None:
        drawn.append([torch.rand(()).item(), float(np.random.rand())])  # noqa: NPY002

    for seed in (1, 1, 2):
        with pytest.raises(FunctionError, match="returned"):
            train(function, user_trial(seed=seed))
    assert drawn[0] == drawn[1]
    assert set(drawn[0]).isdisjoint(drawn[2])


@pytest.mark.parametrize("role", ["search", "select", "confirm"])
def test_the_last_reports_test_values_are_kept_only_to_confirm(role: str) -> None:
    correct = np.array([True, False, True, True])
    values = [GOOD] * (EPOCHS - 1) + [{**LAST, "test_accuracy": None, "test_correct": correct}]
    outcome = train(reporting(*values), user_trial(role=role)).outcome()
    expected = {"confirm": (0.75, np.packbits(correct).tobytes())}.get(role, (None, None))
    assert (outcome.test_accuracy, outcome.test_correct) == expected
    assert (outcome.status, outcome.objective) == ("completed", 0.75)


def test_the_outcome_is_the_last_report() -> None:
    values = [{**GOOD, "val_accuracy": 0.9}] + [GOOD] * 2
    last = {**LAST, "val_loss": 1.5, "train_loss": 1.25, "train_accuracy": 0.5, "test_loss": 2.0}
    outcome = train(reporting(*values, last), user_trial(role="confirm")).outcome()
    assert (outcome.objective, outcome.best_val_accuracy) == (0.75, 0.9)
    assert (outcome.val_loss, outcome.test_loss, outcome.test_accuracy) == (1.5, 2.0, 0.25)
    assert (outcome.final_train_loss, outcome.final_train_accuracy) == (1.25, 0.5)
    # Batches of 30: an epoch of 100 samples ends with the 4th, 7th, 10th and 14th.
    assert (outcome.samples_seen, outcome.optimizer_steps) == (420, 14)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), torch.tensor(0.5), torch.ones(1) / 2, 1])
def test_numbers_may_come_from_numpy_and_torch(value: Any) -> None:
    values = {"val_accuracy": value, "val_loss": value}
    training = train(reporting(values, *[GOOD] * 3), epochs=1)
    assert training.records[0].val_accuracy == float(value)
    assert training.records[0].val_loss == float(value)


def test_what_is_not_reported_is_not_a_number() -> None:
    record = train(reporting(GOOD), epochs=1).records[0]
    assert all(math.isnan(x) for x in (record.train_loss, record.val_loss, record.train_accuracy))


@pytest.mark.parametrize(
    "values",
    [
        {"val_accuracy": math.nan},
        {"val_accuracy": 0.5, "val_loss": math.nan},
        {"val_accuracy": 0.5, "train_loss": math.inf},
    ],
)
def test_a_value_that_is_not_finite_ends_the_training_as_diverged(values: dict[str, Any]) -> None:
    before = num_threads()
    training = train(reporting(GOOD, values, *[GOOD] * 9), user_trial(role="confirm"))
    assert len(training.records) == 2
    outcome = training.outcome()
    assert (outcome.status, outcome.objective, outcome.test_accuracy) == ("diverged", 0.0, 0.0)
    assert outcome.best_val_accuracy == 0.5
    assert num_threads() == before


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"val_accuracy": 93.2}, ValueError, r"0 <= val_accuracy <= 1.*val_accuracy=93.2"),
        ({"val_accuracy": -0.1}, ValueError, "0 <= val_accuracy <= 1"),
        ({"val_accuracy": None}, TypeError, "val_accuracy must be a number, but got None"),
        ({"val_accuracy": "0.5"}, TypeError, "val_accuracy must be a number, but got str"),
        ({"val_accuracy": True}, TypeError, "val_accuracy must be a number, but got bool"),
        ({"val_accuracy": [0.5, 1]}, TypeError, "val_accuracy must be a number, but got list"),
        ({"val_accuracy": torch.ones(2)}, TypeError, "must be a number, but got Tensor"),
        ({**GOOD, "val_loss": "low"}, TypeError, "val_loss must be a number, but got str"),
        ({**GOOD, "train_accuracy": 50}, ValueError, "0 <= train_accuracy <= 1"),
        ({**GOOD, "test_accuracy": math.nan}, ValueError, "0 <= test_accuracy <= 1"),
        ({**GOOD, "test_correct": [1, 0]}, TypeError, "one bool per test sample.*int64"),
        ({**GOOD, "test_correct": []}, TypeError, "one bool per test sample, but got 0"),
        ({**LAST, "test_correct": [True]}, ValueError, "test_accuracy must be the mean"),
        ({**GOOD, "state": [1]}, TypeError, "state must be a dict, but got list"),
        ({**GOOD, "state": {"f": lambda: 0}}, TypeError, "tensors and plain values only"),
        ({**GOOD, "state": {"f": io.StringIO()}}, TypeError, "tensors and plain values only"),
        ({**GOOD, "state": {"f": Recipe}}, TypeError, "tensors and plain values only"),
        ({}, TypeError, "val_accuracy"),
        ({"val_acc": 0.5}, TypeError, "objective val_accuracy .*did you mean 'val_acc'"),
        ({"val_loss": 3.1}, TypeError, "to search by val_loss say objective=val_loss"),
        ({**GOOD, "bleu": "high"}, TypeError, "bleu must be a number, but got str"),
        ({**GOOD, "top5_accuracy": 50}, ValueError, "0 <= top5_accuracy <= 1"),
        ({**GOOD, "lr": 0.1}, ValueError, "lr is a column of the records already"),
        ({**GOOD, "a b": 1}, ValueError, "'a b' is no name"),
    ],
)
def test_a_report_that_is_not_allowed_says_why(
    values: dict[str, Any], error: type[Exception], message: str
) -> None:
    before = num_threads()
    with pytest.raises(FunctionError, match=message) as caught:
        train(reporting(GOOD, values, GOOD, LAST))
    assert caught.value.line.startswith(f"{error.__name__}: report")
    assert num_threads() == before


def test_a_state_that_changes_its_kind_is_checked_again() -> None:
    best = [{**GOOD, "state": {"best": value}} for value in (None, io.StringIO())]
    with pytest.raises(FunctionError, match="tensors and plain values only"):
        train(reporting(*best, GOOD, LAST))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([GOOD] * 2, "descend returned after 2 of 4 reports"),
        ([], "descend returned after 0 of 4 reports"),
        ([*[GOOD] * 3, LAST, LAST], "the schedule has 4 reports .* got one more"),
        ([GOOD] * 4, "the last report needs test_accuracy or test_correct"),
    ],
)
def test_wrong_counts_of_reports_say_so(values: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(FunctionError, match=message):
        train(reporting(*values))


@pytest.mark.parametrize("role", ["search", "confirm"])
def test_a_function_may_ask_whether_it_must_test(role: str) -> None:
    def function(schedule: Schedule, seed: int, report: Report) -> None:
        for _ in range(schedule.num_epochs):
            test = {"test_accuracy": 0.25} if report.needs_test else {}
            report(val_accuracy=0.5, **test)

    outcome = train(function, user_trial(role=role)).outcome()
    assert outcome.test_accuracy == {"search": None, "confirm": 0.25}[role]


def test_an_error_travels_with_the_line_that_raised_it() -> None:
    def function(schedule: Schedule, seed: int, report: Report) -> None:
        report(**GOOD)
        raise KeyError("my own mistake")

    training = train(function, epochs=1)
    with pytest.raises(FunctionError) as caught:
        training.run_epoch()
    error = caught.value
    line = function.__code__.co_firstlineno + 2
    assert str(error).endswith(f"line {line}, in function\n{RAISES}\n{error.line}\n")
    assert (error.line, error.place) == ("KeyError: 'my own mistake'", f"{__file__}, line {line}")
    assert error.status is None  # another process may do better
    assert len(training.records) == 1


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_a_function_that_leaves_the_process_is_an_error(error: BaseException) -> None:
    def function(schedule: Schedule, seed: int, report: Report) -> None:
        raise error

    with pytest.raises(FunctionError, match=r"descend ended with .* after 0 of 4 reports"):
        train(function)


@pytest.mark.slow
def test_an_abandoned_training_ends_its_thread_and_frees_what_it_held() -> None:
    before, held, cleaned = num_threads(), [], []

    def function(schedule: Schedule, seed: int, report: Report) -> None:
        model = torch.nn.Linear(2, 2)
        held.append(weakref.ref(model))
        try:
            while True:
                report(**GOOD)
        except Exception:
            cleaned.append("an except of the user's must not see it")
        finally:
            cleaned.append("finally")

    training = train(function, epochs=2)
    assert num_threads() == before + 1
    del training
    gc.collect()
    assert num_threads() == before
    assert cleaned == ["finally"]
    assert held[0]() is None


def test_an_abandoned_function_that_will_not_stop_is_told_again() -> None:
    caught = []

    def function(schedule: Schedule, seed: int, report: Report) -> None:
        for _ in range(3):
            try:
                report(**GOOD)
            except BaseException as error:
                caught.append(type(error).__name__)

    before = num_threads()
    training = train(function, epochs=1)
    del training
    assert num_threads() == before
    assert caught == ["Abandoned"] * 3


@pytest.mark.parametrize("role", ["search", "confirm"])
@pytest.mark.parametrize("horizon", [1.0, 0.65])
def test_a_training_goes_on_bit_identically_from_every_epoch(role: str, horizon: float) -> None:
    recipe = {"batch0": 5, "momentum": 0.5}
    trial = user_trial(recipe=recipe, params={"split": 0.5}, role=role, horizon=horizon)
    whole = train(descend, trial)
    for epochs in range(len(whole.records) + 1):
        state = saved(train(descend, trial, epochs))
        training = InThread(trial, trainable=descend)
        training.load_state_dict(state)
        assert len(training.records) == epochs
        while not training.finished:
            training.run_epoch()
        assert measured(training.records) == measured(whole.records)
        ours, theirs = (dataclasses.asdict(t.outcome()) for t in (training, whole))
        assert ours["test_correct"] == theirs["test_correct"]
        assert ours["objective"] == theirs["objective"]


def test_the_newest_state_counts_where_not_every_epoch_has_one() -> None:
    def function(schedule: Schedule, seed: int, report: Report) -> None:
        weight = torch.zeros(1) if report.state is None else report.state["weight"]
        for epoch in range(report.epoch + 1, schedule.num_epochs + 1):
            weight += epoch
            state = {"weight": weight} if epoch == 2 else None
            report(val_accuracy=float(weight) / 10, test_accuracy=0.5, state=state)

    training = InThread(user_trial(), trainable=function)
    training.load_state_dict(saved(train(function, epochs=3)))
    assert len(training.records) == 2
    while not training.finished:
        training.run_epoch()
    assert [r.val_accuracy for r in training.records] == [0.1, 0.3, 0.6, 1.0]


def test_without_a_state_a_training_begins_anew() -> None:
    seen = []

    def function(schedule: Schedule, seed: int, report: Report) -> None:
        seen.append((report.epoch, report.state))
        for _ in range(schedule.num_epochs):
            report(val_accuracy=0.5, test_accuracy=0.5)

    training = InThread(user_trial(), trainable=function)
    training.load_state_dict(saved(train(function, epochs=3)))
    assert training.records == []
    training.run_epoch()
    assert seen == [(0, None)] * 2


def test_a_diverged_training_stays_diverged() -> None:
    diverged = train(reporting(GOOD, {"val_accuracy": math.nan}))
    training = InThread(user_trial())
    training.load_state_dict(saved(diverged))
    assert training.finished
    assert training.outcome().status == "diverged"


def test_the_function_is_imported_by_the_recipes_model() -> None:
    assert measured(train().records) == measured(train(descend).records)
    with pytest.raises(FunctionError, match=r"cannot import 'tests.fakes.users_code:nothing'"):
        train(trial=user_trial(recipe={"model": "tests.fakes.users_code:nothing"}))


def test_a_last_epoch_without_samples_of_its_own_is_none() -> None:
    # 205 of 400 samples in batches of 60: the second epoch's last batch ends at 240.
    trial = user_trial(recipe={"batch0": 10, "batch_max": 60}, horizon=205 / 400)
    table = dataclasses.replace(trial.schedule, batch_size_S=np.full(4, 60))
    assert [len(table.epoch_steps(epoch)) for epoch in (1, 2, 3)] == [2, 2, 0]
    assert table.num_epochs == 2
    training = InThread(trial, schedule=table, trainable=descend)
    while not training.finished:
        training.run_epoch()
    assert [r.samples_seen for r in training.records] == [120, 240]


def test_the_example_of_the_docs_trains() -> None:
    text = (ROOT / "docs" / "any_training.md").read_text()
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], names)
    recipe = {"train_examples": 1000, "batch0": 32, "epochs": 10}
    outcome = train(names["train"], user_trial(recipe=recipe, role="confirm")).outcome()
    assert outcome.objective > 0.8
    assert outcome.test_accuracy is not None
    assert outcome.test_accuracy > 0.8
    assert outcome.test_correct is not None
    assert len(outcome.test_correct) == -(-500 // 8)


@pytest.mark.parametrize(("reports", "horizon"), [(7, 1.0), (7, 0.5), (2, 1.0)])
def test_a_training_reports_at_its_evaluation_points(reports: int, horizon: float) -> None:
    def steps_only(schedule: Schedule, seed: int, report: Report) -> None:
        for number in range(report.report + 1, schedule.num_reports + 1):
            assert schedule.report_steps(number)
            report(**LAST)

    trial = user_trial(recipe={"batch0": 5, "reports": reports}, horizon=horizon)
    training = train(steps_only, trial)
    assert len(training.records) == math.ceil(reports * horizon) == trial.num_reports
    spacing = EPOCHS * SAMPLES / reports
    for record in training.records:
        end = min(record.epoch * spacing, EPOCHS * SAMPLES * horizon)
        assert end <= record.samples_seen < end + 5
    assert training.finished


BY_LOSS = {"objective": "val_loss", "goal": "min"}
LOSSES = [{"val_loss": 3.0 + 1 / n, "bleu": n, "test_bleu": 2.0 * n} for n in (1, 2, 3)]


@pytest.mark.parametrize("role", ["search", "confirm"])
def test_losses_are_the_objective_and_every_named_number_is_kept(role: str) -> None:
    last = {"val_loss": torch.tensor(3.125), "test_loss": 3.5, "bleu": 4, "test_bleu": 8}
    training = train(reporting(*LOSSES, last), user_trial(recipe=BY_LOSS, role=role))
    outcome = training.outcome()
    assert (outcome.objective, outcome.val_loss) == (3.125, 3.125)
    assert outcome.best_val_accuracy is outcome.test_accuracy is None
    assert all(math.isnan(record.val_accuracy) for record in training.records)
    # test data is told of confirm trainings alone, and never by epoch
    assert [dict(record.metrics or {}) for record in training.records] == [
        {"bleu": float(n)} for n in (1, 2, 3, 4)
    ]
    confirmed = role == "confirm"
    assert outcome.test_loss == (3.5 if confirmed else None)
    assert outcome.metrics == {"bleu": 4.0} | ({"test_bleu": 8.0} if confirmed else {})
    restored = InThread(user_trial(recipe=BY_LOSS, role=role), trainable=reporting(*LOSSES, last))
    restored.load_state_dict(saved(training))
    assert restored.outcome() == dataclasses.replace(
        outcome, peak_memory_bytes=restored.outcome().peak_memory_bytes
    )


def test_a_diverged_loss_has_no_objective_and_the_test_twin_is_demanded() -> None:
    diverged = train(reporting(LOSSES[0], {"val_loss": math.inf}), user_trial(recipe=BY_LOSS))
    outcome = diverged.outcome()
    assert (outcome.status, outcome.objective, outcome.test_accuracy) == ("diverged", None, None)
    by_bleu = user_trial(recipe={"objective": "bleu", "goal": "max"})
    assert train(reporting({"bleu": math.nan}), by_bleu).outcome().status == "diverged"
    named = {"bleu": 1.0, "test_bleu": 2.0}
    assert train(reporting(*[named] * 4), by_bleu).outcome().objective == 1.0
    with pytest.raises(FunctionError, match=r"needs test_bleu, which.*pass test_bleu=bleu"):
        train(reporting(*[{"bleu": 1.0}] * 4), by_bleu)


def test_params_are_handed_to_a_function_that_takes_them() -> None:
    seen: list[object] = []

    def own(schedule: Schedule, seed: int, report: Report, params: dict[str, float]) -> None:
        seen.append(params)
        reporting(*[GOOD] * (EPOCHS - 1), LAST)(schedule, seed, report)

    def anything(schedule: Schedule, seed: int, report: Report, **others: object) -> None:
        seen.append(others)
        reporting(*[GOOD] * (EPOCHS - 1), LAST)(schedule, seed, report)

    searched = user_trial(params={"beta2": 0.9, "momentum": 0.5}, training=("beta2", "momentum"))
    train(own, searched)
    train(own)
    train(functools.partial(own, params={"mine": 1.0}))
    train(anything, searched)
    train(anything)
    # Momentum is the schedule's to tell; a default of the user's own stays.
    assert seen == [{"beta2": 0.9}, {}, {"mine": 1.0}, {"params": {"beta2": 0.9}}, {}]


def test_params_that_a_function_does_not_take_are_no_training() -> None:
    searched = user_trial(params={"beta2": 0.9}, training=("beta2",))
    with pytest.raises(FunctionError, match="takes no argument `params`, by which beta2 would be"):
        train(descend, searched)
