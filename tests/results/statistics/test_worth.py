"""Worth of configs over trainings of several lengths: by hand and as least squares."""

from __future__ import annotations

import numpy as np
import pytest

from results.statistics.worth import MIN_ERROR, PENALTY, worths


def penalised_loss(rungs, level_K, worth):
    """The sum that worths minimise: y = -log10(error)."""
    return sum(
        (-np.log10(1 - score) - level - worth[config]) ** 2
        for rung, level in zip(rungs, level_K, strict=True)
        for config, score in rung.items()
    ) + PENALTY * sum(value**2 for value in worth.values())


def test_one_rung_shrinks_the_deviations_from_its_mean():
    # y = 1 and 3: level 2, deviations -1 and 1, shrunk by 1 / (1 + PENALTY)
    worth = worths([{"a": 0.9, "b": 0.999}])
    assert worth == pytest.approx({"a": -1 / (1 + PENALTY), "b": 1 / (1 + PENALTY)})


def test_nobody_and_errors_below_the_least_that_counts():
    assert worths([]) == worths([{}, {}]) == {}
    # errors of 0 and MIN_ERROR are one and the same
    worth = worths([{"a": 1.0, "b": 1 - MIN_ERROR, "c": 0.99}])
    assert worth["a"] == pytest.approx(worth["b"])
    assert worth["a"] > worth["c"]


def test_worths_minimise_the_penalised_sum_over_several_rungs():
    rungs = [{7: 0.90, 8: 0.99, 9: 0.95}, {8: 0.98, 9: 0.97}, {8: 0.995}]
    worth = worths(rungs)
    level_K = [
        np.mean([-np.log10(1 - score) - worth[config] for config, score in rung.items()])
        for rung in rungs
    ]
    best = penalised_loss(rungs, level_K, worth)
    for config in worth:
        for step in (-1e-3, 1e-3):
            assert penalised_loss(rungs, level_K, {**worth, config: worth[config] + step}) > best
    for k in range(len(rungs)):
        moved = [level + 1e-3 * (i == k) for i, level in enumerate(level_K)]
        assert penalised_loss(rungs, moved, worth) > best
    assert list(worth) == [7, 8, 9]


def test_the_penalty_is_the_one_chosen_on_the_digits_pool():
    assert (PENALTY, MIN_ERROR) == (0.5, 1e-3)
