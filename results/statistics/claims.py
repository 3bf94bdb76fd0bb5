"""What may be claimed of each pair of arms? Outcomes that hold for all pairs at once.

Each pair is tested for three claims: the means differ; they differ by more than min_effect; they
differ by less. For one pair a test rejects exactly where its 95% interval lies above 0, beyond
min_effect, or within +-min_effect. For several pairs the p values of each claim are adjusted by
Holm: with probability 95% no claim of that kind is wrong anywhere, also of the arm that came out
best. Under repeated looks the intervals are confidence sequences at 5% / number of pairs.
An arm whose search went on after a verdict may have a new winner, which is judged in its turn:
the p values of the k-th look are multiplied by k (k-1) (see `penalty`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from results.statistics.intervals import t_half_width
from results.statistics.paired import CONFIDENCE_SEQUENCE, Difference, Scores, two_sided_p
from results.statistics.sequential import ALPHA, half_width, log_e, rank
from results.statistics.wording import (
    amount,
    arm_label,
    counted,
    diverged_text,
    p_text,
    with_unit,
)
from search_spaces.metric import VAL_ACCURACY, Metric

Outcome = Literal["better by min_effect", "better", "equivalent", "undecided"]
BETTER: tuple[Outcome, ...] = ("better by min_effect", "better")
# (|mean difference|, min_effect) -> how far the mean lies from the region that is refuted:
# no difference, one of at most min_effect, one of at least min_effect.
Distance = Callable[[float, float], float]
DISTANCES: tuple[Distance, ...] = (
    lambda mean, effect: mean,
    lambda mean, effect: mean - effect,
    lambda mean, effect: effect - mean,
)
FEW_SEEDS = 5  # fewer are called preliminary
MIN_SEEDS_TO_PLAN = 3  # fewer say too little about the spread
MAX_SEEDS_NEEDED = 1_000
# So many more seeds of all arms -> what they cost, in words; "" where nobody knows.
Price = Callable[[int], str]
EQUAL_COST = "at equal samples"  # what GradTune's own arms are compared at


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What is known about one pair of arms.

    Attributes:
        difference: a minus b.
        outcome: "equivalent": differs by less than min_effect (never where there is none);
            "better": of whatever size.
        winner: a or b where the outcome is one of the better ones.
        seeds_needed: how many more seeds would decide an undecided pair if mean and spread
            stayed as they are (1,000 = that or more); None for n<3, equal differences, or when
            decided.
        p_holm: p value of mean zero, adjusted for all pairs (under repeated looks by
            Bonferroni) and earlier winners; None where the difference has none.
        sentence: without a full stop.
        look: 1, or more where earlier winners of these arms have been judged.
    """

    a: str
    b: str
    difference: Difference
    outcome: Outcome
    winner: str | None = None
    seeds_needed: int | None = None
    p_holm: float | None = None
    sentence: str = ""
    look: int = 1


def penalty(look: int) -> int:
    """What p values of the k-th look at a pair are multiplied by: 1 for the first, then k (k-1).

    1/2 + 1/6 + 1/12 + ... = 1: all later looks together err as rarely as the first alone,
    whatever the looks have in common (union bound; alpha spending).

    Example:
        >>> [penalty(look) for look in (1, 2, 3, 4)]
        [1, 2, 6, 12]
    """
    return max(1, look * (look - 1))


def make_claims(
    pairs: Mapping[tuple[str, str], Difference],
    *,
    min_effect: float | None,
    incomplete: Collection[str] = (),
    winners: Mapping[str, int] = MappingProxyType({}),
    price: Price = lambda _: "",
    limit: str = "",
    at: str = EQUAL_COST,
) -> tuple[Claim, ...]:
    """One claim a pair, in their order. Pairs without a common seed are no comparisons.

    incomplete: arms whose diverged seeds have no value; they are never better, nor equivalent.
    winners, price, limit, at: see `compare`.
    """
    compared = {pair: d for pair, d in pairs.items() if d.n}
    look = {(a, b): winners.get(a, 1) + winners.get(b, 1) - 1 for a, b in pairs}
    zero, beyond, within = (_adjusted(compared, far, min_effect, look) for far in DISTANCES)
    claims = []
    for (a, b), difference in pairs.items():
        outcome = _outcome(zero.get((a, b)), beyond.get((a, b)), within.get((a, b)))
        winner = a if difference.metric.score(difference.mean) > 0 else b
        is_refused = outcome in BETTER and winner in incomplete
        is_refused |= outcome == "equivalent" and not {a, b}.isdisjoint(incomplete)
        outcome = "undecided" if is_refused else outcome
        needed = None
        if outcome == "undecided" and not is_refused:
            tests = len(compared) * penalty(look[a, b])
            needed = seeds_needed(difference, min_effect=min_effect, num_pairs=tests)
        claim = Claim(
            a=a,
            b=b,
            difference=difference,
            outcome=outcome,
            winner=winner if outcome in BETTER else None,
            seeds_needed=needed,
            p_holm=zero.get((a, b)),
            look=look[a, b],
        )
        sentence = _sentence(claim, min_effect, len(compared), limit, at)
        claims.append(replace(claim, sentence=sentence + _needed(claim, price)))
    return tuple(claims)


def verdict(
    scores: Mapping[str, Scores],
    claims: Sequence[Claim],
    *,
    reference: str,
    min_effect: float | None,
    metric: Metric = VAL_ACCURACY,
    diverged: Mapping[str, tuple[int, int]] = MappingProxyType({}),
) -> str:
    """One honest sentence: the best searched arm against the reference, then the next one.

    A second one where confirm seeds have diverged: by arm, how many of how many.
    """
    finished = {name: values for name, values in scores.items() if values}
    lost = [name for name, (count, _) in diverged.items() if count and not metric.is_accuracy]
    searched = {name: v for name, v in finished.items() if name != reference}
    are_paired = all(claim.difference.counts is None for claim in claims)
    ranked = rank(searched, metric, last=lost, paired=are_paired)
    divergence = diverged_text(diverged, metric)
    if len(finished) < 2 or not ranked:
        only = ", ".join(arm_label(name) for name in finished) or "no arm"
        yet, what = " yet", "finished confirm trials"
        if lost:
            yet, what = "", "a confirm trial that did not diverge"
        return f"nothing to compare{yet}: {only} has {what}. {divergence}".rstrip()
    top, *others = ranked
    if reference in finished:
        parts = [_find(claims, top, reference).sentence]
        if others:
            parts.append(_lead(_find(claims, top, others[0]), top, others[0], min_effect))
    else:
        parts = [_find(claims, top, others[0]).sentence]
    text = f"{'; '.join(parts)}{_correction(claims)}."
    if metric.goal == "min" and " minus " in text:  # a reader expects that more is better
        text += " Lower is better."
    return f"{text} {divergence}".rstrip()


def holm(p_values: Iterable[float | None]) -> list[float | None]:
    """Adjusted p values; a None counts as a test that rejects nothing, and stays None.

    The k-th smallest of m is multiplied by m - k + 1, then made monotone and cut at 1.
    Source: Holm 1979.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    p_values = list(p_values)
    filled_P = np.array([1.0 if p is None else p for p in p_values])
    order_P = filled_P.argsort()
    adjusted_P = np.empty_like(filled_P)
    stepped_P = filled_P[order_P] * np.arange(len(p_values), 0, -1)
    adjusted_P[order_P] = np.minimum(1.0, np.maximum.accumulate(stepped_P))
    return [None if p is None else q for p, q in zip(p_values, adjusted_P.tolist(), strict=True)]


def seeds_needed(
    difference: Difference, *, min_effect: float | None, num_pairs: int = 1
) -> int | None:
    """How many more seeds until the interval excludes zero or lies within +-min_effect.

    With mean and sd as observed and the interval at 5% / num_pairs: the smallest n whose half
    width is below |mean|, or below min_effect - |mean|, minus the seeds there are; 1 to 1,000
    (= or more). Half the times it will take more, half the times fewer. None for n<3 or sd=0.
    """
    n, sd, mean = difference.n, difference.sd, abs(difference.mean)
    if n < MIN_SEEDS_TO_PLAN or sd == 0:
        return None
    level = ALPHA / max(1, num_pairs)
    is_sequence = difference.interval_kind == CONFIDENCE_SEQUENCE
    half_N = sd * _unit_half_widths(n, level, None if is_sequence else difference.degrees or n - 1)
    enough_N = np.flatnonzero(half_N < max(mean, (min_effect or 0.0) - mean))
    return int(enough_N[0]) + 1 if len(enough_N) else MAX_SEEDS_NEEDED


@functools.lru_cache(maxsize=64)
def _unit_half_widths(n: int, level: float, degrees: float | None) -> NDArray[np.float64]:
    """Of values with sd 1 after each further seed; the same for all pairs of so many seeds.

    degrees: of freedom at n; None = of the confidence sequence.
    """
    n_N = np.arange(n + 1, n + MAX_SEEDS_NEEDED + 1)
    if degrees is None:
        return half_width(n_N, 1.0, alpha=level)
    return t_half_width(n_N, 1.0, 1 - level, degrees / (n - 1) * (n_N - 1))


def _adjusted(
    pairs: Mapping[tuple[str, str], Difference],
    far: Distance,
    min_effect: float | None,
    look: Mapping[tuple[str, str], int],
) -> dict[tuple[str, str], float | None]:
    """p values of one claim, adjusted for all pairs and for earlier looks."""
    effect = math.nan if min_effect is None else min_effect  # nan: refutes nothing
    p_values = [
        None
        if d.p_value is None
        else min(1.0, penalty(look[pair]) * _p_of(d, far(abs(d.mean), effect)))
        for pair, d in pairs.items()
    ]
    if any(d.interval_kind == CONFIDENCE_SEQUENCE for d in pairs.values()):
        adjusted = [None if p is None else min(1.0, len(pairs) * p) for p in p_values]
    else:
        adjusted = holm(p_values)
    return dict(zip(pairs, adjusted, strict=True))


def _p_of(difference: Difference, distance: float) -> float:
    """Two-sided p value of a mean this far from the observed one; 1 where it is not outside."""
    if not distance > 0:
        return 1.0
    n, sd = difference.n, difference.sd
    if difference.interval_kind == CONFIDENCE_SEQUENCE:
        return min(1.0, math.exp(-log_e(n, distance / (sd / math.sqrt(n)))))
    return two_sided_p(n, sd, distance, difference.degrees)


def _outcome(zero: float | None, beyond: float | None, within: float | None) -> Outcome:
    if zero is None or beyond is None or within is None:
        return "undecided"
    if beyond < ALPHA:
        return "better by min_effect"
    if within < ALPHA:
        return "equivalent"
    return "better" if zero < ALPHA else "undecided"


def _sentence(claim: Claim, min_effect: float | None, num_pairs: int, limit: str, at: str) -> str:
    a, b, d = claim.a, claim.b, claim.difference
    if d.n == 0:
        return f"undecided: {arm_label(a)} and {arm_label(b)} have no seed in common"
    if claim.winner is not None:
        loser = b if claim.winner == a else a
        mean, interval = (d if d.mean > 0 else d.reverse).texts
        sentence = (
            f"{arm_label(claim.winner)} beats {arm_label(loser)} by {with_unit(mean, d.metric)} "
            f"{at}, {d.interval_kind} {interval}, {_seeds(d, limit)}"
        )
        if claim.outcome == "better" and min_effect is not None:
            sentence += f", perhaps by less than the {_effect(min_effect, d)} that matter"
        return sentence
    if claim.outcome == "equivalent" and min_effect is not None:
        return (
            f"no difference that matters: {_minus(a, b, d)}, "
            f"within {_effect(min_effect, d)}, {_seeds(d, limit)}"
        )
    text = f"undecided: {_minus(a, b, d)}, {_seeds(d, limit)}"
    if d.separated and claim.p_holm is not None:
        winners = f" and {claim.look} winners" if claim.look > 1 else ""
        text += (
            f", not significant over {counted(num_pairs, 'comparison')}{winners} "
            f"(Holm p={p_text(claim.p_holm)})"
        )
    return text


def _minus(a: str, b: str, difference: Difference) -> str:
    """ "poly minus cosine = 0.7 points [-3.1, 4.5]"."""
    if difference.n == 0:
        return "no seed in common"
    mean, interval = difference.texts
    mean = with_unit(mean, difference.metric)
    return f"{arm_label(a)} minus {arm_label(b)} = {mean} {interval}"


def _effect(min_effect: float, difference: Difference) -> str:
    """ "0.2 points", "0.003 nats"."""
    return with_unit(amount(min_effect, difference.metric), difference.metric)


def _seeds(difference: Difference, limit: str) -> str:
    """ "n=3 paired seeds (preliminary)", "n=10 and 8 seeds, not paired"."""
    text, unused = f"n={counted(difference.n, 'paired seed')}", "unpaired left out"
    if difference.in_turn:
        text = f"n={counted(difference.n, 'seed')} of each, taken one by one"
        unused = "left out"
    if difference.counts is not None:
        text = f"n={difference.counts[0]} and {counted(difference.counts[1], 'seed')}, not paired"
    if difference.num_unpaired:
        text += f", {difference.num_unpaired} {unused}"
    notes = [*(["preliminary"] if difference.n < FEW_SEEDS else []), *([limit] if limit else [])]
    return text + (f" ({', '.join(notes)})" if notes else "")


def _needed(claim: Claim, price: Price) -> str:
    """ ", about 12 more seeds needed (0.6 GPU hours)", or nothing."""
    if claim.seeds_needed is None:
        return ""
    cost = price(claim.seeds_needed)
    if claim.seeds_needed >= MAX_SEEDS_NEEDED:
        seeds = f"{MAX_SEEDS_NEEDED:,} or more seeds needed"
        return f", {seeds}" + (f" ({cost} or more)" if cost else "")
    seeds = f"about {counted(claim.seeds_needed, 'more seed')} needed"
    return f", {seeds}" + (f" ({cost})" if cost else "")


def _find(claims: Sequence[Claim], a: str, b: str) -> Claim:
    return next(claim for claim in claims if {claim.a, claim.b} == {a, b})


def _lead(claim: Claim, top: str, following: str, min_effect: float | None) -> str:
    """Is the best searched arm separated from the next one?"""
    difference = claim.difference if claim.a == top else claim.difference.reverse
    verb = "is not separated from"
    if claim.outcome == "equivalent" and min_effect is not None:
        verb = f"is within {_effect(min_effect, difference)} of"
    elif claim.outcome in BETTER:
        verb = "is separated from"
    return (
        f"{top} {verb} the next arm, {arm_label(following)}: {_minus(top, following, difference)}"
    )


def _correction(claims: Sequence[Claim]) -> str:
    """What the claims hold for."""
    compared = [claim.difference for claim in claims if claim.difference.n]
    several = f"all {len(compared)} comparisons" if len(compared) > 1 else ""
    if any(claim.look > 1 for claim in claims):
        several += f"{' and ' if several else ''}winners judged before"
    if any(d.interval_kind == CONFIDENCE_SEQUENCE for d in compared):
        return f" ({f'for {several}, ' if several else ''}valid under repeated looks)"
    return f" (claims corrected for {several})" if several else ""
