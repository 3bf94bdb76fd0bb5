"""Which values of each searched parameter did well?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from results.arms import MEASURED, chosen_row, group_by_arm, params_of, spaces_of
from results.compare import arm_label
from results.load import Run
from results.plots.style import color_of, set_size, tidy

UNITS = {"interval": "interval [epochs]"}
MIN_DECADES = 1.5  # a narrower log axis gets plain ticks


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmSlices:
    """Search trials of one arm.

    Attributes:
        objective_T: validation accuracy by trial.
        params: free parameter -> value by trial; logs: those searched on a log scale.
        chosen: the config that stands for the arm.
    """

    name: str
    objective_T: NDArray[np.float64]
    params: dict[str, NDArray[np.float64]]
    logs: frozenset[str]
    chosen: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class SlicesInfo:
    """Search trials of all arms with free parameters."""

    arms: tuple[ArmSlices, ...]


def slices_info(run: Run) -> SlicesInfo:
    """Objective against each free parameter, for the search trials of the largest horizon."""
    arms = []
    for name, rows in group_by_arm(run.rows()).items():
        space = spaces_of(run.manifests.get(rows[0]["run_id"], {})).get(rows[0]["space"])
        trials = [r for r in rows if r["role"] == "search" and r["status"] in MEASURED]
        horizon = max((row["horizon"] for row in trials), default=1.0)
        trials = [row for row in trials if row["horizon"] == horizon]
        chosen = chosen_row(rows)
        if space and space.free and trials and chosen:
            params = [params_of(row) for row in trials]
            arms.append(
                ArmSlices(
                    name=name,
                    objective_T=np.array([row["objective"] for row in trials], dtype=float),
                    params={k: np.array([p[k] for p in params], dtype=float) for k in space.free},
                    logs=frozenset(k for k, axis in space.free.items() if axis.log),
                    chosen=params_of(chosen),
                )
            )
    return SlicesInfo(arms=tuple(arms))


def draw_slices(info: SlicesInfo, figure: Figure) -> None:
    """One row an arm, one column a parameter; triangles mark values below the axis."""
    columns = max(len(arm.params) for arm in info.arms)
    set_size(figure, 0.7 + 2.3 * len(info.arms))
    all_axes = figure.subplots(len(info.arms), columns, squeeze=False, sharey=True)
    floor = _floor(np.concatenate([arm.objective_T for arm in info.arms]))
    for row, arm in zip(all_axes, info.arms, strict=True):
        for axes, param in zip(row, sorted(arm.params), strict=False):
            _draw_slice(axes, arm, param, floor)
        for axes in row[len(arm.params) :]:
            axes.set_visible(False)
        row[0].set_ylabel(f"{arm_label(arm.name)} (n={len(arm.objective_T)})\nvalidation acc. [%]")
    figure.suptitle(
        "Search trials: one dot a config, one seed each; ring: the chosen config", fontsize=11
    )


def _floor(objective_T: NDArray[np.float64]) -> float:
    """Where the axis begins, so that failed configs do not flatten the good ones."""
    best, middle = float(objective_T.max()), float(np.median(objective_T))
    return max(float(objective_T.min()), best - 4 * max(best - middle, 0.005))


def _draw_slice(axes: Axes, arm: ArmSlices, param: str, floor: float) -> None:
    value_T, objective_T = arm.params[param], arm.objective_T
    below_T = objective_T < floor
    color = color_of(arm.name)
    axes.scatter(value_T[~below_T], 100 * objective_T[~below_T], s=26, color=color, alpha=0.7)
    axes.scatter(value_T[below_T], np.full(below_T.sum(), 100 * floor), s=30, marker="v",
                 color=color, alpha=0.7)  # fmt: skip
    is_chosen_T = np.all([arm.params[k] == arm.chosen[k] for k in arm.params], axis=0)
    axes.scatter(
        value_T[is_chosen_T], 100 * objective_T[is_chosen_T], s=110, facecolors="none",
        edgecolors="black", linewidths=1.4,
    )  # fmt: skip
    if param in arm.logs:
        _log_axis(axes, value_T)
    axes.set_xlabel(UNITS.get(param, param))
    tidy(axes)


def _log_axis(axes: Axes, value_T: NDArray[np.float64]) -> None:
    axes.set_xscale("log")
    if value_T.max() < 10**MIN_DECADES * value_T.min():
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
