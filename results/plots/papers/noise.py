"""How noisy were the gradients, epoch by epoch? C^2 beside the norm of the gradient itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from results.arms.choice import point_of
from results.measurements.noise import Noise, measured_trials, read_noise
from results.plots.figure import Plot
from results.plots.looks import (
    Look,
    arm_looks,
    dodge,
    epoch_axis,
    log_axis,
    short_labels,
)
from results.plots.style import set_size, tidy
from results.records.schema import Row
from results.run import Run
from results.statistics.intervals import mean_of
from results.statistics.wording import interval_text, short_number

MAX_BARS = 12  # epochs; the intervals of more are drawn as a band
LOWEST_SHOWN = 0.1  # of the mean; where an interval that reaches 0 or below ends on the log axis


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
        epoch_E: those measured.
        c2: t-intervals over seeds; of a single seed the measurement's own.
        gradient_norm: of the whole loss, bias removed; t-intervals over seeds.
        num_seeds: trainings averaged.
        average: over the training; None before the first training has completed.
    """

    name: str
    epoch_E: NDArray[np.int64]
    c2: Series
    gradient_norm: Series
    num_seeds: int
    average: Noise | None


def noise_info(run: Run) -> tuple[ArmNoise, ...]:
    """C^2 and gradient norms by epoch of the trainings that stand for each arm."""
    averages = read_noise(run)
    arms = []
    by_arm = measured_trials(run, "noise_c2")
    for name, trials in sorted(by_arm.items(), key=lambda arm: _point(arm[1][0][0])):
        by_epoch: dict[int, list[Row]] = {}
        for row in sorted((r for _, rows in trials for r in rows), key=lambda r: int(r["epoch"])):
            by_epoch.setdefault(int(row["epoch"]), []).append(row)
        arms.append(
            ArmNoise(
                name=name,
                epoch_E=np.array(list(by_epoch), dtype=np.int64),
                c2=_series(list(by_epoch.values()), "noise_c2", len(trials) == 1),
                gradient_norm=_series(list(by_epoch.values()), "gradient_norm", False),
                num_seeds=len(trials),
                average=averages.get(name),
            )
        )
    return tuple(arms)


def _point(trial: Row) -> list[float]:
    """What points of one space are sorted by; whole spaces come first."""
    return list(point_of(trial).values())


def draw_noise(arms: tuple[ArmNoise, ...], figure: Figure) -> None:
    """Left C^2, right the gradient's norm; a line an arm."""
    set_size(figure, 4.6 + 0.24 * len(arms))
    panels: tuple[tuple[Axes, str, Callable[[ArmNoise], Series]], ...] = tuple(
        zip(
            figure.subplots(1, 2),
            ("noise constant C^2", "norm of the whole gradient"),
            (lambda arm: arm.c2, lambda arm: arm.gradient_norm),
            strict=True,
        )
    )
    looks = arm_looks([arm.name for arm in arms])
    for axes, label, series_of in panels:
        for place, arm in enumerate(arms):
            x_E = dodge(arm.epoch_E, place, len(arms))
            _draw_series(axes, x_E, series_of(arm), looks[arm.name])
        log_axis(axes, "y", np.concatenate([[], *(series_of(a).mean_E for a in arms)]))
        axes.set_ylabel(label)
        epoch_axis(axes, np.concatenate([np.empty(0), *(arm.epoch_E for arm in arms)]))
        tidy(axes)
    figure.suptitle(_title(arms), fontsize=11)
    _add_legend(arms, looks, figure)


def _series(epochs: list[list[Row]], column: str, is_own: bool) -> Series:
    """is_own: of a single seed, with the measurement's own interval."""
    means = [mean_of(_number(row[column]) for row in rows) for rows in epochs]
    low = [math.nan if m.low is None else m.low for m in means]
    high = [math.nan if m.high is None else m.high for m in means]
    if is_own:
        low, high = (
            [_number(rows[0][f"{column}_{end}"]) for rows in epochs] for end in ("low", "high")
        )
    return Series(
        mean_E=np.array([m.mean for m in means]), low_E=np.array(low), high_E=np.array(high)
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _draw_series(axes: Axes, x_E: NDArray[np.float64], series: Series, look: Look) -> None:
    mean_E = np.where(series.mean_E > 0, series.mean_E, np.nan)
    low_E = np.maximum(series.low_E, LOWEST_SHOWN * mean_E)
    if len(x_E) > MAX_BARS:
        axes.plot(x_E, mean_E, color=look.color, marker=look.marker, markersize=3.5, linewidth=1.6)
        axes.fill_between(x_E, low_E, series.high_E, color=look.color, alpha=0.15, linewidth=0)
        return
    axes.errorbar(
        x_E, mean_E, yerr=[np.nan_to_num(mean_E - low_E), np.nan_to_num(series.high_E - mean_E)],
        color=look.color, marker=look.marker, markersize=5, linewidth=1.4, elinewidth=1.0,
        capsize=2.5,
    )  # fmt: skip


def _title(arms: tuple[ArmNoise, ...]) -> str:
    single = any(arm.num_seeds == 1 for arm in arms)
    several = any(arm.num_seeds > 1 for arm in arms)
    kinds = ["t-intervals over seeds"] if several else []
    kinds += ["of one seed the measurement's own (C^2 only)"] if single else []
    return (
        "Gradient noise during training: means over seeds (log scale: intervals end at a tenth of "
        f"the mean)\n95% intervals: {'; '.join(kinds)}"
    )


def _add_legend(arms: tuple[ArmNoise, ...], looks: dict[str, Look], figure: Figure) -> None:
    labels = short_labels([arm.name for arm in arms])
    handles = [
        Line2D([], [], color=looks[arm.name].color, marker=looks[arm.name].marker, linewidth=2,
               label=f"{labels[arm.name]}: {_average(arm)} (n={arm.num_seeds})")
        for arm in arms
    ]  # fmt: skip
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=1, frameon=False, fontsize=9,
        )  # fmt: skip


def _average(arm: ArmNoise) -> str:
    found = arm.average
    if found is None:
        return "not completed"
    interval = interval_text(found.low, found.high)
    return f"geometric mean C^2 = {short_number(found.c2)}{interval}, K = {found.k:.3g}"


NOISE = Plot(title="Noise constant", section="Measurements", info=noise_info, draw=draw_noise)
