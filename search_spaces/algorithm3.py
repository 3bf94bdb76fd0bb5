"""Which levels, lr, batch sizes and steps does the papers' Algorithm 3 run through?

Implicit graduated optimization by SGD. Legend: levels m = 1 ... M+1, delta_m noise level,
gamma_m = delta_{m+1}/delta_m, kappa_m and lambda_m factors of lr and batch, s split, eta lr,
b batch size, C noise constant, L_f Lipschitz constant of f, sigma strong convexity,
d_bar bound of the radius factors, T_F inner steps, eps_m accuracy at level m.

    delta_1 = eta_1 C/sqrt(b_1)     M^p = 1/(alpha_0 epsilon)     kappa_m/sqrt(lambda_m) = gamma_m

Arrays carry the suffix _L: one entry per level, m = 1 ... M+1; or _M: one per decay.
Source: arXiv 2311.08745 Algorithm 3 and Theorem 3.1, with the formulas of its authors' slides of
2024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces.clock import STEP
from search_spaces.noise_law import NoiseLaw
from search_spaces.schedule import Schedule, make_schedule
from search_spaces.theory import ROUNDING, check_positive, poly_decay_rates

MAX_LEVELS = 1_000_000  # of a table; the arrays of one more would still fit, its training not


@dataclass(frozen=True, kw_only=True, slots=True)
class Algorithm3:
    """The levels of Algorithm 3; `schedule` makes the table that a training follows.

    Attributes:
        alpha0: alpha_0. num_levels: M, levels with delta > 0; `delta_L` has one more, 0.
        gamma_M: decay rates; the last is 0.
        kappa_M, lambda_M: factors of lr and batch with kappa/sqrt(lambda) = gamma. No finite
            batch reaches delta = 0, so the last decay is (0, 1) under every split; the papers'
            kappa in (0, 1] leaves it open.
        delta_L, lr_L, batch_L: noise level, lr and batch size (samples, not yet rounded).
        inner_steps_L: T_F of each level; level M+1 repeats that of M. None = equal lengths.
        split: s, of lr in every decay.
    """

    alpha0: float
    num_levels: int
    gamma_M: NDArray[np.float64]
    kappa_M: NDArray[np.float64]
    lambda_M: NDArray[np.float64]
    delta_L: NDArray[np.float64]
    lr_L: NDArray[np.float64]
    batch_L: NDArray[np.float64]
    inner_steps_L: NDArray[np.int64] | None
    split: float

    @property
    def samples_M(self) -> NDArray[np.float64]:
        """T_F b_m, what each level before the last takes; in steps of equal levels, 1 each."""
        M = self.num_levels
        if self.inner_steps_L is None:
            return np.ones(M)
        return np.asarray(self.inner_steps_L[:M] * self.batch_L[:M])

    def schedule(self, *, epochs: int, train_examples: int) -> Schedule:
        """The table of the first M levels, each as long as its share of all samples.

        Level M+1 has delta = 0, hence lr 0: nothing would move, so no stage is spent on it.
        Levels of equal length last epochs/M each. With inner steps the table is read at every
        step, which meets every level that lasts a step.

        Args:
            epochs, train_examples: of the training, >= 1; T_F b_m are scaled to fill it.

        Raises:
            ValueError: a level would be without any step: the training is too short for them.
        """
        is_equal = self.inner_steps_L is None
        interval = max(epochs / self.num_levels, self.batch_L[0] / train_examples)
        table = make_schedule(
            self.decay,
            epochs=epochs,
            train_examples=train_examples,
            interval=interval if is_equal else STEP,
            lr0=float(self.lr_L[0]),
            batch0=round(float(self.batch_L[0])),
            split=self.split,
            law=NoiseLaw(c2=float((self.delta_L[0] / self.lr_L[0]) ** 2 * self.batch_L[0])),
        )
        if lost := self.lost_levels(table):
            listed = ", ".join(map(str, lost[:5])) + (", ..." if len(lost) > 5 else "")
            shortest = self.samples_M / self.samples_M.sum() / np.ceil(self.batch_L[:-1])
            least = math.ceil(1.0 / (shortest.min() * train_examples))
            raise ValueError(
                f"every level must have a step, but got ({len(lost)} of {self.num_levels} levels "
                f"without: {listed}). Train {least} epochs or more, or choose fewer levels (a "
                "larger epsilon)."
            )
        return table

    def lost_levels(self, table: Schedule) -> list[int]:
        """The levels m, from 1, that no step of a table made of `decay` takes."""
        stages = np.unique([step.stage for step in table.steps()])
        met = {*(self._level_at(table.progress_S[stages]) + 1).tolist()}
        return [m for m in range(1, self.num_levels + 1) if m not in met]

    def decay(self, progress: NDArray[np.float64]) -> NDArray[np.float64]:
        """d(u): delta of the level at progress u over delta_1; a staircase of M levels.

        A table that reads it less often than its levels change would skip some: `schedule` makes
        one that does not, and refuses where none can.
        `progress`: u in [0, 1]; u = 1 belongs to level M.
        """
        return np.asarray(self.delta_L[self._level_at(progress)] / self.delta_L[0])

    def _level_at(self, progress: NDArray[np.float64]) -> NDArray[np.int64]:
        """m - 1 of the level at each progress."""
        samples_M = self.samples_M
        starts_M = np.concatenate([[0.0], np.cumsum(samples_M)[:-1]]) / samples_M.sum()
        level: NDArray[np.int64] = np.searchsorted(starts_M, np.asarray(progress) + ROUNDING) - 1
        return level


def algorithm3(
    *,
    epsilon: float,
    p: float,
    d_bar: float,
    l_f: float,
    sigma: float,
    c: float,
    lr: float,
    batch_size: int,
    split: float = 1.0,
    h3: float | None = None,
    h4: float | None = None,
) -> Algorithm3:
    """The levels of implicit graduated optimization by SGD.

    Args:
        epsilon: accuracy asked for, > 0. p: power in (0, 1].
        d_bar, l_f, sigma: constants of f and of its radius factors, > 0.
        c: C (not C^2) of delta = eta C/sqrt(b), > 0.
        lr, batch_size: eta_1 > 0 and b_1 >= 1.
        split: s in [0, 1]: kappa = gamma^s, lambda = gamma^(-2(1-s)); 1 = lr, 0 = batch.
        h3, h4: constants of Theorem 3.1, >= 0, for T_F; the papers give no values. None (both)
            = levels of equal length.

    Raises:
        ValueError: an argument out of range, more than a million levels, or a level that
            `h3` leaves without any number of steps.

    Example:
        >>> plan = algorithm3(epsilon=0.2, p=1, d_bar=1, l_f=1, sigma=1, c=1, lr=0.125,
        ...                   batch_size=1)
        >>> plan.num_levels, plan.delta_L.tolist()
        (5, [0.125, 0.1, 0.075, 0.05, 0.025, 0.0])
    """
    check_positive(c=c, lr=lr)
    if not batch_size >= 1:
        raise ValueError(f"`batch_size >= 1` must hold, but got (batch_size={batch_size}).")
    if not 0 <= split <= 1:
        raise ValueError(f"`0 <= split <= 1` must hold, but got (split={split}).")
    if (h3 is None) != (h4 is None):
        raise ValueError(f"h3 and h4 must be given together, but got (h3={h3}, h4={h4}).")
    delta1 = NoiseLaw(c2=c * c).delta(lr, batch_size)
    alpha0 = alpha_0(delta1, l_f=l_f, d_bar=d_bar, sigma=sigma)
    M = num_levels(alpha0, epsilon=epsilon, p=p)
    if M > MAX_LEVELS:
        raise ValueError(f"`M <= {MAX_LEVELS}` must hold, but got (M={M}). Raise epsilon or p.")

    gamma_M = poly_decay_rates(M, p)
    d_L = ((M - np.arange(M + 1)) / M) ** p
    kappa_M, lambda_M = np.zeros(M), np.ones(M)
    kappa_M[:-1] = gamma_M[:-1] ** split
    lambda_M[:-1] = gamma_M[:-1] ** (-2.0 * (1.0 - split))
    lr_L = lr * np.append(d_L[:-1] ** split, 0.0)
    batch_L = batch_size * d_L[:-1] ** (-2.0 * (1.0 - split))
    steps_L = None
    if h3 is not None and h4 is not None:
        levels = zip((delta1 * d_L[:-1]).tolist(), lr_L[:-1].tolist(), strict=True)
        steps = [inner_steps(delta, eta, sigma=sigma, h3=h3, h4=h4) for delta, eta in levels]
        steps_L = np.array([*steps, steps[-1]], dtype=np.int64)
    return Algorithm3(
        alpha0=alpha0,
        num_levels=M,
        gamma_M=gamma_M,
        kappa_M=kappa_M,
        lambda_M=lambda_M,
        delta_L=delta1 * d_L,
        lr_L=lr_L,
        batch_L=np.append(batch_L, batch_L[-1]),
        inner_steps_L=steps_L,
        split=split,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Hazan:
    """The levels of graduated optimization by Hazan et al., to compare with: delta halves.

    Attributes:
        delta_M: delta_1, delta_1/2, ...; as many as lead to the last level of Algorithm 3.
        accuracy_M: sigma delta_m^2/32. The slides print it as the number of steps T_m; it falls
            with delta, so it is the accuracy that level m is solved to.
    """

    delta_M: NDArray[np.float64]
    accuracy_M: NDArray[np.float64]


def hazan(*, delta1: float, last_delta: float, sigma: float) -> Hazan:
    """Levels halved from delta1 down to `last_delta` or below, all > 0.

    Example:
        >>> hazan(delta1=1.0, last_delta=0.3, sigma=2.0).delta_M.tolist()
        [1.0, 0.5, 0.25]

    Source: Hazan et al. 2016, as compared with in the slides by the authors of arXiv 2311.08745;
    that the levels end where those of Algorithm 3 do is ours.
    """
    check_positive(delta1=delta1, last_delta=last_delta, sigma=sigma)
    halvings = max(0, math.ceil(math.log2(delta1 / last_delta) - ROUNDING))
    delta_M = np.array([delta1 * 0.5**m for m in range(halvings + 1)])
    return Hazan(delta_M=delta_M, accuracy_M=sigma / 32.0 * np.square(delta_M))


def alpha_0(delta1: float, *, l_f: float, d_bar: float, sigma: float) -> float:
    """alpha_0 = min(1/(4 L_f delta_1 (1+d_bar)), 1/(sqrt(2 sigma) delta_1)).

    All > 0. With SGD's delta_1 = eta_1 C/sqrt(b_1) this is the form printed in Algorithm 3.
    """
    check_positive(delta1=delta1, l_f=l_f, d_bar=d_bar, sigma=sigma)
    return min(1.0 / (4.0 * l_f * delta1 * (1.0 + d_bar)), 1.0 / (math.sqrt(2.0 * sigma) * delta1))


def num_levels(alpha0: float, *, epsilon: float, p: float) -> int:
    """M, the fewest whole levels with M^p >= 1/(alpha_0 epsilon); at least 1.

    The papers set M^p = 1/(alpha_0 epsilon) without rounding; alpha0, epsilon > 0, p in (0, 1].

    Raises:
        ValueError: an argument out of range, or M past 1e15 (p is too small for it).
    """
    check_positive(alpha0=alpha0, epsilon=epsilon)
    if not 0 < p <= 1:
        raise ValueError(f"`0 < p <= 1` must hold, but got (p={p}).")
    digits = -math.log10(alpha0 * epsilon) / p
    if digits > 15:
        raise ValueError(
            f"`M <= 1e15` must hold, but got (M=1e{digits:.0f}, p={p}). Raise p or epsilon."
        )
    levels = math.pow(alpha0 * epsilon, -1.0 / p)
    return max(1, math.ceil(levels * (1.0 - ROUNDING)))


def inner_steps(delta: float, lr: float, *, sigma: float, h3: float, h4: float) -> int:
    """T_F, inner steps at one level: H_4 / (eps_m - H_3 eta), rounded up, at least 1.

    eps_m = sigma^2 delta_m^2. Under SGD eps_m falls with the square of eta, so with H_3 > 0
    every decay ends at levels that no number of steps can solve.

    delta, sigma, lr (eta of this level) > 0; h3, h4 (of Theorem 3.1) >= 0, without values in
    the papers.

    Raises:
        ValueError: an argument out of range, or eps_m <= H_3 eta.
    """
    check_positive(delta=delta, lr=lr, sigma=sigma)
    if not (0 <= h3 < math.inf and 0 <= h4 < math.inf):
        raise ValueError(f"`h3 >= 0` and `h4 >= 0` must hold, but got (h3={h3}, h4={h4}).")
    accuracy = (sigma * delta) ** 2
    if not accuracy > h3 * lr:
        raise ValueError(
            f"`sigma^2 delta^2 > h3 * lr` must hold, but got ({accuracy:.6g} <= {h3 * lr:.6g}) "
            f"at (delta={delta:.6g}, lr={lr:.6g}). Lower h3 or lr."
        )
    return max(1, math.ceil(h4 / (accuracy - h3 * lr) * (1.0 - ROUNDING)))
