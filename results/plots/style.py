"""How do all figures look alike? One colour per space, one size, one legend."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from results.statistics.wording import arm_label
from search_spaces.families import FAMILIES
from search_spaces.families.family import Color
from search_spaces.space import BASELINE

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
    "linear": SKY,
    "step": ORANGE,
    "lr_batch": BLACK,
    "momentum": GREEN,
    "explicit": YELLOW,
    "lr": ORANGE,
    "batch": SKY,
    "hybrid": PURPLE,
    BASELINE: GREY,
}
RUN_SHADES = 3.0  # levels of shade, lighter and darker, that runs are told apart by
LineStyle = Literal["-", "--"]
# These share their colours with others.
DASHED = ("lr", "batch", "hybrid", "lr_batch", "momentum", "explicit")


def color_of(arm: str) -> str:
    """The arm's colour, the same in every figure.

    Of an arm `space param=value,...` a shade of the space's, darker for larger first values; of an
    arm `name@run` (the same name in several runs) a shade of the name's, by its run.
    """
    name, _, run = arm.partition("@")
    if run:
        share = int.from_bytes(hashlib.sha256(run.encode()).digest()[:4]) / 2**32
        return _shade(color_of(name), RUN_SHADES * (2 * share - 1))
    if arm in COLORS:
        return COLORS[arm]
    space, _, point = arm.partition(" ")
    value = re.match(r"\w+=([0-9.e+-]+)", point)
    if space in COLORS and value and float(value[1]) > 0:
        return _shade(COLORS[space], math.log2(float(value[1])))
    digest = hashlib.sha256(arm.encode()).digest()
    return list(PALETTE.values())[digest[0] % len(PALETTE)]


def _shade(color: str, level: float) -> str:
    """From light at level -4 to dark at 4."""
    weight = min(1.0, max(-1.0, level / 4.0))
    rgb = np.array(to_rgb(color))
    toward = np.zeros(3) if weight > 0 else np.ones(3)
    return to_hex(rgb + 0.6 * abs(weight) * (toward - rgb))


def line_style(arm: str) -> LineStyle:
    """Dashed for the papers' methods and the baseline."""
    return "--" if arm.partition("@")[0] in (*DASHED, BASELINE) else "-"


def set_size(figure: Figure, height_inches: float) -> None:
    """Full width, this height, room for everything."""
    figure.set_size_inches(WIDTH_INCHES, height_inches)
    figure.set_layout_engine("constrained")


def tidy(axes: Axes) -> None:
    """No box, a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


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


def save_figure(draw: Callable[[Figure], None], *paths: Path) -> list[Path]:
    """Draw once and write each of these files; their folders are made where missing."""
    figure = Figure(dpi=DPI)
    FigureCanvasAgg(figure)
    draw(figure)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    return list(paths)
