"""Which values of each searched parameter did well?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from results.arms.choice import chosen_row, full_search, group_by_arm, params_of, spaces_of
from results.plots.figure import Plot
from results.plots.style import MAX_TICKS, color_of, log_axis, subplots
from results.run import Run
from results.statistics.wording import (
    arm_label,
    axis_title,
    column_title,
    counts,
    metric_words,
    number,
    value_text,
)
from results.tables import Table, thinned
from search_spaces.metric import VAL_ACCURACY, Metric
from search_spaces.space import INTEGER_PARAMS, param_text

UNITS = {"interval": "interval [epochs]"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmSlices:
    """Full search trials of one arm.

    Attributes:
        metric: what the search ranks by; objective_T: its value by trial; is_diverged_T: scored
            at chance, or where there is none at the worst.
        params: free parameter -> value by trial; logs: those searched on a log scale.
        chosen: the config that stands for the arm.
        training: those of its parameters that are the training's.
    """

    name: str
    objective_T: NDArray[np.float64]
    is_diverged_T: NDArray[np.bool_]
    params: dict[str, NDArray[np.float64]]
    logs: frozenset[str]
    chosen: dict[str, float]
    metric: Metric = VAL_ACCURACY
    training: tuple[str, ...] = ()


def slices_info(run: Run) -> tuple[ArmSlices, ...]:
    """Objective against each free parameter, for the search trials over all samples."""
    arms = []
    for name, rows in group_by_arm(run.rows()).items():
        space = spaces_of(run.manifests.get(rows[0]["run_id"], {})).get(rows[0]["space"])
        trials = full_search(rows)
        chosen = chosen_row(rows)
        if space and space.free and trials and chosen:
            params = [params_of(row) for row, _ in trials]
            arms.append(
                ArmSlices(
                    name=name,
                    objective_T=np.array([value for _, value in trials]),
                    is_diverged_T=np.array([row["status"] == "diverged" for row, _ in trials]),
                    params={k: np.array([p[k] for p in params], dtype=float) for k in space.free},
                    logs=frozenset(k for k, axis in space.free.items() if axis.log),
                    chosen=params_of(chosen),
                    metric=run.objective,
                    training=tuple(name for name in sorted(space.free) if name in space.training),
                )
            )
    return tuple(arms)


def draw_slices(arms: tuple[ArmSlices, ...], figure: Figure) -> None:
    """One row an arm, one column a parameter; triangles mark values beyond the axis."""
    columns = max(len(arm.params) for arm in arms)
    all_axes = subplots(
        figure, 0.7 + 2.3 * len(arms), len(arms), columns, squeeze=False, sharey=True
    )
    metric = arms[0].metric
    limit = visible_limit(np.concatenate([arm.objective_T for arm in arms]), metric)
    words = "validation acc." if metric.is_accuracy else metric_words(metric)
    for row, arm in zip(all_axes, arms, strict=True):
        for axes, param in zip(row, sorted(arm.params), strict=False):
            _draw_slice(axes, arm, param, limit)
        for axes in row[len(arm.params) :]:
            axes.set_visible(False)
        title = axis_title(words, metric)
        row[0].set_ylabel(f"{arm_label(arm.name)} (n={len(arm.objective_T)})\n{title}")
    figure.suptitle(
        "Search trials: one dot a config, one seed each; ring: the chosen config", fontsize=11
    )


def visible_floor(objective_T: NDArray[np.float64]) -> float:
    """Where an axis of accuracies begins: failed configs do not flatten the good ones."""
    best, middle = float(objective_T.max()), float(np.median(objective_T))
    return max(float(objective_T.min()), best - 4 * max(best - middle, 0.005))


def visible_limit(objective_T: NDArray[np.float64], metric: Metric) -> float:
    """The worst value that an axis shows: a floor of accuracies, a ceiling of losses."""
    return metric.score(visible_floor(metric.sign * objective_T))


def cut_at(
    objective_T: NDArray[np.float64], limit: float, metric: Metric
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The values as they are drawn, none beyond the limit, and which of them are."""
    score_T, least = metric.sign * objective_T, metric.score(limit)
    return metric.scale * metric.sign * np.maximum(score_T, least), score_T < least


def beyond(metric: Metric) -> tuple[str, str]:
    """Marker and word of a value that lies beyond the axis."""
    return ("v", "below") if metric.goal == "max" else ("^", "above")


def best_first(objective_T: NDArray[np.float64], metric: Metric) -> list[int]:
    """The trials that a table shows of these, by place."""
    order_T: list[int] = np.argsort(-metric.sign * objective_T, kind="stable").tolist()
    return order_T[: len(thinned(len(order_T)))]


def parameter_axis(
    axes: Axes, which: Literal["x", "y"], param: str, value_T: NDArray[np.float64], *, is_log: bool
) -> None:
    """Scale and ticks of a searched parameter: log where it was searched so, whole epochs."""
    if is_log and np.ptp(value_T) > 0:
        log_axis(axes, which, value_T)
    axis, whole_T = axes.xaxis if which == "x" else axes.yaxis, np.unique(value_T)
    if param in INTEGER_PARAMS and len(whole_T) <= MAX_TICKS:
        axis.set_ticks(whole_T.tolist(), [param_text(param, value, "{:g}") for value in whole_T])
        axis.set_minor_locator(NullLocator())
    axis.set_label_text(UNITS.get(param, param))


def _draw_slice(axes: Axes, arm: ArmSlices, param: str, limit: float) -> None:
    value_T, color = arm.params[param], color_of(arm.name)
    height_T, beyond_T = cut_at(arm.objective_T, limit, arm.metric)
    marker, _ = beyond(arm.metric)
    axes.scatter(value_T[~beyond_T], height_T[~beyond_T], s=26, color=color, alpha=0.7)
    axes.scatter(
        value_T[beyond_T], height_T[beyond_T], s=30, marker=marker, color=color, alpha=0.7
    )
    is_chosen_T = np.all([arm.params[k] == arm.chosen[k] for k in arm.params], axis=0)
    axes.scatter(
        value_T[is_chosen_T], arm.metric.scale * arm.objective_T[is_chosen_T], s=110,
        facecolors="none", edgecolors="black", linewidths=1.4,
    )  # fmt: skip
    parameter_axis(axes, "x", param, value_T, is_log=param in arm.logs)
    axes.margins(y=0.12)


def _slices_caption(arms: tuple[ArmSlices, ...]) -> str:
    configs = counts([(arm.name, len(arm.objective_T)) for arm in arms], "configs")
    return (
        "The same configs against each free parameter alone; ring: the chosen config, triangle: "
        f"{beyond(arms[0].metric)[1]} the axis. {configs}, one seed each; single values, "
        "no interval."
    )


def configs_table(arms: tuple[ArmSlices, ...]) -> Table:
    """The configs with all their searched parameters, best first."""
    names = sorted({name for arm in arms for name in arm.params})
    metric, rows = arms[0].metric, []
    for arm in arms:
        for t in best_first(arm.objective_T, metric):
            params = [number(float(arm.params[n][t])) if n in arm.params else "-" for n in names]
            value = value_text(float(arm.objective_T[t]), metric)
            rows.append([arm_label(arm.name), *params, value])
    header = ["arm", *names, column_title(metric_words(metric), metric)]
    return Table(caption="Search configs of full length, best first", header=header, rows=rows)


SLICES = Plot(
    title="Parameter by parameter", section="Search", info=slices_info, draw=draw_slices,
    caption=_slices_caption, table=configs_table,
)  # fmt: skip
