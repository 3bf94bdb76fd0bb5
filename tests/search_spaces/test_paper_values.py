"""Printed values of both papers that no other file tests, and the published results.

R       what                                      tested in
R1-R6   lr of poly, cosine, cosine power, exp     test_schedule; the rest here
R7-R9   poly decay rates and their products       test_theory; the rest here
R10     stages of the lr and hybrid methods       test_schedule
R11     batches of the batch and hybrid methods   test_schedule; as coded by the papers: here
R12     one delta path for all three methods      test_schedule; the factors' identity: here
R13     optimizer steps                           test_theory
R14-15  noise levels of SGD                       test_schedule; the rest here
R16     critical batches                          test_theory
R17     beta_hat                                  test_schedule, test_momentum_schedule
R18-19  noise levels of SHB and NSHB              test_schedule; the rest here
R20     C^2 from critical batches                 here
R21-23  paths of momentum                         test_momentum_schedule
R24     admissible region                         test_theory; the rest and its inverse: here
R25     decay rates of the cosine                 here
R26-28  smoothed functions; R31 Rastrigin         test_smoothing, test_functions
R29     checkpoints of APGD                       test_sharpness
R30     parameter counts                          test_models
R32     torch's schedulers                        test_schedule
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest

from results.measurements.published import PublishedCurve, published_curves
from search_spaces import FAMILIES, SPACES
from search_spaces.noise_law import NoiseLaw
from search_spaces.schedule import Schedule, make_schedule
from search_spaces.theory import (
    c2_bound_nshb,
    c2_bound_shb,
    check_decay_rates,
    critical_batch,
    largest_admissible_a,
    poly_decay_rates,
    smallest_admissible_rate,
)
from tests.fakes.papers import critical_batch_size

SHB_RESNET = NoiseLaw(name="shb", c2=25.318, k=1.77, momentum=0.9)
CURVES = {curve.label: curve for curve in published_curves()}


def papers_schedule(family: str, **params: float) -> Schedule:
    """200 epochs from lr 0.1 at batch 128, decayed every epoch by lr."""
    return make_schedule(
        functools.partial(FAMILIES[family], **params),
        epochs=200, train_examples=50_000, interval=1, lr0=0.1, batch0=128,
        law=NoiseLaw(c2=1280.0),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("family", "params", "epoch", "lr"),
    [
        ("poly", {"p": 0.9}, 150, 0.02871745887),  # R2
        ("poly", {"p": 2.0}, 199, 2.5e-6),  # R3
        ("exp", {"end_ratio": 0.94**200}, 50, 0.0045330727),  # R6
    ],
)
def test_lr_equals_r2_r3_r6(family: str, params: dict[str, float], epoch: int, lr: float) -> None:
    assert papers_schedule(family, **params).lr_S[epoch] == pytest.approx(lr, rel=1e-7)


@pytest.mark.parametrize(
    ("family", "params"),
    [("poly", {"p": 0.5}), ("cosine", {}), ("cosine_power", {"base": 10.0})],
)
def test_curves_end_at_zero_which_no_epoch_reaches_r1(
    family: str, params: dict[str, float]
) -> None:
    assert FAMILIES[family](np.array([1.0]), **params) == pytest.approx(0.0, abs=1e-15)
    assert papers_schedule(family, **params).lr_S.min() > 0


def test_poly_decay_rates_equal_the_rest_of_r8() -> None:
    root = poly_decay_rates(5, 0.5)
    np.testing.assert_allclose(root[[0, 1, 3, 4]], [0.894427191, 0.8660254038, 0.7071067812, 0])
    linear = poly_decay_rates(50, 1.0)
    np.testing.assert_allclose(linear[[0, 48, 49]], [0.98, 0.5, 0.0])


def test_levels_equal_r9() -> None:
    levels = np.cumprod([1.0, *poly_decay_rates(50, 1.0)])
    np.testing.assert_allclose(levels, np.arange(50, -1, -1) / 50, atol=1e-15)
    levels = np.cumprod([1.0, *poly_decay_rates(200, 0.5)])
    np.testing.assert_allclose(levels[[199, 200]], [0.07071067812, 0.0], rtol=1e-9)


def test_batches_as_coded_by_the_papers_come_one_epoch_later_than_ours_r11() -> None:
    """Their rule tests `epoch % 40 == 0` after training that epoch."""
    batch, used = 32, []
    for epoch in range(200):
        used.append(batch)
        batch *= 2 if epoch % 40 == 0 and epoch != 0 else 1
    table = make_schedule(
        functools.partial(FAMILIES["exp"], end_ratio=math.sqrt(0.5) ** 5),
        epochs=200, train_examples=50_000, interval=40, lr0=0.1, batch0=32, split=0.0,
    )  # fmt: skip
    ours = [int(table.batch_size_S[table.stage_at(e * 50_000)]) for e in range(200)]
    assert np.flatnonzero(np.diff(used)).tolist() == [40, 80, 120, 160]
    assert used[1:] == ours[:-1]


def test_hybrid_factors_lower_delta_as_the_others_do_r12() -> None:
    factor = math.sqrt(3) / 2 / math.sqrt(1.5)
    assert factor == pytest.approx(0.7071067811865)
    split = SPACES["hybrid"].ranges["split"].fixed_value
    assert factor**split == pytest.approx(math.sqrt(3) / 2)
    assert factor ** (-2 * (1 - split)) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("lr", "c2", "batch", "delta"),
    [
        (0.1, 1280, 64, 0.447214),  # R14
        (0.1, 1280, 256, 0.223607),
        (0.1, 1280, 512, 0.158114),
        (0.1, 1280, 2048, 0.0790569),
        (0.01, 12800, 32, 0.2),  # R15
        (0.5, 256, 256, 0.5),
    ],
)
def test_sgd_noise_levels_equal_r14_and_r15(
    lr: float, c2: float, batch: int, delta: float
) -> None:
    assert NoiseLaw(c2=c2).delta(lr, batch) == pytest.approx(delta, rel=1e-5)


@pytest.mark.parametrize(("c2", "c"), [(12800, 113.137), (1280, 35.7771), (256, 16.0)])
def test_noise_constants_equal_r15(c2: float, c: float) -> None:
    assert NoiseLaw(c2=c2).gain(1) == pytest.approx(c, rel=1e-5)


@pytest.mark.parametrize("method", ["lr", "batch", "hybrid"])
def test_noise_levels_of_the_methods_equal_r14(method: str) -> None:
    table = make_schedule(
        functools.partial(FAMILIES["exp"], end_ratio=math.sqrt(0.5) ** 5),
        epochs=200, train_examples=50_000, interval=40, lr0=0.1, batch0=128,
        split=SPACES[method].ranges["split"].fixed_value, law=NoiseLaw(c2=1280.0),
    )  # fmt: skip
    expected = [0.316228, 0.223607, 0.158114, 0.111803, 0.0790569]
    np.testing.assert_allclose(table.delta_S, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("law", "batch", "delta"),
    [
        (SHB_RESNET, 32, 1.7949205),  # R18
        (SHB_RESNET, 256, 1.627216),
        (NoiseLaw(name="shb", c2=25.318, k=1.77, momentum=0.0), 128, 0.04447436059),
        (NoiseLaw(name="shb", c2=0.79, k=1.66, momentum=0.9), 128, 1.503979),  # R19
        (NoiseLaw(name="nshb_a", c2=1.0, k=4.262, momentum=0.9), 128, 0.76737586),
    ],
)
def test_momentum_noise_levels_equal_r18_and_r19(law: NoiseLaw, batch: int, delta: float) -> None:
    assert law.delta(0.1, batch) == pytest.approx(delta, rel=1e-6)


@pytest.mark.parametrize(
    ("bound", "batch", "c2"),
    [(c2_bound_shb, 1024, 25.31868), (c2_bound_shb, 32, 0.79121), (c2_bound_nshb, 512, 128.0)],
)
def test_c2_of_momentum_equals_r20(bound: object, batch: int, c2: float) -> None:
    assert bound(batch, 0.1, 0.5, beta=0.9) == pytest.approx(c2, rel=1e-5)


# Samples (1e7) of SHB until the mean gradient norm fell to epsilon; arXiv 2412.11501.
SAMPLES = {
    0.5: [4.328, 3.246, 2.244, 1.831, 1.769, 1.742, 1.650, 1.637, 1.812, 2.513, 4.873],
    0.7: [2.668, 1.957, 1.346, 1.081, 1.026, 0.9998, 0.9652, 0.9829, 1.147, 1.601, 3.156],
    1.0: [1.524, 1.079, 0.7350, 0.5727, 0.5329, 0.5146, 0.5171, 0.5442, 0.6566, 0.9716, 1.873],
}


@pytest.mark.parametrize(("epsilon", "best"), [(0.5, 1024), (0.7, 512), (1.0, 256)])
def test_critical_batches_of_the_papers_measurement(epsilon: float, best: int) -> None:
    batches = [2**k for k in range(3, 14)]
    steps = {b: 1e7 * s / b for b, s in zip(batches, SAMPLES[epsilon], strict=True)}
    critical, samples = critical_batch(steps)
    assert critical == best
    assert samples[8] == pytest.approx(1e7 * SAMPLES[epsilon][0])


def test_theory_scales_the_critical_batch_with_the_inverse_square_of_epsilon() -> None:
    c2 = 1024 * 0.5**2 / 0.1
    assert critical_batch_size(c2, 0.1, 0.7) == pytest.approx(512, rel=0.03)
    assert critical_batch_size(c2, 0.1, 1.0) == pytest.approx(256)


def test_admissible_bound_equals_the_rest_of_r24() -> None:
    assert smallest_admissible_rate(5) == pytest.approx(0.7797959, rel=1e-6)


@pytest.mark.parametrize(
    ("gamma", "a"), [(0.94, 17.153), (0.9, 10.478), (math.sqrt(0.5), 3.8637), (0.5, 2.43050)]
)
def test_largest_admissible_a_equals_r24(gamma: float, a: float) -> None:
    assert largest_admissible_a(gamma) == pytest.approx(a, rel=3e-5)
    assert check_decay_rates([gamma] * 2, [a * 0.999, a * 1.001]).tolist() == [True, False]


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(1, 0.99993832), (50, 0.99358632), (100, 0.98453559), (150, 0.96318824), (199, 0.25001542)],
)
def test_cosine_decay_rates_equal_r25(epoch: int, rate: float) -> None:
    assert papers_schedule("cosine").decay_rate_S[epoch] == pytest.approx(rate, rel=1e-7)


def test_published_curves_are_twelve_in_order_of_accuracy() -> None:
    accuracies = [curve.last_test_accuracy for curve in CURVES.values()]
    assert len(accuracies) == 12
    assert accuracies == sorted(accuracies, reverse=True)


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_published_accuracies_are_whole_test_images(curve: PublishedCurve) -> None:
    """Of 10,000 images and num_runs trainings, up to the figure's rounding to 5 digits."""
    images = curve.last_test_accuracy * 10_000 * curve.num_runs
    assert abs(images - round(images)) <= 0.5e-5 * 10_000 * curve.num_runs + 1e-9
    assert curve.num_runs in (1, 3)
    assert 0.6 < curve.last_test_accuracy <= curve.best_test_accuracy + 1e-4 < 0.73


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_published_losses_rise_by_three_percent_at_most(curve: PublishedCurve) -> None:
    losses = [*curve.train_loss_at.values(), curve.last_train_loss]
    assert list(curve.train_loss_at) in ([], [40, 80, 120, 160])
    assert all(0 < later < earlier * 1.03 for earlier, later in itertools.pairwise(losses))


def test_published_params_are_those_of_the_family() -> None:
    for curve in CURVES.values():
        known = {"poly": {"p"}, "cosine": set(), "exp": {"k"}, None: {"C"}}
        assert set(curve.params) == known[curve.family]
        assert curve.family is None or curve.family in FAMILIES


def test_the_papers_findings_hold_in_the_published_values() -> None:
    """Fig 3: p <= 1 beats p >= 2 and exp; cosine beats p = 0.1 in both measures."""
    powers = {c.params["p"]: c for c in CURVES.values() if c.family == "poly"}
    low = [c for p, c in powers.items() if p <= 1]
    high = [c for p, c in powers.items() if p >= 2] + [CURVES["exponential"]]
    assert sorted(powers) == [0.1, 0.5, 0.9, 1.0, 2.0, 4.0, 8.0]
    assert max(c.last_train_loss for c in low) < min(c.last_train_loss for c in high)
    assert min(c.last_test_accuracy for c in low) > max(c.last_test_accuracy for c in high)
    assert CURVES["cosine"].last_test_accuracy > powers[0.1].last_test_accuracy
    assert CURVES["cosine"].last_train_loss < powers[0.1].last_train_loss
    best = max(CURVES.values(), key=lambda c: c.last_test_accuracy)
    lowest = min(CURVES.values(), key=lambda c: c.last_train_loss)
    assert (best.label, best.last_test_accuracy) == ("poly p=1.0", 0.724)
    assert (lowest.label, lowest.last_train_loss) == ("linear C=100", 0.00226)
