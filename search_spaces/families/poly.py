"""Polynomial decay: d(u) = (1-u)^p."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search_spaces.families.family import Family, Parameter
from search_spaces.space import Range


def curve(progress: NDArray[np.float64], *, p: float) -> NDArray[np.float64]:
    """Noise level relative to its start, (1-u)^p; 1 at u=0, 0 at u=1.

    p < 1 holds the noise up and drops it late, p = 1 is linear, p > 1 drops it early.
    `p`: > 0.
    """
    if not p > 0:
        raise ValueError(f"`p > 0` must hold, but got (p={p}).")
    return np.asarray((1.0 - progress) ** p)


# The papers ask for p <= 1; newer theory (arXiv 2602.06797) argues for p > 1 on easy tasks.
POWER = Parameter(range=Range(low=0.1, high=4.0, log=True), meaning="power of the decay")

FAMILY = Family(
    curve=curve,
    source="arXiv 2311.08745 eq (5) with eta_min = 0 and Algorithm 1 (product of gamma_m)",
    parameters={"p": POWER},
    color="blue",
    recipe={"p": 1.0},
)
