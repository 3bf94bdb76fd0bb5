"""Where is smoothed Rastrigin convex around its minimizer, and do the iterates stay there?"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from results.plots.style import BLUE, GREEN, GREY, ORANGE, subplots

Array = NDArray[np.float64]


def draw_nice(
    delta_M: Array, curvature_M: Array, inside_M: Array, kept_M: Array, figure: Figure
) -> None:
    """Left the smallest curvature of each level, right the share of the iterates inside."""
    left, right = subplots(figure, 4.4, 1, 2)
    left.plot(delta_M, curvature_M, color=BLUE, marker="o", markersize=3)
    left.axhline(2.0, color=GREEN, linestyle="--", label="sigma = 2")
    left.axhline(0.0, color=GREY, linewidth=1.0, label="convex above")
    left.set_yscale("symlog", linthresh=4.0)
    left.set_ylabel("smallest curvature in N(x*; d delta)")
    left.legend(frameon=False)
    right.plot(delta_M, inside_M, color=BLUE, label="starts inside after the level")
    kept = "of those inside before, still inside"
    right.plot(delta_M, kept_M, color=ORANGE, linestyle="--", label=kept)
    right.set(ylim=(-0.03, 1.03), ylabel="share of starts in N(x*; d delta)")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.set_xlabel("level delta, from large to small")
        axes.invert_xaxis()
    figure.suptitle("Rastrigin: convexity around x* and explicit descent, level by level")
