"""Did the noise level fall as planned, and which realised fall was best?"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from results.measurements.realised import Realised, read_realised
from results.plots.figure import Plot
from results.plots.style import Look, arm_looks, epoch_axis, list_legend, log_axis, subplots
from results.statistics.wording import interval_text


def draw_realised(arms: tuple[Realised, ...], figure: Figure) -> None:
    """Left delta by epoch, planned and realised; right test accuracy over the realised fall."""
    looks = arm_looks([arm.name for arm in arms])
    left, right = subplots(figure, 4.8 + 0.24 * len(arms), 1, 2, width_ratios=(3, 2))
    for arm in arms:
        look = looks[arm.name]
        left.plot(arm.epoch_E, arm.planned_E, color=look.color, linestyle="--", linewidth=1.2)
        left.plot(arm.epoch_E, arm.realised_E, color=look.color, marker=look.marker, markersize=4)
        left.fill_between(
            arm.epoch_E, arm.low_E, arm.high_E, color=look.color, alpha=0.15, linewidth=0
        )
        _draw_outcome(right, arm, look)
    epoch_axis(left, np.concatenate([np.empty(0), *(arm.epoch_E for arm in arms)]))
    log_axis(
        left,
        "y",
        np.concatenate([[], *(a.realised_E for a in arms), *(a.planned_E for a in arms)]),
    )
    log_axis(right, "x", [arm.fall.mean for arm in arms])
    left.set_ylabel("delta over delta at the first measurement")
    right.set(xlabel="realised delta, last over first", ylabel="test accuracy [%]")
    figure.suptitle(
        "Noise level along the training: planned, and realised with C^2 as measured\n"
        "geometric means over seeds, 95% t-intervals over seeds",
        fontsize=11,
    )
    left_out = {arm.num_left_out for arm in arms} - {0}
    if left_out:
        figure.suptitle(
            f"{figure.get_suptitle()}; points that some seed lacks are left out", fontsize=11
        )
    planned = Line2D([], [], color="k", linestyle="--", label="as planned, with one C^2")
    texts = (f"{looks[arm.name].label}: {_pace(arm)} (n={arm.num_seeds})" for arm in arms)
    list_legend(figure, zip(looks.values(), texts, strict=True), [planned])


def _draw_outcome(axes: Axes, arm: Realised, look: Look) -> None:
    fall, accuracy = arm.fall, arm.accuracy
    ends = [[m.mean - (m.mean if m.low is None else m.low)] for m in (fall, accuracy)]
    tops = [[(m.mean if m.high is None else m.high) - m.mean] for m in (fall, accuracy)]
    axes.errorbar(
        [fall.mean], [100 * accuracy.mean], xerr=[ends[0], tops[0]],
        yerr=[[100 * ends[1][0]], [100 * tops[1][0]]], color=look.color, marker=look.marker,
        markersize=6, elinewidth=1.0, capsize=2.5,
    )  # fmt: skip


def _pace(arm: Realised) -> str:
    if not arm.pace.n:
        return "no decay planned"
    return (
        f"as planned to the power {arm.pace.mean:.2f}{interval_text(arm.pace.low, arm.pace.high)}"
    )


REALISED = Plot(
    title="Planned and realised noise level",
    section="Measurements",
    info=read_realised,
    draw=draw_realised,
)
