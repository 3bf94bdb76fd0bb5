"""WHAT happened and what it means: the records of runs, their statistics and figures."""

from __future__ import annotations

from typing import Any

from results.pictures import DRAWERS
from results.run import Run, load
from results.verification import repair, verify

__all__ = ["Run", "load", "repair", "verify"]


def _draw(value: Any) -> str:
    from results.plots import notebook  # late: matplotlib

    return notebook.draw_run(value) if isinstance(value, Run) else notebook.draw_comparison(value)


DRAWERS |= {"Run": _draw, "Comparison": _draw}
