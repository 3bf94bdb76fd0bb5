"""What is the verdict `not told apart` worth? Simulated, against its formula."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import results
from results.measurements.equivalence import (
    describe,
    read_equivalence,
    told_apart_chance,
    visible_shift,
)
from results.records.store import RunStore
from tests.fakes.measurements import record
from tests.fakes.results import make_trial

NUM_COORDINATES, NUM_PATHS = 60, 100  # of the command: 10 starts, 2 variables, 3 seeds
TIMES = 1000


def told_apart(shift: float) -> float:
    """Share of simulated measurements that are told apart, z shifted by so many errors."""
    rng = np.random.default_rng(0)
    apart = 0
    for _ in range(TIMES):
        y_CP = rng.standard_normal((NUM_COORDINATES, NUM_PATHS))
        error_C = y_CP.std(axis=1, ddof=1) / math.sqrt(NUM_PATHS)
        away_C = y_CP.mean(axis=1) - shift / math.sqrt(NUM_PATHS)
        apart += float((np.abs(away_C) <= 1.984 * error_C).mean()) < 0.90
    return apart / TIMES


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0])
def test_the_chance_is_that_of_simulated_paths(shift: float) -> None:
    chance = told_apart_chance(NUM_COORDINATES, NUM_PATHS, shift=shift)
    sd = math.sqrt(chance * (1 - chance) / TIMES)
    assert told_apart(shift) == pytest.approx(chance, abs=4 * sd)


def test_equal_paths_are_told_apart_in_three_percent() -> None:
    """More than 6 of 60 intervals of 95 % miss: binomial, by hand."""
    terms = [math.comb(60, k) * 0.05**k * 0.95 ** (60 - k) for k in range(7)]
    assert told_apart_chance(60, 100, shift=0.0) == pytest.approx(1 - sum(terms), rel=1e-6)
    assert told_apart_chance(60, 100, shift=visible_shift(60, 100)) == pytest.approx(0.8)


def told(**changes: float) -> dict[str, str]:
    numbers = {
        "gap": 0.04, "plain_gap": 1.0, "scale": 1.0, "spread": 0.25, "covered": 0.95,
        "noisy_value": 1.0, "smoothed_value": 1.0, "plain_value": 1.0, "level": 0.01,
    }  # fmt: skip
    return {"measured": json.dumps({"equivalence": numbers | changes})}


def measured(path, **changes: float) -> results.Run:
    with RunStore.create(path / "run", {}, "") as store:
        for seed in range(3):
            trial = replace(make_trial(role="confirm"), replicate=seed, seed=seed)
            record(store, trial, epochs={6: told(**changes)})
    return results.load(path / "run")


def test_the_visible_gap_is_that_shift_in_the_units_of_the_gap(tmp_path) -> None:
    """Standard error of a mean: sqrt(.25 / 100) = .05 of the distance to the minimizer."""
    run = measured(tmp_path, coordinates=20, paths=100)
    (arm,) = read_equivalence(run)
    assert arm.visible == pytest.approx(0.05 * visible_shift(60, 100))
    assert arm.false_alarm == pytest.approx(told_apart_chance(60, 100, shift=0.0))
    text = "\n".join(describe(run))
    assert "equal lr and steps" in text
    assert "equal paths would be told apart in 3.0 % of arms" in text


def test_runs_of_before_had_twenty_coordinates_a_seed(tmp_path) -> None:
    (arm,) = read_equivalence(measured(tmp_path / "old"))
    (other,) = read_equivalence(measured(tmp_path / "new", coordinates=20, paths=100))
    assert (arm.visible, arm.false_alarm) == (other.visible, other.false_alarm)


def test_more_coordinates_see_a_smaller_gap(tmp_path) -> None:
    (few,) = read_equivalence(measured(tmp_path / "few", coordinates=20, paths=100))
    (many,) = read_equivalence(measured(tmp_path / "many", coordinates=200, paths=100))
    assert many.visible < few.visible
