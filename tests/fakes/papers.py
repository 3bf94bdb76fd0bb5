"""What else do the papers' formulas say? Oracles: no part of GradTune computes with them.

Legend: as in search_spaces/theory.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from search_spaces.theory import check_positive, check_radius_factor


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

    Source: arXiv 2311.08745 Proposition B.1 (3.1 of the slides).
    """
    check_radius_factor(a)
    check_positive(radius=radius, delta=abs(delta))
    return a * radius / abs(delta)


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
