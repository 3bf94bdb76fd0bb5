"""Which combinations of many parameters did well? A line a config, an axis a parameter."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from results.plots.figure import Plot
from results.plots.search.parameter_map import objective_colors, parameter_order
from results.plots.search.slices import ArmSlices, configs_table, slices_info
from results.plots.style import GREY, subplots
from results.run import Run
from results.statistics.wording import arm_label, axis_title, counts, metric_words
from search_spaces.space import param_text

MIN_PARAMS = 4  # of fewer the map and the slices show all


def parallel_info(run: Run) -> tuple[ArmSlices, ...]:
    """The full search trials of the arms with many free parameters."""
    return tuple(arm for arm in slices_info(run) if len(arm.params) >= MIN_PARAMS)


def places(value_T: NDArray[np.float64], *, is_log: bool) -> NDArray[np.float64]:
    """Where on its axis each value lies: 0 = the smallest, 1 = the largest; 0.5 if all are equal.

    Example:
        >>> places(np.array([1.0, 10.0, 100.0]), is_log=True).tolist()
        [0.0, 0.5, 1.0]
    """
    scaled_T = np.log(value_T) if is_log and value_T.min() > 0 else value_T
    width = float(np.ptp(scaled_T))
    return (scaled_T - scaled_T.min()) / width if width else np.full(len(scaled_T), 0.5)


def draw_parallel(arms: tuple[ArmSlices, ...], figure: Figure) -> None:
    """A panel an arm; colour: the objective, black: the best, grey and dashed: diverged."""
    all_axes = subplots(figure, 0.8 + 2.9 * len(arms), len(arms), 1, squeeze=False)
    metric = arms[0].metric
    colors = objective_colors(np.concatenate([arm.objective_T for arm in arms]), metric)
    for axes, arm in zip(all_axes[:, 0], arms, strict=True):
        _draw_arm(axes, arm, colors.to_rgba(metric.scale * arm.objective_T))
    figure.colorbar(
        colors, ax=all_axes, label=axis_title(metric_words(metric), metric),
        extend="min" if metric.goal == "max" else "max", pad=0.02,
    )  # fmt: skip
    figure.suptitle(
        "Search trials of full length: a line a config (one seed each); black: the best; "
        "dashed: diverged",
        fontsize=11,
    )


def _draw_arm(axes: Axes, arm: ArmSlices, color_TC: NDArray[np.float64]) -> None:
    names = parameter_order(list(arm.params), arm.training)
    place_TP = np.stack([places(arm.params[n], is_log=n in arm.logs) for n in names], axis=1)
    order_T = np.argsort(arm.metric.sign * arm.objective_T, kind="stable").tolist()
    for trial in order_T:  # the best on top
        if arm.is_diverged_T[trial]:
            axes.plot(place_TP[trial], color=GREY, linewidth=0.9, linestyle="--", zorder=1)
        else:
            axes.plot(place_TP[trial], color=color_TC[trial], linewidth=1.4, zorder=2)
    if not arm.is_diverged_T[order_T[-1]]:
        axes.plot(place_TP[order_T[-1]], color="black", linewidth=2.4, zorder=3, marker="o")
    for place, name in enumerate(names):
        axes.axvline(place, color="black", linewidth=0.8, zorder=0)
        for end, height in ((arm.params[name].min(), -0.05), (arm.params[name].max(), 1.05)):
            text = param_text(name, float(end), "{:.3g}")
            align = "top" if height < 0 else "bottom"
            axes.text(place, height, text, ha="center", va=align, fontsize=8.5)
    axes.set_xticks(range(len(names)), names)
    axes.tick_params(axis="x", pad=14, length=0)
    axes.set(yticks=[], ylim=(-0.06, 1.06), xlim=(-0.3, len(names) - 0.7))
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_title(f"{arm_label(arm.name)} (n={len(arm.objective_T)})", fontsize=10.5, pad=16)


def _parallel_caption(arms: tuple[ArmSlices, ...]) -> str:
    configs = counts([(arm.name, len(arm.objective_T)) for arm in arms], "configs")
    return (
        "Every line is a search config trained over all samples with one seed, its height on an "
        "axis the parameter's value between the smallest and the largest tried (in the logarithm "
        f"where it was searched so); its colour is the {metric_words(arms[0].metric)}, black the "
        f"arm's best, dashed diverged. {configs}; single values, no interval."
    )


PARALLEL = Plot(
    title="Many parameters at once", section="Search", info=parallel_info, draw=draw_parallel,
    caption=_parallel_caption, table=configs_table,
)  # fmt: skip
