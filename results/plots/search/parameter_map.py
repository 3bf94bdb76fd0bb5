"""Where in its two main parameters did each arm's search look, and what did it find there?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from results.arms.choice import full_search, group_by_arm, params_of
from results.plots.figure import Plot
from results.plots.search.slices import (
    ArmSlices,
    best_first,
    parameter_axis,
    slices_info,
    visible_limit,
)
from results.plots.style import GREY, subplots
from results.records.schema import Row
from results.run import Run
from results.statistics.wording import (
    arm_label,
    axis_title,
    column_title,
    counts,
    metric_words,
    value_text,
)
from results.tables import Table
from search_spaces.families import CURVE_PARAMETERS
from search_spaces.metric import VAL_ACCURACY, Metric

# Parameters of schedules besides the curve's own, which tell more, and the interval.
OTHERS = ("end", "delta0", "lr0", "momentum_share", "split", "batch0", "radius0", "warmup")
COLOR_MAP = "cividis"  # told apart by colour-blind readers and in grey print
MAX_COLUMNS = 3
MANY = 60  # more dots are smaller


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmMap:
    """Full search trials of one arm in the plane of two parameters.

    Attributes:
        x_T, y_T: values of x_name and y_name by trial; logs: names searched on a log scale.
        metric, objective_T, is_diverged_T: as of ArmSlices.
        best: row of the best trial.
        short_x_S, short_y_S: configs that got shorter trainings only (rungs of the search).
    """

    name: str
    x_name: str
    y_name: str
    x_T: NDArray[np.float64]
    y_T: NDArray[np.float64]
    objective_T: NDArray[np.float64]
    is_diverged_T: NDArray[np.bool_]
    logs: frozenset[str]
    best: int
    short_x_S: NDArray[np.float64]
    short_y_S: NDArray[np.float64]
    metric: Metric = VAL_ACCURACY


def parameter_map_info(run: Run) -> tuple[ArmMap, ...]:
    """The full search trials; two axes an arm: the curve's parameter and the interval first."""
    arms = [arm for arm in slices_info(run) if len(arm.params) > 1]
    rows = group_by_arm(run.rows())
    return tuple(_arm_map(arm, rows[arm.name]) for arm in arms)


def main_axes(params: list[str], training: tuple[str, ...] = ()) -> tuple[str, str]:
    """The two of at least two parameters that tell most, across and up.

    A parameter of the training stands before the interval: whoever searches it wants to see it.

    Example:
        >>> main_axes(["delta0", "interval", "p"]), main_axes(["delta0", "interval"])
        (('p', 'interval'), ('delta0', 'interval'))
        >>> main_axes(["delta0", "interval", "knee"])
        ('knee', 'interval')
        >>> main_axes(["delta0", "interval", "p", "weight_decay"], ("weight_decay",))
        ('p', 'weight_decay')
    """
    order = parameter_order(params, training)
    y_name = next(iter(training), "interval" if "interval" in params else order[0])
    order.sort(key=lambda name: name == "interval")  # across only where nothing else is left
    return next(name for name in order if name != y_name), y_name


def parameter_order(params: list[str], training: tuple[str, ...] = ()) -> list[str]:
    """The parameters by what they tell of a schedule, those of its curve first.

    Example:
        >>> parameter_order(["beta2", "delta0", "interval", "p"], ("beta2",))
        ['p', 'interval', 'delta0', 'beta2']
    """
    own = {*params} - {*CURVE_PARAMETERS, *OTHERS, "interval", *training}  # a user's, or factor
    order = (*CURVE_PARAMETERS, *sorted(own), "interval", *OTHERS, *training)
    return sorted(params, key=order.index)


def draw_parameter_map(arms: tuple[ArmMap, ...], figure: Figure) -> None:
    """A panel an arm: one dot a config, colour its objective; ring: the best, cross: diverged."""
    columns = min(MAX_COLUMNS, len(arms))
    rows = math.ceil(len(arms) / columns)
    all_axes = subplots(figure, 0.8 + 3.3 * rows, rows, columns, squeeze=False)
    metric, objective_T = arms[0].metric, np.concatenate([arm.objective_T for arm in arms])
    colors = objective_colors(objective_T, metric)
    for axes, arm in zip(all_axes.flat, arms, strict=False):
        _draw_arm(axes, arm, colors)
    for axes in all_axes.flat[len(arms) :]:
        axes.set_visible(False)
    figure.colorbar(
        colors, ax=all_axes, label=axis_title(metric_words(metric), metric),
        extend="min" if metric.goal == "max" else "max", pad=0.02,
    )  # fmt: skip
    figure.suptitle(
        "Search trials of full length: a dot a config (one seed each); ring: the best; "
        "cross: diverged" + _grey_dots(arms),
        fontsize=11,
    )


def objective_colors(objective_T: NDArray[np.float64], metric: Metric) -> ScalarMappable:
    """Colours of values as they are told, from the worst that an axis shows to the best."""
    best = metric.score((metric.sign * objective_T).max())
    ends = sorted(metric.scale * end for end in (visible_limit(objective_T, metric), best))
    names = COLOR_MAP if metric.goal == "max" else f"{COLOR_MAP}_r"
    return ScalarMappable(Normalize(ends[0], ends[1]), names)


def _grey_dots(arms: tuple[ArmMap, ...]) -> str:
    has_short = any(arm.short_x_S.size for arm in arms)
    return "; grey: shorter trainings only" if has_short else ""


def _arm_map(arm: ArmSlices, rows: list[Row]) -> ArmMap:
    x_name, y_name = main_axes(sorted(arm.params), arm.training)
    searched = [row for row in rows if row["role"] == "search"]
    in_full = {row["config_key"] for row, _ in full_search(searched)}
    configs = {row["config_key"]: row for row in searched}
    short = [params_of(row) for key, row in configs.items() if key not in in_full]
    return ArmMap(
        name=arm.name,
        x_name=x_name,
        y_name=y_name,
        x_T=arm.params[x_name],
        y_T=arm.params[y_name],
        objective_T=arm.objective_T,
        is_diverged_T=arm.is_diverged_T,
        logs=arm.logs,
        best=int(np.argmax(arm.metric.sign * arm.objective_T)),
        metric=arm.metric,
        short_x_S=np.array([params[x_name] for params in short]),
        short_y_S=np.array([params[y_name] for params in short]),
    )


def _draw_arm(axes: Axes, arm: ArmMap, colors: ScalarMappable) -> None:
    axes.plot(arm.short_x_S, arm.short_y_S, "o", color=GREY, markersize=4, zorder=2)
    order_T = np.argsort(arm.metric.sign * arm.objective_T, kind="stable")  # the best on top
    finite_T = order_T[~arm.is_diverged_T[order_T]]
    axes.scatter(
        arm.x_T[finite_T], arm.y_T[finite_T], s=52 if len(finite_T) <= MANY else 20,
        c=colors.to_rgba(arm.metric.scale * arm.objective_T[finite_T]), edgecolors="black",
        linewidths=0.4, zorder=3,
    )  # fmt: skip
    gone_T = order_T[arm.is_diverged_T[order_T]]
    axes.plot(arm.x_T[gone_T], arm.y_T[gone_T], "x", color="black", markersize=6)
    if not arm.is_diverged_T[arm.best]:
        axes.scatter(
            arm.x_T[[arm.best]], arm.y_T[[arm.best]], s=190, facecolors="none",
            edgecolors="black", linewidths=1.8, zorder=4,
        )  # fmt: skip
    x_T, y_T = np.append(arm.x_T, arm.short_x_S), np.append(arm.y_T, arm.short_y_S)
    parameter_axis(axes, "x", arm.x_name, x_T, is_log=arm.x_name in arm.logs)
    parameter_axis(axes, "y", arm.y_name, y_T, is_log=arm.y_name in arm.logs)
    axes.margins(0.1)
    axes.set_title(f"{arm_label(arm.name)} (n={len(arm.objective_T)})", fontsize=10.5)


def _map_caption(arms: tuple[ArmMap, ...]) -> str:
    configs = counts([(arm.name, len(arm.objective_T)) for arm in arms], "configs")
    return (
        "Every dot is a search config trained over all samples with one seed; its colour is the "
        f"{metric_words(arms[0].metric)}, the ring marks the arm's best, a cross diverged; grey "
        "dots are configs with shorter trainings only. "
        f"{configs}; single values, no interval."
    )


def _map_table(arms: tuple[ArmMap, ...]) -> Table:
    metric = arms[0].metric
    rows = [
        [
            arm_label(arm.name),
            f"{arm.x_name} = {arm.x_T[t]:.4g}",
            f"{arm.y_name} = {arm.y_T[t]:.4g}",
            value_text(float(arm.objective_T[t]), metric),
            "yes" if arm.is_diverged_T[t] else "",
        ]
        for arm in arms
        for t in best_first(arm.objective_T, metric)
    ]
    value = column_title(metric_words(metric), metric)
    header = ["arm", "across", "up", value, "diverged"]
    return Table(caption="Search configs of full length, best first", header=header, rows=rows)


PARAMETER_MAP = Plot(
    title="Parameter map", section="Search", info=parameter_map_info, draw=draw_parameter_map,
    caption=_map_caption, table=_map_table,
)  # fmt: skip
