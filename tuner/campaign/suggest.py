"""Which parameters does an arm try next? One Optuna study, asked so that a resume asks the same.

Every ask of the model builds the study (of the same trials as `run.to_study`) and its sampler,
with a seed from (run seed, space, ask number, attempt), so the k-th suggestion depends on what
is known of the earlier configs alone. Start-up points are one scrambled Sobol sequence. A config
whose short trainings (rungs) have ended is a PRUNED trial with their scores.

What a model does grows with the trials that it sees (TPE in proportion, a Gaussian process with
the third power), so that it sees MAX_SEEN at most: what runs, the best, and others evenly in the
order asked. TPE calls the best 25 good however many there are, and weighs others by their age.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import optuna

from results.study import Tried, distributions, frozen_trial, quiet_optuna
from search_spaces.metric import VAL_ACCURACY, Metric
from search_spaces.space import SearchSpace
from search_spaces.trial import derive_seed

MAX_SEEN = 500  # configs by the model; TPE then takes 18 ms an ask, with 2,000 seen 53
NUM_BEST = 25  # of them, where there are more: as many as TPE ever calls good
MAX_ATTEMPTS = 10  # to avoid a config that was trained already, or that never decays
Params = dict[str, float]
# Full trainings first, then the longest, then the best, as Optuna orders them; place in the order
# asked. Lower is better.
Rank = tuple[bool, int, float, int]


class Shelf(optuna.storages.InMemoryStorage):  # type: ignore[misc]
    """A storage that holds these trials besides its own, as they are: a copy takes 0.4 ms each.

    Their numbers begin at 1, for its own first one is 0.
    """

    def __init__(self, trials: Iterable[optuna.trial.FrozenTrial]) -> None:
        super().__init__()
        self.shelved = [*trials]

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[optuna.trial.TrialState] | None = None,
    ) -> list[optuna.trial.FrozenTrial]:
        """Those of the shelf first; not to be written to, whatever `deepcopy` says."""
        own = super().get_all_trials(study_id, deepcopy, states)
        return [*(t for t in self.shelved if states is None or t.state in states), *own]


class TPE(optuna.samplers.TPESampler):  # type: ignore[misc]
    """Optuna's, which would look through all trials for what they have in common: it is known."""

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        """The distributions of a trial that has ended; none before one has."""
        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        ended = study.get_trials(deepcopy=False, states=states)
        known = ended[-1].distributions if ended else {}
        return {name: known[name] for name in sorted(known) if not known[name].single()}


class Suggester:
    """The study of one arm.

    Args:
        space: with absolute ranges. seed: of the run. metric: what is told.
        sampler: tpe | gp (model-based after the start-up), random, qmc (Sobol throughout), grid.
        trials: configs the arm will train; start-up is max(2*dims+1, trials//4) of them unless
            `startup` says otherwise.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        sampler: str,
        trials: int,
        startup: int | None,
        metric: Metric = VAL_ACCURACY,
    ) -> None:
        self.space, self.seed, self.sampler, self.metric = space, seed, sampler, metric
        default = max(2 * len(space.free) + 1, trials // 4)
        self.num_startup = startup if startup is not None else default
        self.tried: dict[str, Tried] = {}
        self._asked: list[str] = []  # config keys, in the order asked
        self._places: dict[str, int] = {}  # in it
        self._running: dict[str, int] = {}  # their places in it
        self._ranks: dict[str, Rank] = {}  # of those that have ended with a score
        self._ranked: list[Rank] = []  # the same, best first
        self._trials: dict[str, optuna.trial.FrozenTrial] = {}  # by key, unless changed since

    def is_model_based(self, number: int) -> bool:
        """True when ask `number` is answered by a model of earlier results."""
        return self.sampler in ("tpe", "gp") and number >= self.num_startup

    def ask(self, number: int, is_useless: Callable[[Params], bool]) -> Params | None:
        """Parameters of ask `number` (from 0) that are of use; None = the space has no more."""
        if self.sampler == "grid":
            return next((params for params in self.grid() if not is_useless(params)), None)
        for attempt in range(MAX_ATTEMPTS):
            seed = derive_seed(self.seed, self.space.name, number, attempt)
            if self.is_model_based(number) and attempt < MAX_ATTEMPTS // 2:
                params = self._ask_model(seed)
            elif self.sampler == "random" or attempt > 0:
                params = self._at(np.random.default_rng(seed).random(len(self.space.free)))
            else:
                params = self._at(self._sobol(number))
            if not is_useless(params):
                return params
        return None

    def grid(self) -> Iterator[Params]:
        """All parameters of every point of a grid, in the order in which they are asked."""
        return (self._complete(point) for point in self.space.grid())

    def drawn(self, count: int) -> Iterator[Params]:
        """As many points as the search might begin with; of a grid its first ones."""
        if self.sampler == "grid":
            return itertools.islice(self.grid(), count)
        return (self._at(self._sobol(number)) for number in range(count))

    def attach(self, config_key: str, params: Mapping[str, float]) -> None:
        """A config begins to be trained, on its lowest rung."""
        free = {name: params[name] for name in self.space.free}
        self.tried[config_key] = Tried(key=config_key, params=free)
        self._places[config_key] = self._running[config_key] = len(self._asked)
        self._asked.append(config_key)

    def promote(self, config_key: str) -> None:
        """A config begins to be trained on its next rung."""
        self.tried[config_key].kind = "running"
        self._place(config_key)

    def tell(self, config_key: str, samples: int, score: float | None, *, is_full: bool) -> None:
        """A training of this many samples ended with this score; None = it failed."""
        config = self.tried[config_key]
        if score is not None:
            config.scores[samples] = score
            config.kind = "complete" if is_full else "pruned"
        else:
            config.kind = "pruned" if config.scores else "fail"
        self._place(config_key)

    def _ask_model(self, seed: int) -> Params:
        """A suggestion of the model."""
        with quiet_optuna():
            study = optuna.create_study(
                direction=f"{self.metric.goal}imize",
                study_name=self.space.name,
                storage=Shelf(map(self._as_trial, self._seen())),
            )
            if self.sampler == "gp":
                study.sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=1)
            else:
                study.sampler = TPE(
                    seed=seed, multivariate=True, constant_liar=True, n_startup_trials=1
                )
            trial = study.ask(distributions(self.space))
        return self._complete({name: float(value) for name, value in trial.params.items()})

    def _as_trial(self, config: Tried) -> optuna.trial.FrozenTrial:
        if config.key not in self._trials:
            self._trials[config.key] = trial = frozen_trial(config, distributions(self.space))
            trial.number = 1 + self._places[config.key]
        return self._trials[config.key]

    def _seen(self) -> Iterable[Tried]:
        """What the model is shown of the configs so far, in the order asked."""
        if len(self.tried) <= MAX_SEEN:
            return self.tried.values()
        best = [place for *_, place in self._ranked[:NUM_BEST]]
        evenly = np.linspace(0, len(self._asked) - 1, MAX_SEEN - NUM_BEST).round().astype(int)
        seen = sorted({*best, *self._running.values(), *evenly.tolist()})
        configs = (self.tried[self._asked[place]] for place in seen)
        return [config for config in configs if config.kind != "fail"]

    def _place(self, config_key: str) -> None:
        """Where a config stands now that it has changed."""
        config = self.tried[config_key]
        self._trials.pop(config_key, None)
        rank = self._ranks.pop(config_key, None)
        if rank is not None:
            del self._ranked[bisect.bisect_left(self._ranked, rank)]
        place = self._places[config_key]
        self._running.pop(config_key, None)
        if config.kind == "running":
            self._running[config_key] = place
        elif config.scores:
            samples = max(config.scores)
            worse = -self.metric.score(config.scores[samples])
            self._ranks[config_key] = rank = (config.kind != "complete", -samples, worse, place)
            bisect.insort(self._ranked, rank)

    def _sobol(self, number: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        from scipy.stats import qmc  # 0.7 s, loaded while the cluster starts

        engine = qmc.Sobol(
            d=max(1, len(self.space.free)), rng=derive_seed(self.seed, self.space.name, "sobol")
        )
        if number:
            engine.fast_forward(number)
        return np.asarray(engine.random()[0])

    def _at(self, unit: np.ndarray[Any, np.dtype[np.float64]]) -> Params:
        free = zip(self.space.free.items(), unit.tolist(), strict=False)
        return self._complete({name: axis.from_unit(u) for (name, axis), u in free})

    def _complete(self, free: Mapping[str, float]) -> Params:
        """All parameters: the free ones as suggested, the fixed ones added, integers as such."""
        values = {
            name: int(value) if self.space.ranges[name].integer else float(value)
            for name, value in free.items()
        }
        return {**self.space.fixed, **values}
