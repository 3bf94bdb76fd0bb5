"""What exactly will this run do? A validated `Plan`, made before torch or ray is imported."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from search_spaces import FAMILIES, SPACES
from search_spaces.noise_law import LAW_OF
from search_spaces.registry import lookup
from search_spaces.schedule import make_schedule
from search_spaces.space import (
    BASELINE,
    INTEGER_PARAMS,
    SCHEDULE_PARAMS,
    Range,
    SearchSpace,
)
from search_spaces.trial import Recipe, Role, TrialConfig, derive_seed
from trainables.data.sources import SourceInfo
from tuner.config.schema import Config, ConfigError, RangeConfig
from tuner.plan.checks import (
    check_confirm,
    check_optimizer,
    check_values,
    describe_data,
)
from tuner.plan.ladder import Rungs, check_lowest, make_rungs
from tuner.plan.recipe import make_recipe

LARGEST = 1e30  # of lr0 and delta0: what no training survives, and no float overflows
FIXED_SPLIT = ("lr", "batch", "hybrid")  # spaces whose split is their definition


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a run needs to know.

    Attributes:
        config: as composed; recipe: what every trial shares; spaces: the arms, absolute ranges.
        baseline: the recipe's own schedule as family and params, or None.
        delta_ref: noise level of the recipe's lr and batch.
        source: the data's facts.
    """

    config: Config
    recipe: Recipe
    spaces: tuple[SearchSpace, ...]
    baseline: SearchSpace | None
    delta_ref: float
    source: SourceInfo

    @functools.cached_property
    def rungs(self) -> Rungs:
        """How long the trainings of the search last."""
        return make_rungs(self.config, self.recipe.train_examples)

    @property
    def min_effect(self) -> float:
        """Smallest accuracy difference worth calling better."""
        if self.config.min_effect is not None:
            return self.config.min_effect
        from results.statistics.compare import (
            default_min_effect,  # scipy: needed after the search only
        )

        return default_min_effect(self.source.num_test)

    @property
    def trials_per_space(self) -> int:
        """Configs each arm may train, from `trials` or `search.budget`."""
        if self.config.search.budget is None:
            return self.config.trials
        return self.rungs.affordable(self.config.search.budget)

    @property
    def samples_per_trial(self) -> int:
        """Samples of one full training."""
        return self.rungs.full_samples

    @property
    def num_trials(self) -> int:
        """Trainings of the whole run: search, select and confirm."""
        return sum(self.trials_by_arm().values())

    @property
    def num_samples(self) -> int:
        """Samples of the whole run."""
        searched = sum(self.rungs.samples(self.quota(s)) for s in self.spaces if self.quota(s))
        num_full = self.num_trials - sum(self._searched(s) for s in self.spaces)
        return searched + num_full * self.samples_per_trial

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
        return sum(self.rungs.ladder.sizes(self.quota(space)))

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
        recipe = self.recipe
        batch0 = int(params.get("batch0", recipe.batch0))
        if space.optimizer is not None:
            own_law = self.config.noise.law or LAW_OF.get(space.optimizer, "sgd")
            recipe = replace(recipe, optimizer=space.optimizer, noise_law=own_law)
        law = recipe.law
        if "lr0" in params:
            params = {**params, "delta0": law.delta(params["lr0"], batch0)}
        # 12 digits: the same lr whichever C labels its delta.
        lr0 = params["lr0"] if "lr0" in params else law.lr(params["delta0"], batch0)
        return TrialConfig(
            space=space.name,
            family=space.family,
            params=dict(params),
            lr0=float(f"{lr0:.12g}"),
            recipe=recipe,
            role=role,
            replicate=replicate,
            seed=derive_seed(self.config.seed, role, replicate),
            curve_digest=curve_digest(space.family, params),
        )


def curve_digest(family: str, params: Mapping[str, float]) -> str:
    """Identifies a user's curve by its values; '' for the built-in families."""
    if family in FAMILIES:
        return ""
    own = {k: v for k, v in params.items() if k not in SCHEDULE_PARAMS}
    values = np.asarray(lookup("family", family, FAMILIES)(np.linspace(0, 0.999, 1000), **own))
    return hashlib.sha256(np.round(values, 12).tobytes()).hexdigest()[:12]


def make_plan(config: Config) -> Plan:
    """Check everything that can be checked without torch and ray.

    Raises:
        ConfigError: one line that names the key, the value and what is allowed.
    """
    check_values(config)
    try:
        source = describe_data(config)
    except ValueError as error:
        raise ConfigError(f"dataset: {error}") from None
    recipe = make_recipe(config, source)
    delta_ref = recipe.law.delta(config.lr, recipe.batch0)
    plan = Plan(
        config=config,
        recipe=recipe,
        spaces=_spaces(config, delta_ref),
        baseline=_baseline(config, delta_ref) if config.baseline else None,
        delta_ref=delta_ref,
        source=source,
    )
    for space in (*plan.spaces, *([plan.baseline] if plan.baseline else [])):
        _check_space(plan, space)
    searched = filter(plan.quota, plan.spaces)
    check_lowest(plan.rungs, (t for space in searched for t in _corners(plan, space)))
    check_confirm(config)
    for space in filter(plan.quota, plan.spaces):
        quota = plan.quota(space)
        if plan.rungs.samples(quota) > quota * plan.samples_per_trial:
            raise ConfigError(
                f"search.fidelity={config.search.fidelity}: the rungs of trials={quota} train "
                "more samples than all of them in full; take search.fidelity=full, more trials "
                "or a smaller search.min_horizon"
            )
    if config.confirm.until == "decided" and len(plan.trials_by_arm()) < 2:
        raise ConfigError("confirm.until=decided: needs two arms, or baseline=true")
    if config.search.share_prefix:
        _check_sharing(plan)
    if config.confirm.each and config.confirm.seeds == 0:
        raise ConfigError("confirm.each=true: needs confirm.seeds of at least 1")
    if config.confirm.top_k > plan.trials_per_space:
        raise ConfigError(
            f"confirm.top_k={config.confirm.top_k} must be at most trials={plan.trials_per_space}"
        )
    return plan


def _spaces(config: Config, delta_ref: float) -> tuple[SearchSpace, ...]:
    """The arms; every config is one of its own where `confirm.each` says so."""
    spaces = [_space(config, name, delta_ref) for name in config.space]
    if not config.confirm.each:
        return tuple(spaces)
    try:
        return tuple(arm for space in spaces for arm in space.points())
    except ValueError as error:
        raise ConfigError(f"confirm.each: {error}") from None


def _space(config: Config, name: str, delta_ref: float) -> SearchSpace:
    """The arm's space: built-in or file defaults made absolute, then the user's overrides."""
    built_in = config.user_spaces.get(name) or SPACES[name]
    node = {k: v for k, v in config.spaces[name].items() if k != "family"}
    default = built_in.resolve(
        epochs=config.epochs,
        delta_ref=delta_ref,
        lr_ref=config.lr,
        batch_ref=config.batch.initial,
    )
    ranges = {}
    for param, override in node.items():
        if param not in default.ranges and _is_empty(override):
            continue
        try:
            absent = Range(value=0.0, integer=param in INTEGER_PARAMS)
            ranges[param] = _override(default.ranges.get(param, absent), override)
        except ValueError as error:
            raise ConfigError(f"spaces.{name}.{param}: {error}") from None
    if config.split is not None:
        if name in FIXED_SPLIT:
            raise ConfigError(f"split={config.split}: the split of space {name} is fixed")
        if _is_empty(node["split"]):
            ranges["split"] = Range(value=config.split)
    if "lr0" in ranges:
        if "delta0" in node and not _is_empty(node["delta0"]):
            raise ConfigError(
                f"spaces.{name}.delta0: lr0 takes the place of delta0; give one of them"
            )
        ranges.pop("delta0", None)
    return replace(built_in, ranges=ranges)


def _is_empty(override: RangeConfig) -> bool:
    return all(getattr(override, f.name) is None for f in fields(override))


def _override(default: Range, override: RangeConfig) -> Range:
    """The default range with the user's fields on top; one value is said with `value`."""
    if _is_empty(override):
        return default
    axis = default.replaced(asdict(override))
    if None not in (default.low, axis.low) and axis.low == axis.high:
        raise ValueError(f"`low < high` must hold, but got (low={axis.low}, high={axis.high}).")
    return axis


def _baseline(config: Config, delta_ref: float) -> SearchSpace:
    """The recipe's own schedule as a space with one point."""
    family = config.recipe.family
    if family not in ("poly", "cosine", "constant"):
        raise ConfigError(f"recipe.family={family}: allowed are poly (p=1), cosine, constant")
    values = {"delta0": delta_ref, "split": 1.0} | ({"p": 1.0} if family == "poly" else {})
    ranges = {name: Range(value=value) for name, value in values.items()}
    ranges["interval"] = Range(value=config.recipe.interval, integer=True)
    return SearchSpace(name=BASELINE, family=family, ranges=ranges)


def _check_space(plan: Plan, space: SearchSpace) -> None:
    """Build the schedule at every range's ends: a range may not reach what cannot be trained."""
    where = "recipe" if space.name == BASELINE else f"spaces.{space.name}"
    _check_common(plan, space, where)
    middle = {name: axis.from_unit(0.5) for name, axis in space.ranges.items()}
    overrides = plan.config.spaces.get(space.name, {})
    changed: list[tuple[str, dict[str, float]]] = []
    others: list[tuple[str, dict[str, float]]] = []
    for name, axis in space.ranges.items():
        is_changed = name in overrides and not _is_empty(overrides[name])
        for value in _ends(axis):
            point = (f".{name}={value}", middle | {name: value})
            (changed if is_changed else others).append(point)
    # What the user changed comes first, then the middle: a bad value is not blamed on others.
    for at, params in [*changed, ("", middle), *others]:
        try:
            _check_point(plan, space, params)
        except (ValueError, TypeError, OverflowError) as error:
            raise ConfigError(f"{where}{at}: {error}") from None
    if plan.config.search.sampler == "grid":
        try:
            space.grid()
        except ValueError as error:
            raise ConfigError(f"search.sampler=grid: {error}") from None


def _corners(plan: Plan, space: SearchSpace) -> Iterator[TrialConfig]:
    """Configs at all ends of the space's ranges."""
    ends = [
        [(name, value) for value in {min(_ends(axis)): 0, max(_ends(axis)): 0}]
        for name, axis in space.free.items()
    ]
    for corner in itertools.product(*ends):
        yield plan.trial(space, {**space.fixed, **dict(corner)})


def _check_sharing(plan: Plan) -> None:
    """Trainings that begin alike are known beforehand only on grids and for fixed arms."""
    config, where = plan.config, "search.share_prefix=true"
    is_known = config.search.sampler == "grid" or any(map(plan.is_fixed, plan.spaces))
    if not is_known:
        raise ConfigError(f"{where}: needs search.sampler=grid, or arms with one config each")
    if config.search.fidelity != "full":
        raise ConfigError(f"{where}: needs search.fidelity=full")
    if config.trainer != "network":
        raise ConfigError(f"{where}: only networks are continued, not trainer={config.trainer}")


def _check_common(plan: Plan, space: SearchSpace, where: str) -> None:
    """What every arm needs: three parameters, and an optimizer that can be built."""
    names = set(space.ranges)
    if not {"interval", "split"} <= names or not {"delta0", "lr0"} & names:
        raise ConfigError(f"{where}: needs interval, split, and delta0 or lr0")
    if space.optimizer is not None:
        try:
            check_optimizer(plan.config, space.optimizer)
        except ConfigError as error:
            raise ConfigError(f"{where}.optimizer: {error}") from None


def _ends(axis: Range) -> tuple[float, ...]:
    if axis.choices is not None:
        return axis.choices
    return (axis.from_unit(0.0), axis.from_unit(1.0 - 1e-12))


def _check_point(plan: Plan, space: SearchSpace, params: Mapping[str, float]) -> None:
    for name in ("delta0", "lr0", "batch0"):
        if not params.get(name, 1) > 0:
            raise ValueError(f"`{name} > 0` must hold.")
        if params.get(name, 1) > LARGEST:
            raise ValueError(f"`{name} <= {LARGEST:g}` must hold.")
    if params.get("radius0", 0) < 0:
        raise ValueError("`radius0 >= 0` must hold.")
    if "radius0" in params and plan.recipe.trainer != "network":
        raise ValueError("radius0 moves a network's weights, which only trainer=network can do.")
    if "critical" in plan.recipe.measurements and space.family != "constant":
        raise ValueError(
            "measure=critical may end a training early, so lr and batch must be constant: "
            "space=lr_batch or constant, and recipe.family=constant or baseline=false."
        )
    trial = plan.trial(space, params)
    make_schedule(
        functools.partial(lookup("family", space.family, FAMILIES), **trial.curve_params),
        epochs=plan.recipe.epochs,
        train_examples=plan.recipe.train_examples,
        interval=trial.interval,
        lr0=trial.lr0,
        batch0=trial.batch0,
        split=params["split"],
        momentum_share=params.get("momentum_share", 0.0),
        batch_max=plan.recipe.batch_max,
        law=plan.recipe.law,
        warmup_epochs=plan.recipe.warmup_epochs,
    )
