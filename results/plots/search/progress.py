"""How soon did each arm's search find its best? Best objective so far by samples spent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from results.arms.choice import group_by_arm, is_full
from results.plots.figure import Plot
from results.plots.search.slices import beyond, cut_at, visible_limit
from results.plots.style import add_legend, color_of, line_style, subplots
from results.records.schema import Row
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
from search_spaces.records import LOST


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmProgress:
    """The search of one arm, an entry for each full training in the order of their ends.

    Attributes:
        samples_T: spent by the arm's search up to then, shorter trainings included.
        metric: what the search ranks by; objective_T: its value of the training; best_T: the
            best so far.
        num_trials: search trials that spent samples, shorter ones included.
        samples: spent in all; unit: what the run calls them.
    """

    name: str
    samples_T: NDArray[np.float64]
    objective_T: NDArray[np.float64]
    best_T: NDArray[np.float64]
    num_trials: int
    samples: int
    metric: Metric = VAL_ACCURACY
    unit: str = "samples"


def progress_info(run: Run) -> tuple[ArmProgress, ...]:
    """Best objective by samples, for the search trials in the order of their ends.

    A training by rungs counts its samples where it ended; failures of the machinery cost none.
    """
    arms = []
    for name, rows in group_by_arm(run.rows()).items():
        trials = sorted(filter(_is_spent, rows), key=lambda row: row["ended_at"])
        samples_T = np.cumsum([row["samples_seen"] for row in trials], dtype=np.float64)
        is_full_T = np.array([is_full(row) for row in trials], dtype=bool)
        if is_full_T.any():
            metric = run.objective
            objective_T = np.array([row["objective"] for row in trials if is_full(row)])
            arms.append(
                ArmProgress(
                    name=name,
                    samples_T=samples_T[is_full_T],
                    objective_T=objective_T,
                    best_T=metric.sign * np.maximum.accumulate(metric.sign * objective_T),
                    num_trials=len(trials),
                    samples=int(samples_T[-1]),
                    metric=metric,
                    unit=run.unit,
                )
            )
    return tuple(arms)


def draw_progress(arms: tuple[ArmProgress, ...], figure: Figure) -> None:
    """A stair an arm; dots: single full trainings."""
    axes, metric = subplots(figure, 4.8), arms[0].metric
    limit = visible_limit(np.concatenate([arm.objective_T for arm in arms]), metric)
    marker_beyond, where = beyond(metric)
    for arm in arms:
        color = color_of(arm.name)
        best_T, _ = cut_at(np.append(arm.best_T, arm.best_T[-1]), limit, metric)
        axes.step(
            np.append(arm.samples_T, arm.samples),
            best_T,
            where="post", color=color, linestyle=line_style(arm.name), linewidth=2.0,
        )  # fmt: skip
        height_T, beyond_T = cut_at(arm.objective_T, limit, metric)
        for is_here_T, marker, size in ((~beyond_T, "o", 4.5), (beyond_T, marker_beyond, 5)):
            axes.plot(
                arm.samples_T[is_here_T], height_T[is_here_T], marker, color=color,
                markersize=size, alpha=0.6,
            )  # fmt: skip
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel(f"{arms[0].unit} the arm's search has trained on")
    axes.set_ylabel(axis_title(metric_words(metric), metric))
    figure.suptitle(
        "Line: best so far; dots: single configs of full length (one seed each); "
        f"triangles: {where} the axis",
        fontsize=11,
    )
    add_legend(figure, [(arm.name, f" (n={len(arm.objective_T)})") for arm in arms])


def _is_spent(row: Row) -> bool:
    has_ended = row["ended_at"] is not None and row["status"] not in LOST
    return row["role"] == "search" and has_ended and bool(row["samples_seen"])


def _progress_caption(arms: tuple[ArmProgress, ...]) -> str:
    trials = counts([(arm.name, len(arm.objective_T)) for arm in arms], "full trainings")
    shorter = sum(arm.num_trials - len(arm.objective_T) for arm in arms)
    unit = arms[0].unit
    more = f" {unit.capitalize()} of {shorter} shorter trainings count too." if shorter else ""
    return (
        f"Best {metric_words(arms[0].metric)} so far by the {unit} each arm's search has spent, "
        f"{trials}, one seed each; single values, no interval.{more}"
    )


def _progress_table(arms: tuple[ArmProgress, ...]) -> Table:
    metric = arms[0].metric
    rows = [
        [arm_label(arm.name), number(float(arm.samples_T[t]))]
        + [value_text(float(value_T[t]), metric) for value_T in (arm.objective_T, arm.best_T)]
        for arm in arms
        for t in thinned(len(arm.best_T))
    ]
    titles = (column_title(words, metric) for words in (metric_words(metric), "best so far"))
    header = ["arm", arms[0].unit, *titles]
    return Table(caption="Full trainings in the order of their ends", header=header, rows=rows)


PROGRESS = Plot(
    title="Best so far", section="Search", info=progress_info, draw=draw_progress,
    caption=_progress_caption, table=_progress_table,
)  # fmt: skip
