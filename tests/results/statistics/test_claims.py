"""What may be claimed of a pair, alone and among several."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from results.statistics.claims import (
    MAX_SEEDS_NEEDED,
    holm,
    make_claims,
    penalty,
    seeds_needed,
)
from results.statistics.compare import compare
from results.statistics.paired import CONFIDENCE_SEQUENCE, Difference, paired_difference


def scores(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def pair(mean: float, sd: float, n: int) -> Difference:
    """A difference with exactly this mean and sd: n values in two equal heaps around it."""
    offset = sd * math.sqrt((n - 1) / n)
    signs = [1, -1] * (n // 2)
    return paired_difference(
        dict(enumerate([mean + sign * offset for sign in signs])), dict.fromkeys(range(n), 0.0)
    )


@pytest.mark.parametrize(
    ("mean", "outcome", "winner"),
    [
        # n=4, sd=0.001: half width 3.182446 * 0.001 / 2 = 0.00159
        (0.0100, "better by min_effect", "a"),
        (-0.0100, "better by min_effect", "b"),
        (0.0037, "better by min_effect", "a"),
        (0.0035, "better", "a"),
        (-0.0017, "better", "b"),
        (0.0015, "undecided", None),
        (0.0003, "equivalent", None),
        (-0.0003, "equivalent", None),
    ],
)
def test_outcomes_of_one_pair_are_where_its_interval_lies(mean, outcome, winner):
    (claim,) = make_claims({("a", "b"): pair(mean, 0.001, 4)}, min_effect=0.002)
    assert (claim.outcome, claim.winner) == (outcome, winner)


def test_a_small_sure_difference_is_equivalent_and_not_better():
    (claim,) = make_claims({("a", "b"): pair(0.001, 0.0001, 4)}, min_effect=0.002)
    assert claim.difference.separated
    assert claim.outcome == "equivalent"
    assert claim.winner is None


def test_holm_by_hand():
    # 4 tests: 0.01 * 4, 0.02 * 3, 0.03 * 2 -> at least 0.06, 0.5 * 1
    assert holm([0.02, 0.01, 0.5, 0.03]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_test_that_does_not_exist_makes_the_others_no_easier():
    adjusted = holm([0.01, None])
    assert adjusted[0] == pytest.approx(0.02)
    assert adjusted[1] is None


def test_claims_of_several_pairs_are_corrected():
    # half width at n=4: 0.00159; this pair alone would be better (p = 0.046)
    lone = pair(0.00162, 0.001, 4)
    (alone,) = make_claims({("a", "b"): lone}, min_effect=0.0001)
    assert alone.outcome == "better"
    none = pair(0.0, 0.001, 4)
    both = make_claims({("a", "b"): lone, ("a", "c"): none}, min_effect=0.0001)
    assert [claim.outcome for claim in both] == ["undecided", "undecided"]
    assert both[0].p_holm == pytest.approx(2 * lone.p_value)
    p_text = f"{2 * lone.p_value:.3f}"
    assert both[0].sentence.startswith("undecided: a minus b = 0.16 points [")
    assert f", not significant over 2 comparisons (Holm p={p_text})" in both[0].sentence
    assert both[0].difference.separated


def test_all_later_looks_together_spend_as_much_as_the_first():
    assert penalty(1) == 1
    spent = [1 / penalty(look) for look in range(2, 1_001)]
    assert sum(spent) == pytest.approx(1 - 1 / 1_000)  # telescopes


@pytest.mark.parametrize(
    ("winners", "look", "factor"), [({"a": 2}, 2, 2), ({"a": 2, "b": 2}, 3, 6)]
)
def test_a_later_winner_is_judged_by_its_look(winners, look, factor):
    lone = pair(0.00162, 0.001, 4)
    (claim,) = make_claims({("a", "b"): lone}, min_effect=0.0001, winners=winners)
    assert (claim.outcome, claim.look) == (
        "undecided",
        sum(winners.values()) + len({"a", "b"} - winners.keys()) - 1,
    )
    assert claim.p_holm == pytest.approx(factor * lone.p_value)
    assert f"over 1 comparison and {look} winners (Holm p=" in claim.sentence
    surer = pair(0.01, 0.001, 4)
    (claim,) = make_claims({("a", "b"): surer}, min_effect=0.0001, winners=winners)
    assert claim.winner == "a"
    comparison = compare({"a": scores(0.91, 0.92), "b": scores(0.9, 0.9)}, winners=winners)
    assert comparison.verdict.endswith("(claims corrected for winners judged before).")


def test_every_kind_of_claim_is_corrected():
    """Equivalence and min_effect as well: at twice the p value of the two one-sided tests."""
    for mean, single in ((0.0003, "equivalent"), (0.0037, "better by min_effect")):
        d = pair(mean, 0.001, 4)
        (claim,) = make_claims({("a", "b"): d}, min_effect=0.002)
        p_value = 2 * stats.t.sf(abs(abs(mean) - 0.002) / 0.0005, 3)
        assert (claim.outcome == single) == (p_value < 0.05)
        three = {("a", "b"): d, ("a", "c"): pair(0.002, 0.01, 4), ("b", "c"): pair(0.002, 1.0, 4)}
        first, *_ = make_claims(three, min_effect=0.002)
        assert (first.outcome == single) == (3 * p_value < 0.05)


def test_arms_without_common_seeds_are_no_comparison():
    c = compare(
        {"a": scores(0.92, 0.93, 0.91, 0.935), "b": scores(0.90, 0.912, 0.886, 0.91), "c": {}}
    )
    by_pair = {(claim.a, claim.b): claim for claim in c.claims}
    assert by_pair["a", "b"].p_holm == by_pair["a", "b"].difference.p_value
    assert by_pair["a", "c"].sentence == "undecided: a and c have no seed in common"
    assert "corrected" not in c.verdict


def test_seeds_needed_is_where_the_half_width_falls_below_the_mean():
    # mean 1, sd 2: t(n-1) * 2 / sqrt(n) < 1 first at n = 18 (2.1098 * 2 / 4.2426 = 0.9946);
    # at n = 17: 2.1199 * 2 / 4.1231 = 1.0283
    assert seeds_needed(pair(1.0, 2.0, 4), min_effect=0.1) == 18 - 4
    # within +-3: the half width has to fall below 3 - 1 = 2: n = 7 (2.4469 * 2 / 2.6458 = 1.850);
    # at n = 6: 2.5706 * 2 / 2.4495 = 2.099
    assert seeds_needed(pair(1.0, 2.0, 4), min_effect=3.0) == 7 - 4


def test_more_comparisons_need_more_seeds():
    d = pair(1.0, 2.0, 4)
    level = 1 - 0.025 / 6
    n = next(n for n in range(5, 100) if stats.t.ppf(level, n - 1) * 2 / math.sqrt(n) < 1)
    assert seeds_needed(d, min_effect=0.1, num_pairs=6) == n - 4
    pairs = {(a, b): d for a, b in itertools.combinations("abcd", 2)}
    assert {claim.seeds_needed for claim in make_claims(pairs, min_effect=0.1)} == {n - 4}


def test_a_later_winner_needs_more_seeds_as_if_there_were_more_comparisons():
    d = pair(0.5, 2.0, 4)
    (claim,) = make_claims({("a", "b"): d}, min_effect=None, winners={"a": 3})
    level = 1 - 0.025 / 6  # the third look: 3 * 2
    n = next(n for n in range(5, 999) if stats.t.ppf(level, n - 1) * 2 / math.sqrt(n) < 0.5)
    assert claim.seeds_needed == n - 4


def test_seeds_needed_is_capped_and_needs_a_spread():
    assert seeds_needed(pair(0.001, 2.0, 4), min_effect=0.002) == MAX_SEEDS_NEEDED
    assert seeds_needed(paired_difference(scores(1, 2), scores(0, 0)), min_effect=0.1) is None
    assert seeds_needed(paired_difference(scores(1, 1, 1), scores(0, 0, 0)), min_effect=1) is None


@pytest.mark.parametrize("needed", [2, 998, 999, 1000, 1001])
def test_seeds_needed_are_exact_up_to_the_cap(needed):
    """The sd lies between those for which the last seed but one, and the last, decide."""
    n_N = 4 + needed + np.array([-1, 0])
    sd = np.mean(np.sqrt(n_N) / stats.t.ppf(0.975, n_N - 1))
    assert seeds_needed(pair(1.0, sd, 4), min_effect=0.1) == min(needed, 1000)


def test_an_undecided_pair_says_how_many_seeds_it_needs():
    c = compare({"poly": scores(0.91, 0.90, 0.92), "baseline": scores(0.90, 0.91, 0.90)})
    (claim,) = c.claims
    # differences 1, -1, 2 points: sd 1.5275; t(21) * 1.5275 / sqrt(22) = 0.677, t(22) ... = 0.661
    assert claim.seeds_needed == 23 - 3
    assert claim.sentence.endswith("n=3 paired seeds (preliminary), about 20 more seeds needed")


def test_the_seeds_needed_have_a_price_and_the_seeds_there_are_a_reason():
    c = compare(
        {"poly": scores(0.91, 0.90, 0.92), "baseline": scores(0.90, 0.91, 0.90)},
        price=lambda num: f"{num / 10:g} GPU hours",
        limit="confirm.hours spent",
    )
    assert c.verdict == (
        f"{c.claims[0].sentence.partition(', n=')[0]}, n=3 paired seeds (preliminary, "
        "confirm.hours spent), about 20 more seeds needed (2 GPU hours)."
    )


def test_a_decided_pair_needs_no_seeds():
    (claim,) = make_claims({("a", "b"): pair(0.01, 0.001, 4)}, min_effect=0.002)
    assert claim.seeds_needed is None
    assert claim.p_holm == claim.difference.p_value


@pytest.mark.slow
def test_no_false_claims_among_equal_arms_more_often_than_5_percent():
    """400 comparisons of 4 equal arms: at 5% at most 32 false ones (99.9% of a binomial)."""
    rng, num_false = np.random.default_rng(3), 0
    for _ in range(400):
        arms = {name: dict(enumerate(rng.normal(0.9, 0.01, 5))) for name in "abcd"}
        claims = compare(arms, min_effect=1e-6).claims
        num_false += any(claim.winner for claim in claims)
    assert num_false <= stats.binom.ppf(0.999, 400, 0.05)


def test_under_repeated_looks_the_interval_is_a_confidence_sequence():
    a = dict(enumerate(np.random.default_rng(0).normal(0.93, 0.01, 20)))
    b = dict(enumerate(np.random.default_rng(1).normal(0.90, 0.01, 20)))
    c = compare({"poly": a, "baseline": b}, repeated_looks=True)
    d = c.pairs["poly", "baseline"]
    assert d.interval_kind == CONFIDENCE_SEQUENCE
    fixed = paired_difference(a, b)
    assert d.low < fixed.low < fixed.high < d.high
    assert d.p_value > fixed.p_value
    assert (d.permutation_p, d.bootstrap_low, d.prob_low, d.examples_low) == (None,) * 4
    assert d.prob_better is not None
    assert c.claims[0].outcome == "better by min_effect"
    assert "95% confidence sequence [" in c.verdict
    assert c.verdict.endswith("(valid under repeated looks).")


def test_few_seeds_under_repeated_looks_are_unbounded_and_undecided():
    c = compare(
        {"poly": scores(0.92, 0.93, 0.91), "baseline": scores(0.90, 0.912, 0.886)},
        repeated_looks=True,
    )
    assert c.claims[0].outcome == "undecided"
    assert "(no interval from few seeds)" in c.verdict


def test_p_values_end_at_one():
    (claim,) = make_claims({("a", "b"): pair(0.0, 0.001, 4)}, min_effect=0.002)
    assert claim.p_holm == 1.0
    arms = {
        name: scores(*np.random.default_rng(i).normal(0.9, 0.01, 6))
        for i, name in enumerate("abc")
    }
    claims = compare(arms, repeated_looks=True).claims
    for claim in claims:
        assert claim.p_holm == pytest.approx(min(1.0, 3 * claim.difference.p_value))
    assert {claim.p_holm for claim in claims} >= {1.0}
    assert {claim.outcome for claim in claims} == {"undecided"}


def test_one_more_seed_may_be_enough():
    # mean 1, n=4: t(4) * sd / sqrt(5) = 1.2416 sd, t(3) * sd / 2 = 1.5912 sd
    d = pair(1.0, 0.7, 4)
    assert d.low < 0
    assert seeds_needed(d, min_effect=0.1) == 1


def test_very_many_seeds_are_told_without_their_number():
    (claim,) = make_claims({("a", "b"): pair(0.001, 2.0, 4)}, min_effect=0.002)
    assert claim.sentence.endswith(", 1,000 or more seeds needed")


LINE = {r: 0.9 + r / 1000 for r in range(5)}


def moved(by: float, *noise: float) -> dict[int, float]:
    return {r: score + by + n / 1000 for (r, score), n in zip(LINE.items(), noise, strict=True)}


@pytest.mark.parametrize(
    ("arms", "lead"),
    [
        # differences to poly: 0.1 points of noise on 5.0, on 0.1
        (
            {"poly": moved(0.10, 0, 1, 0, 1, 0), "cosine": moved(0.05, 0, 0, 1, 1, 0)},
            "poly is separated from the next arm, cosine: poly minus cosine = 5.0 points [",
        ),
        (
            {"poly": moved(0.05, 0, 1, 0, 1, 0), "cosine": moved(0.10, 0, 0, 1, 1, 0)},
            "cosine is separated from the next arm, poly: cosine minus poly = 5.0 points [",
        ),
        (
            {"poly": moved(0.101, 0, 9, 0, 9, 0), "cosine": moved(0.10, 9, 0, 0, 9, 0)},
            "poly is not separated from the next arm, cosine: poly minus cosine = 0.1 points [",
        ),
        (
            {"poly": {0: 1.0, 1: 0.99}, "cosine": {3: 0.95, 4: 0.96}},
            "poly is not separated from the next arm, cosine: no seed in common (",
        ),
    ],
)
def test_the_verdict_says_how_far_the_best_arm_is_from_the_next_one(arms, lead):
    assert f"; {lead}" in compare({**arms, "baseline": LINE}).verdict


def test_a_leader_on_the_seeds_of_all_arms_may_be_behind_on_those_of_two():
    """The third arm has one seed so far, on which poly leads; the others tell another story."""
    arms = {
        "poly": {0: 0.91} | {r: 0.9 for r in range(1, 20)},
        "cosine": {0: 0.90} | {r: 0.93 + 0.001 * (r % 3) for r in range(1, 20)},
        "third": {0: 0.5},
        "baseline": LINE,
    }
    # differences 1.0 points once, and 19 of -3.0, -3.1, -3.2: mean (1.0 - 3.1 * 19) / 20
    lead = "; poly is separated from the next arm, cosine: poly minus cosine = -2.9 points ["
    assert lead in compare(arms).verdict
