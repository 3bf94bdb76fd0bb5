"""Every arm against one of them, on paired seeds: test accuracy and training loss."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from results.arms.comparison import confirm_scores, group_by_arm, looked_repeatedly, measured_rows
from results.records.schema import Row
from results.run import Run
from results.statistics.compare import (
    Difference,
    Scores,
    pair_level,
    paired_difference,
    sequential_difference,
)
from search_spaces.registry import unknown_name

# (own, reference) -> own minus reference, seed by seed.
Differ = Callable[[Scores, Scores], Difference]


@dataclass(frozen=True, kw_only=True, slots=True)
class Versus:
    """One arm and the reference.

    Attributes:
        accuracy: mean test accuracy, in [0, 1]; difference: paired, minus the reference's.
        loss: geometric mean of the final training loss (nats, eval mode); loss_ratio: over the
            reference's, paired; low, high: its interval, of the same kind as the difference's,
            taken of the logarithm; None for n<2, where it is unbounded, and for the reference
            itself. nan where a seed of either diverged.
    """

    arm: str
    accuracy: float
    difference: Difference
    loss: float
    loss_ratio: float
    low: float | None
    high: float | None


def versus(run: Run, reference: str) -> list[Versus]:
    """All arms with confirm trials against `reference`, in order of appearance.

    Raises:
        ValueError: no such arm, or it has no confirm trials.
    """
    arms = group_by_arm(run.rows())
    scores, _ = confirm_scores(arms, "test_accuracy")
    scores = {name: values for name, values in scores.items() if values}
    if reference not in scores:
        raise unknown_name("arm", reference, scores)
    measured, _ = measured_rows(arms)
    logs: dict[str, Scores] = {
        name: {
            replicate: math.log(row["final_train_loss"])
            for replicate, row in measured[name].items()
            if _is_usable(row)
        }
        for name in scores
    }
    differ: Differ = paired_difference
    if any(map(looked_repeatedly, run.manifests.values())):
        differ = functools.partial(sequential_difference, level=pair_level(scores))
    return [
        _versus(name, (scores[name], scores[reference]), (logs[name], logs[reference]), differ)
        for name in scores
    ]


def _is_usable(row: Row) -> bool:
    loss = row["final_train_loss"]
    return row["status"] == "completed" and bool(loss) and math.isfinite(loss)


def _versus(
    name: str, scores: tuple[Scores, Scores], logs: tuple[Scores, Scores], differ: Differ
) -> Versus:
    """scores, logs: this arm's and the reference's."""
    (own, reference), (log, log_ref) = scores, logs
    if len(log) < len(own) or len(log_ref) < len(reference):  # no mean over survivors
        log = {}
    ratio = differ(log, log_ref)
    bounds = [None if bound is None else math.exp(bound) for bound in (ratio.low, ratio.high)]
    return Versus(
        arm=name,
        accuracy=sum(own.values()) / len(own),
        difference=differ(own, reference),
        loss=math.exp(sum(log.values()) / len(log)) if log else math.nan,
        loss_ratio=math.exp(ratio.mean),
        low=bounds[0],
        high=bounds[1],
    )
