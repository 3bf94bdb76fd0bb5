"""Which training comes next? Search, select and confirm for all arms, without ray.

A `Campaign` hands out trials and is told what became of them. Its state follows from the
ledger's rows alone (`replay`), so a resumed run continues as the uninterrupted one would have.
Phases of an arm: search until `trials` configs are asked and ended; with top_k > 1 train the
best on select seeds; then confirm one config on fresh seeds, the same seeds for every arm.
Where hours bound the search or the confirm trials, both go by rounds, one training more of every
arm: a round begins only if it fits, and ends for all arms once it has begun.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, get_args

from results.records.schema import trial_from_row
from results.statistics.cost import Devices, seconds_of
from search_spaces.records import ENDED_WELL, Status, score_on_test
from search_spaces.trial import Role, TrialConfig
from tuner.campaign.arm import Arm
from tuner.campaign.budget import Budget
from tuner.campaign.forecast import Forecast
from tuner.campaign.halving import Halving
from tuner.campaign.seeds import is_undecided
from tuner.campaign.sharing import Sharing
from tuner.campaign.suggest import Suggester
from tuner.plan.plan import Plan

ROLES: tuple[Role, ...] = get_args(Role)
# A run whose first trials all fail has a bug, not bad luck.
MAX_FIRST_FAILURES = 5
# Seeds of each arm that are confirmed whatever they cost: fewer have no spread.
MIN_SEEDS = 2


class Campaign:
    """Hands out the trials of a plan, whose recipe must have its final precision and threads.

    Args:
        devices: what each training holds; None = the CPUs that the plan asks for.
    """

    def __init__(self, plan: Plan, devices: Devices | None = None) -> None:
        self.plan, self.ladder, self.metric = plan, plan.ladder, plan.recipe.metric
        config = plan.config
        self.arms = {
            space.name: Arm(
                space=space,
                metric=self.metric,
                suggester=Suggester(
                    space,
                    metric=self.metric,
                    seed=config.seed,
                    sampler=config.search.sampler,
                    trials=plan.trials_per_space,
                    startup=config.search.startup,
                ),
                halving=Halving(plan.ladder, plan.quota(space)),
            )
            for space in plan.spaces
        }
        if plan.baseline is not None:
            halving = Halving(plan.ladder, 0)
            self.arms[plan.baseline.name] = Arm(
                plan.baseline, metric=self.metric, suggester=None, halving=halving
            )
        for arm in self.arms.values():
            if arm.suggester is None or plan.is_fixed(arm.space):
                arm.chosen = plan.trial(arm.space, arm.space.fixed)
        self.pending: list[TrialConfig] = []
        self.begun: set[str] = set()  # keys of select and confirm trials queued or ended
        self.num_live = 0
        self.num_seeds = config.confirm.seeds
        if config.confirm.hours is not None:
            self.num_seeds = min(self.num_seeds, MIN_SEEDS)
        devices = devices or Devices(count=config.resources.cpus_per_trial or 1.0, kind="CPU")
        self.budgets = {role: Budget(plan.hours(role), devices) for role in ROLES}
        self.num_ended: Counter[str] = Counter()  # by status
        self.given_up: str | None = None
        self.search_spent = False  # ended by search.hours
        self.sharing = Sharing()
        self.forecast = Forecast(plan, self.arms) if config.search.share_prefix else None
        for trial in self.forecast.known if self.forecast else ():
            self.sharing.expect(trial)
        for arm in self.arms.values():
            self._advance(arm)

    @property
    def finished(self) -> bool:
        """True when nothing runs and nothing is left to run."""
        if self.num_live:
            return False
        searching = any(arm.searching for arm in self.arms.values())
        return self.given_up is not None or not (self.pending or searching or self._wants_seed)

    @property
    def spent(self) -> list[Role]:
        """The parts of the run that their hours have ended."""
        ended: dict[Role, bool] = {
            "search": self.search_spent,
            "confirm": self._lacks_seed and not self._seed_fits,
        }
        return [role for role, is_spent in ended.items() if is_spent]

    @property
    def _wants_seed(self) -> bool:
        """True when another round of seeds is to begin."""
        return self._seed_fits and self._lacks_seed

    @property
    def _seed_fits(self) -> bool:
        num_queued = sum(trial.role == "confirm" for trial in self.pending)
        return self.budgets["confirm"].fits(
            (num_queued + len(self.arms)) * self.plan.samples_per_trial
        )

    @property
    def _lacks_seed(self) -> bool:
        """True when there are fewer seeds than asked for, or than decide the verdict."""
        confirm = self.plan.config.confirm
        is_chosen = all(arm.chosen for arm in self.arms.values())
        if is_chosen and self.num_seeds < confirm.seeds:  # they come by rounds (confirm.hours)
            return True
        is_over = confirm.until != "decided" or self.num_seeds >= confirm.max_seeds
        return (
            is_chosen
            and not is_over
            and is_undecided(
                self.arms, self.num_seeds, metric=self.metric, min_effect=self.plan.min_effect
            )
        )

    @property
    def num_model_based(self) -> int:
        """Search configs that the sampler's model suggested, not the start-up points."""
        searched = [(arm.suggester, arm.num_asked) for arm in self.arms.values()]
        return sum(sum(map(s.is_model_based, range(num))) for s, num in searched if s)

    @property
    def num_repeated(self) -> int:
        """Suggestions whose schedule another config of the arm has already: not trained again."""
        return sum(len(arm.repeated) for arm in self.arms.values())

    def next(self) -> TrialConfig | None:
        """The next training, or None while only running ones can tell what comes next."""
        if self.given_up:
            return None
        trial = self._pop("search", "select") or self._search()
        if trial is None and self._wants_seed:
            self.num_seeds += 1
            for arm in self.arms.values():
                self._advance(arm)
            trial = self._pop("confirm")
        if trial is not None:
            self.num_live += 1
            self._budget(trial).begin(trial.trial_key, self._samples_of(trial))
            if self.forecast is not None:
                self.sharing.begin(trial, keeps_trunk=self._may_be_left(trial))
        return trial

    def hear(self, trial: TrialConfig, samples: int, seconds: float) -> None:
        """A training under way has come to so many samples, in so much time by the clock."""
        self._budget(trial).hear(trial.trial_key, samples, seconds)

    def tell(
        self,
        trial: TrialConfig,
        status: Status,
        objective: float | None,
        test_score: float | None = None,
        seconds: float | None = None,
    ) -> None:
        """What became of a handed-out training; interrupted ones stay open.

        seconds: by the clock; None where the end told none.
        """
        self.num_live -= 1
        is_done = status in ENDED_WELL
        self._budget(trial).end(trial.trial_key, is_done=is_done, seconds=seconds)
        self.sharing.ended(trial.trial_key)
        if status != "interrupted":
            self._record(trial, status, objective, test_score)

    def replay(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take up an earlier run: rows of its trials, in the order they first appeared.

        Ended trials count as told; unfinished and failed ones are handed out again first, but
        not a failed promotion whose place another config has taken.

        Raises:
            ValueError: a row is no trial of this plan.
        """
        for row in rows:
            if row["space"] not in self.arms:
                continue
            trial = self._planned(row)
            ended = row["status"] in (*ENDED_WELL, "oom")
            self._budget(trial).begin(trial.trial_key, self._samples_of(trial))
            self._budget(trial).end(
                trial.trial_key, is_done=row["status"] in ENDED_WELL, seconds=seconds_of(row)
            )
            if trial.role == "search":
                self._replay_prefixes(trial, row.get("prefix_scores") or {})
                self._commit(self.arms[trial.space], trial)
                if not ended:
                    self.pending.append(trial)
            elif trial.role == "confirm":
                self.num_seeds = max(self.num_seeds, trial.replicate + 1)
            if ended:
                self.sharing.cancel(trial)
                self.begun.add(trial.trial_key)
                self.pending = [p for p in self.pending if p.trial_key != trial.trial_key]
                on_test = score_on_test(row, self.metric)
                self._record(trial, row["status"], row["objective"], on_test)
        self._drop_replaced()
        self._end_spent_search()
        for arm in self.arms.values():
            self._advance(arm)

    def _planned(self, row: Mapping[str, Any]) -> TrialConfig:
        """The trial of this row, as the plan makes it."""
        try:
            return self.plan.recorded(row)
        except ValueError as error:
            raise ValueError(f"resume: {error}") from None

    def _drop_replaced(self) -> None:
        for trial in [trial for trial in self.pending if trial.role == "search"]:
            arm, rung = self.arms[trial.space], self.ladder.rung_of(trial)
            if rung and arm.halving.is_over_full(rung):
                self.pending.remove(trial)
                self._score(arm, trial, "failed", None)

    def _replay_prefixes(self, trial: TrialConfig, scores: Mapping[int, float]) -> None:
        """The rungs that a training has passed on its way."""
        arm = self.arms[trial.space]
        for rung in range(self.ladder.rung_of(trial) if scores else 0):
            passed = self.ladder.place(trial, rung)
            self._commit(arm, passed)
            self._score(arm, passed, "paused", scores.get(self.ladder.samples_on(rung)))

    def counts(self, row: Mapping[str, Any]) -> bool:
        """True for a replayed trial that ended and still serves this campaign."""
        arm = self.arms.get(row["space"])
        if arm is None or row["status"] not in (*ENDED_WELL, "oom"):
            return False
        chosen = arm.chosen.config_key if arm.chosen else None
        return bool(row["role"] == "search" or row["config_key"] == chosen)

    def num_rungs(self, row: Mapping[str, Any]) -> int:
        """Trainings that this row stands for: a prefix has passed the rungs below its own."""
        is_prefix = row["role"] == "search" and self.ladder.fidelity == "prefix"
        return 1 + (self.ladder.rung_of(trial_from_row(row)) if is_prefix else 0)

    def _pop(self, *roles: str) -> TrialConfig | None:
        for index, trial in enumerate(self.pending):
            if trial.role in roles and not self._waits(trial):
                return self.pending.pop(index)
        return None

    def _waits(self, trial: TrialConfig) -> bool:
        """True while it is better to wait for the state that this training begins from."""
        return self.num_live > 0 and self.sharing.waits(trial)

    def _may_be_left(self, trial: TrialConfig) -> bool:
        """True when a training that is not known yet may continue from this one's trunk."""
        searched = self.forecast.searched if self.forecast else {}
        if trial.role == "search":
            return trial.space in searched and any(
                self.arms[name].can_ask or self.ladder.top for name in searched
            )
        is_alike = trial.space in searched or not self.arms[trial.space].space.free
        others = (self.arms[name] for name in searched if name != trial.space)
        return is_alike and any(arm.chosen is None for arm in others)

    def unneeded_states(self) -> set[str]:
        """States that nobody begins from any more; they are forgotten."""
        if any(arm.chosen is None for arm in self.arms.values()):
            return set()  # nobody knows yet
        return self.sharing.drop_unneeded()

    def _search(self) -> TrialConfig | None:
        """A training of the arm with the fewest samples spent and committed, else what follows."""
        self._end_spent_search()
        while arms := [arm for arm in self.arms.values() if self._can_go_on(arm)]:
            arm = min(arms, key=lambda a: a.samples)
            trial = self._promote(arm) if self._may_promote(arm) else self._ask(arm)
            if trial is not None and self._waits(trial):
                self.pending.append(trial)
            elif trial is not None:
                return trial
        return self._pop("select", "confirm")

    def _can_go_on(self, arm: Arm) -> bool:
        """True while the search of this arm has another training to begin.

        Those of an arm begin in the order in which they are asked, so while one waits for a state
        no further is asked; of a grid, where no order counts, the others do not wait.
        """
        is_held = any(p.role == "search" and p.space == arm.space.name for p in self.pending)
        if is_held:
            return self.plan.config.search.sampler == "grid" and arm.can_ask
        return self._may_ask(arm) or self._may_promote(arm)

    def _may_promote(self, arm: Arm) -> bool:
        is_early = self.plan.config.search.promote == "early"
        return (is_early or not arm.can_ask) and arm.promotion is not None

    def _may_ask(self, arm: Arm) -> bool:
        """True where another config may begin: it evens the arms, or one more of each fits."""
        if self.budgets["search"].hours is None or not arm.can_ask:
            return arm.can_ask
        searched = [a for a in self.arms.values() if a.halving.num_configs]
        most = max(a.num_searched for a in searched)
        if arm.num_searched < most or not most:
            return True
        sizes = [(a, most + 1 if a.can_ask else a.num_searched) for a in searched]
        of_round = sum(max(0, self.ladder.samples(num) - a.samples) for a, num in sizes)
        waiting = (trial for trial in self.pending if trial.role == "search")
        return self.budgets["search"].fits(of_round + sum(map(self._samples_of, waiting)))

    def _end_spent_search(self) -> None:
        """No arm begins a config any more, where no round fits and nothing is left to wait for."""
        asking = [arm for arm in self.arms.values() if arm.can_ask]
        is_open = any(trial.role == "search" for trial in self.pending)
        if self.budgets["search"].is_busy or is_open or any(map(self._may_ask, asking)):
            return
        for arm in asking:
            self.search_spent = arm.exhausted = True
            self._advance(arm)

    def _budget(self, trial: TrialConfig) -> Budget:
        return self.budgets[trial.role]

    def _samples_of(self, trial: TrialConfig) -> int:
        """Samples of this training from its start to where it ends for now."""
        return self.ladder.samples_on(self.ladder.rung_of(trial))

    def _ask(self, arm: Arm) -> TrialConfig | None:
        """A new config, on the lowest rung; None when the arm has no more."""
        assert arm.suggester is not None, "only searched arms can be asked"
        params = arm.suggester.ask(arm.num_asked, lambda params: self._is_useless(arm, params))
        if params is None:
            arm.exhausted = True
            self._advance(arm)
            return None
        trial = self.ladder.place(self.plan.trial(arm.space, params), 0)
        self._commit(arm, trial)
        return trial

    def _is_useless(self, arm: Arm, params: Mapping[str, float]) -> bool:
        """True for a config that the arm has, or whose curve falls too late for its interval."""
        trial = self.plan.trial(arm.space, params)
        return arm.has_tried(trial) or not trial.decays

    def _promote(self, arm: Arm) -> TrialConfig:
        assert arm.promotion is not None, "only asked when there is one"
        key, rung = arm.promotion
        trial = self.ladder.place(arm.configs[key], rung)
        self._commit(arm, trial)
        return trial

    def _commit(self, arm: Arm, trial: TrialConfig) -> None:
        """A training of the search begins."""
        key, rung = trial.config_key, self.ladder.rung_of(trial)
        if arm.suggester is not None and key not in arm.suggester.tried:
            arm.suggester.attach(key, trial.params)
        elif arm.suggester is not None:
            arm.suggester.promote(key)
        if key not in arm.configs:
            arm.configs[key] = trial
            arm.tables.setdefault(arm.table_of(replace(trial, horizon=1.0, until=None)), key)
        arm.halving.start(key, rung)
        arm.samples += self.ladder.cost(rung)

    def _record(
        self,
        trial: TrialConfig,
        status: Status,
        objective: float | None,
        test_score: float | None,
    ) -> None:
        self.num_ended[status] += 1
        arm = self.arms[trial.space]
        value = objective if status in ENDED_WELL else None
        if status == "diverged" and value is None:
            value = self.metric.worst
        if trial.role == "search":
            self._score(arm, trial, status, value)
        elif trial.role == "select":
            arm.selected[trial.config_key] += 1
            if value is not None:
                score = self.metric.score(value)
                arm.select_scores.setdefault(trial.config_key, []).append(score)
        else:
            scores = arm.confirmed.setdefault(trial.config_key, {})
            scores[trial.replicate] = None if value is None else test_score
        ended = self.num_ended.total()
        if ended >= MAX_FIRST_FAILURES and not any(self.num_ended[s] for s in ENDED_WELL):
            self.given_up = f"the first {ended} trials all failed"
        self._advance(arm)

    def _score(self, arm: Arm, trial: TrialConfig, status: Status, value: float | None) -> None:
        """A training of the search ended with this objective; None = it failed."""
        key, rung = trial.config_key, self.ladder.rung_of(trial)
        is_over = trial.until is not None and status != "paused"  # diverged before its rung
        if arm.suggester is not None:
            top = trial.is_full or is_over
            arm.suggester.tell(key, self.ladder.samples_on(rung), value, is_full=top)
        if value is not None:
            score = self.metric.score(value)
            arm.halving.end(key, rung, score, stuck=status == "diverged")
            return
        arm.halving.lose(key, rung)
        # Infrastructure failures are no part of the budget: another config instead.
        arm.samples -= self.ladder.cost(rung)
        if rung == 0 and arm.num_replaced < arm.halving.num_configs:
            arm.num_replaced += 1

    def _advance(self, arm: Arm) -> None:
        """Queue the arm's select or confirm trials as soon as they are known."""
        config = self.plan.config.confirm
        if arm.chosen is None:
            ranked = [] if arm.searching else arm.ranked(self.ladder.fidelity)
            if not ranked:
                return
            candidates = ranked[: config.top_k]
            if len(candidates) > 1:
                self._queue(arm, candidates, "select", config.select_seeds)
                if any(arm.selected[c.config_key] < config.select_seeds for c in candidates):
                    return
            arm.chosen = arm.best_selected(candidates)
        self._queue(arm, [arm.chosen], "confirm", self.num_seeds)

    def _queue(self, arm: Arm, configs: list[TrialConfig], role: Role, num_seeds: int) -> None:
        """Queue the trials of these configs on seeds 0 ... num_seeds-1 that are not begun yet."""
        for replicate in range(num_seeds):
            for config in configs:
                trial = self.plan.trial(arm.space, config.params, role=role, replicate=replicate)
                if trial.trial_key not in self.begun:
                    self.begun.add(trial.trial_key)
                    if self.forecast is not None:
                        self.sharing.expect(trial)
                    self.pending.append(trial)
