"""What does a key need to have an effect? Another key or a package; else giving it is refused."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from search_spaces.registry import unknown_name
from trainables import MEASUREMENTS
from tuner.config.schema import KEYS, TRACKERS, Config, ConfigError, show, value_of


class Need(NamedTuple):
    """Keys, what has to be given for them to have an effect, and whether it is."""

    keys: tuple[str, ...]
    what: str
    is_met: Callable[[Config], bool]


def _listed(key: str, *names: str) -> tuple[str, Callable[[Config], bool]]:
    """One of these in the list of `measure` or `track`."""
    what = " or ".join(f"'{key}=[{name}]'" for name in names)
    return what, lambda config: not set(names).isdisjoint(value_of(config, key))


def _section(name: str, *keys: str) -> tuple[str, ...]:
    return tuple(f"{name}.{key}" for key in keys)


NEEDS = (
    Need(_section("search", "eta", "rungs", "min_horizon", "promote"),
         "search.fidelity=squeezed or prefix", lambda c: c.search.fidelity != "full"),
    Need(_section("search", "budget", "startup", "hours"),
         "another search.sampler than grid", lambda c: c.search.sampler != "grid"),
    Need(("confirm.hours",), "confirm.seeds above 2, or confirm.until=decided",
         lambda c: c.confirm.seeds > 2 or c.confirm.until == "decided"),
    Need(("confirm.max_seeds",), "confirm.until=decided", lambda c: c.confirm.until == "decided"),
    Need(("confirm.select_seeds",), "confirm.top_k above 1", lambda c: c.confirm.top_k > 1),
    Need(_section("noise", "estimator", "batch_norm", "batch", "pairs", "every"),
         *_listed("measure", "noise", "sampling")),
    Need(("noise.source",), "noise.c2", lambda c: c.noise.c2 is not None),
    *(Need(tuple(key for key in KEYS if key.startswith(f"{name}.")), *_listed("measure", name))
      for name in MEASUREMENTS if name not in ("noise", "sampling")),
    Need((*_section("recipe", "family", "interval", "end"), "baseline.name"),
         "baseline=true or tuned", lambda c: c.baseline.is_wanted),
    Need(("display_log",), "trainable= and a display",
         lambda c: c.trainer == "user" and c.display != "none"),
    Need(("cluster.auth",), "cluster.address, or RAY_ADDRESS as in a job",
         lambda c: c.cluster.address is not None or bool(os.environ.get("RAY_ADDRESS"))),
    Need(("tracking.project",), *_listed("track", "wandb", "mlflow")),
    Need(_section("tracking", "entity", "mode"), *_listed("track", "wandb")),
    Need(("tracking.uri",), *_listed("track", "mlflow")),
)  # fmt: skip


def check_effects(config: Config) -> None:
    """Raise ConfigError for a key that was given, by the user, and changes nothing."""
    for param in config.recipe.params:
        if f"recipe.{param}" in config.given and not config.baseline.is_wanted:
            raise ConfigError(f"recipe.{param}: has no effect; it needs baseline=true or tuned")
    for need in NEEDS:
        for key in need.keys:
            value = value_of(config, key)
            if key in config.given and value is not None and not need.is_met(config):
                raise ConfigError(f"{key}={show(value)}: has no effect; it needs {need.what}")


def check_trackers(names: Sequence[str]) -> None:
    """Raise ConfigError for a tracker that is unknown, repeated or not installed; imports none."""
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(str(unknown_name("tracker", name, TRACKERS)))
        package = TRACKERS[name][0]
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:  # without origin: a mere folder, such as ./wandb
            raise ConfigError(
                f"track=[{name}]: needs the package {package}; pip install 'gradtune[{name}]'"
            )
    if len(set(names)) < len(names):
        raise ConfigError(f"track=[{','.join(names)}]: each may be named once")
