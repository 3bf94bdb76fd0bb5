"""What exactly will this run do? A validated `Plan`, made before torch or ray is imported."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from results.records.schema import trial_from_row
from search_spaces.registry import DOWNLOADS
from search_spaces.space import OF_TABLE, SearchSpace
from search_spaces.trial import Recipe, Role, TrialConfig
from trainables.data.sources import SourceInfo
from tuner.config.schema import Config, ConfigError
from tuner.plan.checks import check_confirm, check_values, describe_data
from tuner.plan.ladder import Ladder, lowest_horizon, make_ladder
from tuner.plan.recipe import make_recipe, make_trial
from tuner.plan.spaces import check_space, corners, make_baseline, make_spaces
from tuner.plan.twins import check_twins


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a run needs to know."""

    config: Config
    recipe: Recipe
    spaces: tuple[SearchSpace, ...]  # the arms, with absolute ranges
    baseline: SearchSpace | None  # the recipe's own schedule; a tuned one is among `spaces`
    delta_ref: float  # noise level of the recipe's lr and batch
    source: SourceInfo

    @functools.cached_property
    def ladder(self) -> Ladder:
        """How long the trainings of the search last."""
        return make_ladder(self.config, self.recipe.train_examples)

    @property
    def min_effect(self) -> float | None:
        """Smallest difference of the objective worth calling better; None = it is not known."""
        if self.config.min_effect is not None or not self.recipe.metric.is_accuracy:
            return self.config.min_effect
        # scipy: needed after the search only
        from results.statistics.compare import default_min_effect

        return default_min_effect(self.source.num_test)

    @property
    def trials_per_space(self) -> int:
        """Configs each arm may train, from `trials` or `search.budget`."""
        if self.config.search.budget is None:
            return self.config.trials
        return self.ladder.affordable(self.config.search.budget)

    @property
    def handed(self) -> tuple[str, ...]:
        """Names of what a user's own training is handed besides its schedule."""
        if self.recipe.trainer != "user":
            return ()
        names = {name for space in self.spaces for name in space.training}
        return tuple(sorted(names - {*OF_TABLE}))

    @property
    def samples_per_trial(self) -> int:
        """Samples of one full training."""
        return self.ladder.full_samples

    @property
    def num_trials(self) -> int:
        """Trainings of the whole run: search, select and confirm."""
        return sum(self.trials_by_arm().values())

    @property
    def num_samples(self) -> int:
        """Samples of the whole run."""
        return sum(self.samples_by_role().values())

    def samples_by_role(self) -> dict[Role, int]:
        """Samples of the whole search, of the select and of the confirm trainings."""
        searched = sum(self.ladder.samples(self.quota(s)) for s in self.spaces if self.quota(s))
        num_full = self.num_trials - sum(self._searched(s) for s in self.spaces)
        num_confirm = len(self.trials_by_arm()) * self.config.confirm.seeds
        return {
            "search": searched,
            "select": (num_full - num_confirm) * self.samples_per_trial,
            "confirm": num_confirm * self.samples_per_trial,
        }

    def hours(self, role: Role) -> float | None:
        """Device-hours after which this part of the run ends; None = no limit."""
        limits = {"search": self.config.search.hours, "confirm": self.config.confirm.hours}
        return limits.get(role)

    def trials_by_arm(self) -> dict[str, int]:
        """Trainings of each arm, the baseline included."""
        confirm = self.config.confirm
        select = confirm.top_k * confirm.select_seeds if confirm.top_k > 1 else 0
        counts = {
            s.name: confirm.seeds + (0 if self.is_fixed(s) else self._searched(s) + select)
            for s in self.spaces
        }
        if self.baseline is not None:
            counts[self.baseline.name] = confirm.seeds
        return counts

    def _searched(self, space: SearchSpace) -> int:
        """Trainings of the search of this arm."""
        return sum(self.ladder.sizes(self.quota(space)))

    def quota(self, space: SearchSpace) -> int:
        """Configs this arm searches: all of a grid, else `trials_per_space`; none if fixed."""
        if self.is_fixed(space):
            return 0
        if self.config.search.sampler == "grid":
            return len(space.grid())
        return self.trials_per_space

    def is_fixed(self, space: SearchSpace) -> bool:
        """True for an arm with nothing to search: its one config is confirmed at once."""
        return not space.free and self.config.confirm.seeds > 0

    def trial(
        self,
        space: SearchSpace,
        params: Mapping[str, float],
        *,
        role: Role = "search",
        replicate: int = 0,
    ) -> TrialConfig:
        """The training of these parameters; its seed depends on role and replicate alone."""
        return make_trial(self.config, self.recipe, space, params, role=role, replicate=replicate)

    def recorded(self, row: Mapping[str, Any]) -> TrialConfig:
        """The trial of this row as the plan makes it: what the records say is not executed.

        Raises:
            ValueError: the row is no trial of this plan.
        """
        stored = trial_from_row(row)
        arms = (*self.spaces, *([self.baseline] if self.baseline else []))
        for space in arms:
            if space.name == stored.space:
                trial = self.trial(
                    space, stored.params, role=stored.role, replicate=stored.replicate
                )
                trial = replace(trial, horizon=stored.horizon, until=stored.until)
                if trial.trial_key == stored.trial_key == row["trial_key"]:
                    return trial
        raise ValueError(f"trial {row['trial_key']} of the records is not of this run")


def make_plan(config: Config) -> Plan:
    """Check everything that can be checked without torch and ray.

    Raises:
        ConfigError: one line that names the key, the value and what is allowed.
    """
    check_values(config)
    source = describe_data(config)
    if config.dataset.name.startswith(DOWNLOADS):  # with the commit: a resume reads the same
        config = replace(config, dataset=replace(config.dataset, name=source.name))
    recipe = make_recipe(config, source)
    delta_ref = recipe.law.delta(config.lr, recipe.batch0)
    baseline = make_baseline(config, delta_ref) if config.baseline.is_wanted else None
    tuned = [baseline] if baseline is not None and config.baseline.is_tuned else []
    plan = Plan(
        config=config,
        recipe=recipe,
        spaces=(*make_spaces(config, delta_ref), *tuned),
        baseline=None if baseline is None or config.baseline.is_tuned else baseline,
        delta_ref=delta_ref,
        source=source,
    )
    arms = (*plan.spaces, *([plan.baseline] if plan.baseline else []))
    for space in arms:
        check_space(config, recipe, space)
    if config.trainer == "network" and config.dataset.val_fraction == 0:
        _check_nothing_is_selected(plan)
    check_twins(config, recipe, arms)
    searched = [space for space in plan.spaces if plan.quota(space)]
    ends = (trial for space in searched for trial in corners(config, recipe, space))
    asked = config.search.min_horizon
    lowest = lowest_horizon(plan.ladder, ends, is_given=asked is not None)
    if lowest > plan.ladder.horizons[0]:
        config = replace(config, search=replace(config.search, min_horizon=lowest))
        plan = replace(plan, config=config)
    check_confirm(config)
    for space in searched:
        quota = plan.quota(space)
        if plan.ladder.samples(quota) > quota * plan.samples_per_trial:
            raise ConfigError(
                f"search.fidelity={config.search.fidelity}: the rungs of trials={quota} train "
                "more samples than all of them in full; take search.fidelity=full, more trials "
                "or a smaller search.min_horizon"
            )
    if config.search.hours is not None and not searched:
        raise ConfigError(
            f"search.hours={config.search.hours:g}: has no effect; no arm has anything to search"
        )
    if config.confirm.until == "decided" and len(plan.trials_by_arm()) < 2:
        raise ConfigError("confirm.until=decided: needs two arms, or baseline=true")
    if config.search.share_prefix and config.trainer == "function":
        raise ConfigError("search.share_prefix=true: a known function's training is never shared")
    if config.confirm.each and config.confirm.seeds == 0:
        raise ConfigError("confirm.each=true: needs confirm.seeds of at least 1")
    if config.confirm.top_k > plan.trials_per_space:
        raise ConfigError(
            f"confirm.top_k={config.confirm.top_k} must be at most trials={plan.trials_per_space}"
        )
    return plan


def _check_nothing_is_selected(plan: Plan) -> None:
    """Raise ConfigError where there would have to be validation images."""
    for space in plan.spaces:
        if not plan.is_fixed(space):
            free = ", ".join(space.free) or "confirm.seeds=0"
            raise ConfigError(
                f"dataset.val_fraction=0: nothing is left to validate, but {space.name} is "
                f"searched ({free}); give it fixed values, or images to validate"
            )
