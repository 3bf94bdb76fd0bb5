"""Which arm is better, and how sure can we be? Pure statistics on scores of paired seeds.

Scores are accuracies in [0, 1], higher is better, from trainings of equal length in samples;
replicate i of every arm shares its seed. Differences are spoken of in points (100 x accuracy).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from scipy.special import stdtr, stdtrit

from search_spaces.space import BASELINE

BASELINE_LABEL = "your default (not tuned)"
CONFIDENCE = 0.95
FEW_SEEDS = 5  # fewer are called preliminary
MIN_EFFECT = 0.002  # accuracy; smaller differences do not matter
SAME = 1e-12  # accuracies closer than this differ by rounding only

Scores = Mapping[int, float]  # replicate -> score


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Scores of one arm minus those of another, seed by seed.

    Attributes:
        n: seeds that both arms have. num_unpaired: scores that only one of them has.
        mean: nan for n=0. sd: sample standard deviation; nan for n<2.
        low, high: 95% t-interval of the mean; None for n<2 and when all differences are equal.
        p_value: two-sided paired t-test; None for n<2 or when all differences are equal.
    """

    n: int
    mean: float
    sd: float
    low: float | None
    high: float | None
    p_value: float | None
    num_unpaired: int = 0

    @property
    def separated(self) -> bool:
        """True when the interval excludes zero."""
        return self.low is not None and self.high is not None and self.low * self.high > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmSummary:
    """One arm's scores; mean is nan for n=0, sd for n<2. difference: to the reference arm."""

    name: str
    n: int
    mean: float
    sd: float
    difference: Difference | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What trainings took in all."""

    samples_seen: int
    optimizer_steps: int
    train_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmDetails:
    """What a reader wants to know beside an arm's scores.

    Attributes:
        params: of the chosen config. config_key: its identity.
        search, confirm: costs; search includes the select trials.
        num_trials: by status, all roles.
        on_edge: chosen parameters at an end of their range.
    """

    params: Mapping[str, float]
    config_key: str
    search: Cost
    confirm: Cost
    num_trials: Mapping[str, int]
    on_edge: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The arms side by side.

    Attributes:
        arms: in the order given. pairs: (a, b) -> a minus b, for every pair of searched arms.
        preliminary: fewer than 5 paired seeds somewhere.
        verdict: one honest sentence.
        details, warnings: filled in where the scores come from a run.
    """

    reference: str
    min_effect: float
    arms: tuple[ArmSummary, ...]
    pairs: Mapping[tuple[str, str], Difference]
    preliminary: bool
    verdict: str
    metric: str = "score"
    details: Mapping[str, ArmDetails] = field(default_factory=lambda: MappingProxyType({}))
    warnings: tuple[str, ...] = ()


def paired_difference(a: Scores, b: Scores) -> Difference:
    """a minus b over the replicates that both have.

    Example:
        >>> d = paired_difference({0: 1.0, 1: 2.0, 2: 3.0}, {0: 0.0, 1: 0.0, 2: 0.0, 3: 9.0})
        >>> d.n, d.mean, d.sd, round(d.low, 3), round(d.high, 3), d.num_unpaired
        (3, 2.0, 1.0, -0.484, 4.484, 1)
    """
    common = sorted(a.keys() & b.keys())
    n, num_unpaired = len(common), len(a.keys() ^ b.keys())
    difference_R = np.array([a[replicate] - b[replicate] for replicate in common])
    mean, sd = _mean_sd(difference_R)
    low = high = p_value = None
    if n >= 2 and sd <= SAME:
        sd = 0.0  # ties of a coarse score: no spread to build an interval on
    elif n >= 2:
        error = sd / math.sqrt(n)
        half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * error
        low, high = mean - half, mean + half
        p_value = 2 * float(stdtr(n - 1, -abs(mean) / error))
    return Difference(
        n=n, mean=mean, sd=sd, low=low, high=high, p_value=p_value, num_unpaired=num_unpaired
    )


def compare(
    scores: Mapping[str, Scores], *, reference: str = BASELINE, min_effect: float = MIN_EFFECT
) -> Comparison:
    """Every arm against the reference and every searched arm against every other.

    Args:
        scores: arm -> replicate -> accuracy. An arm may be empty, the reference may be missing.
        min_effect: smallest difference (accuracy) that is worth calling better.
    """
    arms = tuple(_summary(name, scores, reference) for name in scores)
    searched = [name for name in scores if name != reference]
    pairs = {
        (a, b): paired_difference(scores[a], scores[b])
        for a, b in itertools.combinations(searched, 2)
    }
    used = [*pairs.values(), *(arm.difference for arm in arms if arm.difference)]
    return Comparison(
        reference=reference,
        min_effect=min_effect,
        arms=arms,
        pairs=pairs,
        preliminary=min((d.n for d in used), default=0) < FEW_SEEDS,
        verdict=_verdict(scores, reference, min_effect),
    )


def arm_label(name: str) -> str:
    """The arm's name for readers: the baseline is "your default (not tuned)"."""
    return BASELINE_LABEL if name == BASELINE else name


def points(*values: float) -> list[str]:
    """Accuracies in points with one decimal, or two where one would show a false zero."""
    decimals = 2 if any(SAME < abs(value) < 0.0005 for value in values) else 1
    return [f"{100 * value + 0.0:.{decimals}f}" for value in values]


def interval_text(difference: Difference) -> str:
    """ "[0.3, 2.1]" in points, or why there is none."""
    if difference.low is None or difference.high is None:
        why = "from one seed" if difference.n < 2 else "from equal differences"
        return f"(no interval {why})"
    _, low, high = points(difference.mean, difference.low, difference.high)
    return f"[{low}, {high}]"


def _summary(name: str, scores: Mapping[str, Scores], reference: str) -> ArmSummary:
    mean, sd = _mean_sd(np.array(list(scores[name].values())))
    difference = None
    if name != reference and reference in scores:
        difference = paired_difference(scores[name], scores[reference])
    return ArmSummary(name=name, n=len(scores[name]), mean=mean, sd=sd, difference=difference)


def _mean_sd(score_R: np.ndarray) -> tuple[float, float]:
    mean = float(score_R.mean()) if score_R.size else math.nan
    return mean, float(score_R.std(ddof=1)) if score_R.size > 1 else math.nan


def _verdict(scores: Mapping[str, Scores], reference: str, min_effect: float) -> str:
    finished = {name: values for name, values in scores.items() if values}
    ranked = _rank({name: v for name, v in finished.items() if name != reference})
    if len(finished) < 2 or not ranked:
        only = ", ".join(arm_label(name) for name in finished) or "no arm"
        return f"nothing to compare yet: {only} has finished confirm trials."
    top, *others = ranked
    parts = []
    if reference in finished:
        parts.append(_claim(top, reference, scores, min_effect))
    if others and not parts:
        parts.append(_claim(top, others[0], scores, min_effect))
    elif others:
        parts.append(_lead(top, others[0], scores, min_effect))
    return "; ".join(parts) + "."


def _rank(scores: Mapping[str, Scores]) -> list[str]:
    """Best mean first, over the replicates that all arms have (all of each arm's if none)."""
    common = set.intersection(*(set(values) for values in scores.values())) if scores else set()

    def mean(name: str) -> float:
        values = scores[name]
        return float(np.mean([values[i] for i in common or values]))

    return sorted(scores, key=mean, reverse=True)


def _claim(a: str, b: str, scores: Mapping[str, Scores], min_effect: float) -> str:
    """One comparison in words: who beats whom, equal, or undecided."""
    difference = paired_difference(scores[a], scores[b])
    if difference.low is None or difference.high is None:
        return _undecided(a, b, difference)
    if difference.separated and abs(difference.mean) >= min_effect:
        winner, loser = (a, b) if difference.mean > 0 else (b, a)
        shown = difference if difference.mean > 0 else paired_difference(scores[b], scores[a])
        return (
            f"{arm_label(winner)} beats {arm_label(loser)} by {points(shown.mean)[0]} points "
            f"at equal samples, 95% t-interval {interval_text(shown)}, {_seeds(shown)}"
        )
    if max(abs(difference.low), abs(difference.high)) < min_effect:
        return (
            f"no difference that matters: {_minus(a, b, difference)}, "
            f"within {points(min_effect)[0]} points, {_seeds(difference)}"
        )
    return _undecided(a, b, difference)


def _lead(top: str, following: str, scores: Mapping[str, Scores], min_effect: float) -> str:
    """Is the best searched arm separated from the next one?"""
    difference = paired_difference(scores[top], scores[following])
    sure = difference.separated and difference.mean >= min_effect
    verb = "is separated from" if sure else "is not separated from"
    label = arm_label(following)
    return f"{top} {verb} the next arm, {label}: {_minus(top, following, difference)}"


def _undecided(a: str, b: str, difference: Difference) -> str:
    if difference.n == 0:
        return f"undecided: {arm_label(a)} and {arm_label(b)} have no seed in common"
    why = ", below the minimum effect" if difference.separated else ""
    return f"undecided: {_minus(a, b, difference)}{why}, {_seeds(difference)}"


def _minus(a: str, b: str, difference: Difference) -> str:
    if difference.n == 0:
        return "no seed in common"
    shown = points(difference.mean)[0]
    return f"{arm_label(a)} minus {arm_label(b)} = {shown} points {interval_text(difference)}"


def _seeds(difference: Difference) -> str:
    text = f"n={difference.n} paired seed{'s' if difference.n != 1 else ''}"
    if difference.num_unpaired:
        text += f", {difference.num_unpaired} unpaired left out"
    return text + (" (preliminary)" if difference.n < FEW_SEEDS else "")
