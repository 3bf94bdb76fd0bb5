"""What stands beside an interval: every statistic of the registry, and one from outside."""

from __future__ import annotations

import statistics

import pytest

from results.statistics.beside import STATISTICS, Statistic, stand_beside
from results.statistics.compare import compare
from results.statistics.paired import paired_difference

FIVE = {"a": {i: 0.92 + 0.001 * i for i in range(5)}, "b": {i: 0.90 for i in range(5)}}


def pairs(scores, **options):
    return compare(scores, **options).pairs.values()


@pytest.mark.parametrize("statistic", STATISTICS.values(), ids=STATISTICS)
@pytest.mark.parametrize("num_seeds", [1, 5])
def test_every_statistic_is_a_short_text_or_a_dash(statistic, num_seeds):
    a, b = ({i: score + 0.01 * i**2 for i in range(num_seeds)} for score in (0.5, 0.4))
    (difference,) = pairs({"a": a, "b": b})
    assert 0 < len(statistic.text(difference)) < 30
    assert statistic.caption


def test_the_share_of_seeds_won_has_wilsons_interval():
    # 5 of 5: low = 1 / (1 + 1.96^2 / 5) = 0.5655
    assert stand_beside(pairs(FIVE)) == {"seeds won %": ["100 [57, 100]"]}


def test_columns_in_which_nothing_is_known_are_left_out():
    assert stand_beside([]) == {}
    assert stand_beside([paired_difference({0: 1.0}, {1: 1.0})]) == {}


def test_a_statistic_from_outside_stands_beside_the_others(monkeypatch):
    """Its function reads the paired differences; one line puts it into every table."""

    def median(difference):
        return f"{100 * statistics.median(difference.values):.1f}"

    monkeypatch.setitem(STATISTICS, "median", Statistic(text=median, caption="median"))
    assert stand_beside(pairs(FIVE))["median"] == ["2.2"]  # of 2.0, 2.1, 2.2, 2.3, 2.4
    assert "median" not in stand_beside(pairs(FIVE, repeated_looks=True))
    assert STATISTICS["seeds won %"].text(*pairs(FIVE, repeated_looks=True)) == "100"


def test_the_differences_of_the_second_arm_are_the_negative_ones():
    difference = paired_difference({0: 1.0, 2: 5.0}, {2: 2.0, 0: 0.5})
    assert difference.values == (0.5, 3.0)
    assert difference.reverse.values == (-0.5, -3.0)
