"""Which batch size reached a gradient norm with the fewest samples?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.measurements.critical import Critical, read_critical
from results.plots.figure import Plot
from results.plots.style import (
    GREY,
    Look,
    grid_axis,
    list_legend,
    log_axis,
    ordered_looks,
    subplots,
)
from results.statistics.wording import short_number


def draw_critical(arms: tuple[Critical, ...], figure: Figure) -> None:
    """Samples against batch size; a line an epsilon, star: b*, thick: the flat minimum."""
    axes = subplots(figure, 5.0 + 0.24 * len(arms))
    looks = ordered_looks(len(arms))
    for arm, look in zip(arms, looks, strict=True):
        if len(arm.batch_S):
            _draw_costs(axes, arm, look)
    for floor in sorted({arm.floor for arm in arms if len(arm.batch_S) and arm.floor}):
        axes.axhline(floor, color=GREY, linestyle=":", linewidth=1.2)
        axes.annotate(
            "floor of the rule", (0, floor), xycoords=("axes fraction", "data"), fontsize=8.5,
            xytext=(4, 3), textcoords="offset points", color=GREY,
        )  # fmt: skip
    _set_scales(axes, arms)
    axes.set_xlabel("batch size b")
    axes.set_ylabel("steps * b until the norm is reached [samples]")
    figure.suptitle(
        "Samples until the mean batch gradient norm fell to epsilon: mean over seeds, band: "
        "smallest to largest seed\nstar: critical batch b*; thick: within 10% of the smallest "
        "mean; hollow: a seed stopped at the first step looked at",
        fontsize=10,
    )
    list_legend(figure, zip(looks, map(describe, arms), strict=True))


def describe(arm: Critical) -> str:
    """b*, its seeds, the flat minimum, the bound of C^2 and what was left out, in one line."""
    parts = [f"{arm.label}, n={arm.num_seeds}: "]
    if arm.b_star is None:
        parts.append("not reached by all seeds of any batch")
    else:
        seeds = ", ".join(str(best) for best in sorted(arm.best_R))
        flat = " to ".join(str(batch) for batch in sorted({arm.flat_S[0], arm.flat_S[-1]}))
        parts.append(f"b* = {arm.b_star}{_doubt(arm)} (by seed {seeds}), within 10%: {flat}")
    if arm.c2_bound is not None:
        parts.append(f", C^2 < {short_number(arm.c2_bound)}")
    if arm.left_out and arm.b_star is not None:
        batches = [
            f"{batch} ({num})" if num else f"{batch}" for batch, num in arm.left_out.items()
        ]
        parts.append(f"; not reached: {', '.join(batches)}")
    return "".join(parts)


def _doubt(arm: Critical) -> str:
    if arm.b_star in arm.floored_S:
        return " (the rule's floor)"
    return "" if arm.is_decided else " (an end of the range)"


def _draw_costs(axes: Axes, arm: Critical, look: Look) -> None:
    mean_S = arm.mean_sfo_S
    axes.plot(
        arm.batch_S, mean_S, color=look.color, marker=look.marker, markersize=6, linewidth=1.5
    )
    axes.fill_between(
        arm.batch_S, np.nanmin(arm.sfo_SR, axis=1), np.nanmax(arm.sfo_SR, axis=1),
        color=look.color, alpha=0.15, linewidth=0,
    )  # fmt: skip
    flat_S = np.where(np.isin(arm.batch_S, arm.flat_S), mean_S, np.nan)
    axes.plot(arm.batch_S, flat_S, color=look.color, linewidth=5, alpha=0.45, zorder=1.9)
    is_floored_S = np.isin(arm.batch_S, arm.floored_S)
    axes.plot(
        arm.batch_S[is_floored_S], mean_S[is_floored_S], linestyle="", markerfacecolor="white",
        color=look.color, marker=look.marker, markersize=6, zorder=3,
    )  # fmt: skip
    is_best_S = arm.batch_S == arm.b_star
    face = "white" if arm.b_star in arm.floored_S else look.color
    axes.plot(
        arm.batch_S[is_best_S], mean_S[is_best_S], "*", color=look.color, markersize=17,
        markeredgecolor="black", markeredgewidth=0.8, markerfacecolor=face, zorder=4,
    )  # fmt: skip


def _set_scales(axes: Axes, arms: Sequence[Critical]) -> None:
    drawn = [arm for arm in arms if len(arm.batch_S)]
    if not drawn:
        axes.text(0.5, 0.5, "no batch reached epsilon", transform=axes.transAxes, ha="center")
        axes.set(xticks=[], yticks=[])
        return
    grid_axis(axes, np.concatenate([arm.batch_S for arm in drawn]))
    log_axis(axes, "y", np.concatenate([arm.mean_sfo_S for arm in drawn]))


CRITICAL = Plot(
    title="Critical batch", section="Measurements", info=read_critical, draw=draw_critical
)
