"""Trainings of a user's own that cost nothing: what remains is what surrounds them."""

from __future__ import annotations

import importlib
import time
from typing import Any

LIBRARIES = ("pandas", "scipy.stats", "sklearn.metrics")  # as a script of data may import


def report_only(schedule: Any, seed: int, report: Any) -> None:
    """`ms` is the mean time in `report` so far, after the first."""
    spent = 0.0
    for number in range(schedule.num_reports):
        begun = time.perf_counter()
        report(val_loss=1.0, test_loss=1.0, ms=1000 * spent / max(1, number - 1))
        spent += time.perf_counter() - begun if number else 0.0


def with_libraries(schedule: Any, seed: int, report: Any) -> None:
    """The same after imports."""
    for name in LIBRARIES:
        importlib.import_module(name)
    report_only(schedule, seed, report)
