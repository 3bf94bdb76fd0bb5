"""Is the gradient noise normal, and does its size follow 1/sqrt(batch)?"""

from __future__ import annotations

import json
import math
import textwrap
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from results.measurements.noise import measured_trials
from results.plots.looks import Look, arm_looks, dodge, epoch_axis, log_axis, short_labels
from results.plots.style import set_size, tidy
from results.records.schema import Row
from results.run import Run
from results.statistics.intervals import Mean, mean_of
from results.statistics.wording import interval_text

# 95% quantile of the Kolmogorov-Smirnov distance of n normal values from the normal of their own
# mean and standard deviation: 0.895 / (sqrt(n) - 0.01 + 0.85 / sqrt(n)); Stephens 1974, JASA 69.
STEPHENS = (0.895, -0.01, 0.85)
FAR = 3.0  # times that quantile; the components are no independent sample
CLEAR_ERRORS = 4.0  # standard errors of a normal sample's excess kurtosis, sqrt(24/n)
LEGEND_LETTERS = 140  # of a line
EXPECTED_COUNT = 0.5  # below a density worth fewer components, the histogram's axis ends


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmNoise:
    """Gradient noise omega of one arm; every number is a mean over mini-batches, then seeds.

    Components of different layers differ in scale, and dead units give exact zeros: both alone
    make the histogram peaked and its tails heavy, whatever the noise of a single weight is.

    Attributes:
        batch_size: of the measured mini-batches (samples). epoch: last one with a measurement.
        num_batches: mini-batches of each seed. num_params: components of omega.
        edges, density: histogram at `epoch`, each omega in its own standard deviations from
            its mean; the density integrates to 1 less what lies beyond the edges.
        skewness, excess_kurtosis, ks: of the components at `epoch`; ks is the distance from the
            normal of the same mean and standard deviation.
        scaled_norm: epoch -> sqrt(b) * root mean square of ||omega||, an estimate of C.
    """

    name: str
    batch_size: int
    epoch: int
    num_batches: int
    num_params: int
    edges: NDArray[np.float64]
    density: NDArray[np.float64]
    skewness: Mean
    excess_kurtosis: Mean
    ks: Mean
    scaled_norm: dict[int, Mean]

    @property
    def ks_of_normal(self) -> float:
        """What 5% of normal samples of num_params independent values exceed."""
        scale, shift, correction = STEPHENS
        root = math.sqrt(self.num_params)
        return scale / (root + shift + correction / root)

    @property
    def is_normal(self) -> bool:
        """False when the distance from a normal is far above what one would give."""
        return self.ks.mean <= FAR * self.ks_of_normal

    @property
    def has_heavy_tails(self) -> bool:
        """True when the excess kurtosis is clearly positive, with its interval where there is."""
        low = self.excess_kurtosis.low
        floor = CLEAR_ERRORS * math.sqrt(24 / self.num_params)
        return self.excess_kurtosis.mean > floor and (low is None or low > 0)

    @property
    def verdict(self) -> str:
        """Normal or not, in words."""
        kind = "close to normal" if self.is_normal else "not normal"
        return f"{kind}, heavy tails" if self.has_heavy_tails else kind


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseSampleInfo:
    """Gradient noise of all arms, ascending in batch size."""

    arms: tuple[ArmNoise, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sample:
    """One measurement: trainables.measurements.sampling.Sampling as recorded."""

    epoch: int
    batch_size: int
    num_params: int
    norm_M: NDArray[np.float64]
    skewness_M: NDArray[np.float64]
    excess_kurtosis_M: NDArray[np.float64]
    ks_M: NDArray[np.float64]
    edges: NDArray[np.float64]
    counts: NDArray[np.float64]

    @property
    def is_finite(self) -> bool:
        shapes = (self.norm_M, self.skewness_M, self.excess_kurtosis_M, self.ks_M)
        return all(bool(np.isfinite(value_M).all()) for value_M in shapes)

    @property
    def scaled_norm(self) -> float:
        return math.sqrt(self.batch_size * float(np.mean(self.norm_M**2)))

    @property
    def density(self) -> NDArray[np.float64]:
        return self.counts / (len(self.norm_M) * self.num_params * np.diff(self.edges))


def noise_sample_info(run: Run) -> NoiseSampleInfo:
    """Histogram, shape and size of omega of the trainings that stand for each arm."""
    arms = []
    for name, trials in measured_trials(run, "noise_sample").items():
        samples = [sample for _, epochs in trials for row in epochs if (sample := _sample(row))]
        if samples:
            arms.append(_arm(name, samples))
    return NoiseSampleInfo(arms=tuple(sorted(arms, key=lambda arm: arm.batch_size)))


def draw_noise_sample(info: NoiseSampleInfo, figure: Figure) -> None:
    """Left the histograms over the standard normal, right sqrt(b) ||omega|| by epoch."""
    set_size(figure, 5.0 + 0.24 * len(info.arms))
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    looks = arm_looks([arm.name for arm in info.arms])
    _draw_normal(left, info)
    for place, arm in enumerate(info.arms):
        style = {"color": looks[arm.name].color, "linewidth": 1.6}
        shown = np.where(arm.density > 0, arm.density, np.nan)
        left.plot((arm.edges[1:] + arm.edges[:-1]) / 2, shown, **style)
        _draw_norms(right, arm, looks[arm.name], place, len(info.arms))
    left.set_xlabel("component of omega [standard deviations from the mean]")
    left.set_ylabel("density")
    right.set_ylabel("sqrt(b) * ||omega||, an estimate of C")
    epoch_axis(right, [epoch for arm in info.arms for epoch in arm.scaled_norm])
    log_axis(right, "y", [m.mean for arm in info.arms for m in arm.scaled_norm.values()])
    for axes in (left, right):
        tidy(axes)
    figure.suptitle(
        "Gradient noise omega at one point (left: last measured epoch); means over seeds, "
        "bars: 95% t-intervals over seeds",
        fontsize=11,
    )
    _add_legend(info, looks, figure)


def _sample(row: Row) -> _Sample | None:
    """This epoch's measurement; None where its gradients were not finite."""
    told = json.loads(row["noise_sample"])
    arrays = ("norm_M", "skewness_M", "excess_kurtosis_M", "ks_M", "edges", "counts")
    sample = _Sample(
        epoch=int(row["epoch"]),
        batch_size=int(told["batch_size"]),
        num_params=int(told["num_params"]),
        **{name: np.array(told[name], dtype=np.float64) for name in arrays},
    )
    return sample if sample.is_finite else None


def _arm(name: str, samples: list[_Sample]) -> ArmNoise:
    """samples: of all seeds and epochs."""
    by_epoch: dict[int, list[_Sample]] = {}
    for sample in sorted(samples, key=lambda sample: sample.epoch):
        by_epoch.setdefault(sample.epoch, []).append(sample)
    epoch, last = list(by_epoch.items())[-1]
    return ArmNoise(
        name=name,
        batch_size=last[0].batch_size,
        epoch=epoch,
        num_batches=len(last[0].norm_M),
        num_params=last[0].num_params,
        edges=last[0].edges,
        density=np.mean([sample.density for sample in last], axis=0),
        skewness=mean_of(float(sample.skewness_M.mean()) for sample in last),
        excess_kurtosis=mean_of(float(sample.excess_kurtosis_M.mean()) for sample in last),
        ks=mean_of(float(sample.ks_M.mean()) for sample in last),
        scaled_norm={
            epoch: mean_of(sample.scaled_norm for sample in seeds)
            for epoch, seeds in by_epoch.items()
        },
    )


def _draw_normal(axes: Axes, info: NoiseSampleInfo) -> None:
    limit = max((float(arm.edges[-1]) for arm in info.arms), default=5.0)
    z_N = np.linspace(-limit, limit, 401)
    axes.plot(z_N, np.exp(-(z_N**2) / 2) / math.sqrt(2 * math.pi), "k--", linewidth=1.4)
    top = max((float(arm.density.max()) for arm in info.arms), default=1.0)
    axes.set_yscale("log")
    axes.set_ylim(_smallest_density(info), 2 * max(top, 0.4))


def _smallest_density(info: NoiseSampleInfo) -> float:
    """Of the bins drawn, and at most that of a normal at 4 standard deviations."""
    drawn = [float(arm.density[arm.density > 0].min(initial=1.0)) for arm in info.arms]
    normal = math.exp(-8.0) / math.sqrt(2 * math.pi)
    return EXPECTED_COUNT * min([normal, *drawn])


def _draw_norms(axes: Axes, arm: ArmNoise, look: Look, place: int, count: int) -> None:
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


def _add_legend(info: NoiseSampleInfo, looks: dict[str, Look], figure: Figure) -> None:
    labels = short_labels([arm.name for arm in info.arms])
    handles = [
        Line2D(
            [], [], color=looks[arm.name].color, marker=looks[arm.name].marker, linewidth=2,
            label=textwrap.fill(f"{labels[arm.name]}: {_described(arm)}", LEGEND_LETTERS),
        )
        for arm in info.arms
    ]  # fmt: skip
    normal = "standard normal; KS: times what 5% of normal samples of so many values exceed"
    handles.append(Line2D([], [], color="k", linestyle="--", label=normal))
    figure.legend(handles=handles, loc="outside lower center", ncols=1, frameon=False, fontsize=9)


def _described(arm: ArmNoise) -> str:
    kurtosis = arm.excess_kurtosis
    return (
        f"skewness {arm.skewness.mean:.2g}, excess kurtosis {kurtosis.mean:.3g}"
        f"{interval_text(kurtosis.low, kurtosis.high)}, KS {arm.ks.mean:.2g} = "
        f"{arm.ks.mean / arm.ks_of_normal:.2g} x a normal's; {arm.verdict} (n={kurtosis.n})"
    )
