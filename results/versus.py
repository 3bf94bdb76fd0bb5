"""Every arm against one of them, on paired seeds: test accuracy and training loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

from results.arms import confirm_rows, confirm_scores, group_by_arm
from results.compare import Difference, Scores, paired_difference
from results.load import Run
from results.records import Row
from search_spaces.registry import unknown_name


@dataclass(frozen=True, kw_only=True, slots=True)
class Versus:
    """One arm and the reference.

    Attributes:
        accuracy: mean test accuracy, in [0, 1]; difference: paired, minus the reference's.
        loss: geometric mean of the final training loss (nats, eval mode); loss_ratio: over the
            reference's, paired; low, high: its 95% t-interval, taken of the logarithm, None for
            n<2 and for the reference itself. nan where a seed of either diverged.
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
    logs: dict[str, Scores] = {
        name: {
            row["replicate"]: math.log(row["final_train_loss"])
            for row in confirm_rows(arms[name])
            if row["replicate"] in values and _is_usable(row)
        }
        for name, values in scores.items()
    }
    return [
        _versus(name, scores[name], scores[reference], logs[name], logs[reference])
        for name in scores
    ]


def _is_usable(row: Row) -> bool:
    loss = row["final_train_loss"]
    return row["status"] == "completed" and bool(loss) and math.isfinite(loss)


def _versus(name: str, own: Scores, reference: Scores, log: Scores, log_ref: Scores) -> Versus:
    if len(log) < len(own) or len(log_ref) < len(reference):  # no mean over survivors
        log = {}
    ratio = paired_difference(log, log_ref)
    bounds = [None if bound is None else math.exp(bound) for bound in (ratio.low, ratio.high)]
    return Versus(
        arm=name,
        accuracy=sum(own.values()) / len(own),
        difference=paired_difference(own, reference),
        loss=math.exp(sum(log.values()) / len(log)) if log else math.nan,
        loss_ratio=math.exp(ratio.mean),
        low=bounds[0],
        high=bounds[1],
    )
