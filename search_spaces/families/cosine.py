"""Cosine decay: d(u) = (1 + cos(pi u)) / 2."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search_spaces.families.family import Family


def curve(progress: NDArray[np.float64]) -> NDArray[np.float64]:
    """Noise level relative to its start; 1 at u=0, 1/2 at u=1/2, 0 at u=1."""
    return np.asarray((1.0 + np.cos(np.pi * progress)) / 2.0)


FAMILY = Family(
    curve=curve,
    source="Loshchilov & Hutter, without restarts; arXiv 2311.08745 eq (4)",
    color="red",
)
