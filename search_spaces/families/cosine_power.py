"""Cosine power annealing: d(u) = expm1(c ln base) / expm1(ln base), c = (1 + cos(pi u)) / 2."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from search_spaces.families.family import Family, Parameter
from search_spaces.space import Range


def curve(progress: NDArray[np.float64], *, base: float) -> NDArray[np.float64]:
    """Noise level relative to its start: expm1(c ln base) / expm1(ln base), c the cosine curve.

    1 at u=0, 0 at u=1; base=1 is the cosine itself (the limit), larger bases drop earlier.
    `base`: >= 1.
    """
    if not base >= 1:
        raise ValueError(f"`base >= 1` must hold, but got (base={base}).")
    c = (1.0 + np.cos(np.pi * progress)) / 2.0
    if base == 1.0:
        return np.asarray(c)
    return np.asarray(np.expm1(c * math.log(base)) / math.expm1(math.log(base)))


FAMILY = Family(
    curve=curve,
    source="Hundt et al. 2019 (sharpDARTS), named in arXiv 2311.08745 section 3.2",
    parameters={
        "base": Parameter(
            range=Range(low=1.0, high=100.0, log=True),
            meaning="base of the exponential (cosine_power)",
            natural_ends=(1,),
        ),
    },
    color="yellow",
)
