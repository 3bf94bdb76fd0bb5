"""What is a training judged by? A metric: its name, which way is better, and its unit."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass, replace
from typing import Literal

Goal = Literal["min", "max"]
POINTS, NATS = "points", "nats"
# The last word of a name that says which way is better.
RISING = ("accuracy", "auc", "f1")
FALLING = ("loss", "error", "perplexity", "nll", "rmse", "mae")
IN_NATS = ("loss", "nll")
NAME = re.compile("[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A number that a training reports.

    Attributes:
        goal: "max" where higher is better, "min" where lower is.
        unit: of its differences: "points" of an accuracy in [0, 1], which is told in percent;
            "nats" of a loss; "" where the name tells none.
    """

    name: str
    goal: Goal
    unit: str = ""

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is: the only place that knows."""
        return 1 if self.goal == "max" else -1

    @property
    def is_accuracy(self) -> bool:
        """True for a share in [0, 1] that guessing has a value of (chance)."""
        return self.unit == POINTS

    @property
    def scale(self) -> float:
        """What a value is told and drawn in: 100 of an accuracy (percent), else 1."""
        return 100.0 if self.is_accuracy else 1.0

    @property
    def test_name(self) -> str:
        """Its name on data that chose nothing: val_loss is judged by test_loss."""
        return f"test_{self.name.removeprefix('val_').removeprefix('test_')}"

    @property
    def of_test(self) -> Metric:
        """The same on data that chose nothing."""
        return replace(self, name=self.test_name)

    @property
    def worst(self) -> float:
        """The value of a training that has diverged, where it has no better one."""
        return -self.sign * math.inf

    def score(self, value: float) -> float:
        """The value with the sign that makes higher better; its own inverse.

        Example:
            >>> VAL_ACCURACY.score(0.9), make_metric("val_loss").score(3.2)
            (0.9, -3.2)
        """
        return self.sign * value


def goal_of(name: str) -> Goal | None:
    """Which way is better, as the last word of the name says; None where it does not.

    Example:
        >>> goal_of("val_loss"), goal_of("macro_f1"), goal_of("val_bleu")
        ('min', 'max', None)
    """
    word = name.rpartition("_")[2]
    return "max" if word in RISING else "min" if word in FALLING else None


@functools.cache
def make_metric(name: str, goal: str | None = None) -> Metric:
    """The metric of this name.

    Raises:
        ValueError: no name, or one that does not tell the goal, or tells another.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a metric: letters, digits and _")
    known, word = goal_of(name), name.rpartition("_")[2]
    if goal not in (None, "min", "max") or (known is None and goal is None):
        raise ValueError(f"{name!r} does not tell whether lower or higher is better: min or max?")
    if known is not None and goal not in (None, known):
        raise ValueError(f"of {name!r} the {known} is best, not the {goal}")
    unit = POINTS if word == "accuracy" else NATS if word in IN_NATS else ""
    wanted: Goal = "min" if (goal or known) == "min" else "max"
    return Metric(name=name, goal=wanted, unit=unit)


VAL_ACCURACY = make_metric("val_accuracy")
