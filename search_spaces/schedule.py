"""What lr, batch size and momentum does a training use at which sample? The table of stages.

Legend: E epochs of N samples, n epochs between decays (`interval`), u progress in [0, 1],
d(u) decay curve with d(0) = 1, delta noise level, b batch size, s split, r horizon,
w momentum_share (0 unless asked for), beta momentum.
Stage m starts at u = m*n/E and holds delta_m = delta0 * d(u) until the next one starts:

    b_m  = round(min(b0 * d^(-2(1-s)(1-w)), batch.max, N))                 delta DECAYS HERE
    lr_m = the lr for which the noise law gives exactly delta_m at b_m                 (w = 0)
    lr_m = lr0 * d^(s(1-w)), beta_m = the beta >= 0 that gives delta_m at lr_m, b_m    (w > 0)

Where beta_m would be negative it is 0 and delta_m stays above its target: a floored stage.

Arrays carry the suffix _S: one entry per stage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from search_spaces.noise_law import BELOW_ONE, NoiseLaw

# d(progress, **params) -> noise level relative to its start; vectorised over progress.
Curve = Callable[..., NDArray[np.float64]]

MIN_RUNG_STEPS = 20  # fewer optimizer steps say nothing about a schedule
WARMUP_STAGES_PER_EPOCH = 10
MAX_LR_CHANGE = 0.01  # of lr under split=batch before the noise law is said not to fit
EPS = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """An immutable table of stages, made before training; the loop only reads it.

    Attributes:
        start_S: first sample of each stage (int64, samples since the start, increasing).
        progress_S: u at which the decay curve was read for this stage, in [0, 1).
        lr_S, batch_size_S (int64), momentum_S, delta_S: what a step of this stage uses.
        capped_S: True where batch.max or N kept the batch below its target.
        floored_S: True where momentum reached 0 and delta stays above its target.
        total_samples: the training ends with the first step at or past it.
        epoch_samples: N; epoch e ends with the first step at or past e*N.
    """

    start_S: NDArray[np.int64]
    progress_S: NDArray[np.float64]
    lr_S: NDArray[np.float64]
    batch_size_S: NDArray[np.int64]
    momentum_S: NDArray[np.float64]
    delta_S: NDArray[np.float64]
    capped_S: NDArray[np.bool_]
    floored_S: NDArray[np.bool_]
    total_samples: int
    epoch_samples: int

    @property
    def num_stages(self) -> int:
        """Number of rows of the table."""
        return len(self.start_S)

    @property
    def num_epochs(self) -> int:
        """Epochs of the training; the last may be shorter under a squeezed horizon.

        Samples that the last batch of the epoch before has already covered make no epoch.
        """
        last = -(-self.total_samples // self.epoch_samples)
        _, sample = self._steps_before(self.epoch_end(last - 1))
        return last if sample < self.total_samples else last - 1

    @property
    def decay_rate_S(self) -> NDArray[np.float64]:
        """delta of each stage over that of the stage before it; 1 in stage 0."""
        return np.concatenate([[1.0], self.delta_S[1:] / self.delta_S[:-1]])

    def stage_at(self, sample: int) -> int:
        """Index of the stage in which this sample falls."""
        return int(np.searchsorted(self.start_S, sample, side="right")) - 1

    def epoch_end(self, epoch: int) -> int:
        """Samples at which epoch `epoch` (from 1) is complete."""
        return min(epoch * self.epoch_samples, self.total_samples)

    def steps(self, first_sample: int = 0, last_sample: int | None = None) -> Iterator[Step]:
        """The optimizer steps that start in [first_sample, last_sample), in order."""
        sample = first_sample
        end = self.total_samples if last_sample is None else last_sample
        while sample < end:
            stage = self.stage_at(sample)
            batch_size = int(self.batch_size_S[stage])
            yield Step(stage=stage, first_sample=sample, batch_size=batch_size)
            sample += batch_size

    def epoch_steps(self, epoch: int) -> list[Step]:
        """The optimizer steps of epoch `epoch` (from 1), in order."""
        _, first_sample = self._steps_before(self.epoch_end(epoch - 1))
        return list(self.steps(first_sample, self.epoch_end(epoch)))

    def num_steps(self) -> int:
        """Optimizer steps of the whole training, without walking through them."""
        return self._steps_before(self.total_samples)[0]

    def _steps_before(self, limit: int) -> tuple[int, int]:
        """How many steps start before this sample, and the sample after the last of them."""
        steps, sample = 0, 0
        ends = [*self.start_S[1:].tolist(), limit]
        for batch_size, end in zip(self.batch_size_S.tolist(), ends, strict=True):
            count = max(0, -(-(min(end, limit) - sample) // batch_size))
            steps += count
            sample += count * batch_size
        return steps, sample


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step: its stage, its first sample and how many samples it takes."""

    stage: int
    first_sample: int
    batch_size: int


def make_schedule(
    decay: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    epochs: int,
    train_examples: int,
    interval: int,
    lr0: float,
    batch0: int,
    split: float = 1.0,
    momentum_share: float = 0.0,
    batch_max: int | None = None,
    law: NoiseLaw | None = None,
    warmup_epochs: float = 0.0,
    horizon: float = 1.0,
) -> Schedule:
    """The table of a decay curve, sampled every `interval` epochs; lr, batch, momentum share it.

    Args:
        decay: d(u), positive, with d(0) = 1; read at the start of each stage.
        epochs: E >= 1 of the full training.
        train_examples: N, samples per epoch.
        interval: n in [1, E]; need not divide E.
        lr0, batch0: at stage 0; 0 < lr0, 1 <= batch0 <= min(N, batch_max).
        split: s in [0, 1]; 1 lowers delta by lr alone, 0 by the batch alone.
        momentum_share: w in [0, 1]; the share of ln d that momentum lowers, starting from the
            law's momentum; lr and batch share the rest. 0 keeps momentum constant.
        batch_max: largest batch (samples); a capped stage lowers lr instead, or momentum where
            it has a share.
        law: how delta follows from lr and batch (default sgd with C = 1).
        warmup_epochs: lr and delta rise linearly to the curve over these first epochs,
            in steps of a tenth of an epoch; 0 = none.
        horizon: r in (0, 1]; every stage's samples are multiplied by it.

    Raises:
        ValueError: an argument out of range, a split the law cannot realise, or a horizon
            below one epoch of samples or 20 steps.

    Example:
        >>> table = make_schedule(lambda u: 1 - u, epochs=4, train_examples=100, interval=2,
        ...                       lr0=0.1, batch0=10)
        >>> table.lr_S.tolist(), table.start_S.tolist()
        ([0.1, 0.05], [0, 200])

    Source: stages and split from arXiv 2311.08745 Algorithm 3, momentum from arXiv 2412.11501
    Algorithm 6; clock in samples, exact delta after rounding and squeezed horizons are ours.
    """
    law = law or NoiseLaw()
    _check(epochs, train_examples, interval, lr0, batch0, split, batch_max, warmup_epochs, horizon)
    _check_momentum(momentum_share, law)
    time_S, warmup_S = _stage_starts(epochs, interval, warmup_epochs)
    stage_S = np.floor(time_S / interval + EPS)
    progress_S = stage_S * interval / epochs
    d_S = _read_curve(decay, progress_S)

    limit = min(train_examples, batch_max or train_examples)
    with np.errstate(over="ignore"):
        rest_S = d_S ** (1.0 - momentum_share)  # what lr and batch are to lower
        target_S = batch0 * rest_S ** (-2.0 * (1.0 - split))
    if split == 0 and momentum_share == 0:
        _check_law(law, d_S, target_S, batch0)
    batch_S = np.maximum(1, np.rint(np.minimum(target_S, limit))).astype(np.int64)
    delta_S = lr0 * law.gain(batch0) * d_S * warmup_S
    if momentum_share == 0:
        momentum_S = np.full(len(d_S), law.momentum)
        lr_S = delta_S / np.array([law.gain(b) for b in batch_S.tolist()])
    else:
        lr_S = lr0 * rest_S**split * warmup_S
        used = zip(delta_S.tolist(), lr_S.tolist(), batch_S.tolist(), strict=True)
        momentum_S = np.array([_momentum(law, *values) for values in used])
    beta_S = momentum_S.tolist()
    gains = [law.gain(b, beta) for b, beta in zip(batch_S.tolist(), beta_S, strict=True)]
    used_S = lr_S * np.array(gains)
    floored_S = (momentum_S == 0) & (used_S > delta_S * (1 + EPS))
    delta_S = np.where(np.abs(used_S - delta_S) > EPS * delta_S, used_S, delta_S)
    start_S = np.ceil(time_S * horizon * train_examples - 1e-6).astype(np.int64)
    table = Schedule(
        start_S=start_S,
        progress_S=progress_S,
        lr_S=lr_S,
        batch_size_S=batch_S,
        momentum_S=momentum_S,
        delta_S=delta_S,
        capped_S=target_S > limit,
        floored_S=floored_S,
        total_samples=math.ceil(epochs * train_examples * horizon - 1e-6),
        epoch_samples=train_examples,
    )
    if horizon < 1:
        _check_rung(table, horizon)
    for item in fields(table):
        array = getattr(table, item.name)
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    return table


def _stage_starts(
    epochs: int, interval: int, warmup_epochs: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Starts of all stages in epochs, and the warmup factor of each."""
    decays = np.arange(0, epochs, interval, dtype=np.float64)
    if warmup_epochs == 0:
        return decays, np.ones_like(decays)
    count = math.ceil(warmup_epochs * WARMUP_STAGES_PER_EPOCH - EPS)
    rungs = np.arange(count + 1) * (warmup_epochs / count)
    is_new = np.abs(decays[:, None] - rungs[None, :]).min(axis=1) > EPS
    starts = np.sort(np.concatenate([decays[is_new], rungs[rungs < epochs]]))
    rung_S = np.searchsorted(rungs, starts, side="right") - 1
    return starts, (rung_S + 1) / (count + 1)


def _read_curve(
    decay: Callable[[NDArray[np.float64]], NDArray[np.float64]], progress_S: NDArray[np.float64]
) -> NDArray[np.float64]:
    d_S = np.asarray(decay(progress_S), dtype=np.float64)
    if d_S.shape != progress_S.shape:
        raise ValueError(
            f"a decay curve must return one value per progress, but got shape {d_S.shape} "
            f"for {progress_S.shape}."
        )
    if not (np.all(np.isfinite(d_S)) and np.all(d_S > 0)):
        raise ValueError(f"a decay curve must be positive and finite, but got {d_S.min()}.")
    if abs(d_S[0] - 1.0) > EPS:
        raise ValueError(f"a decay curve must start at d(0) = 1, but got {d_S[0]}.")
    return d_S


def _check(
    epochs: int,
    train_examples: int,
    interval: int,
    lr0: float,
    batch0: int,
    split: float,
    batch_max: int | None,
    warmup_epochs: float,
    horizon: float,
) -> None:
    if epochs < 1:
        raise ValueError(f"`epochs >= 1` must hold, but got (epochs={epochs}).")
    if not (1 <= interval <= epochs and interval == int(interval)):
        raise ValueError(
            f"`1 <= interval <= epochs` must hold, but got (interval={interval}, epochs={epochs})."
        )
    if not (math.isfinite(lr0) and lr0 > 0):
        raise ValueError(f"`lr0 > 0` must hold, but got (lr0={lr0}).")
    if not 0 <= split <= 1:
        raise ValueError(f"`0 <= split <= 1` must hold, but got (split={split}).")
    limit = min(train_examples, batch_max if batch_max is not None else train_examples)
    if not 1 <= batch0 <= limit:
        raise ValueError(
            f"`1 <= batch.initial <= min(batch.max, training images)` must hold, but got "
            f"(batch.initial={batch0}, limit={limit})."
        )
    if not 0 <= warmup_epochs < epochs:
        raise ValueError(
            f"`0 <= warmup_epochs < epochs` must hold, but got (warmup_epochs={warmup_epochs})."
        )
    if not 0 < horizon <= 1:
        raise ValueError(f"`0 < horizon <= 1` must hold, but got (horizon={horizon}).")


def _momentum(law: NoiseLaw, delta: float, lr: float, batch_size: float) -> float:
    """The beta that realises delta; the law's own where that does, without the root's rounding.

    Also the law's own where no beta below 1 does: a tiny batch rounded up, under nshb_a.
    """
    is_own = abs(law.delta(lr, batch_size) - delta) <= EPS * delta
    beta = law.momentum if is_own else law.momentum_for(delta, lr, batch_size)
    return beta if beta < BELOW_ONE else law.momentum


def _check_momentum(momentum_share: float, law: NoiseLaw) -> None:
    if not 0 <= momentum_share <= 1:
        raise ValueError(
            f"`0 <= momentum_share <= 1` must hold, but got (momentum_share={momentum_share})."
        )
    if momentum_share > 0 and law.momentum == 0:
        raise ValueError(
            f"momentum can lower delta only from above 0, but got (momentum={law.momentum}, "
            f"momentum_share={momentum_share})."
        )


def _check_law(
    law: NoiseLaw, d_S: NDArray[np.float64], target_S: NDArray[np.float64], batch0: int
) -> None:
    """Refuse split=batch where constant lr with this batch would not give delta."""
    lr_S = [
        d * law.gain(batch0) / law.gain(b)
        for d, b in zip(d_S.tolist(), target_S.tolist(), strict=True)
        if math.isfinite(b)
    ]
    worst = max(abs(lr - 1.0) for lr in lr_S)
    if worst > MAX_LR_CHANGE:
        raise ValueError(
            f"the noise law {law.name} cannot lower delta by the batch alone: lr would have to "
            f"change by {100 * worst:.0f}% under split=batch. Use split=hybrid or split=lr."
        )


def _check_rung(table: Schedule, horizon: float) -> None:
    shortest = table.epoch_samples / max(1, table.total_samples) * horizon
    if table.total_samples < table.epoch_samples:
        raise ValueError(
            f"a horizon must hold at least one epoch of samples, but got (horizon={horizon}). "
            f"The smallest allowed is {shortest:.4g}."
        )
    if table.num_steps() < MIN_RUNG_STEPS:
        raise ValueError(
            f"a horizon must hold at least {MIN_RUNG_STEPS} optimizer steps, but got "
            f"{table.num_steps()} (horizon={horizon})."
        )
