"""What does a user's function answer when it is asked for a report? All of it can be pickled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from trainables.failures import Lost


class Abandoned(BaseException):
    """Raised out of `report`: nobody wants this training any more. Not for the user's except."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochReport:
    """What one call of `report` told, checked; `state` serialized, `correct` as a bitmap.

    metrics: the numbers that have no column of their own, test_* included. seconds: that the
    function took since its report before, or its start; nan of one that did not tell.
    """

    val_accuracy: float | None
    val_loss: float | None
    train_loss: float | None
    train_accuracy: float | None
    test_accuracy: float | None
    test_loss: float | None
    test_correct: bytes | None
    state: bytes | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = math.nan

    def value(self, name: str) -> float | None:
        """The number of this name; None where it was not told."""
        field_value = getattr(self, name, None)
        return field_value if isinstance(field_value, float) else self.metrics.get(name)

    def is_finite(self, objective: str) -> bool:
        """False for a training that has diverged: a loss or the objective is no number."""
        values = map(self.value, ("val_accuracy", "val_loss", "train_loss", objective))
        return all(math.isfinite(v) for v in values if v is not None)


@dataclass(frozen=True, slots=True)
class Ready:
    """The function is imported and waits to be asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """An exception: what of it can travel; see `FunctionError`.

    is_exception: False of those that are to end the process (SystemExit). name: its repr.
    """

    is_exception: bool
    name: str
    line: str
    text: str
    place: str
    status: Lost | None


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """The user's function has returned, or raised `failure`; hardware: fields of an Outcome."""

    failure: Failure | None
    hardware: Mapping[str, Any]


class Turns(Protocol):
    """How the function's side takes turns with ours: it runs ahead as far as it is let."""

    is_over: bool

    def tell(self, answer: EpochReport | End | Ready) -> None:
        """Answer what was asked."""
        ...

    def wait(self) -> None:
        """Until the next report may be made; raises Abandoned if it never may."""
        ...
