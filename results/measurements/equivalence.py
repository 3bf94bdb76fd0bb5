"""Where does SGD move as gradient descent on the smoothed function? Numbers, and their words.

Legend: y a noisy path, z that of gradient descent on f smoothed by delta = lr C/sqrt(batch), both
from one start (trainables/functions/equivalence.py). All numbers are per coordinate, means over
starts, then over seeds with a 95% t-interval.
"""

from __future__ import annotations

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
    noisy_value: float | None = None
    smoothed_value: float | None = None
    plain_value: float | None = None

    @property
    def holds(self) -> bool:
        """True where the mean path is that of explicit smoothing, within what was measured."""
        return self.covered is not None and self.covered >= EXACT_COVERAGE


def read_equivalence(run: Run) -> list[Paths]:
    """Every arm of a run with measure=[equivalence], in order of function, delta and lr."""
    by_trial = run.epochs_by_trial()
    trials: dict[tuple[str, str, str], list[Row]] = {}
    for row in run.rows():
        measured = [
            epoch for epoch in by_trial.get((row["run_id"], row["trial_key"]), [])
            if epoch["measured"] and "equivalence" in epoch["measured"]
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
        noisy_value=_mean(one["noisy_value"] for one in told),
        smoothed_value=_mean(one["smoothed_value"] for one in told),
        plain_value=_mean(one["plain_value"] for one in told),
    )


def _mean(values: Iterable[float]) -> float | None:
    kept = list(values)
    return float(np.mean(kept)) if kept else None


def equivalence_table(arms: list[Paths]) -> Table:
    """One row an arm."""
    header = ["function", "delta", "lr", "batch", "gap", "95% interval", "covered", "spread/delta",
              "f of SGD", "smoothed", "without"]  # fmt: skip
    return Table(
        caption="mean path of SGD against descent on the smoothed function",
        header=header,
        rows=[
            [
                arm.function,
                *(f"{value:.3g}" for value in (arm.delta, arm.lr, arm.batch_size)),
                _text(arm.gap),
                UNKNOWN if arm.low is None else f"[{arm.low:.3g}, {arm.high:.3g}]",
                _text(arm.covered),
                _text(arm.spread),
                *(_text(getattr(arm, end)) for end in ENDS),
            ]
            for arm in arms
        ],
        note="gap: distance over that from start to minimizer; covered: 0.95 where it is zero; "
        "- = a path left the finite numbers",
    )


def _text(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3g}"


def describe(run: Run) -> list[str]:
    """The table, and in how many arms the statement holds."""
    arms = read_equivalence(run)
    if not arms:
        return []
    holding = sum(arm.holds for arm in arms)
    return [
        equivalence_table(arms).text(),
        f"SGD is not told apart from explicit smoothing in {holding} of {len(arms)} arms",
    ]
