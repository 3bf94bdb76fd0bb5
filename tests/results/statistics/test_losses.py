"""Comparisons of a metric that is no accuracy: winner by goal, its unit, diverged seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from results.statistics.compare import compare
from results.statistics.paired import paired_difference, with_resampling
from results.statistics.profiles import performance_profiles
from results.statistics.sequential import rank, undecided_pairs
from results.statistics.wording import (
    amount,
    axis_title,
    column_title,
    diverged_text,
    metric_words,
    screen_text,
    short_words,
    value_text,
)
from results.statistics.worth import worths
from search_spaces.metric import VAL_ACCURACY, make_metric

LOSS = make_metric("test_loss")
BLEU = make_metric("bleu", "max")


def draw(mean: float, seed: int, n: int = 10, sd: float = 0.004) -> dict[int, float]:
    """Seeds share most of their luck, as paired trainings do."""
    luck = np.random.default_rng(99).normal(0, 0.02, n)
    values = np.random.default_rng(seed).normal(mean, sd, n)
    return dict(enumerate((luck + values).tolist()))


LOW, HIGH = draw(3.25, 1), draw(3.28, 2)


def test_the_lower_loss_wins_by_scipys_paired_t_interval_in_nats() -> None:
    comparison = compare(
        {"poly": LOW, "cosine": HIGH}, metric=LOSS, min_effect=None, reference="cosine"
    )
    (claim,) = comparison.claims
    test = stats.ttest_rel([*LOW.values()], [*HIGH.values()])
    interval = test.confidence_interval(0.95)
    assert (claim.winner, claim.outcome) == ("poly", "better")
    assert claim.difference.p_value == pytest.approx(test.pvalue)
    assert (claim.difference.low, claim.difference.high) == pytest.approx(tuple(interval))
    gain, low, high = (-x for x in (claim.difference.mean, interval.high, interval.low))
    half = (high - low) / 2
    assert 0.001 < half < 0.01  # two digits of it: four decimals
    assert comparison.verdict == (
        f"poly beats cosine by {gain:.4f} nats at equal samples, 95% t-interval "
        f"[{low:.4f}, {high:.4f}], n=10 paired seeds."
    )
    assert (comparison.metric, comparison.min_effect) == (LOSS, None)
    assert claim.difference.prob_better == pytest.approx(
        np.mean([LOW[i] < HIGH[i] for i in range(10)])
    )
    arms, pairs = (comparison.tables()[name] for name in ("arms", "pairs"))
    assert list(arms.header)[2] == "test loss (nats)"
    assert [row[0] for row in arms.rows] == ["poly", "cosine"]
    assert pairs.header[2] == "nats, 95% t-interval"


def test_nothing_is_equivalent_without_a_min_effect() -> None:
    same = draw(3.25, 3, sd=1e-4), draw(3.25, 4, sd=1e-4)
    for min_effect, outcome in ((None, "undecided"), (0.01, "equivalent")):
        comparison = compare({"a": same[0], "b": same[1]}, metric=LOSS, min_effect=min_effect)
        assert comparison.claims[0].outcome == outcome
    assert "within 0.01 nats" in comparison.verdict
    wider = compare({"a": LOW, "b": HIGH}, metric=LOSS, min_effect=0.01)
    assert wider.claims[0].outcome == "better by min_effect"
    doubtful = compare({"a": LOW, "b": HIGH}, metric=LOSS, min_effect=0.03)
    assert "perhaps by less than the 0.03 nats that matter" in doubtful.verdict


def test_losses_and_negated_scores_are_the_same_comparison() -> None:
    negated = [{r: -v for r, v in scores.items()} for scores in (LOW, HIGH)]
    for repeated_looks in (False, True):
        by_loss = compare(
            {"a": LOW, "b": HIGH}, metric=LOSS, min_effect=0.01, repeated_looks=repeated_looks
        )
        by_score = compare(
            dict(zip("ab", negated, strict=True)),
            metric=BLEU,
            min_effect=0.01,
            repeated_looks=repeated_looks,
        )
        d, e = by_loss.pairs["a", "b"], by_score.pairs["a", "b"]
        assert (d.low, d.high, d.p_value) == (-e.high, -e.low, e.p_value)
        assert (d.prob_better, d.prob_low, d.prob_high) == (e.prob_better, e.prob_low, e.prob_high)
        for ours, theirs in zip(by_loss.claims, by_score.claims, strict=True):
            assert (ours.winner, ours.outcome) == (theirs.winner, theirs.outcome)
            assert ours.seeds_needed == theirs.seeds_needed
        assert by_loss.verdict.replace(" nats", "") == by_score.verdict


def test_a_difference_of_losses_says_that_lower_is_better() -> None:
    same = draw(3.25, 3, sd=1e-4), draw(3.25, 4, sd=1e-4)
    for metric, direction in ((LOSS, "lower is better"), (BLEU, "")):
        comparison = compare({"a": same[0], "b": same[1]}, metric=metric, min_effect=None)
        assert " minus " in comparison.verdict
        tables = comparison.tables()
        texts = [comparison.verdict, tables["arms"].caption, tables["pairs"].caption]
        assert all(("is better" in text.lower()) == bool(direction) for text in texts)
        assert all(direction in text.lower() for text in texts)
    beaten = compare({"a": LOW, "b": HIGH}, metric=LOSS, min_effect=None).verdict
    assert beaten.startswith("a beats b by ")
    assert "is better" not in beaten


def test_an_arm_with_diverged_seeds_is_never_better() -> None:
    lucky = {r: v for r, v in LOW.items() if r > 1}  # two seeds diverged
    diverged = {"lucky": (2, 10)}
    scores = {"lucky": lucky, "steady": HIGH}
    comparison = compare(
        scores, metric=LOSS, min_effect=None, diverged=diverged, reference="steady"
    )
    (claim,) = comparison.claims
    assert (claim.outcome, claim.winner, claim.seeds_needed) == ("undecided", None, None)
    assert comparison.verdict.endswith(
        "lucky diverged on 2 of 10 seeds, left out of its mean; an arm with diverged seeds is "
        "never called better."
    )
    worse = compare(
        {"lucky": {r: v for r, v in HIGH.items() if r > 1}, "steady": LOW},
        metric=LOSS, min_effect=None, diverged=diverged,
    )  # fmt: skip
    assert worse.claims[0].winner == "steady"
    gone = compare({"lucky": {}, "steady": LOW}, metric=LOSS, diverged={"lucky": (5, 5)})
    assert "nothing to compare: steady has a confirm trial that did not diverge." in gone.verdict
    assert "lucky diverged on 5 of 5 seeds" in gone.verdict
    assert rank(scores, LOSS) == ["lucky", "steady"]
    assert rank(scores, LOSS, last=["lucky"]) == ["steady", "lucky"]


def test_diverged_accuracies_count_as_chance_and_that_is_told() -> None:
    scores = {"lr": {0: 0.1, 1: 0.9, 2: 0.9}, "baseline": {0: 0.1, 1: 0.1, 2: 0.1}}
    diverged = {"lr": (1, 3), "baseline": (3, 3)}
    assert compare(scores, diverged=diverged).verdict.endswith(
        ". lr diverged on 1 of 3 seeds, your default (not tuned) diverged on 3 of 3 seeds, "
        "counted as chance."
    )
    assert diverged_text({"lr": (0, 5)}, VAL_ACCURACY) == ""


def test_the_leader_by_loss_is_the_lowest_and_decides_without_a_min_effect() -> None:
    arms = {"a": HIGH, "b": LOW, "c": draw(3.2502, 5)}
    assert rank(arms, LOSS)[-1] == "a"
    pairs = undecided_pairs(arms, min_effect=None, metric=LOSS)
    assert pairs == [(rank(arms, LOSS)[0], rank(arms, LOSS)[1])]


def test_worth_of_losses_is_linear_and_the_diverged_come_last() -> None:
    # one rung: deviations from the mean, shrunk by 1 / (1 + 0.5)
    seen = worths([{"a": -3.0, "b": -3.3, "c": -math.inf}], is_accuracy=False)
    assert seen["a"] == pytest.approx(0.15 / 1.5)
    assert seen["b"] == pytest.approx(-0.15 / 1.5)
    assert seen["c"] == -math.inf
    later = worths([{"a": -3.0, "b": -3.3}, {"a": -math.inf}], is_accuracy=False)
    assert later["b"] > later["a"] == -math.inf


def test_profiles_by_loss_are_gaps_above_the_lowest() -> None:
    scores = {"w": {"a": {0: 3.0}, "b": {0: 3.5}}, "v": {"a": {0: 2.2}, "b": {0: 2.0}}}
    profiles = performance_profiles(scores, LOSS)
    assert profiles.tau_T[-1] == pytest.approx(0.5)
    assert {arm.name: arm.share_T[0] for arm in profiles.arms} == {"a": 0.5, "b": 0.5}
    assert profiles.arms[0].share_T[np.searchsorted(profiles.tau_T, 0.21)] == 1.0


@pytest.mark.parametrize(
    ("difference", "texts"),
    [
        ((-0.0291, 0.0062), ("-0.0291", "[-0.0353, -0.0229]")),  # half widths: two digits
        ((12.34, 5.6), ("12.3", "[6.7, 17.9]")),
        ((1234.5, 120.0), ("1,234", "[1,114, 1,354]")),
    ],
)
def test_digits_follow_the_interval(
    difference: tuple[float, float], texts: tuple[str, str]
) -> None:
    mean, half = difference
    d = paired_difference({0: mean - 1, 1: mean + 1}, {0: 0.0, 1: 0.0}, LOSS)
    d = with_resampling(d, np.array(d.values))
    resized = type(d)(n=2, mean=mean, sd=1.0, low=mean - half, high=mean + half, metric=LOSS)
    assert resized.texts == texts


def test_values_in_words() -> None:
    assert (screen_text(0.9731, VAL_ACCURACY), screen_text(3.28713, LOSS)) == ("97.31 %", "3.2871")
    assert screen_text(math.nan, LOSS) == "-"
    assert value_text(3.28713, LOSS, 0.0123) == "3.287"
    assert (amount(0.002, VAL_ACCURACY), amount(0.003, LOSS)) == ("0.2", "0.003")
    assert [metric_words(m) for m in (VAL_ACCURACY, LOSS)] == ["validation accuracy", "test loss"]
    assert [short_words(m) for m in (VAL_ACCURACY, make_metric("val_loss"))] == ["val", "val loss"]
    titles = [f("x", m) for f in (column_title, axis_title) for m in (VAL_ACCURACY, LOSS, BLEU)]
    assert titles == ["x %", "x (nats)", "x", "x [%]", "x [nats]", "x"]
    assert amount(1e300, LOSS, math.inf) == "1e+300"
