"""Whose C^2 and K are these? A note where they are another training's, or unknown but needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from search_spaces.noise_law import LAW_OF
from search_spaces.space import SearchSpace
from search_spaces.theory import C2_BY_LR
from tuner.config.schema import Config, flatten, value_of
from tuner.config.workloads import CONSTANTS, MEASURED_AT, WORKLOADS

SHAPING = ("shb", "nshb_a")  # laws under which C^2 and K shape schedules; else they label delta
OF_NETWORK = ("dataset.name", "model.name", "model.width")
MEASURE = "python -m tuner.measure noise --write measures them"


def describe_constants(config: Config, spaces: Iterable[SearchSpace]) -> str:
    """One line where the noise law's constants are no own ones; '' where all is well.

    Own are those that were given, those that are known of this very workload, optimizer, lr and
    momentum, and 1, in whose unit delta is told, where nothing but that depends on it: where lr
    alone decays.

    Args:
        spaces: the arms, with their ranges.
    """
    noise, name = config.noise, config.optimizer.name
    spaces = list(spaces)
    law = noise.law or LAW_OF.get(name, "sgd")
    is_shaped = law in SHAPING and config.optimizer.momentum > 0 and any(map(_shares, spaces))
    trained = f"{config.model.name} on {config.dataset.name} under {name}"
    if config.trainer == "function":
        return ""
    if noise.c2 is None:
        unknown = f"noise.law={law}: C^2 and K of {trained} are not known: 1 and {noise.k or 0:g}"
        return f"{unknown} shape the schedules; {MEASURE}" if is_shaped else ""
    if noise.k is None and is_shaped:
        return f"noise.law={law}: K of {trained} is not known: 0 shapes the schedules; {MEASURE}"
    if "noise.c2" in config.given or config.workload not in WORKLOADS:  # of a user's file
        return ""
    owner = dict(flatten(WORKLOADS[config.workload]))
    of_optimizer = CONSTANTS.get((config.workload, name))
    under, known = (name, of_optimizer) if of_optimizer else ("sgd", {"c2": owner.get("noise.c2")})
    is_same = all(owner.get(key) == value_of(config, key) for key in OF_NETWORK)
    if known["c2"] != noise.c2:
        return ""
    if is_same and under == name:
        theirs, other = _setting_of(config, spaces)
    else:
        theirs = f"of {owner['model.name']} on {owner['dataset.name']} under {under}"
        other = f"not of {trained}"
    use = "shapes the schedules" if law in SHAPING else "labels delta"
    return f"noise.c2={noise.c2:g} is {theirs}, {other}, and {use}; {MEASURE}" if other else ""


def _setting_of(config: Config, spaces: Sequence[SearchSpace]) -> tuple[str, str]:
    """At which lr and momentum the constants were measured, and at which others they are used.

    lr: the recipe's and those that arms begin at; none that the paper gives the same C^2 for.
    """
    setting = MEASURED_AT.get((config.workload, config.optimizer.name))
    if setting is None:
        return "", ""
    lr, momentum = setting
    is_papers = (config.workload, *setting) == ("cifar100_resnet18", 0.1, 0.0)
    published = C2_BY_LR if is_papers and config.optimizer.momentum == momentum else {}
    own = published.get(lr)
    starts = {config.lr} | {lr0 for space in spaces for lr0 in _first_lrs(space)}
    foreign = [
        x for x in sorted(starts) if x != lr and (x not in published or published[x] != own)
    ]
    others = [
        f"lr {x:g}" + (f" ({published[x]:g} by Table 2)" if published.get(x) else "")
        for x in foreign
    ]
    if config.optimizer.momentum != momentum:
        others.append(f"momentum {config.optimizer.momentum:g}")
    return f"of lr {lr:g} and momentum {momentum:g}", f"not of {', '.join(others)}" * bool(others)


def _first_lrs(space: SearchSpace) -> tuple[float, ...]:
    """Of an arm whose lr0 is given: as one value or by choices."""
    lr0 = space.ranges.get("lr0")
    if lr0 is None or lr0.relative:
        return ()
    return tuple(lr0.choices or ()) + (() if lr0.value is None else (lr0.value,))


def _shares(space: SearchSpace) -> bool:
    """True where batch or momentum may take a part of the decay."""
    split = space.ranges.get("split")
    return "momentum_share" in space.ranges or (split is not None and split.value != 1.0)
