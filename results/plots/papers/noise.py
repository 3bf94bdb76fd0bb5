"""How noisy were the gradients, epoch by epoch? C^2 beside the norm of the gradient itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from results.arms.choice import point_of
from results.measurements.noise import (
    Noise,
    batch_norm_text,
    measured_trials,
    read_noise,
    rows_by_epoch,
)
from results.plots.figure import Plot
from results.plots.style import (
    LOWEST_END,
    Look,
    arm_looks,
    dodge,
    epoch_axis,
    list_legend,
    log_axis,
    log_errorbars,
    subplots,
)
from results.records.schema import Row
from results.run import Run
from results.statistics.intervals import mean_of
from results.statistics.wording import interval_text, short_number

MAX_BARS = 12  # epochs; the intervals of more are drawn as a band


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """A quantity by measured epoch: mean over seeds, 95% interval; nan where there is none."""

    mean_E: NDArray[np.float64]
    low_E: NDArray[np.float64]
    high_E: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmNoise:
    """C^2 and the gradient's norm along one arm's trainings.

    Attributes:
        c2: t-intervals over seeds; of a single seed the measurement's own.
        gradient_norm: of the whole loss, bias removed; t-intervals over seeds.
        average: over the training; None before the first training has completed.
        mode: how BatchNorm stood while measuring, in words.
    """

    name: str
    epoch_E: NDArray[np.float64]
    c2: Series
    gradient_norm: Series
    num_seeds: int
    average: Noise | None
    mode: str


def noise_info(run: Run) -> tuple[ArmNoise, ...]:
    """C^2 and gradient norms by epoch of the trainings that stand for each arm."""
    averages = read_noise(run)
    arms = []
    by_arm = measured_trials(run, "noise_c2")
    for name in sorted(by_arm, key=lambda name: list(point_of(by_arm[name][0][0]).values())):
        trials = by_arm[name]
        by_epoch = rows_by_epoch(trials)
        arms.append(
            ArmNoise(
                name=name,
                epoch_E=np.array(list(by_epoch), dtype=np.float64),
                c2=_series(list(by_epoch.values()), "noise_c2", len(trials) == 1),
                gradient_norm=_series(list(by_epoch.values()), "gradient_norm", False),
                num_seeds=len(trials),
                average=averages.get(name),
                mode=batch_norm_text(trials[0][0], "noise"),
            )
        )
    return tuple(arms)


def draw_noise(arms: tuple[ArmNoise, ...], figure: Figure) -> None:
    """Left C^2, right the gradient's norm; a line an arm."""
    looks = arm_looks([arm.name for arm in arms])
    left, right = subplots(figure, 4.6 + 0.24 * len(arms), 1, 2)
    left.set_ylabel("noise constant C^2")
    right.set_ylabel("norm of the whole gradient")
    for axes, quantity in ((left, "c2"), (right, "gradient_norm")):
        series: list[Series] = [getattr(arm, quantity) for arm in arms]
        for place, (arm, one) in enumerate(zip(arms, series, strict=True)):
            x_E = dodge(arm.epoch_E, place, len(arms))
            _draw_series(axes, x_E, one, looks[arm.name])
        log_axis(axes, "y", np.concatenate([[], *(one.mean_E for one in series)]))
        epoch_axis(axes, np.concatenate([np.empty(0), *(arm.epoch_E for arm in arms)]))
    figure.suptitle(_title(arms), fontsize=11)
    texts = (f"{looks[arm.name].label}: {_average(arm)} (n={arm.num_seeds})" for arm in arms)
    list_legend(figure, zip(looks.values(), texts, strict=True))


def _series(epochs: list[list[Row]], column: str, is_single: bool) -> Series:
    """is_single: of a single seed, with the measurement's own interval."""
    means = [
        mean_of(math.nan if row[column] is None else row[column] for row in rows)
        for rows in epochs
    ]
    low = [rows[0][f"{column}_low"] for rows in epochs] if is_single else [m.low for m in means]
    high = [rows[0][f"{column}_high"] for rows in epochs] if is_single else [m.high for m in means]
    return Series(
        mean_E=np.array([m.mean for m in means]),
        low_E=np.array(low, dtype=np.float64),
        high_E=np.array(high, dtype=np.float64),
    )


def _draw_series(axes: Axes, x_E: NDArray[np.float64], series: Series, look: Look) -> None:
    mean_E = np.where(series.mean_E > 0, series.mean_E, np.nan)
    if len(x_E) > MAX_BARS:
        axes.plot(x_E, mean_E, color=look.color, marker=look.marker, markersize=3.5, linewidth=1.6)
        low_E = np.maximum(series.low_E, LOWEST_END * mean_E)
        axes.fill_between(x_E, low_E, series.high_E, color=look.color, alpha=0.15, linewidth=0)
        return
    log_errorbars(axes, x_E, mean_E, (series.low_E, series.high_E), look)


def _title(arms: tuple[ArmNoise, ...]) -> str:
    single = any(arm.num_seeds == 1 for arm in arms)
    several = any(arm.num_seeds > 1 for arm in arms)
    kinds = ["t-intervals over seeds"] if several else []
    kinds += ["of one seed the measurement's own (C^2 only)"] if single else []
    return (
        "Gradient noise during training: means over seeds (log scale: intervals end at a tenth of "
        f"the mean)\n95% intervals: {'; '.join(kinds)}\n{arms[0].mode if arms else ''}"
    )


def _average(arm: ArmNoise) -> str:
    noise = arm.average
    if noise is None:
        return "not completed"
    interval = interval_text(noise.low, noise.high)
    return f"geometric mean C^2 = {short_number(noise.c2)}{interval}, K = {noise.k:.3g}"


NOISE = Plot(title="Noise constant", section="Measurements", info=noise_info, draw=draw_noise)
