"""How numbers are spoken of: one rule for each kind of number."""

from __future__ import annotations

import math

import pytest

from results.statistics.compare import compare
from results.statistics.paired import paired_difference
from results.statistics.wording import (
    arm_label,
    better_words,
    counted,
    counts,
    duration,
    format_params,
    interval_text,
    number,
    p_text,
    percent,
    points,
    points_interval,
    short_label,
    short_number,
    status_counts,
)
from search_spaces.metric import make_metric


@pytest.mark.parametrize(
    ("p_value", "text"),
    [
        (0.0007, "<0.001"),
        (0.00099, "<0.001"),
        (0.001, "0.001"),
        (0.0123, "0.012"),
        (1.0, "1.000"),
        (0.0, "<0.001"),
        (None, "-"),
        (math.nan, "-"),
    ],
)
def test_a_p_value_has_three_decimals_and_a_least(p_value, text):
    assert p_text(p_value) == text


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((0.0234,), ["2.3"]),
        ((-0.0234, 0.1), ["-2.3", "10.0"]),
        ((0.0004, 0.1), ["0.04", "10.00"]),
        ((0.0005,), ["0.1"]),
        ((0.000499,), ["0.05"]),
        ((-0.0004,), ["-0.04"]),
        ((0.0, 0.02), ["0.0", "2.0"]),
        ((1e-13, -1e-13), ["0.0", "0.0"]),
        ((), []),
    ],
)
def test_points_have_a_second_decimal_where_one_would_show_a_false_zero(values, texts):
    assert points(*values) == texts


@pytest.mark.parametrize(
    ("difference", "texts"),
    [
        ((0.007, -0.031, 0.045), ("0.7", "[-3.1, 4.5]")),
        ((0.001, 0.0008, 0.0012), ("0.10", "[0.08, 0.12]")),  # not 0.1 [0.1, 0.1]
        ((0.0024, 0.002, 0.0028), ("0.24", "[0.20, 0.28]")),  # not 0.2 [0.2, 0.3]
        ((0.0026, 0.0023, 0.0029), ("0.26", "[0.23, 0.29]")),  # not 0.3 [0.2, 0.3]
        ((0.0300, 0.0003, 0.0597), ("3.00", "[0.03, 5.97]")),  # not 3.0 [0.0, 6.0]
    ],
)
def test_a_mean_has_as_many_decimals_as_its_interval_needs(difference, texts):
    assert points_interval(*difference) == texts


def test_a_difference_is_told_with_its_interval_or_why_there_is_none():
    def difference(*values: float):
        return paired_difference(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0))

    # half width: t = 12.7062 of 1 degree of freedom, times sd / sqrt(2) = 0.01
    assert str(difference(0.01, 0.03)) == "2.0 [-10.7, 14.7]"
    assert str(difference(0.02)) == "2.0 (no interval from one seed)"
    assert str(difference(0.02, 0.02)) == "2.0 (no interval from equal differences)"
    assert str(difference()) == "-"
    assert difference().texts == ("-", "(no seed in common)")
    assert difference(0.01, 0.03).texts == ("2.0", "[-10.7, 14.7]")


def test_sentence_and_interval_have_the_same_decimals():
    base = {0: 0.90, 1: 0.91, 2: 0.92}
    better = {0: 0.9010, 1: 0.9111, 2: 0.9209}
    verdict = compare({"poly": better, "baseline": base}, min_effect=0.0001).verdict
    # differences 0.10, 0.11, 0.09 points: mean 0.1, half width 4.3027 * 0.01 / sqrt(3) = 0.0248
    assert "by 0.10 points at equal samples, 95% t-interval [0.08, 0.12]" in verdict


def test_shares_numbers_and_times():
    assert [percent(0.97314), percent(None), percent(0.5, 0)] == ["97.31", "-", "50"]
    assert percent(math.nan) == "-"
    assert [number(x) for x in (1234.0, 0.123456, None, math.inf)] == ["1,234", "0.1235", "-", "-"]
    assert [short_number(x) for x in (0.012345, 999.4, 1450.2)] == ["0.0123", "999", "1,450"]
    assert [short_number(x) for x in (1000.0, -1000.0, -0.5)] == ["1,000", "-1,000", "-0.5"]
    assert [duration(x) for x in (3.21, 245.0, 7620.0)] == ["3.2 s", "4 min 05 s", "2 h 07 min"]
    assert [duration(x) for x in (59.94, 59.96, 3599.0)] == ["59.9 s", "1 min 00 s", "59 min 59 s"]
    assert [duration(x) for x in (3600.0, None, math.inf)] == ["1 h 00 min", "-", "-"]
    assert [duration(x) for x in (3599.7, 7199.0)] == ["1 h 00 min", "2 h 00 min"]
    assert interval_text(0.12345, 1450.2) == " [0.123, 1,450]"
    assert interval_text(None, 1.0) == interval_text(1.0, None) == ""
    assert [counted(n, "seed") for n in (0, 1, 2000)] == ["0 seeds", "1 seed", "2,000 seeds"]
    assert counts([("poly", 5)], "seeds") == "n=5 seeds"
    assert counts([("poly", 5), ("cosine", 5)], "seeds") == "n=5 seeds each"
    assert counts([("poly", 5), ("cosine", 4)], "seeds") == "n seeds: poly 5, cosine 4"


def test_trials_and_parameters_are_listed():
    assert status_counts({"completed": 16, "failed": 2}) == "16 completed, 2 failed"
    text = "delta0=0.08839, interval=1, p=0.9"  # by name, whatever their order
    assert format_params({"p": 0.9, "delta0": 0.0883883, "interval": 1}) == text
    assert status_counts({}) == format_params({}) == ""


def test_the_baseline_is_the_readers_own_default():
    assert arm_label("baseline") == "your default (not tuned)"
    assert short_label("baseline") == "default"
    assert arm_label("baseline_tuned") == "your default (tuned)"
    assert arm_label("baseline:cosine to 10 %") == "cosine to 10 % (not tuned)"
    assert arm_label("baseline_tuned:mine") == "mine (tuned)"
    assert short_label("baseline_tuned") == "default"
    assert short_label("baseline:mine") == "mine"
    assert arm_label("baseline_like") == "baseline_like"
    assert arm_label("poly") == short_label("poly") == "poly"


def test_every_metric_says_which_way_is_better():
    assert better_words(make_metric("val_accuracy")) == "higher is better"
    assert better_words(make_metric("val_loss")) == "lower is better"
