"""Is the gradient noise normal, and does its size follow 1/sqrt(batch)? As measured."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results.measurements.noise import measured_trials
from results.records.schema import Row
from results.run import Run
from results.statistics.intervals import Mean, mean_of

# 95% quantile of the Kolmogorov-Smirnov distance of n normal values from the normal of their own
# mean and standard deviation: 0.895 / (sqrt(n) - 0.01 + 0.85 / sqrt(n)); Stephens 1974, JASA 69.
STEPHENS = (0.895, -0.01, 0.85)
FAR = 3.0  # times that quantile; the components are no independent sample
CLEAR_ERRORS = 4.0  # standard errors of a normal sample's excess kurtosis, sqrt(24/n)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
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


def read_sampling(run: Run) -> tuple[Sampling, ...]:
    """Histogram, shape and size of omega of the trainings that stand for each arm."""
    arms = []
    for name, trials in measured_trials(run, "noise_sample").items():
        samples = [sample for _, epochs in trials for row in epochs if (sample := _sample(row))]
        if samples:
            arms.append(_arm(name, samples))
    return tuple(sorted(arms, key=lambda arm: arm.batch_size))


def describe(run: Run) -> list[str]:
    """Norm and shape of the gradient noise by batch size, at the last measured epoch."""
    lines = []
    for arm in read_sampling(run):
        size = ", ".join(f"epoch {epoch}: {mean}" for epoch, mean in arm.scaled_norm.items())
        lines += [
            f"batch {arm.batch_size}: sqrt(b)*|noise| (an estimate of C) {size}",
            f"  at epoch {arm.epoch}: {arm.verdict}; skewness {arm.skewness}; excess kurtosis "
            f"{arm.excess_kurtosis}; KS distance {arm.ks} (a normal's: {arm.ks_of_normal:.2g})",
        ]
    return lines


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


def _arm(name: str, samples: list[_Sample]) -> Sampling:
    """samples: of all seeds and epochs."""
    by_epoch: dict[int, list[_Sample]] = {}
    for sample in sorted(samples, key=lambda sample: sample.epoch):
        by_epoch.setdefault(sample.epoch, []).append(sample)
    epoch, last = list(by_epoch.items())[-1]
    return Sampling(
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
