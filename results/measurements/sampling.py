"""Is the gradient noise normal, and does its size follow 1/sqrt(batch)? As measured."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.measurements.noise import batch_norm_text, measured_trials, rows_by_epoch
from results.records.schema import Row
from results.run import Run
from results.statistics.intervals import Mean, mean_of

# 95% quantile of the Kolmogorov-Smirnov distance of n normal values from the normal of their own
# mean and standard deviation: 0.895 / (sqrt(n) - 0.01 + 0.85 / sqrt(n)); Stephens 1974, JASA 69.
STEPHENS = (0.895, -0.01, 0.85)
FAR = 3.0  # times that quantile; the components are no independent sample
PER_BATCH = ("norm_M", "skewness_M", "excess_kurtosis_M", "ks_M")
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
        mode: how BatchNorm stood while measuring, in words.
    """

    name: str
    batch_size: int
    epoch: float
    num_batches: int
    num_params: int
    edges: NDArray[np.float64]
    density: NDArray[np.float64]
    skewness: Mean
    excess_kurtosis: Mean
    ks: Mean
    scaled_norm: dict[float, Mean]
    mode: str

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


# One measurement: trainables.measurements.sampling.Sampling as recorded, by field.
_Sample = dict[str, Any]


def read_sampling(run: Run) -> tuple[Sampling, ...]:
    """Histogram, shape and size of omega of the trainings that stand for each arm."""
    arms = []
    for name, trials in measured_trials(run, "noise_sample").items():
        by_epoch = {
            epoch: samples
            for epoch, rows in rows_by_epoch(trials).items()
            if (samples := [sample for row in rows if (sample := _sample(row))])
        }
        if by_epoch:
            arms.append(_arm(name, by_epoch, batch_norm_text(trials[0][0], "sampling")))
    return tuple(sorted(arms, key=lambda arm: arm.batch_size))


def describe(run: Run) -> list[str]:
    """Norm and shape of the gradient noise by batch size, at the last measured epoch."""
    lines = []
    arms = read_sampling(run)
    for arm in arms:
        size = ", ".join(f"epoch {epoch:.4g}: {mean}" for epoch, mean in arm.scaled_norm.items())
        lines += [
            f"batch {arm.batch_size}: sqrt(b)*|noise| (an estimate of C) {size}",
            f"  at epoch {arm.epoch:.4g}: {arm.verdict}; skewness {arm.skewness}; excess kurtosis "
            f"{arm.excess_kurtosis}; KS distance {arm.ks} (a normal's: {arm.ks_of_normal:.2g})",
        ]
    return [*lines, arms[0].mode] if arms else lines


def _sample(row: Row) -> _Sample | None:
    """This epoch's measurement; None where its gradients were not finite."""
    sample = json.loads(row["noise_sample"])
    for name in (*PER_BATCH, "edges", "counts"):
        sample[name] = np.array(sample[name], dtype=np.float64)
    return sample if all(np.isfinite(sample[name]).all() for name in PER_BATCH) else None


def _arm(name: str, by_epoch: dict[float, list[_Sample]], mode: str) -> Sampling:
    """by_epoch: the samples of all seeds, in order of epochs."""
    epoch, last = list(by_epoch.items())[-1]
    shape = {
        column: mean_of(float(sample[f"{column}_M"].mean()) for sample in last)
        for column in ("skewness", "excess_kurtosis", "ks")
    }
    return Sampling(
        name=name,
        batch_size=int(last[0]["batch_size"]),
        epoch=epoch,
        num_batches=len(last[0]["norm_M"]),
        num_params=int(last[0]["num_params"]),
        edges=last[0]["edges"],
        density=np.mean([_density(sample) for sample in last], axis=0),
        scaled_norm={
            epoch: mean_of(_scaled_norm(sample) for sample in seeds)
            for epoch, seeds in by_epoch.items()
        },
        mode=mode,
        **shape,
    )


def _scaled_norm(sample: _Sample) -> float:
    return math.sqrt(sample["batch_size"] * float(np.mean(sample["norm_M"] ** 2)))


def _density(sample: _Sample) -> NDArray[np.float64]:
    num_values = len(sample["norm_M"]) * sample["num_params"]
    density: NDArray[np.float64] = sample["counts"] / (num_values * np.diff(sample["edges"]))
    return density
