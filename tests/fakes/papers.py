"""What else do the papers' formulas say? Oracles: no part of GradTune computes with them.

Legend: as in search_spaces/theory.py. x* the minimiser, r radius around x* on which f is
sigma-strongly convex, d_m = a_m r/|delta^-|.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from search_spaces.families import FAMILIES
from search_spaces.schedule import Schedule, make_schedule
from search_spaces.theory import (
    ROUNDING,
    check_positive,
    check_radius_factor,
    smallest_admissible_rate,
)

PAPERS_POWERS = (0.1, 0.5, 0.9, 1.0, 2.0, 4.0, 8.0)


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

    Source: arXiv 2311.08745 Proposition B.1.
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


def probability_of_delta_minus(
    *, distance: float, noise_norm: float, radius: float, a: float
) -> float:
    """p(a): how likely delta^- exists, 2 arccos(r sqrt(a^2-1) / (||x*-x|| ||u||)) / pi.

    0 where no direction reaches the ball. The formula takes the angle as uniform on [0, pi],
    which a uniform direction is in the plane only.

    Args:
        distance, noise_norm, radius, a: as in `delta_minus`.

    Source: arXiv 2311.08745 section 3.1.
    """
    check_positive(distance=distance, noise_norm=noise_norm, radius=radius)
    check_radius_factor(a)
    cosine = radius * math.sqrt(a * a - 1.0) / (distance * noise_norm)
    return 2.0 * math.acos(min(1.0, cosine)) / math.pi


def radius_factor(*, a: float, radius: float, delta: float) -> float:
    """d_m = a_m r/|delta|: f smoothed by delta is strongly convex on a ball of d_m |delta|.

    At delta = delta^- it lies in `radius_factor_range(a)`.

    Args:
        a: > sqrt(2). radius: r > 0. delta: != 0, of either sign.

    Source: arXiv 2311.08745 Proposition 3.1.
    """
    check_radius_factor(a)
    check_positive(radius=radius, delta=abs(delta))
    return a * radius / abs(delta)


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


def smallest_nice_delta(
    *, grad_norm: float, next_grad_norm: float, sigma: float, gamma: float
) -> float:
    """The |delta_m| from which f is new sigma-nice between two levels (a sufficient condition).

    2 max(grad_norm, next_grad_norm) / (sigma (1-gamma)) <= |delta_m|

    Args:
        grad_norm, next_grad_norm: gradient norms at x* of f smoothed by delta_m and
            delta_{m+1}, >= 0.
        sigma: strong convexity, > 0. gamma: decay rate in [0, 1).

    Source: arXiv 2311.08745 Proposition B.2.
    """
    check_positive(sigma=sigma)
    if not (grad_norm >= 0 and next_grad_norm >= 0):
        raise ValueError(
            f"`grad_norm >= 0` must hold at both levels, but got ({grad_norm}, {next_grad_norm})."
        )
    if not 0 <= gamma < 1:
        raise ValueError(f"`0 <= gamma < 1` must hold, but got (gamma={gamma}).")
    return 2.0 * max(grad_norm, next_grad_norm) / (sigma * (1.0 - gamma))


def critical_batch_size(c2: float, lr: float, epsilon: float) -> float:
    """b* = C^2 lr / epsilon^2, the batch that reaches gradient norm epsilon with fewest samples.

    Source: arXiv 2311.08745 appendix C (b* of Table 2).
    """
    return c2 * lr / epsilon**2


def papers_num_steps(
    train_examples: int, batch_sizes: Sequence[int], stage_epochs: Sequence[int]
) -> int:
    """Optimizer steps of the papers' loader: every epoch ends with a ragged batch.

    Args:
        batch_sizes, stage_epochs: batch size (samples) and length (epochs) of each stage.
            Their code changes the batch one epoch late: 41, 40, 40, 40, 39 for 5 stages.

    Example:
        >>> papers_num_steps(50_000, [128], [200])
        78200
    """
    return sum(
        epochs * -(-train_examples // batch)
        for batch, epochs in zip(batch_sizes, stage_epochs, strict=True)
    )


def papers_schedules(
    *, epochs: int = 200, lr: float = 0.1, batch_size: int = 128, train_examples: int = 50_000
) -> dict[str, Schedule]:
    """The schedules of the papers' figures, decayed by lr every epoch (the step's: 5 stages).

    Args:
        epochs: >= 5; the exponential keeps its 0.94 per epoch, all others their shape.

    Source: arXiv 2311.08745 Figs 4-7, 13 and 14. Their captions' numbers are lost: 0.94 fits
    the published losses, base 10 is Hundt et al.'s, 1/sqrt(2) the papers' own common decay.
    """
    stage = epochs // 5
    curves = {f"p={p:g}": ("poly", {"p": p}, 1) for p in PAPERS_POWERS} | {
        "cosine": ("cosine", {}, 1),
        "exp": ("exp", {"end_ratio": 0.94**epochs}, 1),
        "cosine_power": ("cosine_power", {"base": 10.0}, 1),
        "step": ("exp", {"end_ratio": math.sqrt(0.5) ** (epochs / stage)}, stage),
    }
    return {
        name: make_schedule(
            functools.partial(FAMILIES[family], **params),
            epochs=epochs,
            train_examples=train_examples,
            interval=interval,
            lr0=lr,
            batch0=batch_size,
        )
        for name, (family, params, interval) in curves.items()
    }
