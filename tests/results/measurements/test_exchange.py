"""The exchange rate between batch and lr: simulated trainings whose rate is known exactly."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from results import load
from results.measurements.exchange import (
    Rate,
    describe,
    exchange_rate,
    homogeneity_p,
    read_exchange,
)
from results.records.schema import epoch_row, trial_row
from results.records.store import RunStore
from search_spaces.trial import TrialConfig
from tests.fakes.results import make_epochs, make_trial

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

DROPS = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
GROWTHS = np.array([1.0, 2.0, 3.0])


def noisy_quadratic(
    seed: int, lr: float, batch: float, samples: int, drift: float | None
) -> float:
    """Mean log loss of SGD's second half on |x|^2/2, gradient noise 1/sqrt(batch) a coordinate.

    drift None is plain SGD, x <- x - lr (x + noise): stationary variance lr/(2 - lr)/batch. With a
    number the contraction does not depend on lr, x <- (1 - drift) x - lr noise: lr^2/batch.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(0.0, 1e-3, 300)
    steps = round(samples / batch)
    losses = []
    for step in range(steps):
        noise = rng.normal(0.0, 1.0, x.shape) / math.sqrt(batch)
        x = x - lr * (x + noise) if drift is None else (1.0 - drift) * x - lr * noise
        if step >= steps // 2:
            losses.append(math.log(0.5 * float(x @ x)))
    return float(np.mean(losses))


def responses(num_seeds: int, drift: float | None, lr: float, samples: int):
    lr_RX = [
        [noisy_quadratic(s, lr * 2.0**-x, 8, samples, drift) for x in DROPS]
        for s in range(num_seeds)
    ]
    batch_RK = [
        [noisy_quadratic(s, lr, 8 * 2.0**k, samples, drift) for k in GROWTHS]
        for s in range(num_seeds)
    ]
    return np.array(lr_RX), np.array(batch_RK)


def test_half_where_the_loss_depends_on_lr_over_sqrt_batch() -> None:
    lr_RX, batch_RK = responses(6, drift=0.3, lr=0.1, samples=16_000)
    rate, by_growth = exchange_rate(DROPS, lr_RX, GROWTHS, batch_RK)
    assert rate.growths == (1.0, 2.0, 3.0)
    assert rate.a == pytest.approx(0.5, abs=0.02)
    assert rate.low is not None
    assert rate.high is not None
    assert rate.low < 0.5 < rate.high
    assert all(r.a == pytest.approx(0.5, abs=0.05) for r in by_growth)


def test_one_where_plain_sgd_is_stationary_at_a_small_lr() -> None:
    lr_RX, batch_RK = responses(5, drift=None, lr=0.05, samples=64_000)
    rate, _ = exchange_rate(DROPS[:4], lr_RX[:, :4], GROWTHS[:1], batch_RK[:, :1])
    assert rate.a == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("a", [0.5, 1.0])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(a: float) -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        shared_R1 = rng.normal(0.0, 1.0, (6, 1))
        lr_RX = shared_R1 - 0.3 * DROPS + rng.normal(0.0, 0.05, (6, len(DROPS)))
        batch_RK = shared_R1 - 0.3 * a * GROWTHS[:1] + rng.normal(0.0, 0.05, (6, 1))
        rate, _ = exchange_rate(DROPS, lr_RX, GROWTHS[:1], batch_RK)
        covered += (rate.low or 0.0) <= a <= (rate.high or math.inf)
    assert 0.90 <= covered / 200 <= 0.99  # binomial: 0.95 +- 3 sd


ALL_DROPS = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0])  # those of the command


def above_a_floor(x: np.ndarray) -> np.ndarray:
    """Log loss that falls with the variance of the noise to a floor: convex in log2 lr."""
    return np.log(0.3 + 0.7 * 4.0**-x)


@pytest.mark.full
@pytest.mark.parametrize("a", [0.5, 0.62, 0.7, 0.87])
@pytest.mark.parametrize("sd", [0.002, 0.03])
def test_the_estimate_between_drops_of_a_bent_curve_is_not_shifted(a: float, sd: float) -> None:
    """Of 200 experiments of 8 seeds: no bias, and coverage of 95 % within 3 binomial sd."""
    rng = np.random.default_rng(2)
    found, covered = [], 0
    for _ in range(200):
        shared_R1 = rng.normal(0.0, 1.0, (8, 1))
        lr_RX = shared_R1 + above_a_floor(ALL_DROPS) + rng.normal(0.0, sd, (8, len(ALL_DROPS)))
        batch_RK = shared_R1 + above_a_floor(a * GROWTHS) + rng.normal(0.0, sd, (8, 3))
        rate, _ = exchange_rate(ALL_DROPS, lr_RX, GROWTHS, batch_RK)
        assert rate.a is not None
        found.append(rate.a)
        covered += (rate.low or 0.0) <= a <= (rate.high or math.inf)
    assert np.mean(found) == pytest.approx(a, abs=0.002 if sd < 0.01 else 0.01)
    assert 0.90 <= covered / 200


def experiment(rng: np.random.Generator, a_K: np.ndarray, sd: float, num_seeds: int = 8):
    """Responses of a bent curve, with the rate of each growth."""
    shared_R1 = rng.normal(0.0, 1.0, (num_seeds, 1))
    noise_RX = rng.normal(0.0, sd, (num_seeds, len(ALL_DROPS)))
    noise_RK = rng.normal(0.0, sd, (num_seeds, len(a_K)))
    lr_RX = shared_R1 + above_a_floor(ALL_DROPS) + noise_RX
    return lr_RX, shared_R1 + above_a_floor(a_K * GROWTHS[: len(a_K)]) + noise_RK


def p_values(rng: np.random.Generator, a_K: np.ndarray, sd: float, times: int) -> np.ndarray:
    """p of the experiments in which all growths joined."""
    p_N, growth_K = [], GROWTHS[: len(a_K)]
    for _ in range(times):
        lr_RX, batch_RK = experiment(rng, a_K, sd)
        rate, _ = exchange_rate(ALL_DROPS, lr_RX, growth_K, batch_RK)
        if len(rate.growths) == len(growth_K):
            p_N.append(homogeneity_p(rate.a, ALL_DROPS, lr_RX, growth_K, batch_RK))
    return np.array(p_N)


@pytest.mark.parametrize("num_growths", [2, 3])
def test_growths_of_one_rate_are_seldom_told_apart(num_growths: int) -> None:
    """5 % of 300, within 3 binomial sd; nearly all of them join."""
    p_N = p_values(np.random.default_rng(4), np.full(num_growths, 0.6), 0.01, 300)
    assert len(p_N) > 290
    assert np.mean(p_N < 0.05) == pytest.approx(0.05, abs=0.038)


def test_growths_of_different_rates_that_were_joined_are_often_told_apart() -> None:
    """Intervals that meet let them join; the paired test sees what these do not."""
    p_N = p_values(np.random.default_rng(5), np.array([0.66, 0.6, 0.56]), 0.02, 120)
    assert len(p_N) > 10
    assert np.mean(p_N < 0.05) > 0.5


def test_two_growths_are_compared_by_the_paired_t_test() -> None:
    """On a straight line each seed's rate is its drop in the line's units, exactly."""
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(6)
    shared_R1 = rng.normal(0.0, 1.0, (6, 1))
    lr_RX = shared_R1 - DROPS
    batch_RK = shared_R1 - np.array([0.6, 1.4]) + rng.normal(0.0, 0.1, (6, 2))
    rate, _ = exchange_rate(DROPS, lr_RX, GROWTHS[:2], batch_RK)
    rate_RK = (shared_R1 - batch_RK) / GROWTHS[:2]
    expected = ttest_rel(rate_RK[:, 0], rate_RK[:, 1]).pvalue
    found = homogeneity_p(rate.a, DROPS, lr_RX, GROWTHS[:2], batch_RK)
    assert found == pytest.approx(expected, rel=1e-6)


def test_one_growth_has_nothing_to_agree_with() -> None:
    lr_RX, batch_RK = experiment(np.random.default_rng(7), np.array([0.6]), 0.01)
    assert math.isnan(homogeneity_p(0.6, ALL_DROPS, lr_RX, GROWTHS[:1], batch_RK))


def test_a_growth_that_disagrees_ends_the_range() -> None:
    rng = np.random.default_rng(0)
    lr_RX = -DROPS + rng.normal(0.0, 0.01, (5, len(DROPS)))
    batch_RK = np.array([-1.0, -2.0, -0.9]) + rng.normal(0.0, 0.01, (5, 3))
    rate, by_growth = exchange_rate(DROPS, lr_RX, GROWTHS, batch_RK)
    assert rate.growths == (1.0, 2.0)
    assert rate.a == pytest.approx(1.0, abs=0.05)
    assert by_growth[2].a == pytest.approx(0.3, abs=0.05)


def test_a_batch_that_helps_more_than_any_lr_has_no_rate() -> None:
    lr_RX = np.tile(-DROPS, (4, 1)) + np.random.default_rng(0).normal(0, 0.01, (4, len(DROPS)))
    rate, _ = exchange_rate(DROPS, lr_RX, GROWTHS[:1], np.full((4, 1), -9.0))
    assert (rate.a, rate.low, rate.high) == (None, None, None)
    assert rate.text == "no drop of lr that was tried does the same"


def test_a_lr_too_small_to_learn_is_not_read_as_more_noise() -> None:
    """Beyond its minimum the curve rises again: the same loss is met twice, the first counts."""
    curve_X = np.array([0.0, -0.5, -1.0, -1.2, -0.9, -0.2])
    noise = np.random.default_rng(0).normal(0, 0.01, (5, 7))
    rate, _ = exchange_rate(DROPS, curve_X + noise[:, :6], GROWTHS[:1], -0.5 + noise[:, 6:])
    assert rate.a == pytest.approx(0.5, abs=0.05)


def write_experiment(tmp_path: Path, num_seeds: int) -> Path:
    """Log loss falls by 0.3 a halving of lr in the second half, and alike a doubling of batch."""
    store = RunStore.create(tmp_path / "run", {"status": "running"}, "")
    arms = [("lr", 1.0, -x) for x in (0.0, 1.0, 2.0)] + [("batch", 0.0, -0.5)]
    for space, split, power in arms:
        for replicate in range(num_seeds):
            params = {"interval": 3, "factor": 2.0**power, "split": split}
            trial = make_trial("lr", params, role="confirm", replicate=replicate)
            trial = replace(trial, space=f"{space} factor={2.0**power:.4g}")
            halvings = -power / split if split else -2 * power
            shared = 0.1 * replicate + 0.001 * (replicate % 2)
            for index, record in enumerate(make_epochs(trial, 0.9)):
                stage = int(index >= 3)
                loss = math.exp(shared - 0.3 * halvings * stage)
                record = replace(record, stage=stage, val_loss=loss)
                store.add_epochs([epoch_row("run", trial, 1, record)])
            store.add_trial(ended_row(trial))
    store.close()
    return tmp_path / "run"


def ended_row(trial: TrialConfig) -> dict[str, object]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return trial_row(
        "run", trial, status="completed", attempt=1, outcome=None, epochs_done=6, host="h",
        started_at=now, ended_at=now, error=None,
    )  # fmt: skip


def test_the_rate_is_read_from_a_runs_records(tmp_path) -> None:
    exchange = read_exchange(load(write_experiment(tmp_path, 4)))
    assert exchange.rate.a == pytest.approx(1.0, abs=1e-6)
    assert exchange.drop_X.tolist() == [0.0, 1.0, 2.0]
    assert exchange.growth_K.tolist() == pytest.approx([1.0])
    assert exchange.batch_max == 2 * exchange.batch0
    assert "doubling the batch equals dividing lr by 2^a, a = 1.00" in exchange.sentence
    assert f"n=4 paired seeds, {exchange.num_epochs} epochs" in exchange.sentence
    assert exchange.agreement == ""


@pytest.mark.parametrize(
    ("p", "told"),
    [(0.21, "not seen to differ (p = 0.21, "), (0.0012, "have different rates (p = 0.0012, ")],
)
def test_whether_the_growths_joined_agree_is_told(tmp_path, monkeypatch, p: float, told: str):
    run = load(write_experiment(tmp_path, 4))
    monkeypatch.setattr("results.measurements.exchange.homogeneity_p", lambda *args: p)
    assert told in describe(run)[1]


def test_two_seeds_are_too_few(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"at least 3 seeds in every arm, but got 2"):
        read_exchange(load(write_experiment(tmp_path, 2)))


def test_other_runs_hold_no_experiment(tmp_path) -> None:
    store = RunStore.create(tmp_path / "run", {"status": "running"}, "")
    store.close()
    with pytest.raises(ValueError, match="no exchange experiment here"):
        read_exchange(load(tmp_path / "run"))


def test_open_ends_are_told_as_such() -> None:
    assert Rate(a=0.8, low=0.5, high=None, growths=(1.0,)).text == "a = 0.80 [0.50, ?]"
