"""Power cooldown: d(u) = 1 - u^q."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search_spaces.families.family import Family, Parameter
from search_spaces.space import Range


def curve(progress: NDArray[np.float64], *, q: float) -> NDArray[np.float64]:
    """Noise level relative to its start, 1 - u^q; 1 at u=0, 0 at u=1.

    q < 1 drops the noise early (q = 1/2: 1 - sqrt), q = 1 is linear, q > 1 holds it up and drops
    it late. `q`: > 0.
    """
    if not q > 0:
        raise ValueError(f"`q > 0` must hold, but got (q={q}).")
    return np.asarray(1.0 - progress**q)


FAMILY = Family(
    curve=curve,
    source="arXiv 2405.18392 has q = 1/2 (1-sqrt); the family is ours",
    parameters={
        "q": Parameter(
            range=Range(low=0.25, high=8.0, log=True), meaning="power of the progress (1 - u^q)"
        ),
    },
    color="sky",
)
