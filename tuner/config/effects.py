"""Which keys need another one to have an effect? A key that was given for nothing is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tuner.config.schema import Config, ConfigError, show, value_of


@dataclass(frozen=True, slots=True)
class Need:
    """Keys, what has to be given for them to have an effect, and whether it is."""

    keys: tuple[str, ...]
    what: str
    is_met: Callable[[Config], bool]


def _measures(*names: str) -> Callable[[Config], bool]:
    return lambda config: bool(set(names) & set(config.measure))


def _tracks(*names: str) -> Callable[[Config], bool]:
    return lambda config: bool(set(names) & set(config.track))


def _section(name: str, *keys: str) -> tuple[str, ...]:
    return tuple(f"{name}.{key}" for key in keys)


NEEDS = (
    Need(
        _section("search", "eta", "rungs", "min_horizon", "promote"),
        "search.fidelity=squeezed or prefix",
        lambda c: c.search.fidelity != "full",
    ),
    Need(
        ("search.budget", "search.startup"),
        "another search.sampler than grid",
        lambda c: c.search.sampler != "grid",
    ),
    Need(
        ("confirm.max_seeds",),
        "confirm.until=decided",
        lambda c: c.confirm.until == "decided",
    ),
    Need(("confirm.select_seeds",), "confirm.top_k above 1", lambda c: c.confirm.top_k > 1),
    Need(
        _section("noise", "estimator", "batch_norm", "batch", "pairs", "every"),
        "'measure=[noise]' or 'measure=[sampling]'",
        _measures("noise", "sampling"),
    ),
    Need(("noise.source",), "noise.c2", lambda c: c.noise.c2 is not None),
    Need(_section("critical", "epsilon", "min_epochs"), "'measure=[critical]'",
         _measures("critical")),
    Need(_section("sharpness", "rho", "adaptive", "examples", "batch", "iterations"),
         "'measure=[sharpness]'", _measures("sharpness")),
    Need(("recipe.family", "recipe.interval"), "baseline=true", lambda c: c.baseline),
    Need(("tracking.project",), "'track=[wandb]' or 'track=[mlflow]'", _tracks("wandb", "mlflow")),
    Need(("tracking.entity", "tracking.mode"), "'track=[wandb]'", _tracks("wandb")),
    Need(("tracking.uri",), "'track=[mlflow]'", _tracks("mlflow")),
)  # fmt: skip


def check_effects(config: Config) -> None:
    """Raise ConfigError for a key that was given, by the user, and changes nothing."""
    for need in NEEDS:
        for key in need.keys:
            value = value_of(config, key)
            if key in config.given and value is not None and not need.is_met(config):
                raise ConfigError(f"{key}={show(value)}: has no effect; it needs {need.what}")
