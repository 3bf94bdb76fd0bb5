"""Which levels, lr, batch sizes and steps does the papers' Algorithm 3 run through?

Implicit graduated optimization by SGD. Legend: levels m = 1 ... M+1, delta_m noise level,
gamma_m = delta_{m+1}/delta_m, kappa_m and lambda_m factors of lr and batch, s split, eta lr,
b batch size, C noise constant, L_f Lipschitz constant of f, sigma strong convexity,
d_bar bound of the radius factors, T_F inner steps, eps_m accuracy at level m.

    delta_1 = eta_1 C/sqrt(b_1)     M^p = 1/(alpha_0 epsilon)     kappa_m/sqrt(lambda_m) = gamma_m

Arrays carry the suffix _L: one entry per level, m = 1 ... M+1; or _M: one per decay.
Source: arXiv 2311.08745 Algorithms 1 and 3, Theorem 3.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces.noise_law import NoiseLaw
from search_spaces.theory import ROUNDING, check_positive, poly_decay_rates

MAX_LEVELS = 1_000_000  # of a table; the arrays of one more would still fit, its training not


@dataclass(frozen=True, kw_only=True, slots=True)
class Algorithm3:
    """The levels of Algorithm 3, ready for `make_schedule`.

    Attributes:
        alpha0: alpha_0. num_levels: M, levels with delta > 0; `delta_L` has one more, 0.
        gamma_M: decay rates; the last is 0.
        kappa_M, lambda_M: factors of lr and batch with kappa/sqrt(lambda) = gamma. No finite
            batch reaches delta = 0, so the last decay is (0, 1) under every split; the papers'
            kappa in (0, 1] leaves it open.
        delta_L, lr_L, batch_L: noise level, lr and batch size (samples, not yet rounded).
        inner_steps_L: T_F of each level; level M+1 repeats that of M. None = equal lengths.
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

    def decay(self, progress: NDArray[np.float64]) -> NDArray[np.float64]:
        """d(u): delta of the level at progress u over delta_1; a staircase of M levels.

        `make_schedule(plan.decay, epochs=M, interval=1, lr0=lr, batch0=batch_size, split=split,
        law=NoiseLaw(c2=c**2), ...)` has exactly the first M levels, of equal length in samples.
        Level M+1 has delta = 0, hence lr 0: nothing would move, so no stage is spent on it.
        With inner steps, level m holds the share T_F b_m of all samples; a table then needs
        an interval short enough to meet them.
        `progress`: u in [0, 1]; u = 1 belongs to level M.
        """
        M = self.num_levels
        steps_M = np.ones(M) if self.inner_steps_L is None else self.inner_steps_L[:M]
        samples_M = steps_M * (1.0 if self.inner_steps_L is None else self.batch_L[:M])
        starts_M = np.concatenate([[0.0], np.cumsum(samples_M)[:-1]]) / samples_M.sum()
        level = np.searchsorted(starts_M, np.asarray(progress) + ROUNDING) - 1
        return np.asarray(self.delta_L[level] / self.delta_L[0])


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
    )


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
