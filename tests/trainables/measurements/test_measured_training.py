"""Trainings that are measured, smoothed explicitly, stopped by a rule, or led by momentum."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.records import EpochRecord
from search_spaces.trial import TrialConfig
from tests.fakes import trials as fakes_trials
from tests.fakes.trials import TIMES
from trainables import MEASUREMENTS
from trainables.loop import NetworkTraining
from trainables.measurements.probe import Probes
from trainables.measurements.sharpness import worst_case_sharpness

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

NOISE_FIELDS = ("noise_c2", "noise_c2_low", "noise_c2_high", "gradient_norm", "max_gradient_norm")
MEASURED = (*NOISE_FIELDS, "mean_batch_norm", "noise_sample", "max_step_norm")
# Options as a plan makes them of the keys, and small.
NOISE = {"estimator": "two_batch", "batch_norm": "train", "batch": 4, "pairs": 2, "every": 1}
SHARPNESS = {"rho": 0.01, "adaptive": True, "examples": 50, "batch": 20, "iterations": 3}
NEVER = {"epsilon": [1e-9], "min_epochs": 0}
RUNS = {
    "noise": {"noise": NOISE},
    "noise_per_example": {"noise": NOISE | {"estimator": "per_example", "batch_norm": "eval"}},
    "noise_eval_mode": {"noise": NOISE | {"batch_norm": "eval"}},
    "sampling_eval_mode": {"sampling": NOISE | {"batch_norm": "eval"}},
    "sampling": {"sampling": NOISE},
    "sharpness": {"sharpness": SHARPNESS},
    "critical": {"critical": NEVER},
}
ALL = {"noise": NOISE, "sampling": NOISE, "sharpness": SHARPNESS, "critical": NEVER}

small_trial = functools.cache(fakes_trials.small_trial)  # reading the command line takes longest


def trial_of(
    space: str = "hybrid", measure: dict[str, dict[str, object]] | None = None, **recipe: object
) -> TrialConfig:
    """The small trial of this space with these fields of its recipe."""
    trial = small_trial(space=space)
    changed = dataclasses.replace(trial.recipe, **recipe, measurements=measure or {})
    return dataclasses.replace(trial, recipe=changed)


def train(trial: TrialConfig, epochs: int | None = None) -> NetworkTraining:
    training = NetworkTraining(trial)
    while not training.finished and (epochs is None or len(training.records) < epochs):
        training.run_epoch()
    return training


def fields(records: list[EpochRecord], without: tuple[str, ...] = ()) -> list[dict[str, object]]:
    drop = (*TIMES, *without)
    return [{k: v for k, v in dataclasses.asdict(r).items() if k not in drop} for r in records]


def assert_same_training(a: NetworkTraining, b: NetworkTraining) -> None:
    """Bit for bit, apart from what was measured."""
    assert fields(a.records, MEASURED) == fields(b.records, MEASURED)
    for x, y in zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True):
        assert torch.equal(x, y)
    assert torch.equal(torch.tensor(a.outcome().val_loss), torch.tensor(b.outcome().val_loss))


def with_params(trial: TrialConfig, **params: float) -> TrialConfig:
    return dataclasses.replace(trial, params={**trial.params, **params})


@pytest.mark.parametrize("name", RUNS)
def test_measuring_does_not_change_the_training(name: str) -> None:
    plain, measured = train(trial_of()), train(trial_of(measure=RUNS[name]))
    assert_same_training(measured, plain)
    # The same training, unless its stopping rule may end it.
    is_same = measured.trial.trial_key == plain.trial.trial_key
    assert is_same == (name != "critical")


def test_a_record_holds_what_was_asked_for_and_no_more() -> None:
    plain = train(trial_of(epochs=1))
    assert all(getattr(plain.records[0], name) is None for name in MEASURED)
    outcome = plain.outcome()
    assert (outcome.sharpness_loss, outcome.sharpness_error) == (None, None)
    assert outcome.steps_to_epsilon is None
    measured = train(trial_of(epochs=1, measure=ALL))
    (record,) = measured.records
    assert all(getattr(record, name) is not None for name in MEASURED)
    assert 0 <= record.noise_c2_low <= record.noise_c2 <= record.noise_c2_high
    assert 0 <= record.gradient_norm <= record.max_gradient_norm
    sample = json.loads(record.noise_sample)
    assert (sample["batch_size"], len(sample["norm_M"])) == (4, 4)  # two batches a pair
    assert sample["num_params"] == measured.outcome().num_params
    outcome = measured.outcome()
    assert outcome.sharpness_loss > 0
    assert json.loads(outcome.steps_to_epsilon) == {"1e-09": None}


def test_noise_is_measured_every_so_many_epochs_and_after_the_last() -> None:
    training = train(trial_of(epochs=5, measure={"noise": NOISE | {"every": 2}}))
    assert [r.noise_c2 is not None for r in training.records] == [False, True, False, True, True]


def test_k_is_of_every_real_step_from_the_first_before_clipping_whenever_c2_is_measured() -> None:
    options = {"noise": NOISE | {"every": 3}}
    training = NetworkTraining(trial_of(measure=options, epochs=4, micro_batch=8))
    norms = note_norms(training)
    while not training.finished:
        training.run_epoch()
    ends = np.cumsum([record.num_steps for record in training.records])
    largest = [max(part) for part in np.split(np.array(norms), ends[:-1])]
    assert [r.max_step_norm for r in training.records] == pytest.approx(largest, rel=1e-6)
    clipped = train(trial_of(measure=options, epochs=1, clip_norm=1e-6))
    assert clipped.records[0].max_step_norm > 1e-3


@pytest.mark.full
def test_the_sampled_noise_scatters_as_the_measured_c2_says_in_both_modes() -> None:
    # E b ||omega||^2 = C^2 of the same batches; 400 mini-batches against 200 pairs.
    for mode in ("train", "eval"):
        options = NOISE | {"batch_norm": mode, "pairs": 200, "batch": 8}
        training = NetworkTraining(trial_of(measure={"noise": options, "sampling": options}))
        fields = training.probes.end_epoch(training, epoch=1)
        squares = 8 * np.array(json.loads(fields["noise_sample"])["norm_M"]) ** 2
        error = squares.std() / math.sqrt(len(squares))
        error += (fields["noise_c2_high"] - fields["noise_c2_low"]) / 4
        assert abs(squares.mean() - fields["noise_c2"]) < 3 * error


@pytest.mark.parametrize(
    ("options", "is_used"), [({}, True), ({"batch_norm": "eval"}, False), ({"batch": 5}, False)]
)
def test_where_the_batch_grows_its_noise_is_that_of_the_batch_in_use(
    options: dict[str, object], is_used: bool
) -> None:
    """With BatchNorm in train mode C^2 depends on the batch; in eval mode it does not."""
    options = NOISE | {"batch": None} | options
    training = NetworkTraining(trial_of(space="batch", measure={"sampling": options}))
    sizes, used = [], []
    while not training.finished:
        record = training.run_epoch()
        sizes.append(json.loads(record.noise_sample)["batch_size"])
        used.append(record.batch_size)
    assert used[-1] > used[0]
    fixed = options["batch"] or training.trial.batch0
    assert sizes == (used if is_used else [fixed] * len(used))


def test_between_noise_measurements_lie_reports_whatever_an_epoch_is() -> None:
    training = train(trial_of(epochs=2, reports=6, measure={"noise": NOISE | {"every": 4}}))
    assert [r.noise_c2 is not None for r in training.records] == [False] * 3 + [True, False, True]


@pytest.mark.parametrize("reports", [None, 1, 4, 18])
def test_the_rule_is_looked_at_after_epochs_of_samples_however_often_they_are_reported(
    reports: int | None,
) -> None:
    rule = {"epsilon": [1e9], "min_epochs": 2}
    training = train(trial_of("constant", {"critical": rule}, epochs=6, reports=reports))
    num_early = len(list(training.schedule.steps(0, 2 * training.schedule.epoch_samples)))
    assert json.loads(training.outcome().steps_to_epsilon) == {"1000000000.0": num_early + 1}
    # It ends with the first report that holds that step.
    ends = np.cumsum([record.num_steps for record in training.records])
    assert [bool(end > num_early) for end in ends] == [False] * (len(ends) - 1) + [True]


def test_noise_is_also_measured_where_the_stopping_rule_ends_the_training() -> None:
    rule = {"epsilon": [1e9], "min_epochs": 1}
    options = {"noise": NOISE | {"every": 9}, "critical": rule}
    training = train(trial_of(epochs=9, measure=options))
    assert [r.noise_c2 is not None for r in training.records] == [False, True]


def test_noise_of_one_replicate_is_measured_on_the_same_images_in_every_arm() -> None:
    first, second = (
        NetworkTraining(trial_of(space, measure={"noise": NOISE})) for space in ("poly", "hybrid")
    )
    a, b = (t.probes.end_epoch(t, epoch=1) for t in (first, second))
    assert a == b  # the same weights, still those of the start
    assert a != first.probes.end_epoch(first, epoch=2)


def test_sharpness_is_that_of_the_first_training_images_without_augmentation() -> None:
    training = train(trial_of(measure={"sharpness": SHARPNESS}))
    normal = training.train_set.normalization
    pixels_NHWC = training.train_set.to(torch.device("cpu")).images_NHWC[:50]
    x_NCHW = pixels_NHWC.permute(0, 3, 1, 2).float() / 255
    x_NCHW = (x_NCHW - normal.mean[0]) / normal.std[0]
    labels_N = training.train_set.labels_N[:50]
    batches = zip(torch.split(x_NCHW, 20), torch.split(labels_N, 20), strict=True)
    loss = nn.CrossEntropyLoss(reduction="sum")
    expected = worst_case_sharpness(training.model, loss, batches, rho=0.01, iterations=3)
    outcome = training.outcome()
    assert outcome.sharpness_loss == pytest.approx(expected.loss, rel=1e-3)
    assert outcome.sharpness_error == pytest.approx(expected.error, abs=1e-9)


def test_a_diverged_training_is_not_measured_further() -> None:
    trial = dataclasses.replace(trial_of("constant", ALL), lr0=1e18)
    training = train(trial)
    assert training.diverged
    assert training.records[-1].noise_c2 is None
    assert training.outcome().sharpness_loss is None


# The stopping rule: mean of all batch gradients' norms so far <= epsilon.


def note_norms(training: NetworkTraining) -> list[float]:
    """Norm of every step's gradient, in float64, as the optimizer gets it."""
    norms: list[float] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        grads = [p.grad.double().square().sum() for p in training.model.parameters()]
        norms.append(math.sqrt(sum(g.item() for g in grads)))

    training.optimizer.register_step_pre_hook(note)
    return norms


def hand_count(
    norms: list[float], steps: list[int], epsilon: float, min_epochs: int
) -> int | None:
    """Steps until the mean is at most epsilon, looked for after min_epochs, one by one."""
    for number in range(sum(steps[:min_epochs]) + 1, len(norms) + 1):
        if sum(norms[:number]) / number <= epsilon:
            return number
    return None


@pytest.fixture(scope="module")
def norms_of_6_epochs() -> tuple[list[float], list[int]]:
    """Norm of each step and steps of each epoch of the constant schedule."""
    training = NetworkTraining(trial_of("constant", epochs=6))
    norms = note_norms(training)
    while not training.finished:
        training.run_epoch()
    return norms, [r.num_steps for r in training.records]


@pytest.mark.parametrize("min_epochs", [0, 3])
@pytest.mark.parametrize("surplus", [1.0001, 1.05])
def test_the_stopping_rule_ends_the_training_as_counted_by_hand(
    norms_of_6_epochs: tuple[list[float], list[int]], min_epochs: int, surplus: float
) -> None:
    norms, steps = norms_of_6_epochs
    least = min(np.cumsum(norms)[k] / (k + 1) for k in range(sum(steps[:min_epochs]), len(norms)))
    epsilons = [float(least * surplus), 2.0 * float(least)]
    rule = {"epsilon": epsilons, "min_epochs": min_epochs}
    training = train(trial_of("constant", {"critical": rule}, epochs=6))
    reached = json.loads(training.outcome().steps_to_epsilon)
    expected = [hand_count(norms, steps, epsilon, min_epochs) for epsilon in epsilons]
    assert [reached[str(epsilon)] for epsilon in epsilons] == expected
    # The training ends with the epoch in which the last epsilon was reached.
    last_epoch = int(np.searchsorted(np.cumsum(steps), max(expected))) + 1
    assert len(training.records) == max(last_epoch, min_epochs + 1)
    assert training.outcome().status == "completed"
    for record, count in zip(training.records, np.cumsum(steps), strict=False):
        mean = sum(norms[:count]) / count
        assert record.mean_batch_norm == pytest.approx(mean, rel=1e-6)


def test_the_rule_does_not_hold_before_min_epochs_however_small_the_gradient() -> None:
    rule = {"epsilon": [1e9], "min_epochs": 3}
    training = train(trial_of(measure={"critical": rule}, epochs=6))
    first_steps = sum(r.num_steps for r in training.records[:3])
    assert json.loads(training.outcome().steps_to_epsilon) == {"1000000000.0": first_steps + 1}
    assert len(training.records) == 4


def test_an_epsilon_named_twice_ends_the_training_as_once() -> None:
    training = train(trial_of(measure={"critical": {"epsilon": [1e9, 1e9], "min_epochs": 0}}))
    assert len(training.records) == 1


def test_the_rule_sees_the_gradient_of_the_whole_batch_before_clipping() -> None:
    options = {"measure": {"critical": NEVER}, "epochs": 1, "micro_batch": 8}
    plain, clipped = (NetworkTraining(trial_of(**options, clip_norm=c)) for c in (None, 1e-6))
    norms = note_norms(plain)
    plain.run_epoch()
    assert plain.records[0].mean_batch_norm == pytest.approx(np.mean(norms), rel=1e-6)
    clipped.run_epoch()
    assert clipped.records[0].mean_batch_norm > 1e-3


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_measured_training_resumed_from_its_file_is_the_uninterrupted_one(
    stop_after: int,
) -> None:
    rule = {"epsilon": [1e-9, 1e9], "min_epochs": 2}
    trial = trial_of(measure={"noise": NOISE, "critical": rule}, epochs=5)
    first = train(trial, epochs=stop_after)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = NetworkTraining(trial)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    while not resumed.finished:
        resumed.run_epoch()
    whole = train(trial)
    assert_same_training(resumed, whole)
    assert fields(resumed.records) == fields(whole.records)
    assert resumed.probes.state_dict() == whole.probes.state_dict()
    assert resumed.outcome().steps_to_epsilon == whole.outcome().steps_to_epsilon


def test_a_training_that_its_rule_ended_stays_ended_after_a_resume() -> None:
    trial = trial_of(measure={"critical": {"epsilon": [1e9], "min_epochs": 0}})
    ended = train(trial)
    resumed = NetworkTraining(trial)
    resumed.load_state_dict(ended.state_dict())
    assert resumed.finished
    assert len(resumed.records) == 1


def test_a_stopping_rule_comes_before_what_is_measured_at_the_end() -> None:
    options = {"noise": NOISE | {"every": 9}, "critical": {"epsilon": [1e9], "min_epochs": 1}}
    names = [type(probe).__name__ for probe in Probes(options).probes]
    assert names == ["CriticalProbe", "NoiseProbe"]


def test_every_measurement_has_defaults_and_says_what_it_needs_to_go_on() -> None:
    probes = Probes({name: {} for name in MEASUREMENTS})
    assert len(probes.probes) == len(MEASUREMENTS)
    assert probes.state_dict() == {"norm_sum": 0.0, "norm_count": 0, "steps_to": {}}


# Explicit smoothing.


def distances(training: NetworkTraining) -> list[float]:
    """How far the weights of each forward pass in training are from those at rest."""
    rest = [p.detach().clone() for p in training.model.parameters()]
    lengths: list[float] = []

    def keep(*_: object) -> None:
        for kept, p in zip(rest, training.model.parameters(), strict=True):
            kept.copy_(p.detach())

    def note(module: nn.Module, _: object) -> None:
        pairs = zip(rest, training.model.parameters(), strict=True)
        square = sum((p.detach() - kept).double().square().sum().item() for kept, p in pairs)
        lengths.extend([math.sqrt(square)] * module.training)

    training.optimizer.register_step_post_hook(keep)
    training.model.register_forward_pre_hook(note)
    return lengths


@pytest.mark.parametrize("warmup", [0, 1])
def test_the_radius_starts_at_radius0_and_decays_with_delta(warmup: int) -> None:
    trial = with_params(trial_of("explicit", epochs=4, warmup_epochs=warmup), p=1.0, radius0=0.5)
    training = NetworkTraining(trial)
    lengths = distances(training)
    while not training.finished:
        training.run_epoch()
    table = training.schedule
    delta0 = trial.recipe.law.delta(trial.lr0, 32)
    radius = np.array([0.5 * table.delta_S[step.stage] / delta0 for step in table.steps()])
    # In thousands of dimensions nearly all of a ball is near its surface.
    assert np.all(np.array(lengths) <= radius * (1 + 1e-4))
    np.testing.assert_allclose(lengths, radius, rtol=0.02)
    # A tenth of an epoch of warmup is one of 11 equal steps to the whole; then d = 3/4.
    assert max(lengths) == pytest.approx(0.5 * (10 / 11) ** warmup, rel=0.02)


def test_every_part_of_a_batch_is_at_the_same_moved_weights() -> None:
    training = NetworkTraining(with_params(trial_of(micro_batch=8, epochs=1), radius0=0.3))
    lengths = distances(training)
    training.run_epoch()
    (step, *_) = training.schedule.steps()
    assert len(set(lengths[: -(-step.batch_size // 8)])) == 1
    assert lengths[0] != lengths[-1]


def test_smoothing_changes_the_training_and_radius_0_does_not() -> None:
    trial = trial_of("explicit")
    plain = train(with_params(trial, radius0=0.0))
    assert_same_training(plain, train(dataclasses.replace(trial, params=without_radius(trial))))
    smoothed = train(with_params(trial, radius0=0.5))
    assert smoothed.records[0].train_loss != plain.records[0].train_loss
    assert_same_training(smoothed, train(with_params(trial, radius0=0.5)))


def without_radius(trial: TrialConfig) -> dict[str, float]:
    return {k: v for k, v in trial.params.items() if k != "radius0"}


# Momentum of the table.


@pytest.mark.parametrize(
    ("optimizer", "law"), [("shb", "shb"), ("nshb", "nshb_b"), ("sgd", "sgd")]
)
def test_momentum_of_the_table_is_what_the_optimizer_uses_and_the_record_says(
    optimizer: str, law: str
) -> None:
    recipe = {"optimizer": optimizer, "noise_law": law, "nesterov": optimizer == "sgd"}
    training = NetworkTraining(with_params(trial_of("momentum", **recipe), p=1.0))
    used: list[float] = []
    training.optimizer.register_step_pre_hook(
        lambda optimizer, *_: used.append(optimizer.param_groups[0]["momentum"])
    )
    while not training.finished:
        training.run_epoch()
    table = training.schedule
    assert used == [float(table.momentum_S[step.stage]) for step in table.steps()]
    assert [r.momentum for r in training.records] == table.momentum_S.tolist()
    assert len(set(used)) == 3
    assert used[0] == 0.9
    for record in training.records:
        last_law = dataclasses.replace(training.trial.recipe.law, momentum=record.momentum)
        assert last_law.delta(record.lr, record.batch_size) == pytest.approx(
            record.delta, rel=1e-9
        )
