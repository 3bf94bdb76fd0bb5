"""Warmup-stable-decay without the warmup: constant until u = 1-f, then ((1-u)/f)^p."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search_spaces.families.family import Color, Family, Parameter
from search_spaces.families.poly import POWER
from search_spaces.space import Range

SHARE = Parameter(
    range=Range(low=0.05, high=1.0),
    meaning="share of the training that decays (wsd)",
    unit="fraction",
    natural_ends=(1,),
)
SOURCE = "arXiv 2405.18392 (constant lr with cooldown)"


def curve(progress: NDArray[np.float64], *, f: float, p: float) -> NDArray[np.float64]:
    """Noise level relative to its start: 1 until u = 1-f, then ((1-u)/f)^p; 0 at u=1.

    `f`: share of the training that decays, in (0, 1]; f=1 is poly. `p`: > 0.
    """
    _check_share(f)
    if not p > 0:
        raise ValueError(f"`p > 0` must hold, but got (p={p}).")
    return np.asarray(np.minimum(1.0, (1.0 - progress) / f) ** p)


def cooldown(shape: Family, *, color: Color | None = None) -> Family:
    """The family that is constant until u = 1-f and then has this shape, its parameters and f.

    Example:
        >>> family = cooldown(Family(curve=lambda u: 1 - u**2, source="ours"))
        >>> family(np.array([0, 0.5, 0.75]), f=0.5).tolist()
        [1.0, 1.0, 0.75]
    """

    def cooled(progress: NDArray[np.float64], *, f: float, **params: float) -> NDArray[np.float64]:
        _check_share(f)
        return shape(1.0 - np.minimum(1.0, (1.0 - progress) / f), **params)

    return Family(
        curve=cooled,
        source=f"{SOURCE}; shape: {shape.source}",
        text=f"wsd with another cooldown: constant until u = 1-f, then over f: {shape.formula}",
        parameters={**shape.parameters, "f": SHARE},
        color=color,
    )


def _check_share(f: float) -> None:
    if not 0 < f <= 1:
        raise ValueError(f"`0 < f <= 1` must hold, but got (f={f}).")


FAMILY = Family(curve=curve, source=SOURCE, parameters={"p": POWER, "f": SHARE}, color="purple")
