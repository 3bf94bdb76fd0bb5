"""Is the gradient noise normal, and does its size follow 1/sqrt(batch)?"""

from __future__ import annotations

import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from results.measurements.sampling import Sampling, read_sampling
from results.plots.figure import Plot
from results.plots.looks import Look, arm_looks, dodge, epoch_axis, log_axis, short_labels
from results.plots.style import set_size, tidy
from results.statistics.wording import interval_text

LEGEND_LETTERS = 140  # of a line
EXPECTED_COUNT = 0.5  # below a density worth fewer components, the histogram's axis ends


def draw_sampling(arms: tuple[Sampling, ...], figure: Figure) -> None:
    """Left the histograms over the standard normal, right sqrt(b) ||omega|| by epoch."""
    set_size(figure, 5.0 + 0.24 * len(arms))
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    looks = arm_looks([arm.name for arm in arms])
    _draw_normal(left, arms)
    for place, arm in enumerate(arms):
        style = {"color": looks[arm.name].color, "linewidth": 1.6}
        shown = np.where(arm.density > 0, arm.density, np.nan)
        left.plot((arm.edges[1:] + arm.edges[:-1]) / 2, shown, **style)
        _draw_norms(right, arm, looks[arm.name], place, len(arms))
    left.set_xlabel("component of omega [standard deviations from the mean]")
    left.set_ylabel("density")
    right.set_ylabel("sqrt(b) * ||omega||, an estimate of C")
    epoch_axis(right, [epoch for arm in arms for epoch in arm.scaled_norm])
    log_axis(right, "y", [m.mean for arm in arms for m in arm.scaled_norm.values()])
    for axes in (left, right):
        tidy(axes)
    figure.suptitle(
        "Gradient noise omega at one point (left: last measured epoch); means over seeds, "
        "bars: 95% t-intervals over seeds",
        fontsize=11,
    )
    _add_legend(arms, looks, figure)


def _draw_normal(axes: Axes, arms: tuple[Sampling, ...]) -> None:
    limit = max((float(arm.edges[-1]) for arm in arms), default=5.0)
    z_N = np.linspace(-limit, limit, 401)
    axes.plot(z_N, np.exp(-(z_N**2) / 2) / math.sqrt(2 * math.pi), "k--", linewidth=1.4)
    top = max((float(arm.density.max()) for arm in arms), default=1.0)
    axes.set_yscale("log")
    axes.set_ylim(_smallest_density(arms), 2 * max(top, 0.4))


def _smallest_density(arms: tuple[Sampling, ...]) -> float:
    """Of the bins drawn, and at most that of a normal at 4 standard deviations."""
    drawn = [float(arm.density[arm.density > 0].min(initial=1.0)) for arm in arms]
    normal = math.exp(-8.0) / math.sqrt(2 * math.pi)
    return EXPECTED_COUNT * min([normal, *drawn])


def _draw_norms(axes: Axes, arm: Sampling, look: Look, place: int, count: int) -> None:
    means = list(arm.scaled_norm.values())
    mean_E = np.array([m.mean for m in means])
    low_E = np.array([m.mean if m.low is None else m.low for m in means])
    # A log axis has no place for what is below 0: such a bar ends at a tenth of its mean.
    below_E = mean_E - np.maximum(low_E, mean_E / 10)
    above_E = [(m.mean if m.high is None else m.high) - m.mean for m in means]
    axes.errorbar(
        dodge(list(arm.scaled_norm), place, count), mean_E, yerr=[below_E, above_E],
        color=look.color, marker=look.marker, markersize=5, linewidth=1.4, elinewidth=1.0,
        capsize=2.5,
    )  # fmt: skip


def _add_legend(arms: tuple[Sampling, ...], looks: dict[str, Look], figure: Figure) -> None:
    labels = short_labels([arm.name for arm in arms])
    handles = [
        Line2D(
            [], [], color=looks[arm.name].color, marker=looks[arm.name].marker, linewidth=2,
            label=textwrap.fill(f"{labels[arm.name]}: {_described(arm)}", LEGEND_LETTERS),
        )
        for arm in arms
    ]  # fmt: skip
    normal = "standard normal; KS: times what 5% of normal samples of so many values exceed"
    handles.append(Line2D([], [], color="k", linestyle="--", label=normal))
    figure.legend(handles=handles, loc="outside lower center", ncols=1, frameon=False, fontsize=9)


def _described(arm: Sampling) -> str:
    kurtosis = arm.excess_kurtosis
    return (
        f"skewness {arm.skewness.mean:.2g}, excess kurtosis {kurtosis.mean:.3g}"
        f"{interval_text(kurtosis.low, kurtosis.high)}, KS {arm.ks.mean:.2g} = "
        f"{arm.ks.mean / arm.ks_of_normal:.2g} x a normal's; {arm.verdict} (n={kurtosis.n})"
    )


SAMPLING = Plot(
    title="Noise sample", section="Measurements", info=read_sampling, draw=draw_sampling
)
