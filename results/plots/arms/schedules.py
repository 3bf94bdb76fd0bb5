"""Which lr, batch size and noise level did the chosen schedules really use?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from numpy.typing import NDArray

from results.arms.choice import chosen_row, group_by_arm
from results.plots.arms.curves import FEW_EPOCHS, epochs_at
from results.plots.figure import Plot
from results.plots.style import add_legend, color_of, line_style, subplots
from results.records.schema import Row
from results.run import Run
from results.statistics.wording import arm_label, number
from results.tables import Table, thinned

PANELS = {
    "lr": "learning rate",
    "batch_size": "batch size",
    "delta": "noise level delta",
    "decay_rate": "decay rate of delta",
}
MAX_LINEAR_BATCH_RATIO = 8.0
WIDEST, THINNEST = 4.0, 1.6  # points


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmSchedule:
    """What one arm's chosen config used.

    Attributes:
        used: column -> value at each report (the end of each epoch unless the run says `reports`).
        epochs_E: where they lie.
    """

    name: str
    used: dict[str, NDArray[np.float64]]
    epochs_E: NDArray[np.float64]


def schedules_info(run: Run) -> tuple[ArmSchedule, ...]:
    """Per arm what its chosen config used by report: the longest recorded of its trainings.

    Squeezed and paused ones run through another schedule, or a part, and do not count.
    """
    arms = []
    for name, rows in group_by_arm(run.rows()).items():
        chosen = chosen_row(rows)
        trained = [
            row
            for row in rows
            if chosen and row["config_key"] == chosen["config_key"]
            if row["horizon"] == 1.0 and row["status"] != "paused"
        ]
        by_trial = run.epochs_by_trial(trained)
        recorded: list[list[Row]] = [
            by_trial.get((row["run_id"], row["trial_key"]), []) for row in trained
        ]
        longest: list[Row] = max(recorded, key=lambda epochs: len(epochs), default=[])
        longest = sorted(longest, key=lambda row: int(row["epoch"]))
        if longest:
            used = {key: np.array([row[key] for row in longest], dtype=float) for key in PANELS}
            samples_E = np.array([row["samples_seen"] for row in longest], dtype=float)
            arms.append(ArmSchedule(name=name, used=used, epochs_E=epochs_at(rows[0], samples_E)))
    return tuple(arms)


def draw_schedules(arms: tuple[ArmSchedule, ...], figure: Figure) -> None:
    """Four panels of steps; of coinciding lines the earlier arm shows as a wider one below."""
    all_axes = subplots(figure, 6.6, 2, 2, sharex=True)
    widths = np.linspace(WIDEST if len(arms) > 1 else THINNEST, THINNEST, len(arms))
    for axes, (column, label) in zip(all_axes.flat, PANELS.items(), strict=True):
        for arm, width in zip(arms, widths, strict=True):
            axes.stairs(
                arm.used[column], np.concatenate([[0.0], arm.epochs_E]), baseline=None,
                linewidth=width, color=color_of(arm.name), linestyle=line_style(arm.name),
            )  # fmt: skip
        axes.set_ylabel(label)
        is_whole = max(arm.epochs_E[-1] for arm in arms) > FEW_EPOCHS
        axes.xaxis.set_major_locator(MaxNLocator(integer=is_whole))
    all_axes[0, 1].yaxis.set_major_locator(MaxNLocator(integer=True))
    batches = np.concatenate([arm.used["batch_size"] for arm in arms])
    if batches.max() > MAX_LINEAR_BATCH_RATIO * batches.min():
        all_axes[0, 1].set_yscale("log", base=2)
        all_axes[0, 1].yaxis.set_major_formatter(ScalarFormatter())
    for axes in all_axes[1]:
        axes.set_xlabel("epoch")
    figure.suptitle(
        "Used by each arm's chosen config (last step before each evaluation)", fontsize=11
    )
    add_legend(figure, [(arm.name, "") for arm in arms])


def _schedules_caption(arms: tuple[ArmSchedule, ...]) -> str:
    return (
        "Learning rate, batch size and noise level delta that each arm's chosen config really "
        f"used at the last step before each evaluation, n=1 training an arm ({len(arms)} arms; "
        "every seed uses the same schedule)."
    )


def _schedules_table(arms: tuple[ArmSchedule, ...]) -> Table:
    rows = []
    for arm in arms:
        for epoch in thinned(len(arm.used["lr"])):
            cells = [number(float(value[epoch])) for value in arm.used.values()]
            rows.append([arm_label(arm.name), f"{arm.epochs_E[epoch]:.4g}", *cells])
    header = ["arm", "epoch", *(name.replace("_", " ") for name in arms[0].used)]
    return Table(caption="Used at the last step before the evaluation", header=header, rows=rows)


SCHEDULES = Plot(
    title="Schedules used", section="Schedules", info=schedules_info, draw=draw_schedules,
    caption=_schedules_caption, table=_schedules_table,
)  # fmt: skip
