"""What would a smaller random search have found?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from results.measurements.best_of_n import BAND, ArmBest, best_of_n
from results.plots.style import add_legend, color_of, line_style, set_size, tidy
from results.run import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class BestOfNInfo:
    """Expected best of n by arm; no arms where the configs were not drawn at random."""

    arms: tuple[ArmBest, ...]


def best_of_n_info(run: Run) -> BestOfNInfo:
    """The curves of a random search, none of any other."""
    try:
        return BestOfNInfo(arms=best_of_n(run))
    except ValueError:  # says why, to those who call it themselves
        return BestOfNInfo(arms=())


def draw_best_of_n(info: BestOfNInfo, figure: Figure) -> None:
    """A line an arm, the band of single searches around it."""
    set_size(figure, 4.6)
    axes = figure.subplots()
    for arm in info.arms:
        n_N = np.arange(1, len(arm.mean_N) + 1)
        color = color_of(arm.name)
        axes.fill_between(n_N, 100 * arm.low_N, 100 * arm.high_N, color=color, alpha=0.12, lw=0)
        axes.plot(n_N, 100 * arm.mean_N, line_style(arm.name), color=color, linewidth=2.2,
                  marker="o", markersize=3)  # fmt: skip
    lowest = min(float(arm.mean_N[min(1, len(arm.mean_N) - 1)]) for arm in info.arms)
    highest = max(float(arm.high_N.max()) for arm in info.arms)
    room = 0.05 * (highest - lowest) + 1e-4
    axes.set_ylim(100 * (lowest - 3 * room), 100 * (highest + room))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("n random configs trained")
    axes.set_ylabel("validation accuracy of the best [%]")
    low, high = (f"{100 * share:.0f}" for share in BAND)
    axes.set_title(
        f"Line: expected best of n configs (one seed each); band: {low}% to {high}% of all "
        "searches of n of them",
        fontsize=11,
    )
    tidy(axes)
    add_legend(figure, [(arm.name, f" ({len(arm.mean_N)} configs)") for arm in info.arms])
