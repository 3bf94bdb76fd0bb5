"""How soon did each arm's search find its best? Best accuracy so far by samples spent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from results.arms.choice import group_by_arm, is_full
from results.plots.figure import Plot
from results.plots.search.slices import visible_floor
from results.plots.style import add_legend, color_of, line_style, subplots
from results.records.schema import Row
from results.run import Run
from results.statistics.wording import arm_label, counts, number, percent
from results.tables import Table, thinned
from search_spaces.records import LOST


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmProgress:
    """The search of one arm, an entry for each full training in the order of their ends.

    Attributes:
        samples_T: spent by the arm's search up to then, shorter trainings included.
        objective_T: validation accuracy of the training; best_T: the largest so far.
        num_trials: search trials that spent samples, shorter ones included.
        samples: spent in all.
    """

    name: str
    samples_T: NDArray[np.float64]
    objective_T: NDArray[np.float64]
    best_T: NDArray[np.float64]
    num_trials: int
    samples: int


def progress_info(run: Run) -> tuple[ArmProgress, ...]:
    """Best validation accuracy by samples, for the search trials in the order of their ends.

    A training by rungs counts its samples where it ended; failures of the machinery cost none.
    """
    arms = []
    for name, rows in group_by_arm(run.rows()).items():
        trials = sorted(filter(_is_spent, rows), key=lambda row: row["ended_at"])
        samples_T = np.cumsum([row["samples_seen"] for row in trials], dtype=np.float64)
        is_full_T = np.array([is_full(row) for row in trials], dtype=bool)
        if is_full_T.any():
            objective_T = np.array([row["objective"] for row in trials if is_full(row)])
            arms.append(
                ArmProgress(
                    name=name,
                    samples_T=samples_T[is_full_T],
                    objective_T=objective_T,
                    best_T=np.maximum.accumulate(objective_T),
                    num_trials=len(trials),
                    samples=int(samples_T[-1]),
                )
            )
    return tuple(arms)


def draw_progress(arms: tuple[ArmProgress, ...], figure: Figure) -> None:
    """A stair an arm; dots: single full trainings."""
    axes = subplots(figure, 4.8)
    floor = visible_floor(np.concatenate([arm.objective_T for arm in arms]))
    for arm in arms:
        color = color_of(arm.name)
        axes.step(
            np.append(arm.samples_T, arm.samples), 100 * np.append(arm.best_T, arm.best_T[-1]),
            where="post", color=color, linestyle=line_style(arm.name), linewidth=2.0,
        )  # fmt: skip
        below_T = arm.objective_T < floor
        for is_here_T, marker, size in ((~below_T, "o", 4.5), (below_T, "v", 5)):
            height_T = 100 * np.maximum(arm.objective_T, floor)[is_here_T]
            axes.plot(
                arm.samples_T[is_here_T], height_T, marker, color=color, markersize=size, alpha=0.6
            )
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("samples the arm's search has trained on")
    axes.set_ylabel("validation accuracy [%]")
    figure.suptitle(
        "Line: best so far; dots: single configs of full length (one seed each); "
        "triangles: below the axis",
        fontsize=11,
    )
    add_legend(figure, [(arm.name, f" (n={len(arm.objective_T)})") for arm in arms])


def _is_spent(row: Row) -> bool:
    has_ended = row["ended_at"] is not None and row["status"] not in LOST
    return row["role"] == "search" and has_ended and bool(row["samples_seen"])


def _progress_caption(arms: tuple[ArmProgress, ...]) -> str:
    trials = counts([(arm.name, len(arm.objective_T)) for arm in arms], "full trainings")
    shorter = sum(arm.num_trials - len(arm.objective_T) for arm in arms)
    more = f" Samples of {shorter} shorter trainings are counted too." if shorter else ""
    return (
        f"Best validation accuracy so far by the samples each arm's search has spent, {trials}, "
        f"one seed each; single values, no interval.{more}"
    )


def _progress_table(arms: tuple[ArmProgress, ...]) -> Table:
    rows = [
        [arm_label(arm.name), number(float(arm.samples_T[t]))]
        + [percent(float(accuracy_T[t])) for accuracy_T in (arm.objective_T, arm.best_T)]
        for arm in arms
        for t in thinned(len(arm.best_T))
    ]
    header = ["arm", "samples", "validation accuracy %", "best so far %"]
    return Table(caption="Full trainings in the order of their ends", header=header, rows=rows)


PROGRESS = Plot(
    title="Best so far", section="Search", info=progress_info, draw=draw_progress,
    caption=_progress_caption, table=_progress_table,
)  # fmt: skip
