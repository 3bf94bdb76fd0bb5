"""Correlation, means, noise constants and critical batches: known answers from formulas."""

from __future__ import annotations

import math
import statistics

import pytest
from scipy.stats import spearmanr

import results
from results.measurements.critical import Critical, read_critical
from results.measurements.noise import read_noise
from results.records.store import RunStore
from results.statistics.correlation import spearman
from results.statistics.intervals import mean_of
from tests.fakes.measurements import (
    MEASUREMENTS,
    T_2,
    constant_trial,
    noise,
    record,
    write_measured,
    write_steps,
)
from tests.fakes.results import make_recipe, make_trial


def only(found: list[Critical]) -> Critical:
    (one,) = found
    return one


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_measured(tmp_path_factory.mktemp("runs") / "measured")


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]),
        ([1, 1, 2, 2, 3, 3], [0.3, 0.1, 0.2, 0.2, 0.9, 0.7]),
        ([0.1, 0.5, 0.01, 0.05], [4.0, 3.0, 2.0, 1.0]),
    ],
)
def test_rho_is_scipys(x, y):
    assert spearman(x, y).rho == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_values_that_differ_by_rounding_tie():
    y = [1, 2, 3, 4, 5]
    assert spearman([0.1 + 0.2, 0.3, 0.1, 1, 2], y) == spearman([0.3, 0.3, 0.1, 1, 2], y)


def test_the_interval_is_fishers_with_bonett_and_wrights_error():
    found = spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5])
    # d = (1, 1, 1, 1, 0): rho = 1 - 6 * 4 / (5 * 24)
    assert found.rho == pytest.approx(0.8)
    half = 1.959963984540054 * math.sqrt((1 + 0.8**2 / 2) / 2)
    assert found.low == pytest.approx(math.tanh(math.atanh(0.8) - half))
    assert found.high == pytest.approx(math.tanh(math.atanh(0.8) + half))


@pytest.mark.parametrize(
    ("x", "y"),
    [([1, 2, 3], [1, 3, 2]), ([1, 2, 3, 4], [2, 4, 6, 9]), ([1, 2, 3, 4], [5, 5, 5, 5])],
)
def test_few_perfect_and_constant_pairs_have_no_interval(x, y):
    found = spearman(x, y)
    assert (found.low, found.high, found.n) == (None, None, len(x))


def test_no_rho_where_one_side_does_not_vary():
    assert math.isnan(spearman([1, 2, 3, 4], [5, 5, 5, 5]).rho)
    assert math.isnan(spearman([], []).rho)


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2, 3]), ([1, math.nan], [1, 2])])
def test_a_correlation_refuses_what_has_no_ranks(x, y):
    with pytest.raises(ValueError, match="but got"):
        spearman(x, y)


def test_a_mean_has_a_t_interval_from_two_values_on():
    found = mean_of([1.0, 2.0, 3.0, math.nan])
    assert (found.n, found.mean) == (3, 2.0)
    assert found.high == pytest.approx(2 + T_2 / math.sqrt(3))
    assert mean_of([1.0]).low is None
    assert mean_of([1.0, 1.0]).low is None
    assert math.isnan(mean_of([]).mean)


def test_the_noise_constant_is_averaged_over_epochs_then_seeds(run):
    found = read_noise(run)["lr_batch batch0=8,lr0=0.1"]
    # seeds 800, 801, 802 in epoch 2 and three times that in epoch 6
    log_R = [math.log(math.sqrt(3) * c2) for c2 in (800, 801, 802)]
    error = statistics.stdev(log_R) / math.sqrt(3)
    assert found.c2 == pytest.approx(math.exp(statistics.mean(log_R)))
    assert found.high == pytest.approx(math.exp(statistics.mean(log_R) + T_2 * error))
    assert found.last == pytest.approx(3 * found.first)
    assert (found.k, found.num_seeds, found.num_epochs) == (2.0, 3, 2)


def test_k_is_the_largest_norm_of_any_seed_and_c2_of_one_seed_has_no_interval(tmp_path):
    with RunStore.create(tmp_path / "run", {}, "") as store:
        record(store, constant_trial(), epochs={2: noise(4.0, largest=7.0), 6: noise(8.0)})
    found = read_noise(results.load(tmp_path / "run"))
    (one,) = found.values()
    assert one.c2 == pytest.approx(math.sqrt(4.0 * 8.0))
    assert (one.low, one.high, one.k, one.num_seeds) == (None, None, 7.0, 1)


def test_a_noise_constant_is_never_negative_and_leaves_out_diverged_seeds(tmp_path):
    with RunStore.create(tmp_path / "run", {}, "") as store:
        for seed, c2 in enumerate((1.0, 100.0)):
            record(store, constant_trial(replicate=seed), epochs={6: noise(c2)})
        record(
            store,
            constant_trial(replicate=2),
            status="diverged",
            epochs={2: noise(1e9, largest=1e9)},
        )
    (found,) = read_noise(results.load(tmp_path / "run")).values()
    assert (found.c2, found.k, found.num_seeds) == (pytest.approx(10.0), 2.0, 2)
    assert found.low is not None
    assert 0 < found.low < 1.0


def test_the_critical_batch_has_the_smallest_mean_cost(tmp_path):
    run = write_steps(
        tmp_path / "run",
        {8: (2000, 1900), 16: (800, 700), 32: (430, 320), 64: (None, 300), 128: (None, None)},
    )
    found = only(read_critical(run))
    assert found.batch_S.tolist() == [8, 16, 32]
    assert found.sfo_SR.tolist() == [[16000, 15200], [12800, 11200], [13760, 10240]]
    # means 15600, 12000, 12000: of equal costs the smaller batch
    assert (found.b_star, found.best_R) == (16, (16, 32))
    assert found.flat_S.tolist() == [16, 32]
    assert found.left_out == {64: 1, 128: 0}
    assert found.c2_bound == pytest.approx(16 * 0.5**2 / 0.1)
    assert found.is_decided


@pytest.mark.parametrize(
    ("recipe", "factor"),
    [
        ({"optimizer": "sgd", "momentum": 0.0}, 1.0),
        ({"optimizer": "shb", "momentum": 0.9}, 0.9 * 0.01 / 0.91),
        ({"optimizer": "sgd", "momentum": 0.9}, 0.9 * 0.01 / 0.91),
        ({"optimizer": "nshb", "momentum": 0.9}, 0.1),
    ],
)
def test_the_bound_of_c2_is_the_optimizers(tmp_path, recipe, factor):
    found = only(read_critical(write_steps(tmp_path / "run", {8: (1000,)}, **recipe)))
    assert found.c2_bound == pytest.approx(8 * 0.5**2 / 0.1 * factor)
    assert not found.is_decided  # 8 is the only batch


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "adamw", "momentum": 0.9},
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    ],
)
def test_without_a_formula_there_is_no_bound(tmp_path, recipe):
    found = only(read_critical(write_steps(tmp_path / "run", {8: (1000,)}, **recipe)))
    assert (found.b_star, found.c2_bound) == (8, None)


def test_a_batch_that_stopped_at_the_first_step_looked_at_bounds_nothing(tmp_path):
    # one epoch of 1200 images: 38 steps of 32, so step 39 is the first looked at
    run = write_steps(tmp_path / "run", {8: (400,), 16: (200,), 32: (39,), 64: (60,)})
    found = only(read_critical(run))
    assert (found.floor, found.floored_S.tolist()) == (1200, [32])
    assert (found.b_star, found.c2_bound, found.is_decided) == (32, None, False)


def test_an_epsilon_that_no_batch_reached_is_told(run):
    found = {(c.lr, c.epsilon): c for c in read_critical(run)}
    assert list(found) == [(0.1, 1.0), (0.1, 0.5), (0.5, 1.0), (0.5, 0.5)]
    assert found[0.1, 1.0].left_out == {8: 0, 32: 0, 128: 0}
    assert (found[0.1, 1.0].b_star, found[0.1, 1.0].best_R) == (None, ())
    # 20000 // b steps and one more a seed: mean costs 20008, 20032, 20096
    assert found[0.1, 0.5].b_star == 8


def test_trainings_whose_lr_changed_have_no_critical_batch(tmp_path):
    recipe = make_recipe(measurements=MEASUREMENTS)
    with RunStore.create(tmp_path / "run", {}, "") as store:
        trial = make_trial("poly", role="confirm", recipe=recipe)
        record(store, trial, steps_to_epsilon='{"0.5": 10}')
    assert read_critical(results.load(tmp_path / "run")) == []
