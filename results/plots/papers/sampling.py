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
from results.plots.style import (
    Look,
    arm_looks,
    dodge,
    epoch_axis,
    list_legend,
    log_axis,
    log_errorbars,
    subplots,
)
from results.statistics.wording import interval_text

LEGEND_LETTERS = 140  # of a line
EXPECTED_COUNT = 0.5  # below a density worth fewer components, the histogram's axis ends


def draw_sampling(arms: tuple[Sampling, ...], figure: Figure) -> None:
    """Left the histograms over the standard normal, right sqrt(b) ||omega|| by epoch."""
    left, right = subplots(figure, 5.0 + 0.24 * len(arms), 1, 2, width_ratios=(3, 2))
    looks = arm_looks([arm.name for arm in arms]).values()
    _draw_normal(left, arms)
    for place, (arm, look) in enumerate(zip(arms, looks, strict=True)):
        density = np.where(arm.density > 0, arm.density, np.nan)
        middles = (arm.edges[1:] + arm.edges[:-1]) / 2
        left.plot(middles, density, color=look.color, linewidth=1.6)
        means = arm.scaled_norm.values()
        mean_E, low_E, high_E = np.array([(m.mean, m.low, m.high) for m in means], dtype=float).T
        x_E = dodge(list(arm.scaled_norm), place, len(arms))
        log_errorbars(right, x_E, mean_E, (low_E, high_E), look)
    left.set(xlabel="component of omega [standard deviations from the mean]", ylabel="density")
    right.set_ylabel("sqrt(b) * ||omega||, an estimate of C")
    epoch_axis(right, [epoch for arm in arms for epoch in arm.scaled_norm])
    log_axis(right, "y", [m.mean for arm in arms for m in arm.scaled_norm.values()])
    figure.suptitle(
        "Gradient noise omega at one point (left: last measured epoch); means over seeds, "
        f"bars: 95% t-intervals over seeds\n{arms[0].mode if arms else ''}",
        fontsize=11,
    )
    normal = "standard normal; KS: times what 5% of normal samples of so many values exceed"
    list_legend(
        figure,
        [(look, _described(arm, look)) for arm, look in zip(arms, looks, strict=True)],
        [Line2D([], [], color="k", linestyle="--", label=normal)],
    )


def _draw_normal(axes: Axes, arms: tuple[Sampling, ...]) -> None:
    limit = max((float(arm.edges[-1]) for arm in arms), default=5.0)
    z_N = np.linspace(-limit, limit, 401)
    axes.plot(z_N, np.exp(-(z_N**2) / 2) / math.sqrt(2 * math.pi), "k--", linewidth=1.4)
    top = max((float(arm.density.max()) for arm in arms), default=1.0)
    axes.set_yscale("log")
    # The smallest density of the bins drawn, and at most that of a normal at 4 deviations.
    drawn = [float(arm.density[arm.density > 0].min(initial=1.0)) for arm in arms]
    lowest = min([math.exp(-8.0) / math.sqrt(2 * math.pi), *drawn])
    axes.set_ylim(EXPECTED_COUNT * lowest, 2 * max(top, 0.4))


def _described(arm: Sampling, look: Look) -> str:
    kurtosis = arm.excess_kurtosis
    return textwrap.fill(
        f"{look.label}: skewness {arm.skewness.mean:.2g}, excess kurtosis {kurtosis.mean:.3g}"
        f"{interval_text(kurtosis.low, kurtosis.high)}, KS {arm.ks.mean:.2g} = "
        f"{arm.ks.mean / arm.ks_of_normal:.2g} x a normal's; {arm.verdict} (n={kurtosis.n})",
        LEGEND_LETTERS,
    )


SAMPLING = Plot(
    title="Noise sample", section="Measurements", info=read_sampling, draw=draw_sampling
)
