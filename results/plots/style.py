"""How do all figures look alike? One colour per space, one size, one legend."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from results.compare import arm_label
from search_spaces.space import BASELINE

WIDTH_INCHES, DPI = 10.0, 120  # 1200 px wide
GREY = "#7f7f7f"
# Okabe & Ito 2008, told apart by colour-blind readers; yellow is darkened for white paper.
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#B8A800"
BLUE, RED, PURPLE, BLACK = "#0072B2", "#D55E00", "#CC79A7", "#000000"
PALETTE = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, YELLOW, BLACK)
COLORS = {
    "poly": BLUE,
    "linear": SKY,
    "cosine": RED,
    "exp": GREEN,
    "step": ORANGE,
    "wsd": PURPLE,
    "cosine_power": YELLOW,
    "constant": BLACK,
    "lr": ORANGE,
    "batch": SKY,
    "hybrid": PURPLE,
    BASELINE: GREY,
}
LineStyle = Literal["-", "--"]
DASHED = ("lr", "batch", "hybrid")  # share their colours with others


def color_of(arm: str) -> str:
    """The arm's colour, the same in every figure; `@run` behind a space shifts it."""
    if arm in COLORS:
        return COLORS[arm]
    digest = hashlib.sha256(arm.encode()).digest()
    return PALETTE[digest[0] % len(PALETTE)]


def line_style(arm: str) -> LineStyle:
    """Dashed for the papers' methods and the baseline."""
    return "--" if arm in (*DASHED, BASELINE) else "-"


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
