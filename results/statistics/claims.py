"""What may be claimed of each pair of arms? Outcomes that hold for all pairs at once.

Each pair is tested for three claims: the means differ; they differ by more than min_effect; they
differ by less. For one pair a test rejects exactly where its 95% interval lies above 0, beyond
min_effect, or within +-min_effect. For several pairs the p values of each claim are adjusted by
Holm: with probability 95% no claim of that kind is wrong anywhere, also of the arm that came out
best. Under repeated looks the intervals are confidence sequences at 5% / number of pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from results.statistics.intervals import t_half_width
from results.statistics.paired import CONFIDENCE_SEQUENCE, Difference, two_sided_p
from results.statistics.sequential import ALPHA, half_width, log_e
from results.statistics.wording import arm_label, counted, p_text, points

Outcome = Literal["better by min_effect", "better", "equivalent", "undecided"]
BETTER: tuple[Outcome, ...] = ("better by min_effect", "better")
# (difference, min_effect) -> p value of one pair.
Test = Callable[[Difference, float], float]
FEW_SEEDS = 5  # fewer are called preliminary
MIN_SEEDS_TO_PLAN = 3  # fewer say too little about the spread
MAX_SEEDS_NEEDED = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What is known about one pair of arms.

    Attributes:
        a, b: the arms; difference: a minus b.
        outcome: "better by min_effect": better by more than that; "equivalent": the difference
            is smaller than that; "better": a difference, of whatever size.
        winner: a or b where the outcome is one of the better ones.
        seeds_needed: how many more seeds would decide an undecided pair if mean and spread
            stayed as they are (1,000 = that or more); None for n<3, equal differences, or when
            decided.
        p_holm: p value of mean zero, adjusted for all pairs (under repeated looks by
            Bonferroni); None where the difference has none.
        sentence: the claim in words, without a full stop.
    """

    a: str
    b: str
    difference: Difference
    outcome: Outcome
    winner: str | None = None
    seeds_needed: int | None = None
    p_holm: float | None = None
    sentence: str = ""


def make_claims(
    pairs: Mapping[tuple[str, str], Difference], *, min_effect: float
) -> tuple[Claim, ...]:
    """One claim a pair, in their order. Pairs without a common seed are no comparisons."""
    compared = {pair: d for pair, d in pairs.items() if d.n}
    tests: tuple[Test, ...] = (_p_zero, _p_beyond, _p_within)
    zero, beyond, within = (_adjusted(compared, test, min_effect) for test in tests)
    claims = []
    for (a, b), difference in pairs.items():
        outcome = _outcome(zero.get((a, b)), beyond.get((a, b)), within.get((a, b)))
        claim = Claim(
            a=a,
            b=b,
            difference=difference,
            outcome=outcome,
            winner=(a if difference.mean > 0 else b) if outcome in BETTER else None,
            p_holm=zero.get((a, b)),
        )
        if outcome == "undecided":
            needed = seeds_needed(difference, min_effect=min_effect, num_pairs=len(compared))
            claim = replace(claim, seeds_needed=needed)
        claims.append(replace(claim, sentence=_sentence(claim, min_effect, len(compared))))
    return tuple(claims)


def holm(p_values: Iterable[float | None]) -> list[float | None]:
    """Adjusted p values; a None counts as a test that rejects nothing, and stays None.

    The k-th smallest of m is multiplied by m - k + 1, then made monotone and cut at 1.
    Source: Holm 1979.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    p_values = list(p_values)
    filled = [1.0 if p is None else p for p in p_values]
    adjusted, largest = [0.0] * len(filled), 0.0
    for rank, index in enumerate(sorted(range(len(filled)), key=filled.__getitem__)):
        largest = max(largest, min(1.0, (len(filled) - rank) * filled[index]))
        adjusted[index] = largest
    return [None if p is None else q for p, q in zip(p_values, adjusted, strict=True)]


def seeds_needed(difference: Difference, *, min_effect: float, num_pairs: int = 1) -> int | None:
    """How many more seeds until the interval excludes zero or lies within +-min_effect.

    With mean and sd as observed and the interval at 5% / num_pairs: the smallest n whose half
    width is below |mean|, or below min_effect - |mean|, minus the seeds there are; 1 to 1,000
    (= or more). Half the times it will take more, half the times fewer. None for n<3 or sd=0.
    """
    n, sd, mean = difference.n, difference.sd, abs(difference.mean)
    if n < MIN_SEEDS_TO_PLAN or sd == 0:
        return None
    level, n_N = ALPHA / max(1, num_pairs), np.arange(n + 1, n + MAX_SEEDS_NEEDED + 1)
    if difference.interval_kind == CONFIDENCE_SEQUENCE:
        half_N = half_width(n_N, sd, alpha=level)
    else:
        half_N = t_half_width(n_N, sd, 1 - level)
    enough_N = np.flatnonzero(half_N < max(mean, min_effect - mean))
    return int(enough_N[0]) + 1 if len(enough_N) else MAX_SEEDS_NEEDED


def _adjusted(
    pairs: Mapping[tuple[str, str], Difference], test: Test, min_effect: float
) -> dict[tuple[str, str], float | None]:
    """p values of one claim, adjusted for all pairs."""
    p_values = [None if d.p_value is None else test(d, min_effect) for d in pairs.values()]
    if any(d.interval_kind == CONFIDENCE_SEQUENCE for d in pairs.values()):
        adjusted = [None if p is None else min(1.0, len(pairs) * p) for p in p_values]
    else:
        adjusted = holm(p_values)
    return dict(zip(pairs, adjusted, strict=True))


def _p_zero(difference: Difference, min_effect: float) -> float:
    return _p_of(difference, abs(difference.mean))


def _p_beyond(difference: Difference, min_effect: float) -> float:
    return _p_of(difference, abs(difference.mean) - min_effect)


def _p_within(difference: Difference, min_effect: float) -> float:
    return _p_of(difference, min_effect - abs(difference.mean))


def _p_of(difference: Difference, distance: float) -> float:
    """Two-sided p value of a mean this far from the observed one; 1 where it is not outside."""
    if distance <= 0:
        return 1.0
    n, sd = difference.n, difference.sd
    if difference.interval_kind == CONFIDENCE_SEQUENCE:
        return min(1.0, math.exp(-log_e(n, distance / (sd / math.sqrt(n)))))
    return two_sided_p(n, sd, distance)


def _outcome(zero: float | None, beyond: float | None, within: float | None) -> Outcome:
    if zero is None or beyond is None or within is None:
        return "undecided"
    if beyond < ALPHA:
        return "better by min_effect"
    if within < ALPHA:
        return "equivalent"
    return "better" if zero < ALPHA else "undecided"


def _sentence(claim: Claim, min_effect: float, num_pairs: int) -> str:
    a, b, d = claim.a, claim.b, claim.difference
    if d.n == 0:
        return f"undecided: {arm_label(a)} and {arm_label(b)} have no seed in common"
    if claim.winner is not None:
        loser, lead = (b, d) if claim.winner == a else (a, d.reverse)
        doubt = f", perhaps by less than the {points(min_effect)[0]} points that matter"
        mean, interval = lead.texts
        return (
            f"{arm_label(claim.winner)} beats {arm_label(loser)} by {mean} "
            f"points at equal samples, {d.interval_kind} {interval}, {seeds(d)}"
            + (doubt if claim.outcome == "better" else "")
        )
    if claim.outcome == "equivalent":
        return (
            f"no difference that matters: {minus(a, b, d)}, "
            f"within {points(min_effect)[0]} points, {seeds(d)}"
        )
    text = f"undecided: {minus(a, b, d)}, {seeds(d)}"
    if d.separated and claim.p_holm is not None:
        text += f", not significant over {num_pairs} comparisons (Holm p={p_text(claim.p_holm)})"
    return text + needed_text(claim)


def minus(a: str, b: str, difference: Difference) -> str:
    """ "poly minus cosine = 0.7 points [-3.1, 4.5]"."""
    if difference.n == 0:
        return "no seed in common"
    mean, interval = difference.texts
    return f"{arm_label(a)} minus {arm_label(b)} = {mean} points {interval}"


def seeds(difference: Difference) -> str:
    """ "n=3 paired seeds (preliminary)"."""
    text = f"n={counted(difference.n, 'paired seed')}"
    if difference.num_unpaired:
        text += f", {difference.num_unpaired} unpaired left out"
    return text + (" (preliminary)" if difference.n < FEW_SEEDS else "")


def needed_text(claim: Claim) -> str:
    """ ", about 12 more seeds needed", or nothing."""
    if claim.seeds_needed is None:
        return ""
    if claim.seeds_needed >= MAX_SEEDS_NEEDED:
        return f", {MAX_SEEDS_NEEDED:,} or more seeds needed"
    return f", about {counted(claim.seeds_needed, 'more seed')} needed"
