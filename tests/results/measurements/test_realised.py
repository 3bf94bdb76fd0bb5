"""The noise level as realised: lr C(t) / sqrt(b) with the C^2 of each point, by its formula."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import results
from results.measurements.realised import describe, read_realised, without_path
from results.records.store import RunStore
from tests.fakes.measurements import constant_trial, noise, record
from tests.fakes.results import make_trial


def poly(replicate: int, **recipe: object):
    """p = 1 over 6 epochs: planned delta at the end of epoch e is 1 - (e - 1)/6 of its start."""
    trial = constant_trial(replicate=replicate, **recipe)
    params = {"interval": 1, "delta0": trial.params["delta0"], "split": 1.0, "p": 1.0}
    return replace(trial, space="poly p=1", family="poly", params=params)


def run_of(path, c2_by_seed, make=poly) -> results.Run:
    with RunStore.create(path / "run", {}, "") as store:
        for seed, c2_by_epoch in enumerate(c2_by_seed):
            epochs = {epoch: noise(c2) for epoch, c2 in c2_by_epoch.items()}
            record(store, make(seed), accuracy=0.9, epochs=epochs)
    return results.load(path / "run")


def test_a_constant_c2_decays_as_planned(tmp_path):
    run = run_of(tmp_path, [{1: 5.0, 3: 5.0, 6: 5.0}, {1: 7.0, 3: 7.0, 6: 7.0}])
    (arm,) = read_realised(run)
    lr_E = np.array([row["lr"] for row in run.epochs.to_pylist() if row["noise_c2"]])[:3]
    assert arm.epoch_E.tolist() == [1, 3, 6]
    np.testing.assert_allclose(arm.realised_E, arm.planned_E, rtol=1e-9)
    np.testing.assert_allclose(arm.planned_E, lr_E / lr_E[0], rtol=1e-9)
    assert arm.pace.mean == pytest.approx(1.0, rel=1e-9)


def test_a_c2_that_falls_with_lr_squared_doubles_the_pace(tmp_path):
    """C^2 ~ delta^2 makes C ~ delta, so that lr C / sqrt(b) is the planned path squared."""
    plan = {
        row["epoch"]: row["delta"] for row in run_of(tmp_path / "a", [{1: 1.0}]).epochs.to_pylist()
    }
    c2 = {epoch: 3.0 * (plan[epoch] / plan[1]) ** 2 for epoch in (1, 3, 6)}
    run = run_of(tmp_path / "b", [c2, c2])
    (arm,) = read_realised(run)
    np.testing.assert_allclose(arm.realised_E, arm.planned_E**2, rtol=1e-9)
    assert arm.pace.mean == pytest.approx(2.0, rel=1e-9)
    assert "as planned to the power 2.00" in describe(run)[0]


def test_seeds_give_an_interval_of_the_logarithm(tmp_path):
    run = run_of(tmp_path, [{1: 1.0, 6: c2} for c2 in (1.0, 4.0, 16.0)])
    (arm,) = read_realised(run)
    # C^2 grew by 1, 4, 16: C by 1, 2, 4, whose geometric mean is 2; t_2 = 4.3027, sd = ln 2
    half = 4.302652729911275 * math.log(2) / math.sqrt(3)
    assert arm.fall.mean == pytest.approx(2 * arm.planned_fall, rel=1e-9)
    assert arm.fall.high == pytest.approx(2 * arm.planned_fall * math.exp(half), rel=1e-9)


def test_where_nothing_decays_there_is_no_pace_and_one_point_makes_no_path(tmp_path):
    run = run_of(
        tmp_path / "flat", [{1: 9.0, 6: 1.0}], lambda seed: constant_trial(replicate=seed)
    )
    (arm,) = read_realised(run)
    assert (arm.planned_fall, arm.pace.n) == (1.0, 0)
    assert arm.fall.mean == pytest.approx(1 / 3)
    assert read_realised(run_of(tmp_path / "one", [{3: 9.0}])) == ()


def test_points_that_a_seed_lacks_are_left_out_and_told(tmp_path):
    """One seed was measured at 1, 3 and 6, the other at 1 and 6: two points are common."""
    run = run_of(tmp_path, [{1: 4.0, 3: 4.0, 6: 1.0}, {1: 4.0, 6: 1.0}])
    (arm,) = read_realised(run)
    assert (arm.epoch_E.tolist(), arm.num_seeds, arm.num_left_out) == ([1, 6], 2, 1)
    assert arm.fall.mean == pytest.approx(0.5 * arm.planned_fall)  # C fell by 2
    assert "(1 point that some seed lacks left out); n=2" in describe(run)[0]


def test_an_arm_without_a_common_path_is_named(tmp_path):
    run = run_of(tmp_path, [{1: 4.0, 3: 4.0}, {5: 4.0, 6: 1.0}])
    assert read_realised(run) == ()
    assert without_path(run) == ["poly p=1"]
    assert describe(run) == [
        "poly p=1: no path of delta, for its seeds have no two points of measurement in common"
    ]


LAW = {"optimizer": "shb", "noise_law": "shb", "c2": 7.0, "k": 5.0}


def shb_run(path, k_by_epoch):
    """C^2 = 4 throughout, beta = .9, batch 32; K as given."""
    epochs = {e: noise(4.0) | ({"max_step_norm": k} if k else {}) for e, k in k_by_epoch.items()}
    with RunStore.create(path / "run", {}, "") as store:
        trial = poly(0, momentum=0.9, **LAW)
        record(store, trial, epochs=epochs)
    return results.load(path / "run")


def shb_level(row, k):
    """lr sqrt((1+h) C^2/b + h K^2), h = 81.9 at beta = .9 (PAPERS.md 2, R17)."""
    noise_of_batch = 4.0 / row["batch_size"]
    return row["lr"] * math.sqrt((1 + 81.9) * noise_of_batch + 81.9 * k * k)


@pytest.mark.parametrize(("ks", "used"), [((2.0, 0.5), (2.0, 0.5)), ((None, None), (5.0, 5.0))])
def test_a_law_with_k_takes_the_measured_one_or_says_that_it_is_not(tmp_path, ks, used):
    run = shb_run(tmp_path, dict(zip((1, 6), ks, strict=True)))
    (arm,) = read_realised(run)
    first, last = (row for row in run.epochs.to_pylist() if row["noise_c2"])
    expected = shb_level(last, used[1]) / shb_level(first, used[0])
    assert arm.fall.mean == pytest.approx(expected, rel=1e-9)
    told = "as measured" if ks[0] else "the recipe's at every point"
    assert any(line.startswith("K is ") and told in line for line in describe(run))


def test_a_law_without_k_says_nothing_of_it(tmp_path):
    run = run_of(tmp_path, [{1: 5.0, 6: 5.0}])
    assert not any(line.startswith("K is") for line in describe(run))


def test_a_run_without_measurements_says_nothing(tmp_path):
    with RunStore.create(tmp_path / "run", {}, "") as store:
        record(store, make_trial("poly", role="confirm"))
    assert describe(results.load(tmp_path / "run")) == []
