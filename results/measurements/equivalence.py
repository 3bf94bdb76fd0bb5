"""Where does SGD move as gradient descent on the smoothed function? Numbers, and their words.

Legend: y a noisy path, z that of gradient descent on f smoothed by delta = lr C/sqrt(batch), both
from one start (trainables/functions/equivalence.py), with equal lr and as many steps. All numbers
are per coordinate, means over starts, then over seeds with a 95% t-interval.

"Not told apart" has a chance of its own: of N coordinates (all starts and seeds) each interval
misses an equal z with 5 %, and a verdict of "told apart" needs more than 10 % misses.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from results.arms.choice import params_of
from results.records.schema import Row
from results.run import Run
from results.statistics.intervals import t_half_width
from results.tables import UNKNOWN, Table

EXACT_COVERAGE = 0.90  # of the coordinates; 95 % are expected where the mean path is that of z
ROUNDING = 1e-9
LARGEST_SHIFT = 4.0  # more is seen in a single coordinate, with 97 %
POWER = 0.8  # of seeing the gap that is told as visible
# Of runs that did not record them: starts times variables, and paths of each.
NUM_COORDINATES, NUM_PATHS = 20, 100
ENDS = ("noisy_value", "smoothed_value", "plain_value")


@dataclass(frozen=True, kw_only=True, slots=True)
class Paths:
    """One arm on one function, after its last epoch.

    Attributes:
        lr, batch_size, delta: of the last step.
        gap: root of the mean squared distance between the mean of y and z, over that from the
            start to the minimizer; 0 is the papers' statement. None, as the others, where a path
            left the finite numbers.
        low, high: its 95% interval over seeds; None of fewer than two.
        covered: share of coordinates whose interval of the mean of y holds z.
        spread: standard deviation of y over the delta sqrt(kappa) of the theory.
        false_alarm: chance that equal paths, of as many coordinates, are told apart.
        visible: the gap, equal in all coordinates, that is told apart in 80 %.
        noisy_value, smoothed_value, plain_value: f - f* of y, of z, and of descent without noise.
    """

    function: str
    arm: str
    lr: float
    batch_size: int
    delta: float
    num_seeds: int
    gap: float | None = None
    low: float | None = None
    high: float | None = None
    covered: float | None = None
    spread: float | None = None
    false_alarm: float | None = None
    visible: float | None = None
    noisy_value: float | None = None
    smoothed_value: float | None = None
    plain_value: float | None = None

    @property
    def holds(self) -> bool:
        """True where the mean path is that of explicit smoothing, within what was measured."""
        return self.covered is not None and self.covered >= EXACT_COVERAGE


def read_equivalence(run: Run) -> list[Paths]:
    """Every arm of a run with measure=[equivalence], in order of function, delta and lr."""
    rows = run.rows()
    by_trial = run.epochs_by_trial(rows, "measured")
    trials: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        measured = [
            epoch for epoch in by_trial.get((row["run_id"], row["trial_key"]), [])
            if "equivalence" in epoch["measured"]
        ]  # fmt: skip
        if row["role"] == "confirm" and measured:
            last = max(measured, key=lambda epoch: int(epoch["epoch"]))
            key = (row["dataset"], row["space"], json.dumps(params_of(row), sort_keys=True))
            trials.setdefault(key, []).append(last)
    arms = [_paths(function, space, epochs) for (function, space, _), epochs in trials.items()]
    return sorted(arms, key=lambda arm: (arm.function, arm.delta, arm.lr))


def _paths(function: str, space: str, epochs: list[Row]) -> Paths:
    told = [json.loads(epoch["measured"])["equivalence"] for epoch in epochs]
    paths = Paths(
        function=function,
        arm=space,
        lr=epochs[0]["lr"],
        batch_size=epochs[0]["batch_size"],
        delta=epochs[0]["delta"],
        num_seeds=len(told),
    )
    if any(value is None for one in told for value in one.values()):
        return paths
    num = sum(one.get("coordinates", NUM_COORDINATES) for one in told)
    num_paths = told[0].get("paths", NUM_PATHS)
    error = np.array([math.sqrt(one["spread"] / num_paths / one["scale"]) for one in told])
    gaps = np.array([math.sqrt(max(one["gap"], 0.0) / one["scale"]) for one in told])
    half = float(t_half_width(len(gaps), gaps.std(ddof=1))) if len(gaps) > 1 else None
    mean = float(gaps.mean())
    return replace(
        paths,
        gap=mean,
        low=None if half is None else max(0.0, mean - half),
        high=None if half is None else mean + half,
        covered=_mean(one["covered"] for one in told),
        spread=_mean(math.sqrt(one["spread"] / one["level"]) for one in told if one["level"]),
        false_alarm=told_apart_chance(num, num_paths, shift=0.0),
        visible=float(error.mean()) * visible_shift(num, num_paths),
        noisy_value=_mean(one["noisy_value"] for one in told),
        smoothed_value=_mean(one["smoothed_value"] for one in told),
        plain_value=_mean(one["plain_value"] for one in told),
    )


def told_apart_chance(num_coordinates: int, num_paths: int, *, shift: float) -> float:
    """Chance that fewer than EXACT_COVERAGE of the intervals hold z.

    Args:
        num_coordinates: of all starts and seeds, independent. num_paths: of each start, of normal
            spread. shift: of E y from z in every coordinate, in standard errors of the mean of y.

    Example:
        >>> round(told_apart_chance(60, 100, shift=0.0), 3)
        0.03

    Source: ours; a miss is Student's t beyond its 97.5 % quantile, non-central where shifted.
    """
    from scipy.stats import binom, nct, t

    degrees = num_paths - 1
    edge = t.ppf(0.975, degrees)
    miss = nct.sf(edge, degrees, shift) + nct.cdf(-edge, degrees, shift)
    allowed = math.floor((1.0 - EXACT_COVERAGE) * num_coordinates + ROUNDING)
    return float(binom.sf(allowed, num_coordinates, miss))


@functools.cache
def visible_shift(num_coordinates: int, num_paths: int) -> float:
    """The shift of every coordinate, in standard errors, that is told apart with POWER."""
    from scipy.optimize import brentq

    def missing(shift: float) -> float:
        return told_apart_chance(num_coordinates, num_paths, shift=shift) - POWER

    return float(brentq(missing, 0.0, LARGEST_SHIFT))


def _mean(values: Iterable[float]) -> float | None:
    kept = list(values)
    return float(np.mean(kept)) if kept else None


def equivalence_table(arms: list[Paths]) -> Table:
    """One row an arm."""
    header = ["function", "delta", "lr", "batch", "gap", "95% interval", "visible", "covered",
              "spread/delta", "f of SGD", "smoothed", "without"]  # fmt: skip
    return Table(
        caption="mean path of SGD against descent on the smoothed function",
        header=header,
        rows=[
            [
                arm.function,
                *(f"{value:.3g}" for value in (arm.delta, arm.lr, arm.batch_size)),
                _text(arm.gap),
                UNKNOWN if arm.low is None else f"[{arm.low:.3g}, {arm.high:.3g}]",
                _text(arm.visible),
                _text(arm.covered),
                _text(arm.spread),
                *(_text(getattr(arm, end)) for end in ENDS),
            ]
            for arm in arms
        ],
        note="gap: distance over that from start to minimizer; visible: the gap that would be "
        "told apart in 80 %; covered: 0.95 where the gap is zero; - = a path left the finite "
        "numbers; SGD and smoothed descent take equal lr and steps, a row's own",
    )


def _text(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3g}"


def describe(run: Run) -> list[str]:
    """The table, in how many arms the statement holds, and what that verdict is worth."""
    arms = read_equivalence(run)
    return [equivalence_table(arms).text(), *verdict(arms)] if arms else []


def verdict(arms: list[Paths]) -> list[str]:
    """In how many arms the statement holds, and how often equal paths are told apart."""
    holding = sum(arm.holds for arm in arms)
    lines = [f"SGD is not told apart from explicit smoothing in {holding} of {len(arms)} arms"]
    if chances := [arm.false_alarm for arm in arms if arm.false_alarm is not None]:
        lines.append(
            f"  (equal paths would be told apart in {100 * max(chances):.1f} % of arms, a gap as "
            f"large as `visible` in {100 * POWER:.0f} %: what is smaller stays unseen)"
        )
    return lines
