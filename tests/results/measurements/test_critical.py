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


def only(found: list[Critical]) -> Critical:
    (one,) = found
    return one


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_measured(tmp_path_factory.mktemp("runs") / "measured")


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
