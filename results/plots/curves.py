"""How did training and validation go, epoch by epoch?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from results.arms import chosen_row, confirm_rows, group_by_arm
from results.load import Run
from results.plots.style import add_legend, color_of, line_style, set_size, tidy
from results.records import Row

PANELS = {
    "val_accuracy": "validation accuracy [%]",
    "train_accuracy": "training accuracy [%]",
    "val_loss": "validation loss",
    "train_loss": "training loss",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmCurves:
    """Curves of one arm. metrics: column -> [replicate, epoch], nan where not measured."""

    name: str
    num_seeds: int
    role: str
    metrics: dict[str, NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvesInfo:
    """Curves of all arms: of the confirm seeds, or of each arm's best search trial."""

    arms: tuple[ArmCurves, ...]


def curves_info(run: Run) -> CurvesInfo:
    """Accuracies and losses by epoch for the trials that stand for each arm."""
    by_trial = run.epochs_by_trial()
    arms = []
    for name, rows in group_by_arm(run.rows()).items():
        chosen = chosen_row(rows)
        trials = confirm_rows(rows) or ([chosen] if chosen else [])
        measured = [by_trial.get((t["run_id"], t["trial_key"]), []) for t in trials]
        measured = [epochs for epochs in measured if epochs]
        if measured:
            metrics = {metric: _stack(measured, metric) for metric in PANELS}
            role = trials[0]["role"]
            arms.append(ArmCurves(name=name, num_seeds=len(measured), role=role, metrics=metrics))
    return CurvesInfo(arms=tuple(arms))


def draw_curves(info: CurvesInfo, figure: Figure) -> None:
    """Four panels; thick: mean over the seeds, thin: single seeds."""
    set_size(figure, 7.2)
    all_axes = figure.subplots(2, 2, sharex=True)
    for axes, (metric, label) in zip(all_axes.flat, PANELS.items(), strict=True):
        scale = 100.0 if "accuracy" in metric else 1.0
        for arm in info.arms:
            _draw_arm(axes, arm, scale * arm.metrics[metric])
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axes)
    for axes in all_axes[1]:
        axes.set_xlabel("epoch")
    confirmed = any(arm.role == "confirm" for arm in info.arms)
    figure.suptitle(
        "Thick: mean over the confirm seeds, thin: single seeds"
        if confirmed
        else "Best search trial of each arm by validation (one seed)",
        fontsize=11,
    )
    add_legend(figure, [(arm.name, f" (n={arm.num_seeds})") for arm in info.arms])


def _stack(trials: list[list[Row]], metric: str) -> NDArray[np.float64]:
    length = max(row["epoch"] for rows in trials for row in rows)
    value_RE = np.full((len(trials), length), np.nan)
    for values, rows in zip(value_RE, trials, strict=True):
        for row in rows:
            values[row["epoch"] - 1] = row[metric]
    value_RE[~np.isfinite(value_RE)] = np.nan
    return value_RE


def _draw_arm(axes: Axes, arm: ArmCurves, value_RE: NDArray[np.float64]) -> None:
    epoch_E = np.arange(1, value_RE.shape[1] + 1)
    color, line = color_of(arm.name), line_style(arm.name)
    mean_E = np.ma.masked_invalid(value_RE).mean(axis=0).filled(np.nan)
    marker = "o" if len(epoch_E) == 1 else None
    axes.plot(epoch_E, mean_E, line, color=color, linewidth=2.2, marker=marker, zorder=3)
    if len(value_RE) > 1:
        for value_E in value_RE:
            axes.plot(epoch_E, value_E, line, color=color, linewidth=0.7, alpha=0.45)
