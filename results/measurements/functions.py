"""How do the ways of minimising a function compare, over functions and independent starts?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from results.records.schema import trial_from_row
from results.run import Run
from results.statistics.intervals import CONFIDENCE
from results.tables import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Solved:
    """One method on one function.

    Attributes:
        error: mean of f - f* at the end over all starts; 0 is perfect.
        num_solved, num_starts: starts that ended within the tolerance of f*, and all.
        low, high: 95% Wilson interval of the share solved.
    """

    function: str
    method: str
    error: float
    num_solved: int
    num_starts: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Share of starts solved, in [0, 1]."""
        return self.num_solved / self.num_starts


def solved(runs: Iterable[Run]) -> list[Solved]:
    """Every method on every function, in the order of the runs and their arms."""
    from scipy.stats import binomtest

    by_method: dict[tuple[str, str], list[tuple[float, int, int]]] = {}
    for run in runs:
        for row in run.rows():
            is_function = trial_from_row(row).recipe.trainer == "function"
            if row["role"] == "confirm" and is_function and row["test_accuracy"] is not None:
                num = int(run.manifests[row["run_id"]]["num_test"])
                trial = (row["test_loss"], round(row["test_accuracy"] * num), num)
                by_method.setdefault((row["dataset"], row["space"]), []).append(trial)
    table = []
    for (function, method), trials in by_method.items():
        errors, counts, nums = zip(*trials, strict=True)
        ci = binomtest(sum(counts), sum(nums)).proportion_ci(CONFIDENCE, method="wilson")
        table.append(
            Solved(
                function=function,
                method=method,
                error=float(np.mean(errors)),
                num_solved=sum(counts),
                num_starts=sum(nums),
                low=float(ci.low),
                high=float(ci.high),
            )
        )
    return table


def functions_table(solved: Iterable[Solved]) -> Table:
    """Every method on every function: its mean error, and how many starts it solved."""
    rows = []
    for entry in solved:
        interval = f"[{100 * entry.low:.0f} %, {100 * entry.high:.0f} %]"
        share = f"{entry.num_solved}/{entry.num_starts} {interval}"
        rows.append([entry.function, entry.method, f"{entry.error:.4g}", share])
    caption = (
        "Mean f - f* at the end, and starts that ended within tolerance of the minimum with 95% "
        "Wilson interval"
    )
    header = ["function", "method", "mean f - f*", "solved"]
    return Table(caption=caption, header=header, rows=rows)
