"""How did training and validation go, by epoch, by samples and by optimizer steps?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from results.arms.choice import full_rows, group_by_arm
from results.plots.figure import Plot
from results.plots.style import add_legend, color_of, line_style, log_axis, subplots
from results.records.schema import Row, trial_from_row
from results.run import Run
from results.statistics.intervals import t_half_width
from results.statistics.wording import arm_label, counts, number, percent
from results.tables import UNKNOWN, Table, thinned
from search_spaces.records import named_value

PANELS = {
    "val_accuracy": "validation accuracy [%]",
    "train_accuracy": "training accuracy [%]",
    "val_loss": "validation loss",
    "train_loss": "training loss",
}
SHORT = {  # over a column
    **{"val_accuracy": "val. accuracy %", "train_accuracy": "train. accuracy %"},
    **{"val_loss": "val. loss", "train_loss": "train. loss"},
}
MAX_PANELS = 8
COSTS = {"samples": "samples", "steps": "optimizer steps"}
HEADROOM = 0.05  # of the values' span, above and below
BAND_ALPHA = 0.18
FEW_EPOCHS = 2.5  # an axis so short has ticks between them
# Losses that fall by more than the first are drawn on a log axis, at most over the second.
LOG_RATIO, MOST_RATIO = 10.0, 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmCurves:
    """Curves of one arm.

    Attributes:
        metrics: column or reported name -> [replicate, report], nan where not measured; a report
            is an epoch's end unless the run says `reports`.
        costs: samples and steps -> since the start, by report; equal for all seeds of a config.
        epochs_E: the same samples in epochs.
        unit: what the run calls a sample. objective: what the search ranks by.
    """

    name: str
    num_seeds: int
    role: str
    metrics: dict[str, NDArray[np.float64]]
    costs: dict[str, NDArray[np.float64]]
    epochs_E: NDArray[np.float64]
    unit: str = "samples"
    objective: str = "val_accuracy"


def curves_info(run: Run) -> tuple[ArmCurves, ...]:
    """What was measured and reported by epoch, for the trials that stand for each arm."""
    objective = run.objective.name
    arms = []
    for name, rows in group_by_arm(run.rows()).items():
        trials = full_rows(rows)
        by_trial = run.epochs_by_trial(trials)
        measured = [by_trial.get((t["run_id"], t["trial_key"]), []) for t in trials]
        measured = [epochs for epochs in measured if epochs]
        if not measured:
            continue
        reported = [
            name for rows in measured for row in rows for name in dict(row["metrics"] or ())
        ]
        names = dict.fromkeys([*PANELS, objective, *sorted(set(reported))])
        longest = [max(measured, key=len)]
        samples_E = _stack(longest, "samples_seen")[0]
        steps_E = np.nancumsum(_stack(longest, "num_steps")[0])  # epochs lost to damage: none
        arms.append(
            ArmCurves(
                name=name,
                num_seeds=len(measured),
                role=trials[0]["role"],
                metrics={metric: _stack(measured, metric) for metric in names},
                costs={"samples": samples_E, "steps": steps_E},
                epochs_E=epochs_at(trials[0], samples_E),
                unit=run.unit,
                objective=objective,
            )
        )
    return tuple(arms)


def epochs_at(trial: Row, samples_E: NDArray[np.float64]) -> NDArray[np.float64]:
    """Epochs by report: whole ones, or where `reports` lay, by the samples passed.

    What is planned stands for reports that were lost.
    """
    recipe = trial_from_row(trial).recipe
    number_E = np.arange(1, len(samples_E) + 1, dtype=np.float64)
    if recipe.reports is None:
        return number_E
    seen_E = samples_E / recipe.train_examples
    return np.where(np.isfinite(seen_E), seen_E, number_E * recipe.epochs / recipe.reports)


def costs_info(run: Run) -> tuple[ArmCurves, ...]:
    """The same curves; no arms where steps say nothing that epochs do not (equal batches)."""
    arms = curves_info(run)
    steps_per_sample = (arm.costs["steps"] / arm.costs["samples"] for arm in arms)
    shares = {share for share_E in steps_per_sample for share in np.round(share_E, 6)}
    return arms if len(shares) > 1 else ()


def metric_info(run: Run, name: str) -> tuple[ArmCurves, ...]:
    """The curves of this metric alone; no arms where no epoch has it."""
    arms = [arm for arm in curves_info(run) if name in panels_of((arm,))]
    return tuple(replace(arm, metrics={name: arm.metrics[name]}) for arm in arms)


def panels_of(arms: Sequence[ArmCurves]) -> list[str]:
    """What is shown of these: the metrics that any has measured, or all; the objective first."""
    names = list(dict.fromkeys(name for arm in arms for name in arm.metrics))
    names.sort(key=lambda name: name != arms[0].objective)
    measured = [
        name
        for name in names
        if any(np.isfinite(arm.metrics[name]).any() for arm in arms if name in arm.metrics)
    ]
    return (measured or names)[:MAX_PANELS]


def title_of(arms: tuple[ArmCurves, ...]) -> str:
    """What lines and bands are, and of which trials."""
    if not any(arm.role == "confirm" for arm in arms):
        return "Best search trial of each arm by validation (one seed)"
    if all(arm.num_seeds < 2 for arm in arms):
        return "One confirm seed an arm"
    return "Line: mean over the confirm seeds; band: 95% t-interval of the mean, by epoch"


def mean_band(
    value_RE: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean over the seeds with its 95% t-interval, by epoch; nan without two finite seeds.

    Example:
        >>> mean, low, high = mean_band(np.array([[1.0, 5.0], [3.0, np.nan]]))
        >>> mean.tolist(), round(float(high[0]), 3), float(high[1])
        ([2.0, 5.0], 14.706, nan)
    """
    masked_RE = np.ma.masked_invalid(value_RE)
    mean_E = masked_RE.mean(axis=0).filled(np.nan)
    sd_E = masked_RE.std(axis=0, ddof=1).filled(np.nan)
    half_E = t_half_width(masked_RE.count(axis=0), sd_E)
    return mean_E, mean_E - half_E, mean_E + half_E


def draw_curves(arms: tuple[ArmCurves, ...], figure: Figure) -> None:
    """A panel a metric by epoch: a line an arm, a band where there are several seeds."""
    panels = panels_of(arms)
    rows, columns = math.ceil(len(panels) / 2), min(2, len(panels))
    height = 3.6 * rows if rows > 1 else 4.6
    all_axes = subplots(figure, height, rows, columns, sharex=True, squeeze=False)
    for axes in all_axes.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, metric in zip(all_axes.flat, panels, strict=False):
        for arm in arms:
            if metric in arm.metrics:
                _draw_arm(axes, arm, metric, arm.epochs_E)
        _finish(axes, arms, metric)
        is_whole = max(arm.epochs_E[-1] for arm in arms) > FEW_EPOCHS
        axes.xaxis.set_major_locator(MaxNLocator(integer=is_whole))
    for axes in all_axes.flat[max(0, len(panels) - columns) : len(panels)]:
        axes.set_xlabel("epoch")
    _add_words(figure, arms)


def draw_costs(arms: tuple[ArmCurves, ...], figure: Figure) -> None:
    """The objective and the training loss by samples (left) and by optimizer steps (right)."""
    all_axes = subplots(figure, 7.2, 2, 2, sharex="col")
    for row, metric in zip(all_axes, (arms[0].objective, "train_loss"), strict=True):
        for axes, cost in zip(row, COSTS, strict=True):
            for arm in arms:
                _draw_arm(axes, arm, metric, arm.costs[cost])
            _finish(axes, arms, metric)
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    for axes, cost in zip(all_axes[1], COSTS, strict=True):
        axes.set_xlabel(arms[0].unit if cost == "samples" else COSTS[cost])
    _add_words(figure, arms)


def _add_words(figure: Figure, arms: tuple[ArmCurves, ...]) -> None:
    figure.suptitle(title_of(arms), fontsize=11)
    add_legend(figure, [(arm.name, f" (n={arm.num_seeds})") for arm in arms])


def _stack(trials: list[list[Row]], metric: str) -> NDArray[np.float64]:
    length = max(row["epoch"] for rows in trials for row in rows)
    value_RE = np.full((len(trials), length), np.nan)
    for values, rows in zip(value_RE, trials, strict=True):
        for row in rows:
            value = named_value(row, metric)
            values[row["epoch"] - 1] = np.nan if value is None else value
    value_RE[~np.isfinite(value_RE)] = np.nan
    return value_RE


def _draw_arm(axes: Axes, arm: ArmCurves, metric: str, x_E: NDArray[np.float64]) -> None:
    bands = mean_band(_scale(metric) * arm.metrics[metric])
    color, marker = color_of(arm.name), "o" if len(bands[0]) == 1 else None
    mean_E, low_E, high_E = (value_E[: len(x_E)] for value_E in bands)
    x_E, style = x_E[: len(mean_E)], line_style(arm.name)
    axes.plot(x_E, mean_E, style, color=color, linewidth=2.0, marker=marker, zorder=3)
    if np.isfinite(bands[1]).any():
        axes.fill_between(x_E, low_E, high_E, color=color, alpha=BAND_ALPHA, linewidth=0)


def _finish(axes: Axes, arms: tuple[ArmCurves, ...], metric: str) -> None:
    """Label, and limits by the seeds' values: wide intervals of few seeds do not squeeze them."""
    values = [arm.metrics[metric].ravel() for arm in arms if metric in arm.metrics]
    value_N = _scale(metric) * np.concatenate(values)
    value_N = value_N[np.isfinite(value_N)]
    if value_N.size and "loss" in metric and value_N.max() > LOG_RATIO * value_N.min() > 0:
        lowest = max(float(value_N.min()), value_N.max() / MOST_RATIO)
        axes.set_ylim(lowest / (1 + HEADROOM), value_N.max() * (1 + HEADROOM))
        log_axis(axes, "y", np.maximum(value_N, lowest))
    elif value_N.size and np.ptp(value_N) > 0:
        room = HEADROOM * np.ptp(value_N)
        axes.set_ylim(value_N.min() - room, value_N.max() + room)
    unit = " [%]" if _is_share(metric) else ""
    axes.set_ylabel(PANELS.get(metric, f"{metric.replace('_', ' ')}{unit}"))


def _is_share(metric: str) -> bool:
    return metric.endswith("accuracy")


def _scale(metric: str) -> float:
    return 100.0 if _is_share(metric) else 1.0


def _num_seeds(arms: tuple[ArmCurves, ...]) -> str:
    return counts([(arm.name, arm.num_seeds) for arm in arms], "seeds") + "."


def _curves_caption(arms: tuple[ArmCurves, ...]) -> str:
    several = any(arm.num_seeds > 1 for arm in arms)
    paired = " Seeds are paired: what separates arms is the plot of differences."
    return f"{title_of(arms)}, {_num_seeds(arms)}{paired if several else ''}"


def _costs_caption(arms: tuple[ArmCurves, ...]) -> str:
    text = "; where batches grow they take fewer optimizer steps."
    return f"{_curves_caption(arms)} All arms see equally many {arms[0].unit}{text}"


def _curves_table(arms: tuple[ArmCurves, ...]) -> Table:
    rows, panels = [], panels_of(arms)
    for arm in arms:
        bands = {m: mean_band(arm.metrics[m]) for m in panels if m in arm.metrics}
        for epoch in thinned(len(next(iter(bands.values()))[0])):
            cells = [arm_label(arm.name), f"{arm.epochs_E[epoch]:.4g}"]
            cells += [number(arm.costs[cost][epoch]) for cost in ("samples", "steps")]
            for metric in panels:
                form = percent if _is_share(metric) else number
                band = bands.get(metric)
                parts = (0, 1, 2) if metric == arm.objective else (0,)
                cells += [form(float(band[i][epoch])) if band else UNKNOWN for i in parts]
            rows.append(cells)
    header = ["arm", "epoch", arms[0].unit, "steps"]
    for metric in panels:
        header.append(SHORT.get(metric, metric.replace("_", " ")))
        header += ["low", "high"] if metric == arms[0].objective else []
    caption = f"Means over the seeds; low, high: 95% t-interval. {_num_seeds(arms)}"
    return Table(caption=caption, header=header, rows=rows)


CURVES = Plot(
    title="Metrics by epoch", section="Curves", info=curves_info, draw=draw_curves,
    caption=_curves_caption, table=_curves_table,
)  # fmt: skip
CURVES_BY_COST = Plot(
    title="By samples and optimizer steps", section="Curves", info=costs_info, draw=draw_costs,
    caption=_costs_caption, table=_curves_table,
)  # fmt: skip
