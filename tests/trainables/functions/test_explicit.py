"""Explicit graduated optimization uses what the table says; its peers get the same budget."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
import torch

from search_spaces.records import EpochRecord
from search_spaces.trial import Recipe, TrialConfig
from tests.fakes.trials import TIMES
from trainables import NUM_STARTS, SOLVERS
from trainables.functions.benchmark import FUNCTIONS
from trainables.functions.explicit import GRADUATED, IMPLICIT, TOLERANCE, ExplicitTraining
from trainables.functions.solvers import PEERS, VALUES_PER_GRADIENT

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

DIMENSION = 10
SAMPLES = 400  # per level
LEVELS = 20
BATCH = 20


def explicit_trial(
    *,
    recipe: dict[str, Any] | None = None,
    params: dict[str, float] | None = None,
    delta0: float = 3.5,
    lr0: float = 0.01,
    **kwargs: Any,
) -> TrialConfig:
    """Rastrigin in D = 10 on 20 linear levels of 20 steps of 20 directions of the ball.

    delta0 = sqrt(D + 2) smooths a coordinate as the authors' Gaussian with delta0 = 1 does; lr is
    theirs, 0.01 in the first level.
    """
    fields = {
        "workload": "rastrigin",
        "dataset": "rastrigin",
        "dataset_path": str(DIMENSION),
        "data_fingerprint": "",
        "pool_examples": SAMPLES,
        "train_examples": SAMPLES,
        "num_classes": 0,
        "model": "",
        "width": None,
        "optimizer": "graduated",
        "momentum": 0.0,
        "nesterov": False,
        "weight_decay": 0.0,
        "clip_norm": None,
        "label_smoothing": 0.0,
        "epochs": LEVELS,
        "warmup_epochs": 0.0,
        "batch0": BATCH,
        "batch_max": None,
        "c2": BATCH * (delta0 / lr0) ** 2,
        "c2_source": "given",
    }
    shape = {"interval": 1, "delta0": delta0, "split": 1.0, "p": 1.0} | (params or {})
    return TrialConfig(
        space="poly",
        family="poly",
        params=shape,
        lr0=lr0,
        recipe=Recipe(**fields | (recipe or {})),
        **kwargs,
    )


def train(trial: TrialConfig, epochs: int | None = None) -> ExplicitTraining:
    training = ExplicitTraining(trial)
    while not training.finished and (epochs is None or len(training.records) < epochs):
        training.run_epoch()
    return training


def measured(records: list[EpochRecord]) -> list[dict[str, object]]:
    """The records without what a clock decides."""
    return [{k: v for k, v in dataclasses.asdict(r).items() if k not in TIMES} for r in records]


def short(solver: str, **recipe: Any) -> TrialConfig:
    """40 directions (120 evaluations) per start."""
    return explicit_trial(
        recipe={"optimizer": solver, "train_examples": 20, "epochs": 2, "batch0": 10} | recipe
    )


@pytest.fixture
def few_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """scipy's solvers take the starts one by one."""
    monkeypatch.setattr("trainables.functions.explicit.NUM_STARTS", 3)


def errors(training: ExplicitTraining) -> np.ndarray:
    return np.asarray(training.function.value(training.x_SD))


def test_every_named_solver_exists() -> None:
    assert SOLVERS == (GRADUATED, *PEERS, IMPLICIT)


def test_records_hold_what_the_table_says() -> None:
    training = train(explicit_trial(params={"split": 0.5}))
    table = training.schedule
    assert len(training.records) == LEVELS
    assert len(set(table.batch_size_S.tolist())) > 3
    for record in training.records:
        assert record.lr == table.lr_S[record.stage]
        assert record.batch_size == table.batch_size_S[record.stage]
        assert record.delta == table.delta_S[record.stage]
    assert training.num_steps == table.num_steps()
    used = sum(step.batch_size for step in table.steps())
    assert training.samples_seen == used
    np.testing.assert_array_equal(training.evaluations_S, VALUES_PER_GRADIENT * used)


def test_a_level_is_an_epoch_and_delta_falls_linearly() -> None:
    records = train(explicit_trial()).records
    assert [r.stage for r in records] == list(range(LEVELS))
    deltas = [3.5 * (1 - m / LEVELS) for m in range(LEVELS)]
    np.testing.assert_allclose([r.delta for r in records], deltas)
    np.testing.assert_allclose([r.lr for r in records], 0.01 / 3.5 * np.array(deltas))
    assert {r.num_steps for r in records} == {SAMPLES // BATCH}


def test_without_smoothing_a_step_is_a_clipped_gradient_step() -> None:
    training = ExplicitTraining(explicit_trial(recipe={"epochs": 1}, delta0=1e-14))
    function = FUNCTIONS["rastrigin"]
    x = training.x_SD.copy()
    for _ in range(SAMPLES // BATCH):
        x = np.clip(x - 0.01 * function.gradient(x), -5.12, 5.12)
    training.run_epoch()
    np.testing.assert_allclose(training.x_SD, x, atol=1e-6)


def test_points_stay_in_the_box() -> None:
    training = train(explicit_trial(lr0=1e3), epochs=1)
    assert np.abs(training.x_SD).max() == 5.12
    assert not training.diverged


def test_losses_and_accuracies_are_those_of_the_points() -> None:
    training = train(explicit_trial(role="confirm"))
    error_S, last, outcome = errors(training), training.records[-1], training.outcome()
    success_S = error_S <= TOLERANCE
    assert last.val_loss == pytest.approx(error_S.mean())
    assert last.val_accuracy == last.train_accuracy == success_S.mean()
    assert outcome.objective == pytest.approx((1 / (1 + error_S)).mean())
    assert 0 < outcome.objective <= 1
    assert (outcome.status, outcome.num_params) == ("completed", DIMENSION)
    assert outcome.test_loss == pytest.approx(error_S.mean())
    assert outcome.test_accuracy == success_S.mean()
    assert outcome.test_correct is not None
    bits = np.unpackbits(np.frombuffer(outcome.test_correct, dtype=np.uint8))[:NUM_STARTS]
    np.testing.assert_array_equal(bits, success_S)


def test_only_confirm_trials_have_test_values() -> None:
    outcome = train(short("graduated")).outcome()
    assert (outcome.test_loss, outcome.test_accuracy, outcome.test_correct) == (None,) * 3


@pytest.mark.parametrize(
    ("kind", "square"), [("ball", 10 / 12), ("gaussian", 10.0), ("gaussian_scaled", 1.0)]
)
def test_the_train_loss_is_the_smoothed_value(kind: str, square: float) -> None:
    """On the sphere f + delta^2 E|u|^2; here of points that hardly move, near the minimum."""
    recipe = {"dataset": "sphere", "smoothing": kind, "epochs": 1}
    training = ExplicitTraining(explicit_trial(recipe=recipe, lr0=1e-12))
    training.x_SD *= 1e-3
    record = training.run_epoch()
    assert record.train_loss == pytest.approx(record.val_loss + 3.5**2 * square, rel=0.05)


@pytest.mark.parametrize("solver", SOLVERS)
def test_all_solvers_begin_at_the_same_starts(solver: str) -> None:
    ours, theirs = ExplicitTraining(explicit_trial()), ExplicitTraining(short(solver))
    np.testing.assert_array_equal(ours.x_SD, theirs.x_SD)
    assert ours.x_SD.shape == (NUM_STARTS, DIMENSION)
    assert np.abs(ours.x_SD).max() < 5.12
    other = ExplicitTraining(explicit_trial(seed=1))
    assert not np.array_equal(ours.x_SD, other.x_SD)


@pytest.mark.parametrize("after", [1, 7, LEVELS])
def test_interrupted_equals_uninterrupted_bit_for_bit(after: int) -> None:
    trial = explicit_trial(params={"split": 0.5})
    file = io.BytesIO()
    torch.save(train(trial, epochs=after).state_dict(), file)
    file.seek(0)
    resumed = ExplicitTraining(trial)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    while not resumed.finished:
        resumed.run_epoch()
    whole = train(trial)
    np.testing.assert_array_equal(resumed.x_SD, whole.x_SD)
    assert measured(resumed.records) == measured(whole.records)
    assert resumed.outcome().objective == whole.outcome().objective


def test_a_state_does_not_change_with_its_training() -> None:
    training = train(explicit_trial(), epochs=1)
    state = training.state_dict()
    before = state["evaluations"].clone()
    training.run_epoch()
    assert torch.equal(state["evaluations"], before)
    assert len(state["records"]) == 1


@pytest.mark.usefixtures("few_starts")
@pytest.mark.parametrize("solver", PEERS)
def test_peers_use_the_budget_of_the_schedule_in_one_epoch(solver: str) -> None:
    training = train(short(solver))
    budget = VALUES_PER_GRADIENT * training.schedule.total_samples
    assert budget == 120
    assert training.evaluations_S.max() <= budget
    assert training.evaluations_S.min() > budget - VALUES_PER_GRADIENT
    assert training.samples_seen == training.schedule.total_samples
    assert len(training.records) == 1
    assert training.records[0].delta == 0.0


@pytest.mark.usefixtures("few_starts")
@pytest.mark.parametrize("solver", PEERS)
def test_peers_stay_in_the_box_improve_and_repeat_themselves(solver: str) -> None:
    training, again = train(short(solver)), train(short(solver))
    starts = ExplicitTraining(short(solver))
    assert np.abs(training.x_SD).max() <= 5.12
    assert np.all(errors(training) <= errors(starts))
    assert errors(training).mean() < errors(starts).mean()
    np.testing.assert_array_equal(training.x_SD, again.x_SD)


@pytest.mark.usefixtures("few_starts")
@pytest.mark.parametrize("solver", ["dual_annealing", "basin_hopping"])
def test_evaluations_are_counted_where_they_are_made(
    solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gradient costs 2 more than the value at its point, or 3 alone; so bounds on the sum."""
    counts = {"value": 0, "gradient": 0}
    sphere = FUNCTIONS["sphere"]

    def counted(what: str) -> Any:
        def call(x: np.ndarray) -> np.ndarray:
            counts[what] += 1
            return np.asarray(getattr(sphere, what)(x))

        return call

    spy = dataclasses.replace(sphere, value=counted("value"), gradient=counted("gradient"))
    monkeypatch.setitem(FUNCTIONS, "spy", spy)
    training = ExplicitTraining(short(solver, dataset="spy"))
    training._solve()
    counts["value"] -= 1  # of the losses
    paid = training.evaluations_S.sum()
    assert counts["value"] + 2 * counts["gradient"] <= paid
    assert paid <= counts["value"] + 3 * counts["gradient"]
    assert counts["gradient"] > 0


@pytest.mark.usefixtures("few_starts")
def test_local_minimizers_find_the_bottom_of_a_bowl() -> None:
    for solver in ("dual_annealing", "basin_hopping"):
        outcome = train(short(solver, dataset="sphere", optimizer=solver, epochs=4)).outcome()
        assert outcome.objective == pytest.approx(1.0, abs=1e-6)


def test_graduated_finds_the_minimum_that_gradient_descent_misses() -> None:
    """Smoothed Rastrigin is convex at first, and its minimizer is that of Rastrigin itself.

    Descent along the same step sizes stops in one of 11^10 local minima; the difference of two
    of them is 1 per coordinate, so 5 is far from chance.
    """
    graduated = train(explicit_trial())
    descent = train(explicit_trial(recipe={"optimizer": "gradient_descent"}))
    assert graduated.evaluations_S.max() == descent.evaluations_S.max()
    assert graduated.records[-1].val_loss < descent.records[-1].val_loss - 5.0
    assert graduated.outcome().objective > 2 * descent.outcome().objective


def test_leaving_the_finite_numbers_is_told_as_diverged() -> None:
    training = train(explicit_trial(recipe={"dataset": "rosenbrock"}, delta0=1e130))
    outcome = training.outcome()
    assert outcome.status == "diverged"
    assert outcome.objective == 0.0
    assert len(training.records) == 1


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"dataset": "rastrigyn"}, "unknown function 'rastrigyn'; did you mean 'rastrigin'"),
        ({"optimizer": "annealing"}, "unknown solver 'annealing'"),
        ({"smoothing": "cube"}, "unknown smoothing 'cube'"),
        ({"dataset_path": "1"}, "dimension"),
        ({"dataset_path": "data/cifar"}, "dimension"),
    ],
)
def test_bad_input_is_refused_in_one_line(recipe: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        ExplicitTraining(explicit_trial(recipe=recipe))
    assert "\n" not in str(error.value)


def test_the_implicit_solver_is_sgd_whose_noise_has_the_tables_level() -> None:
    """On a quadratic, x after a step minus x - lr grad f(x) has variance delta^2 kappa."""
    recipe = {"dataset": "sphere", "workload": "sphere", "optimizer": IMPLICIT}
    trial = explicit_trial(recipe=recipe, delta0=2.0, lr0=0.01)
    training = ExplicitTraining(trial)
    start = training.x_SD.copy()
    training._step(next(iter(training.schedule.steps())))
    noise = (1.0 - 2.0 * 0.01) * start - training.x_SD
    inside = np.abs(training.x_SD) < 100.0
    kappa = 1.0 / (DIMENSION + 2)
    # Of 300 numbers: a relative standard error of the variance of at most 0.08.
    assert noise[inside].var() == pytest.approx(2.0**2 * kappa, rel=0.3)
    assert training.samples_seen == BATCH


@pytest.mark.usefixtures("few_starts")
@pytest.mark.parametrize("solver", ["dual_annealing", "basin_hopping"])
def test_a_global_search_ends_where_nothing_is_left_to_be_found(solver: str) -> None:
    training = train(short(solver, dataset="sphere", epochs=20))
    budget = VALUES_PER_GRADIENT * training.schedule.total_samples
    assert errors(training).max() <= 1e-8
    assert training.evaluations_S.max() < budget / 2
    assert training.samples_seen == training.schedule.total_samples
