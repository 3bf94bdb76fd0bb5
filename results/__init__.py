"""WHAT happened and what it means: the records of runs, their statistics and figures."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from results.pictures import DRAWERS

if TYPE_CHECKING:
    from results.run import Run, load
    from results.verification import repair, verify

__all__ = ["Run", "load", "repair", "verify"]

HOMES = {"Run": "run", "load": "run", "repair": "verification", "verify": "verification"}


def __getattr__(name: str) -> Any:
    """A public name when it is asked for: whoever wants one room alone needs no pyarrow."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
    globals()[name] = value
    return value


def _draw(value: Any) -> str:
    from results.plots import notebook  # late: matplotlib
    from results.run import Run

    return notebook.draw_run(value) if isinstance(value, Run) else notebook.draw_comparison(value)


DRAWERS |= {"Run": _draw, "Comparison": _draw}
