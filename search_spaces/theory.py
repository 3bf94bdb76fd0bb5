"""What do the papers' formulas say about a schedule? Calculators, independent of any training.

Legend: M levels, gamma_m = delta_{m+1}/delta_m, a_m radius factor of strong convexity,
L(a) smallest admissible rate, x* minimiser, r radius around x* on which f is sigma-strongly
convex, d_m = a_m r/|delta^-| radius factor of f smoothed by delta, b* critical batch size, epsilon
gradient-norm threshold, eta lr, beta momentum. The algorithms' own constants are in `algorithm3`.
"Slides" are those of 2024 by the authors of arXiv 2311.08745, whose formulas are intact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

# lr -> C^2 of SGD on ResNet-18 and CIFAR-100, each an upper bound from a critical batch.
# Source: arXiv 2311.08745 Table 2.
C2_BY_LR = {0.01: 12800.0, 0.05: 1280.0, 0.1: 1280.0, 0.5: 256.0}
ROUNDING = 1e-9  # relative; a count this close above a whole number is that number


def poly_decay_rates(num_levels: int, p: float) -> NDArray[np.float64]:
    """gamma_1 ... gamma_M of the polynomial schedule; gamma_M = 0.

    gamma_m = (M-m)^p / (M-(m-1))^p, hence delta_{k+1} = delta_1 * ((M-k)/M)^p.

    Source: arXiv 2311.08745 section 3.4; Algorithm 3 of the slides.
    """
    m = np.arange(1, num_levels + 1)
    return np.asarray(((num_levels - m) / (num_levels - (m - 1))) ** p)


def smallest_admissible_rate(a: float) -> float:
    """Lower bound of the admissible decay rates, (sqrt(a^2-1)-1)/a: 0 at a=sqrt(2), -> 1.

    `a` >= sqrt(2) grows with delta; no source gives its values.

    Source: arXiv 2311.08745 eq (8), Proposition 3.2.
    """
    check_radius_factor(a)
    return (math.sqrt(a * a - 1.0) - 1.0) / a


def check_decay_rates(
    rates: Sequence[float] | NDArray[np.float64], a: float | Sequence[float]
) -> NDArray[np.bool_]:
    """Which decay rates are admissible: L(a) < rate < 1, or rate = 1.

    A rate of 1 is no new level (the epochs between two drops of a step decay), so nothing
    can go wrong there; the papers' interval leaves it out.

    Args:
        rates: delta of each level over that of the level before it.
        a: one value >= sqrt(2) for all, or one per rate (a of the level entered).

    Raises:
        ValueError: a below sqrt(2), or not one a per rate.

    Source: arXiv 2311.08745 Proposition 3.2.
    """
    rate_M = np.asarray(rates)
    a_M = [a] * len(rate_M) if isinstance(a, int | float) else list(a)
    if len(a_M) != len(rate_M):
        raise ValueError(
            f"`len(a) == len(rates)` must hold, but got (a={len(a_M)}, rates={len(rate_M)})."
        )
    smallest_M = np.array([smallest_admissible_rate(value) for value in a_M])
    return np.asarray((smallest_M < rate_M) & (rate_M <= 1.0))


def delta_minus(
    *, distance: float, noise_norm: float, cos_angle: float, radius: float, a: float
) -> float:
    """|delta^-|: the noise level at which the noise first leads x back into B(x*; r).

    |q - sqrt(q^2 - r^2(a^2-1))| with q = ||x*-x|| ||u|| cos(theta). It falls from
    r*sqrt(a^2-1), where the noise only touches the ball, to r(a-1) at q = a*r. For q < 0 the
    formula gives the far side of the ball.

    Args:
        distance: ||x*-x|| > 0. noise_norm: ||u|| in (0, 1].
        cos_angle: cosine of the angle between x*-x and u, in [-1, 1].
        radius: r > 0. a: > sqrt(2).

    Raises:
        ValueError: an argument out of range, or the noise misses the ball.

    Source: arXiv 2311.08745 Proposition B.1 (3.1 of the slides).
    """
    check_positive(distance=distance, noise_norm=noise_norm, radius=radius)
    check_radius_factor(a)
    if not -1 <= cos_angle <= 1:
        raise ValueError(f"`-1 <= cos_angle <= 1` must hold, but got (cos_angle={cos_angle}).")
    q = distance * noise_norm * cos_angle
    tangent = radius * math.sqrt(a * a - 1.0)
    if abs(q) < tangent * (1.0 - ROUNDING):
        raise ValueError(
            f"`|distance*noise_norm*cos_angle| >= radius*sqrt(a^2-1)` must hold, but got "
            f"({abs(q):.6g} < {tangent:.6g}). This noise misses the ball."
        )
    return abs(q - math.sqrt(max(0.0, q * q - tangent * tangent)))


def radius_factor_range(a: float) -> tuple[float, float]:
    """Bounds of d_m: (1, a/(sqrt(a^2-1)-1)); the upper one is 1/L(a), without end at sqrt(2).

    Source: arXiv 2311.08745 eq (8).
    """
    return 1.0, 1.0 / smallest_admissible_rate(a)


def largest_admissible_a(gamma: float) -> float:
    """The a at which L(a) = gamma: any larger a makes this decay rate inadmissible.

    (gamma + sqrt(2 - gamma^2)) / (1 - gamma^2); sqrt(2) at gamma = 0.

    Args:
        gamma: decay rate in [0, 1).

    Example:
        >>> round(largest_admissible_a(0.5), 5)
        2.4305

    Source: ours, the inverse of arXiv 2311.08745 eq (8).
    """
    if not 0 <= gamma < 1:
        raise ValueError(f"`0 <= gamma < 1` must hold, but got (gamma={gamma}).")
    return (gamma + math.sqrt(2.0 - gamma * gamma)) / (1.0 - gamma * gamma)


def critical_batch(steps_by_batch: Mapping[int, float]) -> tuple[int, dict[int, float]]:
    """The measured b*, and the samples (SFO complexity, steps * b) that every batch took.

    Args:
        steps_by_batch: steps until the stopping rule, by batch size (both > 0). Of equal
            costs the smaller batch is b*. The minimum is flat: b* is known to a factor of 2-4.

    Raises:
        ValueError: nothing measured, or a batch or a step count not above 0.

    Example:
        >>> critical_batch({8: 100, 16: 40, 32: 30})
        (16, {8: 800, 16: 640, 32: 960})

    Source: arXiv 2311.08745 appendix C.
    """
    if not steps_by_batch:
        raise ValueError("`steps_by_batch` must hold at least one batch, but got {}.")
    for batch, steps in steps_by_batch.items():
        check_positive(batch=batch, steps=steps)
    samples = {batch: steps * batch for batch, steps in sorted(steps_by_batch.items())}
    return min(samples, key=lambda batch: (samples[batch], batch)), samples


def c2_bound(critical_batch: float, lr: float, epsilon: float) -> float:
    """Upper bound of C^2 from a measured critical batch: C^2 < b* epsilon^2 / lr.

    Source: arXiv 2311.08745 appendix C; the four C^2 of its Table 2 follow from b* = 128, 256,
    512, 512, which we inferred: the copy of the table that we have lacks that column.
    """
    return critical_batch * epsilon**2 / lr


def c2_bound_shb(critical_batch: float, lr: float, epsilon: float, *, beta: float) -> float:
    """Upper bound of C^2 under heavy ball: (b* eps^2/eta) beta (1-beta)^2 / (beta^2-beta+1).

    `beta` in (0, 1): the bound goes to 0 with it, not to that of SGD. The others > 0.

    Source: ours, inferred from constants in the code of the authors of arXiv 2412.11501: it gives
    their 25.318 of b*=1024 and 0.79 of b*=32 (epsilon 0.5, lr 0.1, beta 0.9).
    """
    check_positive(critical_batch=critical_batch, lr=lr, epsilon=epsilon)
    if not 0 < beta < 1:
        raise ValueError(f"`0 < beta < 1` must hold, but got (beta={beta}).")
    share = beta * (1.0 - beta) ** 2 / (beta * beta - beta + 1.0)
    return c2_bound(critical_batch, lr, epsilon) * share


def c2_bound_nshb(critical_batch: float, lr: float, epsilon: float, *, beta: float) -> float:
    """Upper bound of C^2 under normalized heavy ball: (b* eps^2/eta)(1-beta); beta=0 is SGD's.

    `beta` in [0, 1), the others > 0.

    Source: ours, inferred as for `c2_bound_shb`: it gives their 128 of b*=512.
    """
    check_positive(critical_batch=critical_batch, lr=lr, epsilon=epsilon)
    if not 0 <= beta < 1:
        raise ValueError(f"`0 <= beta < 1` must hold, but got (beta={beta}).")
    return c2_bound(critical_batch, lr, epsilon) * (1.0 - beta)


def check_positive(**values: float) -> None:
    """Raise ValueError unless every value is finite and above 0."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"`{name} > 0` must hold, but got ({name}={value}).")


def check_radius_factor(a: float) -> None:
    """Raise ValueError unless a is one that the papers' formulas cover."""
    if not math.sqrt(2) <= a < math.inf:
        raise ValueError(f"`a >= sqrt(2)` must hold, but got (a={a}).")
