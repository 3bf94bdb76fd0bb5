"""The user's own training function, a trainable, in place of the networks'."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from search_spaces.families import CURVE_PARAMETERS
from search_spaces.registry import nearest
from search_spaces.space import SCHEDULE_PARAMS

# trainable(schedule, seed, report): trains along the Schedule, calls the Report once an epoch.
# (Spelled out it would import torch, which the driver never does.)
Trainable = Callable[..., object]


def extra_arguments(function: Trainable, params: Mapping[str, float]) -> dict[str, Any]:
    """What the function is called with besides: `params`, where it takes them.

    It is left its own default where there are none.

    Raises:
        TypeError: there are some, and it does not take them.

    Example:
        >>> extra_arguments(lambda schedule, seed, report, params: None, {"beta2": 0.99})
        {'params': {'beta2': 0.99}}
    """
    taken = inspect.signature(function).parameters
    own = taken.get("params")
    if own is not None and (params or own.default is own.empty):
        return {"params": dict(params)}
    if not params:
        return {}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return {"params": dict(params)}
    known = (*SCHEDULE_PARAMS, *CURVE_PARAMETERS)
    near = next(filter(None, (nearest(name, known) for name in params)), "")
    names = ", ".join(params)
    raise TypeError(f"takes no argument `params`, by which {names} would be handed to it{near}")
