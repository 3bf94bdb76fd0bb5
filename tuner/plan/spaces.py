"""Which arms does a run have? Spaces made absolute, the user's ranges, and all their ends."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace

from results.records.schema import TRIALS
from search_spaces import COMMON, FAMILIES, SPACES
from search_spaces.clock import STEP
from search_spaces.families.family import Family
from search_spaces.registry import lookup, nearest
from search_spaces.space import (
    BASELINE,
    EXTRA_PARAMS,
    INTEGER_PARAMS,
    OF_TABLE,
    RECIPE_PARAMS,
    TUNED_BASELINE,
    Range,
    SearchSpace,
    is_baseline,
)
from search_spaces.trial import Recipe, TrialConfig
from tuner.config.schema import (
    KEYS,
    RECIPE_KEYS,
    SEARCHED,
    Config,
    ConfigError,
    RangeConfig,
    is_of_training,
    refusing,
)
from tuner.plan.checks import check_optimizer
from tuner.plan.recipe import make_trial

LARGEST = 1e30  # of lr0 and delta0: what no training survives, and no float overflows
FIXED_SPLIT = ("lr", "batch", "hybrid", "seesaw")  # spaces whose split is their definition


def make_spaces(config: Config, delta_ref: float) -> tuple[SearchSpace, ...]:
    """The arms; every config is one of its own where `confirm.each` says so.

    Args:
        delta_ref: noise level of the recipe's lr and batch.
    """
    spaces = [_make_space(config, name, delta_ref) for name in config.space]
    if not config.confirm.each:
        return tuple(spaces)
    with refusing("confirm.each: "):
        return tuple(arm for space in spaces for arm in space.points())


def make_baseline(config: Config, delta_ref: float) -> SearchSpace:
    """The recipe's own schedule as a space with one point; searched where it is to be tuned.

    Then its first noise level and those parameters are free that the user has not given.
    """
    recipe, is_tuned = config.recipe, config.baseline.is_tuned
    with refusing("recipe.family: "):
        family = lookup("family", recipe.family, FAMILIES)
    # Of a curve without a `Family` nothing is known: its parameters are what the user gives.
    known = family if isinstance(family, Family) else Family(curve=family, source="")
    values = {"split": 1.0, **({} if is_tuned else {"delta0": delta_ref, **known.recipe})}
    values |= recipe.params
    ranges = {}
    for name, value in values.items():
        with refusing(f"recipe.{name}={value}: "):
            ranges[name] = Range(value=value)
    if is_tuned:
        if config.search.sampler == "grid":
            raise ConfigError("baseline=tuned: needs another search.sampler than grid")
        ranges = {"delta0": COMMON["delta0"], **known.ranges, **ranges}
    elif missing := [name for name in known.parameters if name not in values]:
        keys = " ".join(f"recipe.{name}=..." for name in missing)
        raise ConfigError(f"recipe.family={recipe.family}: give {keys}")
    if recipe.end:
        ranges["end"] = Range(value=recipe.end)
    interval = recipe.interval
    if interval is None:
        interval = 1 if config.epochs > 1 else STEP
    ranges["interval"] = Range(value=interval, integer=float(interval).is_integer())
    name = TUNED_BASELINE if is_tuned else BASELINE
    name = name if config.baseline.name is None else f"{name}:{config.baseline.name}"
    space = SearchSpace(name=name, family=recipe.family, ranges=ranges)
    return space.resolve(epochs=config.epochs, delta_ref=delta_ref)


def check_space(config: Config, recipe: Recipe, space: SearchSpace) -> None:
    """Raise ConfigError where an end of a range cannot be trained: builds its schedule."""
    where = "recipe" if is_baseline(space.name) else f"spaces.{space.name}"
    if not {"interval", "split"} <= set(space.ranges) or {"delta0", "lr0"}.isdisjoint(
        space.ranges
    ):
        raise ConfigError(f"{where}: needs interval, split, and delta0 or lr0")
    if space.optimizer is not None:
        with refusing(f"{where}.optimizer: "):
            check_optimizer(config, space.optimizer)
    _check_training(config, recipe, space, where)
    middle = {name: axis.from_unit(0.5) for name, axis in space.ranges.items()}
    overrides = config.spaces.get(space.name, {})
    changed = [n for n in space.ranges if n in overrides and not _is_empty(overrides[n])]
    others = [n for n in space.ranges if n not in changed]

    def ends_of(names: list[str]) -> list[tuple[str, dict[str, float]]]:
        pairs = [(name, value) for name in names for value in _ends(space.ranges[name])]
        return [(f".{name}={value}", middle | {name: value}) for name, value in pairs]

    # What the user changed comes first, then the middle: a bad value is not blamed on others.
    for at, params in [*ends_of(changed), ("", middle), *ends_of(others)]:
        with refusing(f"{where}{at}: ", (ValueError, TypeError, OverflowError)):
            _check_point(config, recipe, space, params)
    if config.search.sampler == "grid":
        with refusing("search.sampler=grid: "):
            space.grid()
    _check_decays(config, recipe, space, where)


def corners(config: Config, recipe: Recipe, space: SearchSpace) -> Iterator[TrialConfig]:
    """Configs at all ends of the space's ranges that have to do with the schedule."""
    others = {*space.training} - {*OF_TABLE}
    ends = [
        sorted({min(_ends(axis)), max(_ends(axis))})[: 1 if name in others else None]
        for name, axis in space.free.items()
    ]
    for corner in itertools.product(*ends):
        params = dict(zip(space.free, corner, strict=True))
        yield make_trial(config, recipe, space, {**space.fixed, **params})


def _check_decays(config: Config, recipe: Recipe, space: SearchSpace, where: str) -> None:
    """Raise ConfigError for a curve that falls after its last reading, which is no decay.

    Configs that are tried whatever they are must decay; of a range one end at least.
    """
    is_listed = config.search.sampler == "grid" or not space.free
    points = space.grid() if is_listed else []
    trials = [make_trial(config, recipe, space, {**space.fixed, **point}) for point in points]
    trials = trials or list(corners(config, recipe, space))
    late = [trial for trial in trials if not trial.decays]
    if len(late) == len(trials) or (is_listed and late):
        names = ("f", "interval")
        text = ", ".join(f"{n}={late[0].params[n]:.4g}" for n in names if n in late[0].params)
        raise ConfigError(
            f"{where}: with {text} of {recipe.epochs} epochs the curve falls only after it is "
            "read for the last time, so lr stays constant; take a smaller interval or a larger f"
        )


def _make_space(config: Config, name: str, delta_ref: float) -> SearchSpace:
    """The arm's space: built-in or file defaults made absolute, then the user's overrides."""
    built_in = config.user_spaces.get(name) or SPACES[name]
    node = {k: v for k, v in config.spaces[name].items() if k != "family"}
    default = built_in.resolve(
        epochs=config.epochs, delta_ref=delta_ref, lr_ref=config.lr, batch_ref=config.batch.initial
    )
    ranges, training = {}, list(default.training)
    for param, override in node.items():
        if param not in default.ranges and _is_empty(override):
            continue
        if param not in (*default.ranges, *EXTRA_PARAMS):
            training.append(param)
        absent = Range(value=0.0, integer=param in INTEGER_PARAMS)
        with refusing(f"spaces.{name}.{param}: "):
            ranges[param] = _override(param, default.ranges.get(param, absent), override)
    if config.split is not None and name in FIXED_SPLIT:
        raise ConfigError(f"split={config.split}: the split of space {name} is fixed")
    if config.split is not None and _is_empty(node["split"]):
        ranges["split"] = Range(value=config.split)
    if "lr0" in ranges:
        if "delta0" in node and not _is_empty(node["delta0"]):
            raise ConfigError(
                f"spaces.{name}.delta0: lr0 takes the place of delta0; give one of them"
            )
        ranges.pop("delta0", None)
    return replace(built_in, ranges=ranges, training=tuple(training))


def _is_empty(override: RangeConfig) -> bool:
    return all(getattr(override, f.name) is None for f in fields(override))


def _override(name: str, default: Range, override: RangeConfig) -> Range:
    """The default range with the user's fields on top; one value is said with `value`."""
    if _is_empty(override):
        return default
    axis = default.replaced(asdict(override), name)
    if None not in (default.low, axis.low) and axis.low == axis.high:
        raise ValueError(f"`low < high` must hold, but got (low={axis.low}, high={axis.high}).")
    return axis


def _ends(axis: Range) -> tuple[float, ...]:
    if axis.choices is not None:
        return axis.choices
    return (axis.from_unit(0.0), axis.from_unit(1.0 - 1e-12))


def _check_training(config: Config, recipe: Recipe, space: SearchSpace, where: str) -> None:
    """Raise ConfigError for a parameter or value that the training cannot take.

    Values of the recipe's own numbers are those that their keys allow; of a user's training only
    where they make the schedule.
    """
    checked = RECIPE_PARAMS if config.trainer == "network" else OF_TABLE
    for name in space.training:
        if not is_of_training(name, config.trainer):
            known = SEARCHED.get(config.trainer, ())
            raise ConfigError(
                f"{where}.{name}: no parameter of trainer={config.trainer}{nearest(name, known)}"
            )
        if name in TRIALS.names and name not in RECIPE_PARAMS:
            raise ConfigError(
                f"{where}.{name}: is a column of the records already; call it otherwise"
            )
        axis = space.ranges[name]
        values = axis.choices or [v for v in (axis.value, axis.low, axis.high) if v is not None]
        for value in values if name in checked else ():
            allowed = KEYS[RECIPE_KEYS[name]].allowed
            if allowed.check is not None and not allowed.check(value):
                raise ConfigError(f"{where}.{name}={value:g}: allowed is {allowed.text}")
            if name == "momentum" and value == 0 and recipe.nesterov:
                raise ConfigError(f"{where}.momentum=0: needs optimizer.nesterov=false")
    if "momentum" in space.training and (space.optimizer or recipe.optimizer) == "adamw":
        raise ConfigError(f"{where}.momentum: adamw has none")


def _check_point(
    config: Config, recipe: Recipe, space: SearchSpace, params: Mapping[str, float]
) -> None:
    """Raise the error that the training of these parameters would raise."""
    for name in ("delta0", "lr0", "batch0"):
        if not params.get(name, 1) > 0:
            raise ValueError(f"`{name} > 0` must hold.")
        if params.get(name, 1) > LARGEST:
            raise ValueError(f"`{name} <= {LARGEST:g}` must hold.")
    if not 0 <= params.get("warmup", 0) < 1:
        raise ValueError("`0 <= warmup < 1` must hold: a share of the training.")
    batch0 = params.get("batch0", recipe.batch0)
    if "batch_max" in space.training and params["batch_max"] < batch0:
        raise ValueError(f"`batch_max >= {batch0:g}` must hold: the first batch.")
    if params.get("end", 0) > 0 and space.family == "constant":
        raise ValueError("a constant curve falls to no end.")
    if params.get("radius0", 0) < 0:
        raise ValueError("`radius0 >= 0` must hold.")
    if "radius0" in params and recipe.trainer != "network":
        raise ValueError("radius0 moves a network's weights, which only trainer=network can do.")
    if "critical" in recipe.measurements and space.family != "constant":
        raise ValueError(
            "measure=critical may end a training early, so lr and batch must be constant: "
            "space=lr_batch or constant, and recipe.family=constant or baseline=false."
        )
    _ = make_trial(config, recipe, space, params).schedule
