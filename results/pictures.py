"""What does a notebook show below the words and tables of a value? Figures, by who can draw them.

Figures are drawn from runs and comparisons, which therefore cannot import them: the package's face
(results/__init__.py) says who draws what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Name of a class -> its figures as HTML, '' where there is nothing to show.
DRAWERS: dict[str, Callable[[Any], str]] = {}


def pictures_of(value: object) -> str:
    """The figures of this value as HTML; '' of a class that nobody draws."""
    draw = DRAWERS.get(type(value).__name__)
    return draw(value) if draw is not None else ""
