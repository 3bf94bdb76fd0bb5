"""A user's space in a Python file: constant until a knee, then linear to zero."""

from __future__ import annotations

import numpy as np

from search_spaces import COMMON
from search_spaces.space import Range, SearchSpace


def curve(progress: np.ndarray, *, knee: float) -> np.ndarray:
    return np.minimum(1.0, (1.0 - progress) / (1.0 - knee))


SPACE = SearchSpace(
    name="knee",
    family=f"{__file__}:curve",
    ranges=COMMON | {"knee": Range(low=0.1, high=0.9)},
)
