"""Which plain numbers of a figure's info make a table?"""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from results.statistics.wording import arm_label, number
from results.tables import Table

MAX_VALUES = 12  # of an array in one cell
SHAPE = re.compile("_[A-Z]+$")  # of an array, at the end of its name


def plain_table(info: Any, caption: str) -> Table | None:
    """The scalars and short arrays of an info's arms; None where these are no dataclasses."""
    arms = [arm for arm in info.arms if is_dataclass(arm)]
    if not arms:
        return None
    names = [f.name for f in fields(arms[0]) if _cell(getattr(arms[0], f.name)) is not None]
    rows = [[_cell(getattr(arm, name, None)) or "-" for name in names] for arm in arms]
    header = [SHAPE.sub("", name).replace("_", " ") for name in names]
    return Table(caption=caption, header=header, rows=rows).known()


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
