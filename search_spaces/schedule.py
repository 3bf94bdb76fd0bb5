"""What lr, batch size and momentum does a training use at which sample? The table of stages.

Legend: E epochs of N samples, n epochs between decays (`interval`; 0 = every step), u progress
in [0, 1], c(u) a family's curve with c(0) = 1, d(u) = e + (1-e) * c(u) decay above the floor e
(`end`, 0 unless asked for), delta noise level, b batch size, s split, r horizon,
w momentum_share (0 unless asked for), beta momentum.
Stage m starts at u = m*n/E (clock.py says more: steps, warmup) and holds delta_m = delta0 * d(u)
until the next one starts:

    b_m  = round(min(b0 * d^(-2(1-s)(1-w)), batch.max, N))                 delta DECAYS HERE
    lr_m = the lr for which the noise law gives exactly delta_m at b_m                 (w = 0)
    lr_m = lr0 * d^(s(1-w)), beta_m = the beta >= 0 that gives delta_m at lr_m, b_m    (w > 0)

With a ladder of r sizes an octave, the batch's target is first put on the nearest of
b0 * 2^(j/r), so that a training has few batch sizes; delta_m stays exact.
Where beta_m would be negative it is 0 and delta_m stays above its target: a floored stage.

Arrays carry the suffix _S: one entry per stage.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from search_spaces.clock import (
    EPS,
    STEP,
    STEP_NAME,
    cut_stages,
    num_samples,
    report_samples,
    samples_at,
)
from search_spaces.noise_law import BELOW_ONE, NoiseLaw

# d(progress, **params) -> noise level relative to its start; vectorised over progress.
Curve = Callable[..., NDArray[np.float64]]

MIN_RUNG_STEPS = 20  # fewer optimizer steps say nothing about a schedule
BATCH_UNIT = 8  # samples: what a GPU's matrix units take at once
MAX_LR_CHANGE = 0.01  # of lr under split=batch before the noise law is said not to fit


@dataclass(frozen=True, kw_only=True)
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
        report_samples: between two evaluation points; N unless `reports` says otherwise.
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
    report_samples: float

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
    def num_reports(self) -> int:
        """Evaluation points of the training, at least 1; without `reports` its epochs.

        Points that one batch passes together are one; a squeezed training has its share of them.
        """
        return len(self._report_ends)

    @functools.cached_property
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

    def step_at(self, number: int) -> Step:
        """Optimizer step `number`, from 0 to num_steps() - 1, without walking to it."""
        if not 0 <= number < self.num_steps():
            raise ValueError(
                f"the schedule has {self.num_steps()} optimizer steps, counted from 0, "
                f"but got (number={number})."
            )
        step_R, sample_R, size_R = self._runs
        run = int(np.searchsorted(step_R, number, side="right")) - 1
        batch_size = int(size_R[run])
        sample = int(sample_R[run]) + (number - int(step_R[run])) * batch_size
        return Step(stage=self.stage_at(sample), first_sample=sample, batch_size=batch_size)

    def epoch_steps(self, epoch: int) -> list[Step]:
        """The optimizer steps of epoch `epoch` (from 1), in order."""
        _, first_sample = self._steps_before(self.epoch_end(epoch - 1))
        return list(self.steps(first_sample, self.epoch_end(epoch)))

    def report_end(self, report: int) -> int:
        """Samples at which evaluation point `report` (from 1; 0 is the start) is reached."""
        return self._report_ends[report - 1] if report else 0

    def report_steps(self, report: int) -> list[Step]:
        """The optimizer steps between evaluation point `report` (from 1) and the one before."""
        _, first_sample = self._steps_before(self.report_end(report - 1))
        return list(self.steps(first_sample, self.report_end(report)))

    @functools.cached_property
    def steps_at_reports(self) -> tuple[int, ...]:
        """Optimizer steps done at each evaluation point, increasing; the last is num_steps()."""
        return tuple(self._steps_before(end)[0] for end in self._report_ends)

    def num_steps(self) -> int:
        """Optimizer steps of the whole training, without walking through them."""
        return self._steps_before(self.total_samples)[0]

    @functools.cached_property
    def _report_ends(self) -> tuple[int, ...]:
        """Samples at which each evaluation point is reached; each has a step of its own."""
        ends: list[int] = []
        steps, last = 0, max(1, math.ceil(self.total_samples / self.report_samples - EPS))
        for report in range(1, last + 1):
            end = min(samples_at(report, self.report_samples), self.total_samples)
            before, steps = steps, self._steps_before(end)[0]
            if steps > before:
                ends.append(end)
        return tuple(ends)

    @functools.cached_property
    def _runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Of each run of steps with one batch size: number and sample of its first step, size."""
        changes = np.flatnonzero(np.diff(self.batch_size_S)) + 1
        sizes = self.batch_size_S[np.concatenate([[0], changes])].tolist()
        ends = [*self.start_S[changes].tolist(), self.total_samples]
        runs, steps, sample = [], 0, 0
        for batch_size, end in zip(sizes, ends, strict=True):
            if sample < end:
                runs.append((steps, sample, batch_size))
                count = -(-(end - sample) // batch_size)
                steps, sample = steps + count, sample + count * batch_size
        step_R, sample_R, size_R = np.array(runs, dtype=np.int64).T
        return step_R, sample_R, size_R

    def _steps_before(self, limit: int) -> tuple[int, int]:
        """How many steps start before this sample, and the sample after the last of them."""
        if limit <= 0:
            return 0, 0
        step_R, sample_R, size_R = self._runs
        run = int(np.searchsorted(sample_R, limit)) - 1
        sample, batch_size = int(sample_R[run]), int(size_R[run])
        count = -(-(limit - sample) // batch_size)
        return int(step_R[run]) + count, sample + count * batch_size


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
    interval: float,
    lr0: float,
    batch0: int,
    split: float = 1.0,
    momentum_share: float = 0.0,
    end: float = 0.0,
    batch_max: int | None = None,
    batch_ladder: int | None = None,
    law: NoiseLaw | None = None,
    warmup_epochs: float = 0.0,
    after_warmup: bool = True,
    horizon: float = 1.0,
    reports: int | None = None,
) -> Schedule:
    """The table of a decay curve, sampled every `interval` epochs; lr, batch, momentum share it.

    Args:
        decay: c(u), positive, with c(0) = 1; read at the start of each stage.
        epochs: E >= 1 of the full training.
        train_examples: N, samples per epoch.
        interval: n in (0, E], at least one step; need not divide E. 0: every step, which is a
            stage per batch0 samples (of a squeezed training too); a larger batch takes the stage
            in which its first sample falls.
        lr0, batch0: at stage 0; 0 < lr0, 1 <= batch0 <= min(N, batch_max).
        split: s in [0, 1]; 1 lowers delta by lr alone, 0 by the batch alone.
        momentum_share: w in [0, 1]; the share of ln d that momentum lowers, starting from the
            law's momentum; lr and batch share the rest. 0 keeps momentum constant.
        end: e in [0, 1); the share of the initial noise level to which the curve falls.
        batch_max: largest batch (samples); a capped stage lowers lr instead, or momentum where
            it has a share.
        batch_ladder: r >= 1, batch sizes in a doubling of the batch, multiples of 8 where batch0
            is one; the batch is off its target by at most a factor 2^(1/(2r)) and the rounding,
            which lr makes good. None = any size.
        law: how delta follows from lr and batch (default sgd with C = 1).
        warmup_epochs: W in [0, E); lr and delta rise linearly over these first epochs, in steps
            of a tenth of an epoch, or at every optimizer step where the curve does; 0 = none.
        after_warmup: the curve begins where the warmup ends; False: with the training, beneath
            the warmup, which is what records of before mean.
        horizon: r in (0, 1]; every stage's samples are multiplied by it.
        reports: evaluation points of the full training; None = one an epoch.

    Raises:
        ValueError: an argument out of range, a split the law cannot realise, or a horizon
            below 20 steps, or below one epoch of samples where each of several is reported.

    Example:
        >>> table = make_schedule(lambda u: 1 - u, epochs=4, train_examples=100, interval=2,
        ...                       lr0=0.1, batch0=10)
        >>> table.lr_S.tolist(), table.start_S.tolist()
        ([0.1, 0.05], [0, 200])

    Source: stages and split from arXiv 2311.08745 Algorithm 3, momentum from arXiv 2412.11501
    Algorithm 6; clock in samples, exact delta after rounding and squeezed horizons are ours.
    """
    law = law or NoiseLaw()
    _check(
        *(epochs, train_examples, interval, lr0, batch0),
        *(split, batch_max, warmup_epochs, horizon, reports),
    )
    if batch_ladder is not None and batch_ladder < 1:
        raise ValueError(f"`batch.ladder >= 1` must hold, but got (batch.ladder={batch_ladder}).")
    _check_momentum(momentum_share, law)
    if not 0 <= end < 1:
        raise ValueError(f"`0 <= end < 1` must hold, but got (end={end}).")
    start_S, progress_S, warmup_S = cut_stages(
        epochs=epochs,
        train_examples=train_examples,
        interval=interval,
        batch0=batch0,
        warmup_epochs=warmup_epochs,
        after_warmup=after_warmup,
        horizon=horizon,
    )
    c_S = _read_curve(decay, progress_S)
    d_S = np.where(c_S == 1, 1.0, end + (1.0 - end) * c_S)  # exactly 1 where the curve is

    limit = min(train_examples, batch_max or train_examples)
    with np.errstate(over="ignore"):
        rest_S = d_S if momentum_share == 0 else d_S ** (1.0 - momentum_share)  # for lr and batch
        target_S = batch0 * rest_S ** (-2.0 * (1.0 - split))
    if split == 0 and momentum_share == 0:
        _check_law(law, d_S, target_S, batch0)
    capped_S = target_S > limit
    if batch_ladder is not None:
        target_S = _on_ladder(np.minimum(target_S, limit), batch0, batch_ladder)
    batch_S = np.maximum(1, np.rint(np.minimum(target_S, limit))).astype(np.int64)
    del target_S
    delta_S = lr0 * law.gain(batch0) * d_S * warmup_S
    if momentum_share == 0:
        momentum_S = np.broadcast_to(law.momentum, len(d_S))
        gain_S = _gains(law, batch_S)
        lr_S = delta_S / gain_S
    else:
        lr_S = lr0 * rest_S**split * warmup_S
        used = zip(delta_S.tolist(), lr_S.tolist(), batch_S.tolist(), strict=True)
        momentum_S = np.array([_momentum(law, *values) for values in used])
        pairs = zip(batch_S.tolist(), momentum_S.tolist(), strict=True)
        gain_S = np.array([law.gain(b, beta) for b, beta in pairs])
    used_S = lr_S * gain_S
    floored_S = (momentum_S == 0) & (used_S > delta_S * (1 + EPS))
    delta_S = np.where(np.abs(used_S - delta_S) > EPS * delta_S, used_S, delta_S)
    table = Schedule(
        start_S=start_S,
        progress_S=progress_S,
        lr_S=lr_S,
        batch_size_S=batch_S,
        momentum_S=momentum_S,
        delta_S=delta_S,
        capped_S=capped_S,
        floored_S=floored_S,
        total_samples=num_samples(epochs, train_examples, horizon),
        epoch_samples=train_examples,
        report_samples=report_samples(epochs, train_examples, reports),
    )
    if horizon < 1:
        _check_rung(table, horizon, needs_epoch=reports is None and epochs > 1)
    for item in fields(table):
        array = getattr(table, item.name)
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    return table


def _on_ladder(target_S: NDArray[np.float64], batch0: int, ladder: int) -> NDArray[np.float64]:
    """The nearest of batch0 * 2^(j/ladder), in steps of 8 (or 1) samples."""
    rung_S = np.rint(ladder * np.log2(target_S / batch0))
    unit = BATCH_UNIT if batch0 % BATCH_UNIT == 0 else 1
    sizes: NDArray[np.float64] = unit * np.rint(batch0 / unit * 2.0 ** (rung_S / ladder))
    return sizes


def _gains(law: NoiseLaw, batch_S: NDArray[np.int64]) -> NDArray[np.float64]:
    """The law's gain of each batch; most stages share theirs with others."""
    if batch_S[0] == batch_S[-1] and not np.any(batch_S != batch_S[0]):
        return np.broadcast_to(law.gain(int(batch_S[0])), len(batch_S))
    sizes, which_S = np.unique(batch_S, return_inverse=True)
    gains: NDArray[np.float64] = np.array([law.gain(b) for b in sizes.tolist()])[which_S]
    return gains


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
    interval: float,
    lr0: float,
    batch0: int,
    split: float,
    batch_max: int | None,
    warmup_epochs: float,
    horizon: float,
    reports: int | None,
) -> None:
    if epochs < 1:
        raise ValueError(f"`epochs >= 1` must hold, but got (epochs={epochs}).")
    if not 0 <= interval <= epochs:
        raise ValueError(
            f"`0 < interval <= epochs` must hold, but got (interval={interval}, epochs={epochs})."
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
    if interval != STEP and interval * train_examples < batch0 * (1 - EPS):
        raise ValueError(
            f"an interval must hold at least one step, but got (interval={interval} epochs, "
            f"{interval * train_examples:.4g} samples, batch.initial={batch0}). "
            f"interval={STEP_NAME} reads the curve at every step."
        )
    if reports is not None and reports < 1:
        raise ValueError(f"`reports >= 1` must hold, but got (reports={reports}).")
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
    is_realised = abs(law.delta(lr, batch_size) - delta) <= EPS * delta
    beta = law.momentum if is_realised else law.momentum_for(delta, lr, batch_size)
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
    """Refuse split=batch where constant lr with this batch would not give delta.

    How much lr would have to change grows with the decay: the lowest and the highest d tell.
    """
    finite_S = np.isfinite(target_S)
    d_S, target_S = d_S[finite_S], target_S[finite_S]
    ends = [int(np.argmin(d_S)), int(np.argmax(d_S))]
    lrs = [float(d_S[i]) * law.gain(batch0) / law.gain(float(target_S[i])) for i in ends]
    worst = max(abs(lr - 1.0) for lr in lrs)
    if worst > MAX_LR_CHANGE:
        raise ValueError(
            f"the noise law {law.name} cannot lower delta by the batch alone: lr would have to "
            f"change by {100 * worst:.0f}% under split=batch. Use split=hybrid or split=lr."
        )


def _check_rung(table: Schedule, horizon: float, *, needs_epoch: bool) -> None:
    shortest = table.epoch_samples / max(1, table.total_samples) * horizon
    if needs_epoch and table.total_samples < table.epoch_samples:
        raise ValueError(
            f"a horizon must hold at least one epoch of samples, but got (horizon={horizon}). "
            f"The smallest allowed is {shortest:.4g}."
        )
    if table.num_steps() < MIN_RUNG_STEPS:
        raise ValueError(
            f"a horizon must hold at least {MIN_RUNG_STEPS} optimizer steps, but got "
            f"{table.num_steps()} (horizon={horizon})."
        )
