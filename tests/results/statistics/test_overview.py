"""The tables of a comparison: who is in them, who has won, what stands beside an interval."""

from __future__ import annotations

import statistics

import pytest

from results.statistics.compare import compare
from results.statistics.overview import STATISTICS, Statistic, stand_beside
from results.statistics.paired import paired_difference

SEEDS = range(6)


def scores(**means: float) -> dict[str, dict[int, float]]:
    """Each arm's mean, with a spread that differs a little from arm to arm."""
    return {
        name: {seed: mean + 0.0005 * ((seed * (place + 2)) % 5) for seed in SEEDS}
        for place, (name, mean) in enumerate(means.items())
    }


def column(table, name):
    place = [head.partition(",")[0] for head in table.header].index(name)
    return [row[place] for row in table.rows]


def test_arms_stand_best_first_and_unscored_ones_last():
    comparison = compare({"none": {}, **scores(worse=0.8, best=0.95, baseline=0.9)})
    names = column(comparison.tables()["arms"], "arm")
    assert names == ["best", "your default (not tuned)", "worse", "none"]


def test_the_outcome_names_the_winner_also_when_it_is_the_default():
    comparison = compare(scores(poly=0.8, baseline=0.9))
    assert comparison.claims[0].outcome == "better by min_effect"
    assert column(comparison.tables()["pairs"], "outcome") == ["default is better by over 0.2"]


def test_without_a_default_differences_are_to_the_first_arm():
    """As in the figure of differences; a table full of "-" tells nothing."""
    table = compare(scores(poly=0.8, cosine=0.9)).tables()["arms"]
    assert table.header[-1] == "minus poly, 95% t-interval"
    assert [row[-1] == "-" for row in table.rows] == [False, True]
    assert r"\%" in table.latex()


def test_arms_without_a_common_seed_have_no_empty_column():
    comparison = compare({"a": {1: 0.8, 2: 0.9}, "b": {3: 0.7, 4: 0.8}})
    assert list(comparison.tables()) == ["arms"]
    assert comparison.tables()["arms"].header == ["arm", "n", "score %"]


def test_of_very_many_pairs_those_of_the_default_and_the_best_arm_are_shown():
    names = {f"arm{i}": 0.8 + 0.01 * i for i in range(7)}
    comparison = compare(scores(baseline=0.7, **names))
    table = comparison.tables()["pairs"]
    assert len(comparison.claims) == 28
    assert len(table.rows) == 7 + 6
    assert all("default" in pair or "arm6" in pair for pair in column(table, "pair"))
    assert "15 more pairs are not shown" in table.text().splitlines()[-1]
    assert "15 more pairs are not shown" in table.html()


def test_other_tests_are_told_in_percent_beside_the_pairs():
    comparison = compare(scores(poly=0.95, baseline=0.9))
    table = comparison.tables()["tests"]
    low = 100 * 6 / (6 + 1.959963984540054**2)  # Wilson's bound of 6 of 6
    assert column(table, "seeds won %") == [f"100 [{low:.0f}, 100]"]
    assert column(table, "sign-flip p") == [f"{2 / 2**6:.3f}"]


def test_a_comparison_in_a_notebook_tells_its_verdict_and_escapes_names():
    html = compare(scores(baseline=0.9, **{"<b>": 0.95}))._repr_html_()
    assert html.startswith("<p>")
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


@pytest.mark.parametrize("name", ["arms", "pairs", "tests"])
def test_every_table_of_a_comparison_has_a_caption(name):
    assert compare(scores(poly=0.95, baseline=0.9)).tables()[name].caption


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
