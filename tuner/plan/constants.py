"""Whose C^2 and K are these? A note where they are another training's, or unknown but needed."""

from __future__ import annotations

from collections.abc import Iterable

from search_spaces.noise_law import LAW_OF
from search_spaces.space import SearchSpace
from tuner.config.schema import Config, flatten, value_of
from tuner.config.workloads import CONSTANTS, WORKLOADS

SHAPING = ("shb", "nshb_a")  # laws under which C^2 and K shape schedules; else they label delta
OF_NETWORK = ("dataset.name", "model.name", "model.width")
MEASURE = "python -m tuner.measure noise --write measures them"


def describe_constants(config: Config, spaces: Iterable[SearchSpace]) -> str:
    """One line where the noise law's constants are no own ones; '' where all is well.

    Own are those that were given, those that are known of this very workload and optimizer, and
    1, in whose unit delta is told, where nothing but that depends on it: where lr alone decays.

    Args:
        spaces: the arms, with their ranges.
    """
    noise, name = config.noise, config.optimizer.name
    law = noise.law or LAW_OF.get(name, "sgd")
    trained = f"{config.model.name} on {config.dataset.name} under {name}"
    if config.trainer == "function" or "noise.c2" in config.given:
        return ""
    if noise.c2 is None:
        is_shaped = law in SHAPING and config.optimizer.momentum > 0 and any(map(_shares, spaces))
        unknown = f"noise.law={law}: C^2 and K of {trained} are not known: 1 and {noise.k:g} shape"
        return f"{unknown} the schedules; {MEASURE}" if is_shaped else ""
    if config.workload not in WORKLOADS:  # of a file of the user's
        return ""
    owner = dict(flatten(WORKLOADS[config.workload]))
    of_optimizer = CONSTANTS.get((config.workload, name))
    under, known = (name, of_optimizer) if of_optimizer else ("sgd", {"c2": owner.get("noise.c2")})
    is_same = all(owner.get(key) == value_of(config, key) for key in OF_NETWORK)
    if known["c2"] != noise.c2 or (is_same and under == name):
        return ""
    theirs = f"{owner['model.name']} on {owner['dataset.name']} under {under}"
    use = "shapes the schedules" if law in SHAPING else "labels delta"
    return f"noise.c2={noise.c2:g} is of {theirs}, not of {trained}, and {use}; {MEASURE}"


def _shares(space: SearchSpace) -> bool:
    """True where batch or momentum may take a part of the decay."""
    split = space.ranges.get("split")
    return "momentum_share" in space.ranges or (split is not None and split.value != 1.0)
