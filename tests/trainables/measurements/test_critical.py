"""The stopping rule of the critical batch size: the running mean, step by step."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainables.measurements.critical import first_below


@pytest.mark.parametrize(
    ("norms", "before", "expected"),
    [
        ([4.0, 2.0, 0.0], (0.0, 0), 2),  # means 4, 3, 2
        ([4.0, 2.0, 0.1], (0.0, 0), None),
        ([3.0, 1.0], (5.0, 2), None),  # means 8/3, 9/4
        ([3.0, 0.0, 9.0], (5.0, 2), 1),  # means 8/3, 2, 17/5: the first counts
        ([2.0], (20.0, 10), 0),  # below already: this step is
        ([math.nan, 0.0, 0.0], (0.0, 0), None),
        ([], (0.0, 0), None),
    ],
)
def test_first_below_is_the_running_mean_since_step_0(
    norms: list[float], before: tuple[float, int], expected: int | None
) -> None:
    assert first_below(np.array(norms), 2.0, *before) == expected


def test_first_below_does_not_depend_on_how_the_steps_are_cut() -> None:
    norms = np.arange(100.0, 0.0, -1.0)  # mean after k steps: 100 - (k - 1) / 2
    whole = first_below(norms, 80.0, 0.0, 0)
    later = first_below(norms[30:], 80.0, norms[:30].sum(), 30)
    assert whole == 40
    assert later == 10
