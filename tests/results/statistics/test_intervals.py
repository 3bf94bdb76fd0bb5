"""Means over seeds and their t-intervals: by formula."""

from __future__ import annotations

import math

import pytest

from results.statistics.intervals import mean_of
from tests.fakes.measurements import (
    T_2,
)


def test_a_mean_has_a_t_interval_from_two_values_on():
    found = mean_of([1.0, 2.0, 3.0, math.nan])
    assert (found.n, found.mean) == (3, 2.0)
    assert found.high == pytest.approx(2 + T_2 / math.sqrt(3))
    assert mean_of([1.0]).low is None
    assert mean_of([1.0, 1.0]).low is None
    assert math.isnan(mean_of([]).mean)
