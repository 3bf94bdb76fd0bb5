"""Which arms cannot differ? Those that have one and the same schedule wherever both are tried."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.space import SearchSpace, is_baseline
from search_spaces.trial import Recipe, TrialConfig, derive_seed
from tuner.config.schema import Config, ConfigError
from tuner.plan.recipe import make_trial

NUM_POINTS = 4  # looked at; two curves that are not the same agree at none of them but by design


def check_twins(config: Config, recipe: Recipe, arms: Sequence[SearchSpace]) -> None:
    """Raise ConfigError for two arms whose comparison could only compare noise.

    Looked at in points that the arms have in common: parameters of one name at one quantile of
    their ranges. A parameter without effect (a power where nothing decays) makes no difference.
    """
    groups = [list(arms)]
    for number in range(NUM_POINTS):
        groups = [
            group
            for candidates in groups
            for group in _alike(config, recipe, candidates, number)
            if len(group) > 1
        ]
    if groups:
        first, second = groups[0][:2]
        raise ConfigError(_problem(first, second, _trial_at(config, recipe, first, 0)))


def _alike(
    config: Config, recipe: Recipe, arms: Sequence[SearchSpace], number: int
) -> list[list[SearchSpace]]:
    """These arms by their schedule at a point; those without one there are like none."""
    groups: dict[str, list[SearchSpace]] = {}
    for arm in arms:
        try:
            key = _trial_at(config, recipe, arm, number).table_key
        except ValueError:
            continue
        groups.setdefault(key, []).append(arm)
    return list(groups.values())


def _trial_at(config: Config, recipe: Recipe, arm: SearchSpace, number: int) -> TrialConfig:
    params = {
        name: axis.from_unit(derive_seed("point", number, name) / 2**31)
        for name, axis in arm.ranges.items()
    }
    return make_trial(config, recipe, arm, params)


def _problem(first: SearchSpace, second: SearchSpace, trial: TrialConfig) -> str:
    reason = ""
    if trial.schedule.num_stages == 1:
        length = f"interval={trial.interval:g} of {trial.recipe.epochs} epochs"
        reason = f" (one stage: nothing decays with {length})"
    way_out = f"spaces.{first.name}.interval.value=step lets lr decay, or name one of them"
    if is_baseline(first.name) or is_baseline(second.name):
        way_out = "baseline=false leaves it out"
    elif trial.schedule.num_stages > 1:
        way_out = "name one of them"
    return (
        f"space: {first.name} and {second.name} cannot differ: both have the same schedule "
        f"wherever they are tried{reason}; {way_out}"
    )
