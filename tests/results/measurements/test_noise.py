"""Noise constants: known answers from formulas."""

from __future__ import annotations

import math
import statistics

import pytest

import results
from results.measurements.noise import describe, read_noise
from results.measurements.sampling import read_sampling
from results.records.store import RunStore
from tests.fakes.measurements import (
    T_2,
    constant_trial,
    noise,
    record,
    write_measured,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_measured(tmp_path_factory.mktemp("runs") / "measured")


def test_the_noise_constant_is_averaged_over_epochs_then_seeds(run):
    constant = read_noise(run)["lr_batch batch0=8,lr0=0.1"]
    # seeds 800, 801, 802 in epoch 2 and three times that in epoch 6
    log_R = [math.log(math.sqrt(3) * c2) for c2 in (800, 801, 802)]
    error = statistics.stdev(log_R) / math.sqrt(3)
    assert constant.c2 == pytest.approx(math.exp(statistics.mean(log_R)))
    assert constant.high == pytest.approx(math.exp(statistics.mean(log_R) + T_2 * error))
    assert constant.last == pytest.approx(3 * constant.first)
    assert (constant.k, constant.num_seeds, constant.num_measurements) == (2.0, 3, 2)


def test_k_is_the_largest_norm_of_any_seed_and_c2_of_one_seed_has_no_interval(tmp_path):
    with RunStore.create(tmp_path / "run", {}, "") as store:
        record(store, constant_trial(), epochs={2: noise(4.0, largest=7.0), 6: noise(8.0)})
    constants = read_noise(results.load(tmp_path / "run"))
    (one,) = constants.values()
    assert one.c2 == pytest.approx(math.sqrt(4.0 * 8.0))
    assert (one.low, one.high, one.k, one.num_seeds) == (None, None, 7.0, 1)


def test_k_is_of_the_steps_of_all_epochs_where_they_were_recorded(tmp_path):
    steps = {epoch: {"max_step_norm": 3.0} for epoch in range(1, 7)}
    epochs = steps | {1: {"max_step_norm": 9.0}, 2: noise(4.0) | {"max_step_norm": 3.0}}
    with RunStore.create(tmp_path / "run", {}, "") as store:
        record(store, constant_trial(), epochs=epochs)
    run = results.load(tmp_path / "run")
    (one,) = read_noise(run).values()
    assert (one.k, one.k_is_of_steps, one.num_measurements) == (9.0, True, 1)
    assert "K is the largest gradient norm of the training's own steps" in describe(run)[-1]


@pytest.mark.parametrize("seeds", [1, 2])
def test_k_of_a_run_of_before_that_was_gone_on_with_does_not_include_the_first_step(
    tmp_path, seeds
):
    """The earlier version recorded no norms: of the first epochs, or of whole trainings."""
    norms = {epoch: {"max_step_norm": 3.0} for epoch in (range(1, 7) if seeds == 2 else (4, 5, 6))}
    with RunStore.create(tmp_path / "run", {}, "") as store:
        record(store, constant_trial(), epochs=norms | {6: noise(4.0) | {"max_step_norm": 3.0}})
        if seeds == 2:
            record(store, constant_trial(replicate=1), epochs={6: noise(4.0)})
    run = results.load(tmp_path / "run")
    (one,) = read_noise(run).values()
    assert (one.k, one.k_is_of_steps, one.k_is_of_all) == (3.0, True, False)
    assert "the first included" not in describe(run)[-1]
    assert describe(run)[-1].endswith("earlier version, and the first may be missing")


def test_k_of_all_steps_says_that_the_first_is_included(tmp_path):
    norms = {epoch: {"max_step_norm": 3.0} for epoch in range(1, 7)}
    with RunStore.create(tmp_path / "run", {}, "") as store:
        record(store, constant_trial(), epochs=norms | {6: noise(4.0) | {"max_step_norm": 3.0}})
    assert describe(results.load(tmp_path / "run"))[-1].endswith("own steps, the first included")


def test_a_run_of_before_says_that_it_measured_something_else(run):
    *_, mode, k = describe(run)  # BatchNorm in eval mode, and no norm of a step
    assert mode.endswith(
        "BatchNorm in eval mode: not the gradients of the training's steps, and early in a "
        "training far larger"
    )
    assert k.endswith("of a measuring batch: this run did not record that of its steps")
    (arm,) = (arm for arm in read_sampling(run) if arm.name == "lr_batch batch0=8,lr0=0.1")
    assert arm.mode == mode.partition("; ")[2]


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
    (constant,) = read_noise(results.load(tmp_path / "run")).values()
    assert (constant.c2, constant.k, constant.num_seeds) == (pytest.approx(10.0), 2.0, 2)
    assert constant.low is not None
    assert 0 < constant.low < 1.0
