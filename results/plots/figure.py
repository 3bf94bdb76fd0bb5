"""What is a figure? Numbers of a run, how they are drawn, and what a reader is told beside."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from results.run import Run
from results.statistics.wording import arm_label, number
from results.tables import UNKNOWN, Table

# Sections of the report in their order: heading -> what it answers. Evidence and the arms' table
# come first; its figures stand among the tables.
SECTIONS = {
    "Evidence": "",
    "Curves": "How the chosen schedules trained.",
    "Schedules": "What the chosen configs did to lr, batch and noise.",
    "Search": "Where the search looked, what it found, and which parameter mattered.",
    "Measurements": "What was measured along the way.",
    "Where time went": "",
}
MAX_VALUES = 12  # of an array in one cell
SHAPE = re.compile("_[A-Z]+$")  # of an array, at the end of its name


def plain_table(caption: str, info: Any) -> Table | None:
    """The scalars and short arrays of a figure's arms; None where these are no dataclasses."""
    arms = [arm for arm in arms_of(info) if is_dataclass(arm)]
    if not arms:
        return None
    names = [f.name for f in fields(arms[0]) if _cell(getattr(arms[0], f.name)) is not None]
    rows = [[_cell(getattr(arm, name, None)) or UNKNOWN for name in names] for arm in arms]
    header = [SHAPE.sub("", name).replace("_", " ") for name in names]
    return Table(caption=caption, header=header, rows=rows).known()


def arms_of(info: Any) -> tuple[Any, ...]:
    """What a figure shows, one entry an arm; empty = there is nothing to show."""
    return tuple(getattr(info, "arms", info))


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """A figure of the registry.

    Attributes:
        title, section: in the report; a key of SECTIONS.
        info: the numbers: a tuple of arms, or an object with `.arms`; empty = nothing to show.
        draw: the ink, from the info into an empty figure.
        caption: from the info; None = what the figure says itself, and how many arms.
        table: the numbers behind it, from the info; None = every plain number of its arms.
    """

    title: str
    section: str
    info: Callable[[Run], Any]  # each info fits its own draw function
    draw: Callable[[Any, Figure], None]
    caption: Callable[[Any], str] | None = None
    table: Callable[[Any], Table | None] | None = None

    def __post_init__(self) -> None:
        if self.section not in SECTIONS:
            raise ValueError(
                f"the section of a figure must be one of {', '.join(SECTIONS)}, but got "
                f"{self.section!r}."
            )

    def numbers(self, info: Any) -> Table | None:
        """The table of the numbers behind the figure."""
        table = self.table or functools.partial(plain_table, f"{self.title}: numbers by arm")
        return table(info)


def _cell(value: Any) -> str | None:
    """Text of a scalar or a short list of numbers, else None."""
    if value is None or isinstance(value, bool):
        return UNKNOWN if value is None else str(value)
    if isinstance(value, str):
        return arm_label(value)
    if isinstance(value, int | float | np.number):
        return number(float(value))
    if isinstance(value, np.ndarray | tuple | list) and np.ndim(value) == 1:
        if len(value) <= MAX_VALUES and np.asarray(value).dtype.kind in "if":
            return ", ".join(number(float(entry)) for entry in value)
    return None
