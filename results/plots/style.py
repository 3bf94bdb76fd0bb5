"""How do all figures look alike? One colour an arm, one size, one legend, the same axes."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import (
    FixedLocator,
    LogLocator,
    MaxNLocator,
    NullLocator,
    StrMethodFormatter,
)

from results.statistics.wording import arm_label
from search_spaces.families import FAMILIES
from search_spaces.families.family import Color
from search_spaces.space import BASELINE, is_baseline

WIDTH_INCHES, DPI = 10.0, 120  # 1200 px wide
GREY = "#7f7f7f"
# Okabe & Ito 2008, told apart by colour-blind readers; yellow is darkened for white paper.
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#B8A800"
BLUE, RED, PURPLE, BLACK = "#0072B2", "#D55E00", "#CC79A7", "#000000"
PALETTE: dict[Color, str] = {
    **{"blue": BLUE, "red": RED, "green": GREEN, "orange": ORANGE},
    **{"purple": PURPLE, "sky": SKY, "yellow": YELLOW, "black": BLACK},
}
COLORS = {
    **{name: PALETTE[family.color] for name, family in FAMILIES.items() if family.color},
    **{"linear": SKY, "step": ORANGE, "lr_batch": BLACK, "momentum": GREEN, "explicit": YELLOW},
    "warmup": RED,
    **{"lr": ORANGE, "batch": SKY, "hybrid": PURPLE, BASELINE: GREY},
    **{"wsd_linear": PURPLE, "wsd_sqrt": SKY, "floor": BLUE, "seesaw": GREEN},
}
SHADES = 3.0  # levels, lighter and darker, that points and runs of a space are told apart by
# These share their colours with others.
DASHED = (
    *("lr", "batch", "hybrid", "lr_batch", "momentum", "explicit", "warmup", "wsd_linear"),
    *("wsd_sqrt", "wsd_cosine", "wsd_power_cool", "floor", "seesaw"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h")
LIGHTEST = 0.88  # of viridis; above, yellow is lost on white
# A log axis of fewer decades gets plain numbers at these multiples of powers of ten.
PLAIN_TICKS = ((0.8, (1.0, 2.0, 5.0)), (1.8, (1.0, 3.0)))
MAX_TICKS = 8  # of values with a tick each
LOWEST_END = 0.1  # of the mean; where an interval that reaches 0 or below ends on the log axis
LOG_TICK = re.compile(r"\$\\mathdefault\{(-?[\d.]+(\\times)?)?(-?10\^\{-?\d+\})?\}\$")
DODGE = 0.03  # of the distance between points: error bars of several lines side by side


def color_of(arm: str) -> str:
    """The arm's colour, the same in every figure.

    Arms of one space (`space param=value,...`) or of one name in several runs (`name@run`) are
    shades of that space's colour, which the rest of their names chooses.
    """
    name, _, run = arm.partition("@")
    space, _, point = (BASELINE, "", "") if is_baseline(name) else name.partition(" ")
    color = COLORS.get(space) or [*PALETTE.values()][int(_share(space) * len(PALETTE))]
    rest = point + run
    return _shade(color, SHADES * (2 * _share(rest) - 1)) if rest else color


def _share(text: str) -> float:
    """A number in [0, 1) that is the same for the same text, on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) / 2**32


def _shade(color: str, level: float) -> str:
    """From light at level -4 to dark at 4."""
    weight = min(1.0, max(-1.0, level / 4.0))
    rgb = np.array(to_rgb(color))
    toward = np.zeros(3) if weight > 0 else np.ones(3)
    return to_hex(rgb + 0.6 * abs(weight) * (toward - rgb))


def line_style(arm: str) -> Literal["-", "--"]:
    """Dashed for the papers' methods and the baseline."""
    name = arm.partition("@")[0]
    return "--" if name in DASHED or is_baseline(name) else "-"


def subplots(
    figure: Figure, height_inches: float, rows: int = 1, columns: int = 1, **settings: Any
) -> Any:
    """Axes as matplotlib's of this name, on a figure of full width: no box, a light grid."""
    figure.set_size_inches(WIDTH_INCHES, height_inches)
    figure.set_layout_engine("constrained")
    all_axes = figure.subplots(rows, columns, **settings)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
    return all_axes


def add_legend(figure: Figure, labels: Iterable[tuple[str, str]]) -> None:
    """One legend below all axes. labels: (arm, text behind its name)."""
    handles = [
        Line2D([], [], color=color_of(arm), linestyle=line_style(arm), linewidth=2.5,
               label=arm_label(arm) + text)
        for arm, text in labels
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(5, len(handles)), frameon=False
    )


def list_legend(
    figure: Figure, labels: Iterable[tuple[Look, str]], others: Sequence[Line2D] = ()
) -> None:
    """The same with a row an entry, for long texts; others: entries below."""
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linewidth=2, label=text)
        for look, text in labels
    ]
    if handles or others:
        figure.legend(
            handles=[*handles, *others], loc="outside lower center", frameon=False, fontsize=9
        )


def draw_figure(draw: Callable[[Figure], None]) -> Figure:
    """A figure that can be saved, with this on it, laid out once, not at every drawing."""
    figure = Figure(dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure)
    with_plain_texts(figure).draw_without_rendering()
    figure.set_layout_engine(None)
    return figure


def with_plain_texts(figure: Figure) -> Figure:
    """The figure, in which a name with two $ is no mathematics; ticks of log axes are."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_ticklabels()  # they are made when asked for
    for text in figure.findobj(Text):
        assert isinstance(text, Text), "asked for by type"
        if "$" in text.get_text() and not LOG_TICK.fullmatch(text.get_text()):
            text.set_parse_math(False)
    return figure


def save_figure(draw: Callable[[Figure], None], *paths: Path) -> list[Path]:
    """Draw once and write each of these files; their folders are made where missing."""
    figure = draw_figure(draw)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    return list(paths)


class Look(NamedTuple):
    """Colour, marker and name of a line or cloud."""

    color: str
    marker: str
    label: str = ""


def ordered_looks(count: int) -> list[Look]:
    """From dark to light, for lines that have an order (batch sizes, say)."""
    place_L = np.linspace(0.0, LIGHTEST, count)
    colors = [to_hex(colormaps["viridis"](place)) for place in place_L]
    return [Look(*look) for look in zip(colors, itertools.cycle(MARKERS), strict=False)]


def arm_looks(names: Sequence[str]) -> dict[str, Look]:
    """Every arm in its own colour; points of one space from dark to light, without its name."""
    parts = [name.partition(" ") for name in names]
    spaces, points = {space for space, _, _ in parts}, [point for _, _, point in parts]
    are_points = len(names) > 1 and len(spaces) == 1 and all(points)
    labels, looks = points if are_points else names, ordered_looks(len(names))
    colors = [color_of(name) for name in names]
    if are_points or len(set(colors)) < len(names):
        colors = [look.color for look in looks]
    return {
        name: look._replace(color=color, label=arm_label(label))
        for name, look, color, label in zip(names, looks, colors, labels, strict=True)
    }


def log_errorbars(
    axes: Axes, x_E: np.ndarray, mean_E: np.ndarray, ends_E: Sequence[np.ndarray], look: Look
) -> None:
    """Means on a log axis with their intervals (nan: none), cut at LOWEST_SHOWN."""
    low_E = np.maximum(ends_E[0], LOWEST_END * mean_E)
    axes.errorbar(
        x_E, mean_E, yerr=np.nan_to_num([mean_E - low_E, ends_E[1] - mean_E]), color=look.color,
        marker=look.marker, markersize=5, linewidth=1.4, elinewidth=1.0, capsize=2.5,
    )  # fmt: skip


def dodge(x_E: Sequence[float] | np.ndarray, place: int, count: int) -> np.ndarray:
    """x moved a little, so that the error bars of `count` lines stand side by side."""
    value_E = np.asarray(x_E, dtype=np.float64)
    gap = float(np.diff(np.unique(value_E)).min()) if len(np.unique(value_E)) > 1 else 1.0
    return value_E + gap * min(DODGE, 0.5 / count) * (place - (count - 1) / 2)


def epoch_axis(axes: Axes, epochs: Sequence[float] | np.ndarray) -> None:
    """An x axis of epochs: those measured, where they are few and whole."""
    value_E = np.unique(np.asarray(epochs, dtype=np.float64))
    is_whole = bool(np.all(value_E == np.rint(value_E)))
    is_few = is_whole and 0 < len(value_E) <= MAX_TICKS
    locator = FixedLocator(value_E.tolist()) if is_few else MaxNLocator(integer=is_whole)
    axes.xaxis.set_major_locator(locator)
    axes.set_xlabel("epoch")


def grid_axis(axes: Axes, values: Sequence[float] | np.ndarray) -> None:
    """A log x axis with a tick at every value of a grid (every second of many)."""
    value_S = np.unique(np.asarray(values))
    tick_S = value_S[:: max(1, math.ceil(len(value_S) / MAX_TICKS))]
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(tick_S.tolist()))
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
