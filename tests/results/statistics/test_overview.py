"""The tables of a comparison: who is in them, who has won, what stands beside an interval."""

from __future__ import annotations

import math
import re
import statistics
from dataclasses import replace

import pytest

from results.statistics import overview
from results.statistics.claims import Claim
from results.statistics.compare import SCORE, compare
from results.statistics.overview import (
    STATISTICS,
    ArmDetails,
    ArmSummary,
    Cost,
    Statistic,
    arms_table,
    choices_table,
    costs_table,
    pairs_table,
    stand_beside,
)
from results.statistics.paired import CONFIDENCE_SEQUENCE, Difference, paired_difference
from results.tables import Table
from search_spaces.metric import VAL_ACCURACY

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


@pytest.mark.parametrize("default", [0.7, 0.99])
def test_of_very_many_pairs_those_of_the_default_and_the_best_other_arm_are_shown(default):
    names = {f"arm{i}": 0.8 + 0.01 * i for i in range(7)}
    comparison = compare(scores(baseline=default, **names))
    table = comparison.tables()["pairs"]
    assert len(comparison.claims) == 28
    assert len(table.rows) == 7 + 6
    assert all("default" in pair or "arm6" in pair for pair in column(table, "pair"))
    assert "15 more pairs are not shown" in table.text().splitlines()[-1]
    assert "15 more pairs are not shown" in table.html()


def test_fifteen_pairs_are_not_too_many():
    table = compare(scores(**{f"arm{i}": 0.8 + 0.01 * i for i in range(6)})).tables()["pairs"]
    assert (len(table.rows), table.note) == (15, "")


def test_the_default_stays_the_standard_wherever_it_stands():
    standard, minus = compare(scores(poly=0.8, baseline=0.9, cosine=0.7)).differences()
    assert standard == "baseline"
    assert {name: round(d.mean, 1) for name, d in minus.items()} == {"poly": -0.1, "cosine": -0.2}


def test_without_any_scores_there_is_one_empty_table():
    nothing = compare({})
    assert nothing.differences() == ("", {})
    assert [(name, table.rows) for name, table in nothing.tables().items()] == [("arms", [])]


def test_other_tests_are_told_in_percent_beside_the_pairs():
    comparison = compare(scores(poly=0.95, baseline=0.9))
    table = comparison.tables()["tests"]
    low = 100 * 6 / (6 + 1.959963984540054**2)  # Wilson's bound of 6 of 6
    assert column(table, "seeds won %") == [f"100 [{low:.0f}, 100]"]
    assert column(table, "sign-flip p") == [f"{2 / 2**6:.3f}"]


def test_a_comparison_in_a_notebook_tells_its_verdict_and_escapes_names():
    comparison = replace(compare(scores(baseline=0.9, **{"<b>": 0.95})), warnings=("x < y",))
    html = re.sub("<img[^>]*>", "", comparison._repr_html_())
    tables = "".join(table.html() for table in comparison.tables().values())
    verdict = comparison.verdict.replace("<b>", "&lt;b&gt;")
    assert html == f"<p>{verdict}</p><p>Note: x &lt; y</p>{tables}"
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


SEEN = Difference(n=5, mean=0.05, sd=0.02, low=0.025, high=0.075, p_value=0.0051)
FEW = Difference(n=2, mean=-0.01, sd=0.01, p_value=0.4, interval_kind=CONFIDENCE_SEQUENCE)
NONE = Difference(n=0, mean=math.nan, sd=math.nan)
ARMS = (
    ArmSummary(name="none", n=0, mean=math.nan, sd=math.nan, difference=NONE),
    ArmSummary(name="baseline", n=5, mean=0.9, sd=0.0123, difference=None, loss=0.5, loss_ratio=1),
    ArmSummary(
        name="poly", n=2, mean=0.95, sd=0.02, difference=SEEN,
        loss=0.123456, loss_ratio=0.25, loss_low=0.125, loss_high=1.5,
    ),
    ArmSummary(name="one", n=1, mean=0.8, sd=math.nan, difference=FEW, loss=2.0, loss_ratio=4.0),
)  # fmt: skip


def test_the_table_of_arms_with_their_losses():
    minus = {"poly": SEEN, "one": replace(SEEN, low=None, high=None, n=1)}
    table = arms_table(ARMS, minus, metric=VAL_ACCURACY.of_test, reference="baseline", losses=True)
    assert table == Table(
        caption="Test accuracy: mean and standard deviation over the confirm seeds (n); "
        "differences in points, paired by seed",
        header=[
            "arm", "n", "test accuracy %", "minus default, 95% t-interval",
            "training loss", "over its",
        ],
        rows=[
            ["poly", "2", "95.00 +- 2.00", "5.0 [2.5, 7.5]", "0.1235", "0.25 [0.12, 1.50]"],
            ["your default (not tuned)", "5", "90.00 +- 1.23", "-", "0.5000", "-"],
            ["one", "1", "80.00", "5.0 (no interval from one seed)", "2.0000", "4.00"],
            ["none", "0", "-", "-", "-", "-"],
        ],
    )  # fmt: skip


def test_the_table_of_arms_without_losses_and_differences():
    table = arms_table(ARMS[1:2], {}, metric=SCORE, reference="")
    assert table == Table(
        caption="Score: mean and standard deviation over the confirm seeds (n)",
        header=["arm", "n", "score %"],
        rows=[["your default (not tuned)", "5", "90.00 +- 1.23"]],
    )


def test_the_table_of_pairs_tells_what_may_be_claimed():
    a, b = "poly", "baseline"
    table = pairs_table(
        [
            Claim(
                a=a, b=b, difference=SEEN, outcome="better by min_effect", winner=a, p_holm=0.01
            ),
            Claim(a=b, b=a, difference=SEEN, outcome="better", winner=b, p_holm=0.02),
            Claim(a=a, b=b, difference=SEEN, outcome="equivalent", p_holm=1.0),
            Claim(a=a, b=b, difference=FEW, outcome="undecided", p_holm=0.8, seeds_needed=1000),
            Claim(a="x", b="y", difference=NONE, outcome="undecided"),
        ],
        metric=SCORE,
        min_effect=0.002,
    )
    assert table == Table(
        caption="Pairs of arms: mean difference by paired seed (n); p of no difference, then "
        "adjusted for all pairs",
        header=[
            "pair", "n", "points, 95% confidence sequence, 95% t-interval", "p", "adjusted p",
            "outcome",
        ],
        rows=[
            ["poly - default", "5", "5.0 [2.5, 7.5]", "0.005", "0.010",
             "poly is better by over 0.2"],
            ["default - poly", "5", "5.0 [2.5, 7.5]", "0.005", "0.020", "default is better"],
            ["poly - default", "5", "5.0 [2.5, 7.5]", "0.005", "1.000", "equal within 0.2"],
            ["poly - default", "2", "-1.0 (no interval)", "0.400", "0.800",
             "undecided, ~1,000 more seeds"],
            ["x - y", "0", "- (no interval)", "-", "-", "undecided"],
        ],
    )  # fmt: skip


BESIDE = Difference(
    n=20, mean=0.05, sd=0.02, permutation_p=0.0004,
    prob_better=0.8, prob_low=0.384, prob_high=0.96,
    bootstrap_low=0.03, bootstrap_high=0.07, examples_low=0.01, examples_high=0.09,
)  # fmt: skip


def test_the_table_of_tests_says_what_each_column_is():
    claims = [
        Claim(a="poly", b="baseline", difference=d, outcome="undecided") for d in (BESIDE, SEEN)
    ]
    assert overview.tests_table(claims) == Table(
        caption="What stands beside the intervals. "
        "seeds won %: share of seeds on which the first is better with 95% Wilson interval; "
        "sign-flip p: sign-flip test; BCa: 95% BCa interval; "
        "seeds x test images: 95% interval for fresh seeds and fresh test images",
        header=["pair", "seeds won %", "sign-flip p", "BCa", "seeds x test images"],
        rows=[
            ["poly - default", "80 [38, 96]", "<0.001", "[3.0, 7.0]", "[1.0, 9.0]"],
            ["poly - default", "-", "-", "-", "-"],
        ],
    )
    assert overview.tests_table(claims[1:]).rows == []


DETAILS = {
    "poly": ArmDetails(
        params={"p": 0.9, "delta0": 0.08838},
        config_key="k",
        search=Cost(samples_seen=12_000, optimizer_steps=7, train_seconds=245.0),
        confirm=Cost(samples_seen=3_600, optimizer_steps=1_100, train_seconds=3.21),
        num_trials={"completed": 16, "failed": 2},
        on_edge=("p", "delta0"),
    ),
    "baseline": ArmDetails(
        params={},
        config_key="b",
        search=Cost(samples_seen=0, optimizer_steps=0, train_seconds=0.0),
        confirm=Cost(samples_seen=5, optimizer_steps=6, train_seconds=7.0),
        num_trials={"completed": 3},
        on_edge=(),
    ),
}


def test_the_table_of_costs_tells_search_and_confirmation():
    assert costs_table(DETAILS) == Table(
        caption="What each arm took: samples and training time of its search, then samples, "
        "optimizer steps and training time of its confirm trials",
        header=["arm", "search samples", "time", "confirm samples", "steps", "time"],
        rows=[
            ["poly", "12,000", "4 min 05 s", "3,600", "1,100", "3.2 s"],
            ["your default (not tuned)", "0", "0.0 s", "5", "6", "7.0 s"],
        ],
    )


def test_the_table_of_choices_tells_ends_of_ranges_and_what_became_of_the_trials():
    edge = "(at an end of its range: p, delta0)"
    assert choices_table(DETAILS) == Table(
        caption="What each arm chose, and all its trials",
        header=["arm", "chosen config", "trials"],
        rows=[
            ["poly", f"delta0=0.08838, p=0.9 {edge}", "16 completed, 2 failed"],
            ["your default (not tuned)", "-", "3 completed"],
        ],
    )


def test_a_comparison_of_a_run_has_five_tables_and_losses_where_asked():
    comparison = replace(compare(scores(poly=0.95, baseline=0.9)), details=DETAILS)
    assert list(comparison.tables()) == ["arms", "pairs", "tests", "costs", "choices"]
    losses = {name: dict.fromkeys(SEEDS, 0.5) for name in ("poly", "baseline")}
    known = compare(scores(poly=0.95, baseline=0.9), losses=losses)
    assert known.tables(losses=True)["arms"].header[-2:] == ["training loss", "over its"]
    assert "training loss" not in known.tables()["arms"].header
