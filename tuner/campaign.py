"""Which training comes next? Search, select and confirm for all arms, without ray.

A `Campaign` hands out trials and is told what became of them. Its state follows from the
ledger's rows alone (`replay`), so a resumed run continues as the uninterrupted one would have.
Phases of an arm: search until `trials` configs are asked and ended; with top_k > 1 train the
best on select seeds; then confirm one config on fresh seeds, the same seeds for every arm.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from results.records import trial_from_row
from search_spaces.space import SearchSpace
from search_spaces.trial import Role, Status, TrialConfig
from tuner.plan import Plan
from tuner.suggest import Suggester

# A run whose first trials all fail has a bug, not bad luck.
MAX_FIRST_FAILURES = 5
ENDED_WELL = ("completed", "diverged")


@dataclass
class Arm:
    """One space (or the baseline) on its way through search, select and confirm.

    Attributes:
        samples: spent plus committed on search, the fairness measure between arms.
        scores: objective of every ended search trial by trial key.
        selected: ended select trials by config key; select_scores: their objectives.
        chosen: the config confirmed, once known.
    """

    space: SearchSpace
    suggester: Suggester | None
    quota: int
    samples: int = 0
    num_open: int = 0
    num_replaced: int = 0
    exhausted: bool = False
    trials: dict[str, TrialConfig] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    selected: dict[str, int] = field(default_factory=dict)
    select_scores: dict[str, list[float]] = field(default_factory=dict)
    chosen: TrialConfig | None = None

    @property
    def num_asked(self) -> int:
        """Search configs handed out so far."""
        return len(self.trials)

    @property
    def can_ask(self) -> bool:
        """True while another config of this arm may be searched."""
        return not self.exhausted and self.num_asked < self.quota + self.num_replaced

    def ranked(self) -> list[TrialConfig]:
        """Searched configs, best objective first; ties go to the earlier one."""
        order = sorted(self.scores, key=lambda key: -self.scores[key])
        return [self.trials[key] for key in order]


class Campaign:
    """Hands out the trials of a run.

    Args:
        plan: what the run is to do; its recipe must have its final precision and threads.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        config = plan.config
        self.arms = {
            space.name: Arm(
                space=space,
                suggester=Suggester(
                    space,
                    seed=config.seed,
                    sampler=config.search.sampler,
                    trials=plan.trials_per_space,
                    startup=config.search.startup,
                ),
                quota=plan.quota(space),
            )
            for space in plan.spaces
        }
        if plan.baseline is not None:
            baseline = Arm(space=plan.baseline, suggester=None, quota=0)
            baseline.chosen = plan.trial(plan.baseline, plan.baseline.fixed)
            self.arms[plan.baseline.name] = baseline
        self.pending: list[TrialConfig] = []
        self.known: set[str] = set()
        self.num_live = 0
        self.num_ended: dict[str, int] = {}
        self.given_up: str | None = None
        for space in plan.spaces:
            if plan.is_fixed(space):
                self.arms[space.name].chosen = plan.trial(space, space.fixed)
        for arm in self.arms.values():
            self._advance(arm)

    @property
    def finished(self) -> bool:
        """True when nothing runs and nothing is left to run."""
        if self.num_live:
            return False
        return self.given_up is not None or not (
            self.pending or any(arm.can_ask for arm in self.arms.values())
        )

    @property
    def num_model_based(self) -> int:
        """Search configs that the sampler's model suggested, not the start-up points."""
        return sum(
            sum(map(arm.suggester.is_model_based, range(arm.num_asked)))
            for arm in self.arms.values()
            if arm.suggester is not None
        )

    def next(self) -> TrialConfig | None:
        """The next training, or None while only running ones can tell what comes next."""
        if self.given_up:
            return None
        trial = self._pop("search", "select") or self._ask() or self._pop("confirm")
        if trial is not None:
            self.num_live += 1
        return trial

    def tell(self, trial: TrialConfig, status: Status, objective: float | None) -> None:
        """What became of a handed-out training; interrupted ones stay open."""
        self.num_live -= 1
        if status == "interrupted":
            return
        self._record(trial, status, objective)

    def replay(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take up an earlier run: rows of its trials, in the order they first appeared.

        Ended trials count as told; unfinished and failed ones are handed out again first.
        """
        rows = list(rows)
        for arm in self.arms.values():
            if arm.suggester is not None:
                own = [r for r in rows if r["space"] == arm.space.name and r["role"] == "search"]
                arm.suggester.rebuild({**r, "status": _retried(r["status"])} for r in own)
        for row in rows:
            trial = trial_from_row(row)
            if trial.space not in self.arms:
                continue
            ended = row["status"] in (*ENDED_WELL, "oom")
            if trial.role == "search":
                self._commit(self.arms[trial.space], trial)
                if not ended:
                    self.pending.append(trial)
            if ended:
                self.known.add(trial.trial_key)
                self.pending = [p for p in self.pending if p.trial_key != trial.trial_key]
                self._record(trial, row["status"], row["objective"], replayed=True)
        for arm in self.arms.values():
            self._advance(arm)

    def counts(self, row: Mapping[str, Any]) -> bool:
        """True for a replayed trial that ended and still serves this campaign."""
        arm = self.arms.get(row["space"])
        if arm is None or row["status"] not in (*ENDED_WELL, "oom"):
            return False
        chosen = arm.chosen.config_key if arm.chosen else None
        return bool(row["role"] == "search" or row["config_key"] == chosen)

    def _pop(self, *roles: str) -> TrialConfig | None:
        for index, trial in enumerate(self.pending):
            if trial.role in roles:
                return self.pending.pop(index)
        return None

    def _ask(self) -> TrialConfig | None:
        """A new config of the arm with the fewest samples spent and committed."""
        while arms := [arm for arm in self.arms.values() if arm.can_ask]:
            arm = min(arms, key=lambda a: a.samples)
            assert arm.suggester is not None, "only searched arms can be asked"
            params = arm.suggester.ask(arm.num_asked, functools.partial(self._is_known, arm))
            if params is None:
                arm.exhausted = True
                self._advance(arm)
                continue
            trial = self.plan.trial(arm.space, params)
            arm.suggester.attach(trial.trial_key)
            self._commit(arm, trial)
            return trial
        return self._pop("select", "confirm")

    def _is_known(self, arm: Arm, params: Mapping[str, float]) -> bool:
        return self.plan.trial(arm.space, params).trial_key in arm.trials

    def _commit(self, arm: Arm, trial: TrialConfig) -> None:
        self.known.add(trial.trial_key)
        arm.trials[trial.trial_key] = trial
        arm.samples += self.plan.samples_per_trial
        arm.num_open += 1

    def _record(
        self, trial: TrialConfig, status: Status, objective: float | None, replayed: bool = False
    ) -> None:
        self.num_ended[status] = self.num_ended.get(status, 0) + 1
        arm = self.arms[trial.space]
        value = objective if status in ENDED_WELL else None
        if trial.role == "search":
            arm.num_open -= 1
            if arm.suggester is not None and not replayed:
                arm.suggester.tell(trial.trial_key, value)
            if value is not None:
                arm.scores[trial.trial_key] = value
            elif arm.num_replaced < arm.quota:
                # Infrastructure failures are no part of the budget: another config instead.
                arm.num_replaced += 1
                arm.samples -= self.plan.samples_per_trial
        elif trial.role == "select":
            arm.selected[trial.config_key] = arm.selected.get(trial.config_key, 0) + 1
            if value is not None:
                arm.select_scores.setdefault(trial.config_key, []).append(value)
        self._give_up_early()
        self._advance(arm)

    def _give_up_early(self) -> None:
        ended = sum(self.num_ended.values())
        well = sum(self.num_ended.get(status, 0) for status in ENDED_WELL)
        if ended >= MAX_FIRST_FAILURES and not well:
            self.given_up = f"the first {ended} trials all failed"

    def _advance(self, arm: Arm) -> None:
        """Queue the arm's select or confirm trials as soon as they are known."""
        config = self.plan.config.confirm
        if arm.chosen is None:
            if arm.can_ask or arm.num_open or not arm.scores:
                return
            candidates = arm.ranked()[: config.top_k]
            if len(candidates) > 1:
                self._queue(arm, candidates, "select", config.select_seeds)
                ended = [arm.selected.get(c.config_key, 0) for c in candidates]
                if min(ended) < config.select_seeds:
                    return
            arm.chosen = _best_selected(arm, candidates)
        self._queue(arm, [arm.chosen], "confirm", config.seeds)

    def _queue(self, arm: Arm, configs: list[TrialConfig], role: Role, num_seeds: int) -> None:
        """Queue the trials of these configs on seeds 0 ... num_seeds-1 that are not known yet."""
        for replicate in range(num_seeds):
            for config in configs:
                trial = self.plan.trial(arm.space, config.params, role=role, replicate=replicate)
                if trial.trial_key not in self.known:
                    self.known.add(trial.trial_key)
                    self.pending.append(trial)


def _best_selected(arm: Arm, candidates: list[TrialConfig]) -> TrialConfig:
    """Highest mean on the select seeds; the search's best where none was selected."""
    scored = [t for t in candidates if t.config_key in arm.select_scores]
    if not scored:
        return candidates[0]
    return max(scored, key=lambda t: float(np.mean(arm.select_scores[t.config_key])))


def _retried(status: str) -> str:
    """A failed trial is tried again by a resume."""
    return "running" if status == "failed" else status
