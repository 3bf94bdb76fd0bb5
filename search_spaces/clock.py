"""When does which stage begin, and where on the decay curve is it read? The clock is in samples.

Legend: E epochs of N samples, n epochs between decays (`interval`; 0 = every optimizer step),
W epochs of warmup, r horizon, b0 first batch, u progress in [0, 1), m number of a stage.

    every n epochs   m-th decay at t = W + m*n epochs, u = m*n / (E - W)
    every step       one stage per b0 samples, u = (m*b0 - W) / (E*N - W), W in whole steps
    warmup           u = 0, and the level rises in equal parts: a tenth of an epoch each, or a step

In records of before a warmup lay over the beginning of the curve, u = m*n / E from the first
sample on (`after_warmup=False`).

Arrays carry the suffix _S: one entry per stage.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STEP = 0  # the interval of a curve that is read at every optimizer step
STEP_NAME = "step"  # how it is written and told
WARMUP_STAGES_PER_EPOCH = 10
EPS = 1e-9


class Stages(NamedTuple):
    """First sample (int64) of each stage, its u, and its share of the level while it warms up."""

    start_S: NDArray[np.int64]
    progress_S: NDArray[np.float64]
    warmup_S: NDArray[np.float64]


def num_samples(epochs: int, train_examples: int, horizon: float) -> int:
    """Samples of a whole training."""
    return math.ceil(epochs * train_examples * horizon - 1e-6)


def report_samples(epochs: int, train_examples: int, reports: int | None) -> float:
    """Samples between two evaluation points: N, or E*N over their number."""
    return float(train_examples) if reports is None else epochs * train_examples / reports


def samples_at(report: int, spacing: float) -> int:
    """Samples at which this evaluation point (from 1) is reached."""
    return math.ceil(report * spacing - 1e-6)


def cut_stages(
    *,
    epochs: int,
    train_examples: int,
    interval: float,
    batch0: int,
    warmup_epochs: float,
    after_warmup: bool,
    horizon: float,
) -> Stages:
    """All stages of a training; arguments as of `make_schedule`."""
    if interval == STEP:
        return _every_step(
            epochs * train_examples * horizon,
            num_samples(epochs, train_examples, horizon),
            batch0,
            warmup_epochs / epochs,
        )
    cut = _decays_after if after_warmup or warmup_epochs == 0 else _decays_beneath
    time_S, progress_S, warmup_S = cut(epochs, interval, warmup_epochs)
    start_S = np.ceil(time_S * horizon * train_examples - 1e-6).astype(np.int64)
    return Stages(start_S, progress_S, warmup_S)


def _every_step(length: float, total_samples: int, batch0: int, warmup: float) -> Stages:
    """`warmup`: share of the training."""
    count = -(-total_samples // batch0)
    num_warm = min(count, max(1, round(warmup * length / batch0))) if warmup else 0
    start_S = np.arange(count, dtype=np.int64) * batch0
    if num_warm == 0:
        return Stages(start_S, start_S / length, np.ones(1))
    rest = max(length - num_warm * batch0, 1.0)
    progress_S = np.maximum(start_S - num_warm * batch0, 0) / rest
    warmup_S = np.minimum((np.arange(count) + 1) / (num_warm + 1), 1.0)
    return Stages(start_S, progress_S, warmup_S)


def _decays_after(
    epochs: int, interval: float, warmup_epochs: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Starts in epochs, u and warmup: the curve begins where the warmup ends."""
    rest = epochs - warmup_epochs
    decay_S = np.arange(math.ceil(rest / interval - EPS), dtype=np.float64) * interval
    if warmup_epochs == 0:
        return decay_S, decay_S / rest, np.ones(1)
    count = math.ceil(warmup_epochs * WARMUP_STAGES_PER_EPOCH - EPS)
    rungs = np.arange(count) * (warmup_epochs / count)
    return (
        np.concatenate([rungs, warmup_epochs + decay_S]),
        np.concatenate([np.zeros(count), decay_S / rest]),
        np.concatenate([np.arange(1, count + 1) / (count + 1), np.ones(len(decay_S))]),
    )


def _decays_beneath(
    epochs: int, interval: float, warmup_epochs: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Starts in epochs, u and warmup: the curve begins with the training (records of before)."""
    decays = np.arange(0, epochs, interval, dtype=np.float64)
    count = math.ceil(warmup_epochs * WARMUP_STAGES_PER_EPOCH - EPS)
    rungs = np.arange(count + 1) * (warmup_epochs / count)
    is_new = np.abs(decays[:, None] - rungs[None, :]).min(axis=1) > EPS
    time_S = np.sort(np.concatenate([decays[is_new], rungs[rungs < epochs]]))
    rung_S = np.searchsorted(rungs, time_S, side="right") - 1
    progress_S = np.floor(time_S / interval + EPS) * interval / epochs
    return time_S, progress_S, (rung_S + 1) / (count + 1)
