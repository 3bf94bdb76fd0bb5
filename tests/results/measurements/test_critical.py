"""Critical batches: known answers from formulas."""

from __future__ import annotations

import pytest

import results
from results.measurements.critical import Critical, read_critical
from results.records.store import RunStore
from tests.fakes.measurements import (
    MEASUREMENTS,
    record,
    write_measured,
    write_steps,
)
from tests.fakes.results import make_recipe, make_trial


def only(criticals: list[Critical]) -> Critical:
    (one,) = criticals
    return one


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_measured(tmp_path_factory.mktemp("runs") / "measured")


def test_the_critical_batch_has_the_smallest_mean_cost(tmp_path):
    run = write_steps(
        tmp_path / "run",
        {8: (2000, 1900), 16: (800, 700), 32: (430, 320), 64: (None, 300), 128: (None, None)},
    )
    critical = only(read_critical(run))
    assert critical.batch_S.tolist() == [8, 16, 32]
    assert critical.sfo_SR.tolist() == [[16000, 15200], [12800, 11200], [13760, 10240]]
    # means 15600, 12000, 12000: of equal costs the smaller batch
    assert (critical.b_star, critical.best_R) == (16, (16, 32))
    assert critical.flat_S.tolist() == [16, 32]
    assert critical.left_out == {64: 1, 128: 0}
    assert critical.c2_bound == pytest.approx(16 * 0.5**2 / 0.1)
    assert critical.is_decided


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
    critical = only(read_critical(write_steps(tmp_path / "run", {8: (1000,)}, **recipe)))
    assert critical.c2_bound == pytest.approx(8 * 0.5**2 / 0.1 * factor)
    assert not critical.is_decided  # 8 is the only batch


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "adamw", "momentum": 0.9},
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    ],
)
def test_without_a_formula_there_is_no_bound(tmp_path, recipe):
    critical = only(read_critical(write_steps(tmp_path / "run", {8: (1000,)}, **recipe)))
    assert (critical.b_star, critical.c2_bound) == (8, None)


def test_a_batch_that_stopped_at_the_first_step_looked_at_bounds_nothing(tmp_path):
    # one epoch of 1200 images: 38 steps of 32, so step 39 is the first looked at
    run = write_steps(tmp_path / "run", {8: (400,), 16: (200,), 32: (39,), 64: (60,)})
    critical = only(read_critical(run))
    assert (critical.floor, critical.floored_S.tolist()) == (1200, [32])
    assert (critical.b_star, critical.c2_bound, critical.is_decided) == (32, None, False)


def test_an_epsilon_that_no_batch_reached_is_told(run):
    criticals = {(c.lr, c.epsilon): c for c in read_critical(run)}
    assert list(criticals) == [(0.1, 1.0), (0.1, 0.5), (0.5, 1.0), (0.5, 0.5)]
    assert criticals[0.1, 1.0].left_out == {8: 0, 32: 0, 128: 0}
    assert (criticals[0.1, 1.0].b_star, criticals[0.1, 1.0].best_R) == (None, ())
    # 20000 // b steps and one more a seed: mean costs 20008, 20032, 20096
    assert criticals[0.1, 0.5].b_star == 8


def test_trainings_whose_lr_changed_have_no_critical_batch(tmp_path):
    recipe = make_recipe(measurements=MEASUREMENTS)
    with RunStore.create(tmp_path / "run", {}, "") as store:
        trial = make_trial("poly", role="confirm", recipe=recipe)
        record(store, trial, steps_to_epsilon='{"0.5": 10}')
    assert read_critical(results.load(tmp_path / "run")) == []
