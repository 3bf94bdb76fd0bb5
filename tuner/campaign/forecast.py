"""What will shared beginnings spare? Exact where all trainings are known, else an estimate.

The estimate draws configs of an arm as its search begins (quasi-random points) and counts what
they have in common; which of them are promoted is left to chance. It also tells which arms share
nothing, and why: those keep no states.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from search_spaces.trial import TrialConfig
from tuner.campaign.arm import Arm
from tuner.campaign.sharing import Sharing, prefix_keys, trunk_end
from tuner.plan.plan import Plan

NUM_DRAWN = 32  # configs of an arm at most, for the estimate
NUM_TRIED = 8  # of them, to see whether any two begin alike


@dataclass(frozen=True, kw_only=True, slots=True)
class Saving:
    """Of `samples` those `saved`, by `trainings` that begin from a state."""

    trainings: int
    saved: int
    samples: int

    @property
    def share(self) -> float:
        """Saved of all, in [0, 1)."""
        return self.saved / max(1, self.samples)


class Forecast:
    """Of a plan that shares beginnings.

    Attributes:
        known: trainings known from the start, in the order of the queue.
        searched: arms whose suggestions begin alike, with configs drawn of them.
        obstacles: why the suggestions of others do not, by arm.
    """

    def __init__(self, plan: Plan, arms: Mapping[str, Arm]) -> None:
        self.plan = plan
        is_grid = plan.config.search.sampler == "grid" and plan.ladder.fidelity == "full"
        self.known = [
            *(trial for arm in arms.values() if is_grid for trial in _grid(plan, arm)),
            *(trial for arm in arms.values() for trial in _confirmed(plan, arm)),
        ]
        self.searched: dict[str, list[TrialConfig]] = {}
        self.obstacles: dict[str, str] = {}
        for name, arm in arms.items():
            if is_grid or arm.suggester is None or arm.halving.num_configs < 2:
                continue
            num_drawn = min(arm.halving.num_configs, NUM_DRAWN)
            drawn = list(itertools.islice(_configs(plan, arm), num_drawn))
            if self._count(plan.ladder.place(trial, 0) for trial in drawn[:NUM_TRIED]).saved:
                self.searched[name] = drawn
            else:
                self.obstacles[name] = _obstacle(plan, arm, drawn[:NUM_TRIED])

    def lines(self) -> list[str]:
        """What to tell of arms that share nothing."""
        return [f"shared: nothing of {name}, {why}" for name, why in self.obstacles.items()]

    def of_known(self) -> Saving:
        """Of the trainings known from the start, exactly."""
        return self._count(self.known, are_all_known=True)

    def of_searches(self) -> Saving:
        """Of the configs drawn of `searched`, on all rungs and of all arms together."""
        ladder = self.plan.ladder
        return self._count(
            ladder.place(trial, rung)
            for drawn in self.searched.values()
            for rung, size in enumerate(ladder.sizes(len(drawn)))
            for trial in drawn[:size]
        )

    def _count(self, trials: Iterable[TrialConfig], *, are_all_known: bool = False) -> Saving:
        """One training after the other."""
        sharing, ladder = Sharing(), self.plan.ladder
        trials = list(trials)
        for trial in trials if are_all_known else ():
            sharing.expect(trial)
        trainings = saved = samples = 0
        begun: set[str] = set()
        for trial in trials:
            orders = sharing.begin(trial, keeps_trunk=not are_all_known)
            is_search = trial.role == "search"
            samples += ladder.cost(ladder.rung_of(trial)) if is_search else ladder.full_samples
            is_new = trial.trial_key not in begun  # a promoted prefix goes on from its own state
            if orders.first and is_new:
                trainings += 1
                saved += trial.schedule.report_end(orders.first)
            begun.add(trial.trial_key)
            sharing.reached(trial.trial_key, trial.num_reports, orders.keep.values())
            sharing.ended(trial.trial_key)
        return Saving(trainings=trainings, saved=saved, samples=samples)


def _grid(plan: Plan, arm: Arm) -> Iterator[TrialConfig]:
    """The configs of a grid that are trained."""
    if arm.suggester is None or not arm.halving.num_configs:
        return
    tables = set()
    for trial in (plan.trial(arm.space, params) for params in arm.suggester.grid()):
        if arm.table_of(trial) not in tables and trial.decays:
            tables.add(arm.table_of(trial))
            yield trial


def _confirmed(plan: Plan, arm: Arm) -> Iterator[TrialConfig]:
    """The confirm trainings of an arm with one config."""
    if arm.chosen is not None:
        for replicate in range(plan.config.confirm.seeds):
            yield plan.trial(arm.space, arm.chosen.params, role="confirm", replicate=replicate)


def _configs(plan: Plan, arm: Arm) -> Iterator[TrialConfig]:
    """Different configs of an arm, as its search begins."""
    assert arm.suggester is not None, "only searched arms have suggestions"
    tables = set()
    for params in arm.suggester.drawn(2 * arm.halving.num_configs):  # some are of no use
        trial = plan.trial(arm.space, params)
        if arm.table_of(trial) not in tables and trial.decays:
            tables.add(arm.table_of(trial))
            yield trial


def _obstacle(plan: Plan, arm: Arm, trials: list[TrialConfig]) -> str:
    """Why no two of these configs begin alike."""
    trials = [trial for trial in trials if trunk_end(trial)]
    if not trials:
        return "whose noise level falls before the first report"
    first = trials[0]
    names = [
        name
        for name in arm.space.free
        if any(
            trunk_end(changed) and prefix_keys(changed)[0] != prefix_keys(first)[0]
            for other in trials[1:]
            for changed in [plan.trial(arm.space, {**first.params, name: other.params[name]})]
        )
    ]
    if not names:
        return "whose first configs have nothing in common"
    cure = f"spaces.{arm.space.name}.{names[0]}.value or choices"
    return f"whose configs begin with a {' and '.join(names)} each of their own ({cure})"
