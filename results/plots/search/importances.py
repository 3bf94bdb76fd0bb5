"""Which of the searched parameters decides about the accuracy?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.measurements.importances import Importances, importances
from results.plots.style import color_of, set_size, tidy
from results.run import Run
from results.statistics.compare import arm_label


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportancesInfo:
    """Importances by space. refused: a sentence for every space that allows none."""

    arms: tuple[Importances, ...]
    refused: tuple[str, ...]


def importances_info(run: Run) -> ImportancesInfo:
    """fANOVA importances of every space of the run that has enough search trials."""
    arms, refused = [], []
    for space in run.spaces:
        try:
            arms.append(importances(run, space))
        except ValueError as error:
            refused.append(str(error))
    return ImportancesInfo(arms=tuple(arms), refused=tuple(refused))


def draw_importances(info: ImportancesInfo, figure: Figure) -> None:
    """A panel an arm, a bar a parameter; line: smallest to largest with trials left out."""
    most = max(len(arm.share) for arm in info.arms)
    set_size(figure, 1.5 + 0.42 * most)
    all_axes = figure.subplots(1, len(info.arms), squeeze=False, sharex=True)
    for axes, arm in zip(all_axes.flat, info.arms, strict=True):
        _draw_arm(axes, arm, most)
    figure.suptitle(
        "Share of the accuracy's variance (fANOVA); line: with an eighth of the trials left out",
        fontsize=11,
    )


def _draw_arm(axes: Axes, arm: Importances, most: int) -> None:
    place_P = np.arange(len(arm.share))
    share_P = 100 * np.array(list(arm.share.values()))
    low_P = 100 * np.array([arm.low[name] for name in arm.share])
    high_P = 100 * np.array([arm.high[name] for name in arm.share])
    axes.barh(place_P, share_P, height=0.6, color=color_of(arm.space), alpha=0.75)
    axes.hlines(place_P, low_P, high_P, color="black", linewidth=1.6)
    axes.set_yticks(place_P, list(arm.share))
    axes.set_ylim(most - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share [%]")
    axes.set_title(f"{arm_label(arm.space)} (n={arm.num_trials})", fontsize=10.5)
    tidy(axes)
    axes.grid(visible=False, axis="y")
