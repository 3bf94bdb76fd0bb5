"""Exponential decay: d(u) = end_ratio^u."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search_spaces.families.family import Family, Parameter
from search_spaces.space import Range


def curve(progress: NDArray[np.float64], *, end_ratio: float) -> NDArray[np.float64]:
    """Noise level relative to its start, end_ratio^u; 1 at u=0, end_ratio at u=1.

    The papers write k^t with epoch t of T: end_ratio = k^T. A factor per stage of n epochs
    (step decay) is end_ratio = factor^(T/n).

    `end_ratio`: in (0, 1].
    """
    if not 0 < end_ratio <= 1:
        raise ValueError(f"`0 < end_ratio <= 1` must hold, but got (end_ratio={end_ratio}).")
    return np.asarray(np.power(end_ratio, progress))


FAMILY = Family(
    curve=curve,
    source="arXiv 2311.08745 section 3.2 (exponential and step decay)",
    parameters={
        "end_ratio": Parameter(
            range=Range(low=1e-6, high=0.5, log=True),  # 0.94^200 = 4e-6 is the papers' curve
            meaning="noise at the end over noise at the start (exp)",
        ),
    },
    color="green",
)
