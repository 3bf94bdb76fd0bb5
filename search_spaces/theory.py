"""What do the papers' formulas say about a schedule? Calculators, independent of any training.

Legend: M levels, gamma_m = delta_{m+1}/delta_m, a_m radius factor of strong convexity,
b* critical batch size, epsilon gradient-norm threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def poly_decay_rates(num_levels: int, p: float) -> NDArray[np.float64]:
    """gamma_1 ... gamma_M of the polynomial schedule; gamma_M = 0.

    gamma_m = (M-m)^p / (M-(m-1))^p, hence delta_{k+1} = delta_1 * ((M-k)/M)^p.

    Source: arXiv 2311.08745 Algorithm 1 and section 3.4.
    """
    m = np.arange(1, num_levels + 1)
    return np.asarray(((num_levels - m) / (num_levels - (m - 1))) ** p)


def smallest_admissible_rate(a: float) -> float:
    """Lower bound of the admissible decay rates, (sqrt(a^2-1)-1)/a: 0 at a=sqrt(2), -> 1.

    Args:
        a: a_m > sqrt(2), grows with delta; no source gives its values.

    Source: arXiv 2311.08745 eq (8), Proposition 3.2.
    """
    if not a >= math.sqrt(2):
        raise ValueError(f"`a >= sqrt(2)` must hold, but got (a={a}).")
    return (math.sqrt(a * a - 1.0) - 1.0) / a


def critical_batch_size(c2: float, lr: float, epsilon: float) -> float:
    """b* = C^2 lr / epsilon^2, the batch that reaches gradient norm epsilon with fewest samples.

    Source: arXiv 2311.08745 appendix C (b* of Table 2).
    """
    return c2 * lr / epsilon**2


def c2_bound(critical_batch: float, lr: float, epsilon: float) -> float:
    """Upper bound of C^2 from a measured critical batch; inverse of `critical_batch_size`."""
    return critical_batch * epsilon**2 / lr


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
