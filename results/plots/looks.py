"""How are the lines of a figure told apart? By colour and marker, also in grey print."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.ticker import (
    FixedLocator,
    LogLocator,
    MaxNLocator,
    NullLocator,
    StrMethodFormatter,
)

from results.plots.style import color_of
from results.statistics.wording import arm_label

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h")
LIGHTEST = 0.88  # of viridis; above, yellow is lost on white
# A log axis of fewer decades gets plain numbers at these multiples of powers of ten.
PLAIN_TICKS = ((0.8, (1.0, 2.0, 5.0)), (1.8, (1.0, 3.0)))
MAX_TICKS = 8  # of values with a tick each
DODGE = 0.03  # of the distance between points: error bars of several lines side by side


class Look(NamedTuple):
    """Colour and marker of a line or cloud."""

    color: str
    marker: str


def ordered_looks(count: int) -> list[Look]:
    """From dark to light, for lines that have an order (batch sizes, say)."""
    place_L = np.linspace(0.0, LIGHTEST, count)
    colors = [to_hex(colormaps["viridis"](place)) for place in place_L]
    return [Look(*look) for look in zip(colors, itertools.cycle(MARKERS), strict=False)]


def arm_looks(names: Sequence[str]) -> dict[str, Look]:
    """Every arm in its own colour where these differ, else from dark to light."""
    colors = [color_of(name) for name in names]
    looks = ordered_looks(len(names))
    if len(set(colors)) == len(names):
        looks = [look._replace(color=color) for look, color in zip(looks, colors, strict=True)]
    return dict(zip(names, looks, strict=True))


def short_labels(names: Sequence[str]) -> dict[str, str]:
    """Arms for readers; the space's name is dropped where all are points of the same space."""
    parts = [name.partition(" ") for name in names]
    if len(names) > 1 and all(point for _, _, point in parts) and len({p[0] for p in parts}) == 1:
        return {name: point for name, (_, _, point) in zip(names, parts, strict=True)}
    return {name: arm_label(name) for name in names}


def dodge(x_E: Sequence[float] | np.ndarray, place: int, count: int) -> np.ndarray:
    """x moved a little, so that the error bars of `count` lines stand side by side."""
    value_E = np.asarray(x_E, dtype=np.float64)
    gap = float(np.diff(np.unique(value_E)).min()) if len(np.unique(value_E)) > 1 else 1.0
    return value_E + gap * min(DODGE, 0.5 / count) * (place - (count - 1) / 2)


def epoch_axis(axes: Axes, epochs: Sequence[int] | np.ndarray) -> None:
    """An x axis of whole epochs: those measured, where they are few."""
    value_E = np.unique(np.asarray(epochs))
    few = FixedLocator(value_E.tolist()) if 0 < len(value_E) <= MAX_TICKS else None
    axes.xaxis.set_major_locator(few or MaxNLocator(integer=True))
    axes.set_xlabel("epoch")


def grid_axis(axes: Axes, values: Sequence[float] | np.ndarray) -> None:
    """A log x axis with a tick at every value of a grid (every second of many)."""
    value_S = np.unique(np.asarray(values))
    shown_S = value_S[:: max(1, math.ceil(len(value_S) / MAX_TICKS))]
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(shown_S.tolist()))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def log_axis(axes: Axes, which: str, values: Sequence[float] | np.ndarray) -> None:
    """A log x or y axis with plain numbers where the positive values span few decades."""
    value_N = np.asarray(values, dtype=np.float64)
    value_N = value_N[np.isfinite(value_N) & (value_N > 0)]
    if not len(value_N):
        return
    axes.set(**{f"{which}scale": "log"})
    decades = math.log10(value_N.max() / value_N.min())
    ticks = next((ticks for limit, ticks in PLAIN_TICKS if decades < limit), None)
    if ticks:
        axis = axes.xaxis if which == "x" else axes.yaxis
        axis.set_major_locator(LogLocator(subs=ticks))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_locator(NullLocator())
