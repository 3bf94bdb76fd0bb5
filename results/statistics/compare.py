"""Which arm is better, and how sure can we be? Pure statistics on scores of paired seeds.

Scores are values of one metric, an accuracy in [0, 1] unless it says otherwise, from trainings of
equal length in samples; replicate i of every arm shares its seed. Which test is used when:
docs/statistics.md.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from html import escape
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from results.pictures import pictures_of
from results.statistics import overview
from results.statistics.claims import (
    EQUAL_COST,
    FEW_SEEDS,
    Claim,
    Price,
    make_claims,
    verdict,
)
from results.statistics.intervals import CONFIDENCE, examples_interval, mean_sd
from results.statistics.overview import ArmDetails, ArmSummary
from results.statistics.paired import (
    CONFIDENCE_SEQUENCE,
    Difference,
    Scores,
    paired_difference,
    paired_scores,
    with_resampling,
)
from results.statistics.resampling import share_better
from results.statistics.sequential import ALPHA, confidence_sequence, e_value
from results.statistics.unpaired import welch_difference
from results.tables import Table
from search_spaces.metric import POINTS, Metric
from search_spaces.space import BASELINE

SCORE = Metric(name="score", goal="max", unit=POINTS)
MAX_PAIRS = 15
MIN_EFFECT = 0.002  # accuracy; smaller differences do not matter
# arm -> replicate -> was each test image classified correctly (or how probably): correct_I.
Correct = Mapping[str, Mapping[int, NDArray[np.float64]]]
Differ = Callable[[Scores, Scores], Difference]  # a minus b, with an interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The arms side by side.

    Attributes:
        pairs: (a, b) -> a minus b, for every pair of arms, the reference always second.
        claims: what may be said of each pair, in the same order.
        min_effect: in the metric's unit; None = none is known, nothing is called equivalent.
        diverged: confirm seeds that diverged, of how many, by arm.
        preliminary: fewer than 5 paired seeds somewhere.
        details, warnings, unit (what a sample is called): filled in where the scores come from
            a run.
    """

    reference: str
    min_effect: float | None
    arms: tuple[ArmSummary, ...]
    pairs: Mapping[tuple[str, str], Difference]
    preliminary: bool
    verdict: str
    claims: tuple[Claim, ...] = ()
    metric: Metric = SCORE
    diverged: Mapping[str, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))
    details: Mapping[str, ArmDetails] = field(default_factory=lambda: MappingProxyType({}))
    warnings: tuple[str, ...] = ()
    unit: str = "samples"

    def differences(self) -> tuple[str, dict[str, Difference]]:
        """The reference, or the first arm with scores where it has none; each arm minus it."""
        scored = [arm.name for arm in self.arms if arm.n]
        standard = self.reference if self.reference in scored else scored[0] if scored else ""
        minus = {a: d for (a, b), d in self.pairs.items() if b == standard}
        minus |= {b: d.reverse for (a, b), d in self.pairs.items() if a == standard}
        return standard, {name: d for name, d in minus.items() if d.n}

    def tables(self, *, losses: bool = False) -> dict[str, Table]:
        """Arms, pairs of arms, their costs, their chosen configs: what is known of each.

        Of very many pairs only those of the reference and of the best other arm; losses: with
        the training losses of the arms.
        """
        standard, minus = self.differences()
        compared = [claim for claim in self.claims if claim.difference.n]
        selected = compared
        if len(compared) > MAX_PAIRS:
            others = [arm for arm in self.arms if arm.n and arm.name != standard]
            best = max(others, key=lambda arm: self.metric.score(arm.mean))
            leading = {standard, best.name}
            selected = [claim for claim in compared if {claim.a, claim.b} & leading]
        left_out = len(compared) - len(selected)
        tables = {
            "arms": overview.arms_table(
                self.arms, minus, losses=losses, metric=self.metric, reference=standard
            ),
            "pairs": overview.pairs_table(
                selected, metric=self.metric, min_effect=self.min_effect, left_out=left_out
            ),
            "tests": overview.tests_table(selected),
            "costs": overview.costs_table(self.details, self.unit),
            "choices": overview.choices_table(self.details),
        }
        return {name: table for name, table in tables.items() if table.rows or name == "arms"}

    def _repr_html_(self) -> str:
        sentences = [self.verdict, *(f"Note: {warning}" for warning in self.warnings)]
        words = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
        tables = "".join(table.html() for table in self.tables().values())
        return words + pictures_of(self) + tables


def compare(
    scores: Mapping[str, Scores],
    *,
    metric: Metric = SCORE,
    reference: str = BASELINE,
    min_effect: float | None = MIN_EFFECT,
    repeated_looks: bool = False,
    correct: Correct = MappingProxyType({}),
    losses: Mapping[str, Scores] = MappingProxyType({}),
    diverged: Mapping[str, tuple[int, int]] = MappingProxyType({}),
    paired: bool = True,
    winners: Mapping[str, int] = MappingProxyType({}),
    price: Price = lambda _: "",
    limit: str = "",
    at: str = EQUAL_COST,
) -> Comparison:
    """Every arm against every other.

    Args:
        scores: arm -> replicate -> value of the metric. An arm may be empty, the reference may be
            missing.
        min_effect: smallest difference that is worth calling better; None = not known.
        repeated_looks: True when the number of seeds depended on their scores: intervals are
            confidence sequences that hold for all pairs at once, at every number of seeds.
        correct: test images by arm and replicate, where known; for the second interval.
        losses: final training losses by arm and replicate, where known; above 0.
        diverged: confirm seeds that diverged, of how many, by arm. At chance they are among the
            scores of an accuracy; of any other metric they have none.
        paired: False where equal replicates of two arms share nothing: means are compared
            (Welch), and nothing that needs pairs stands beside the interval. Under repeated
            looks, for which no Welch test is known, such seeds are taken one by one: replicate i
            is the i-th of each.
        winners: by arm, how many of its configs have been judged so far on confirm seeds, the
            present one included; 1 where its search never went on after a verdict.
        price: what so many more seeds of all arms cost, in words.
        limit: what ended the confirm trainings before all seeds asked for, in words.
        at: what all arms had the same of when they were scored, as a sentence says it.
    """
    names = sorted(scores, key=lambda name: name == reference)  # stable: the reference last
    difference = paired_difference if paired else welch_difference
    differ: Differ = functools.partial(difference, metric=metric)
    if repeated_looks:
        level = pair_level(scores)
        differ = functools.partial(
            sequential_difference, level=level, metric=metric, paired=paired
        )
    pairs = {(a, b): differ(scores[a], scores[b]) for a, b in itertools.combinations(names, 2)}
    if paired and not repeated_looks:
        pairs = {
            (a, b): _with_beside(d, scores[a], scores[b], correct.get(a, {}), correct.get(b, {}))
            for (a, b), d in pairs.items()
        }
    lost = [name for name, (count, _) in diverged.items() if count and not metric.is_accuracy]
    claims = make_claims(
        pairs,
        min_effect=min_effect,
        incomplete=lost,
        winners=winners,
        price=price,
        limit=limit,
        at=at,
    )
    logs = {name: _logs(values, losses.get(name, {})) for name, values in scores.items()}
    ratios = {name: differ(log, logs.get(reference, {})) for name, log in logs.items()}
    return Comparison(
        reference=reference,
        min_effect=min_effect,
        arms=tuple(
            _summary(name, values, pairs.get((name, reference)), logs[name], ratios[name])
            for name, values in scores.items()
        ),
        pairs=pairs,
        preliminary=min((d.n for d in pairs.values()), default=0) < FEW_SEEDS,
        verdict=verdict(
            scores,
            claims,
            reference=reference,
            min_effect=min_effect,
            metric=metric,
            diverged=diverged,
        ),
        claims=claims,
        metric=metric,
        diverged=diverged,
    )


def default_min_effect(num_test: int) -> float:
    """Smallest accuracy difference worth calling better: 0.2 points, at least two test images.

    Args:
        num_test: test images; 0 where it is not known before the first training has ended.
    """
    return max(MIN_EFFECT, 2 / num_test) if num_test else MIN_EFFECT


def pair_level(scores: Mapping[str, Scores]) -> float:
    """What each pair of arms with a common seed may err so that all together err 5% at most."""
    pairs = itertools.combinations(scores, 2)
    return ALPHA / max(1, sum(1 for a, b in pairs if scores[a].keys() & scores[b].keys()))


def sequential_difference(
    a: Scores, b: Scores, level: float, metric: Metric = SCORE, *, paired: bool = True
) -> Difference:
    """With a confidence sequence for the t-interval; beside it only what holds at any n.

    paired: False where equal replicates share nothing but their turn: no seed is won then.
    """
    difference, difference_R = paired_difference(a, b, metric), paired_scores(a, b)
    low, high = confidence_sequence(difference_R, alpha=level) or (None, None)
    return replace(
        difference,
        low=low,
        high=high,
        p_value=None if difference.p_value is None else min(1.0, 1 / e_value(difference_R)),
        interval_kind=CONFIDENCE_SEQUENCE,
        prob_better=(
            share_better(metric.sign * difference_R, CONFIDENCE)[0]
            if difference.n and paired
            else None
        ),
        in_turn=not paired,
    )


def _with_beside(
    difference: Difference,
    a: Scores,
    b: Scores,
    correct_a: Mapping[int, NDArray[np.float64]],
    correct_b: Mapping[int, NDArray[np.float64]],
) -> Difference:
    """The same with all that stands beside the t-interval."""
    difference = with_resampling(difference, paired_scores(a, b))
    common = sorted(a.keys() & b.keys())
    if difference.low is None or not all(r in correct_a and r in correct_b for r in common):
        return difference
    difference_SI = np.stack([correct_a[r] - correct_b[r] for r in common])
    low, high = examples_interval(difference_SI) or (None, None)
    return replace(difference, examples_low=low, examples_high=high)


def _logs(scores: Scores, losses: Scores) -> Scores:
    """Logarithms of the losses; none where a scored seed has no loss."""
    return {r: math.log(losses[r]) for r in scores} if scores.keys() <= losses.keys() else {}


def _summary(
    name: str, values: Scores, difference: Difference | None, log: Scores, ratio: Difference
) -> ArmSummary:
    """log: logarithms of the losses; ratio: their difference to the reference's."""
    mean, sd = mean_sd(np.array(list(values.values())))
    return ArmSummary(
        name=name,
        n=len(values),
        mean=mean,
        sd=sd,
        difference=difference,
        loss=math.exp(sum(log.values()) / len(log)) if log else math.nan,
        loss_ratio=math.exp(ratio.mean),
        loss_low=None if ratio.low is None else math.exp(ratio.low),
        loss_high=None if ratio.high is None else math.exp(ratio.high),
    )
