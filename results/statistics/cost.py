"""What does it cost? Device-hours: what a training holds, times how long it holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEAST_HOURS = 0.001  # 4 s; less is told as less than this


@dataclass(frozen=True, kw_only=True, slots=True)
class Devices:
    """What one training holds while it lasts.

    Attributes:
        count: above 0; may be a fraction of one. kind: GPU; CPU where it holds no GPU.
    """

    count: float
    kind: str

    def hours(self, seconds: float) -> float:
        """Device-hours of this much wall time of trainings.

        Example:
            >>> Devices(count=0.5, kind="GPU").hours(7200)
            1.0
        """
        return self.count * seconds / 3600

    def text(self, seconds: float) -> str:
        """The same in words.

        Example:
            >>> Devices(count=2, kind="CPU").text(1080), Devices(count=1, kind="GPU").text(2)
            ('0.6 CPU hours', '<0.001 GPU hours')
        """
        return f"{hours_text(self.hours(seconds))} {self.kind} hours"


def devices_of(slots: Mapping[str, Any]) -> Devices:
    """What a training of a run holds, from `slots` of its manifest."""
    gpus = float(slots.get("gpus_per_trial") or 0.0)
    cpus = float(slots.get("cpus_per_trial") or 1.0)
    return Devices(count=gpus or cpus, kind="GPU" if gpus else "CPU")


def hours_text(hours: float) -> str:
    """Two digits, whole numbers from 10 on.

    Example:
        >>> [hours_text(h) for h in (0.0, 0.0004, 0.0123, 0.6, 4.25, 1234.5)]
        ['0', '<0.001', '0.012', '0.6', '4.2', '1,234']
    """
    if 0 < hours < LEAST_HOURS:
        return f"<{LEAST_HOURS:g}"
    return f"{hours:,.0f}" if hours >= 9.95 else f"{hours:.2g}"


def seconds_of(row: Mapping[str, Any]) -> float:
    """Wall time of a trial's row; of records from before there was any, what it trained."""
    return float(row.get("wall_seconds") or row.get("train_seconds") or 0.0)
