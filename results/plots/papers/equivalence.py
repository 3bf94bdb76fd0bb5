"""Where does SGD move as gradient descent on the smoothed function?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.measurements.equivalence import Paths, equivalence_table, read_equivalence
from results.plots.figure import Plot
from results.plots.style import GREY, Look, log_axis, ordered_looks, subplots
from results.run import Run
from results.tables import Table

LEAST_GAP = 1e-4  # smaller ones are drawn here: within the noise of the paths they are none


def equivalence_info(run: Run) -> tuple[Paths, ...]:
    """The arms whose paths stayed finite."""
    return tuple(arm for arm in read_equivalence(run) if arm.gap is not None)


def draw_equivalence(arms: Sequence[Paths], figure: Figure) -> None:
    """Left how far the mean path is from that of explicit smoothing, right its spread."""
    left, right = subplots(figure, 4.8, 1, 2)
    lrs = sorted({arm.lr for arm in arms})
    many = len({arm.function for arm in arms}) > 1
    names = sorted({arm.function for arm in arms}) if many else [f"lr {lr:.3g}" for lr in lrs]
    for name, look in zip(names, ordered_looks(len(names)), strict=True):
        own = [arm for arm in arms if name in (arm.function, f"lr {arm.lr:.3g}")]
        _draw_line(own, look._replace(label=name), left, right)
    left.axhline(1.0, color=GREY, linewidth=1.0, linestyle=":")
    left.set_ylabel("|mean of SGD - smoothed descent| / |start - minimizer|")
    right.set_ylabel("spread of SGD's paths / that of the theory")
    for axes, values in (
        (left, [max(arm.gap or 0.0, LEAST_GAP) for arm in arms]),
        (right, [arm.spread or 1.0 for arm in arms]),
    ):
        log_axis(axes, "x", [arm.delta for arm in arms])
        log_axis(axes, "y", values)
        axes.set_xlabel("delta = lr C / sqrt(batch)")
    right.axhline(1.0, color=GREY, linewidth=1.0, linestyle=":")
    handles, labels = left.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    figure.legend(
        shown.values(), shown.keys(), loc="outside lower center", ncols=min(5, len(shown)),
        frameon=False,
    )  # fmt: skip
    figure.suptitle(
        "SGD's mean path against descent on the smoothed function (filled: not told apart)"
    )


def _draw_line(arms: Sequence[Paths], look: Look, left: Axes, right: Axes) -> None:
    for arm in arms:
        gap = max(arm.gap or 0.0, LEAST_GAP)
        style: dict[str, Any] = {"color": look.color, "marker": look.marker, "linestyle": "none"}
        face = look.color if arm.holds else "none"
        left.plot(arm.delta, gap, **style, markerfacecolor=face, label=look.label)
        if arm.low is not None and arm.high is not None:
            ends = [max(arm.low, LEAST_GAP), max(arm.high, LEAST_GAP)]
            left.plot([arm.delta] * 2, ends, color=look.color, linewidth=1.0)
        if arm.spread is not None:
            right.plot(arm.delta, arm.spread, **style, markerfacecolor=face)


def _table(arms: Sequence[Paths]) -> Table | None:
    return equivalence_table(list(arms)) if arms else None


EQUIVALENCE = Plot(
    title="SGD against explicit smoothing",
    section="Measurements",
    info=equivalence_info,
    draw=draw_equivalence,
    table=_table,
)
