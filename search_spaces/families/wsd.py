"""Warmup-stable-decay without the warmup: constant, then a polynomial decay at the end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search_spaces.families.family import Family, Parameter
from search_spaces.families.poly import POWER
from search_spaces.space import Range


def curve(progress: NDArray[np.float64], *, f: float, p: float) -> NDArray[np.float64]:
    """Noise level relative to its start: 1 until u = 1-f, then ((1-u)/f)^p; 0 at u=1.

    `f`: share of the training that decays, in (0, 1]; f=1 is poly. `p`: > 0.
    """
    if not 0 < f <= 1:
        raise ValueError(f"`0 < f <= 1` must hold, but got (f={f}).")
    if not p > 0:
        raise ValueError(f"`p > 0` must hold, but got (p={p}).")
    return np.asarray(np.minimum(1.0, (1.0 - progress) / f) ** p)


FAMILY = Family(
    curve=curve,
    source="arXiv 2405.18392 (constant lr with cooldown)",
    parameters={
        "p": POWER,
        "f": Parameter(
            range=Range(low=0.05, high=1.0),
            meaning="share of the training that decays (wsd)",
            unit="fraction",
            natural_ends=(1,),
        ),
    },
    color="purple",
)
