"""What is a table of the report, and how do numbers become its cells?"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from results.statistics.compare import arm_label

MAX_ROWS = 60  # an arm; longer tables are thinned and say so
LONG_TABLE = 15  # rows
LONG_CELL = 32  # characters; longer text is broken into lines
MAX_VALUES = 12  # of an array in one cell
SHAPE = re.compile("_[A-Z]+$")  # of an array, at the end of its name
NUMBER = re.compile(r"[-+<]?[\d,.]+(e[-+]?\d+)?( ?%)?|-")


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A caption, a header and rows of text; the first cell of a row names it."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def is_long(self) -> bool:
        """True where a reader is asked before all rows are shown."""
        return len(self.rows) > LONG_TABLE

    def style_of(self, column: int) -> str:
        """How a column is set: number (flush right), long (wraps) or short."""
        cells = [row[column] for row in self.rows]
        if column and all(NUMBER.fullmatch(cell) for cell in cells):
            return "number"
        return "long" if max(map(len, cells), default=0) > LONG_CELL else "short"


def without_empty(table: Table) -> Table:
    """The table without columns in which nothing is known."""
    kept = [c for c in range(len(table.header)) if c == 0 or any(r[c] != "-" for r in table.rows)]
    return Table(
        caption=table.caption,
        header=[table.header[column] for column in kept],
        rows=[[row[column] for column in kept] for row in table.rows],
    )


def percent(value: float | None, decimals: int = 2) -> str:
    """ "97.31" for 0.9731; "-" where unknown."""
    return "-" if value is None or _is_missing(value) else f"{100 * value:.{decimals}f}"


def p_value(value: float | None) -> str:
    """Three decimals, "<0.001" below; "-" where there is none."""
    if value is None or _is_missing(value):
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def number(value: float | None) -> str:
    """Four digits, whole numbers with commas; "-" where unknown."""
    if value is None or _is_missing(value):
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """ "3.2 s", "4 min 05 s" or "2 h 07 min"; "-" where unknown."""
    if seconds is None or _is_missing(seconds):
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def thinned(length: int) -> list[int]:
    """At most MAX_ROWS row numbers, evenly spread, first and last included."""
    if length <= MAX_ROWS:
        return list(range(length))
    return sorted({round(place) for place in np.linspace(0, length - 1, MAX_ROWS)})


def plain_table(info: Any, caption: str) -> Table | None:
    """The scalars and short arrays of an info's arms; None where these are no dataclasses."""
    arms = [arm for arm in info.arms if is_dataclass(arm)]
    if not arms:
        return None
    names = [f.name for f in fields(arms[0]) if _cell(getattr(arms[0], f.name)) is not None]
    rows = [[_cell(getattr(arm, name, None)) or "-" for name in names] for arm in arms]
    header = [SHAPE.sub("", name).replace("_", " ") for name in names]
    return without_empty(Table(caption=caption, header=header, rows=rows))


def _cell(value: Any) -> str | None:
    """Text of a scalar or a short list of numbers, else None."""
    if value is None or isinstance(value, bool):
        return "-" if value is None else str(value)
    if isinstance(value, str):
        return arm_label(value)
    if isinstance(value, int | float | np.number):
        return number(float(value))
    if isinstance(value, np.ndarray | tuple | list) and np.ndim(value) == 1:
        if len(value) <= MAX_VALUES and np.asarray(value).dtype.kind in "if":
            return ", ".join(number(float(entry)) for entry in value)
    return None


def _is_missing(value: float) -> bool:
    return not math.isfinite(value)
