"""What is known of a decay family? All that the rest of GradTune needs, in one object."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from search_spaces.schedule import Curve
from search_spaces.space import Range

Color = Literal["blue", "red", "green", "orange", "purple", "sky", "yellow", "black"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One number that shapes a curve; it has a column of that name in `trials`.

    Attributes:
        range: searched by default. meaning, unit: of the column.
        natural_ends: ends of the range that cannot be widened, so that nobody is advised to.
    """

    range: Range
    meaning: str
    unit: str = ""
    natural_ends: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A decay curve d(u, **parameters) with d(0) = 1, and what goes with it.

    Called, it is the curve.

    Attributes:
        curve: d(u), positive for u in [0, 1), the share of the training's samples consumed;
            vectorised.
        source: paper and equation, or "ours".
        parameters: by name, the one that tells most about the curve first.
        color: of its space in all figures; None = any.
        recipe: parameters of a recipe's own schedule with this curve (`recipe.family`) where
            the user gives none; those missing here have to be given.
        text: the curve in one line, where the first line of its module does not tell it.
    """

    curve: Curve
    source: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    color: Color | None = None
    recipe: Mapping[str, float] = field(default_factory=dict)
    text: str = ""

    def __call__(self, progress: NDArray[np.float64], **params: float) -> NDArray[np.float64]:
        """Noise level relative to its start."""
        return self.curve(progress, **params)

    @property
    def formula(self) -> str:
        """The curve in one line, for readers."""
        module = inspect.getmodule(self.curve)
        return self.text or (inspect.getdoc(module) or "").partition("\n")[0]

    @property
    def ranges(self) -> dict[str, Range]:
        """Default ranges of the curve's own parameters."""
        return {name: parameter.range for name, parameter in self.parameters.items()}
