"""Which parameters does an arm try next? One Optuna study, asked so that a resume asks the same.

Every ask builds its sampler with a seed from (run seed, space, ask number, attempt), and the
study is rebuilt from the ledger by the same function as `run.to_study`, so the k-th suggestion
depends on the earlier trials alone. Start-up points are one scrambled Sobol sequence.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import optuna

from results.study import build_study, distributions
from search_spaces.space import SearchSpace
from search_spaces.trial import derive_seed

MAX_ATTEMPTS = 10  # to avoid a config that was trained already
Params = dict[str, float]


class Suggester:
    """The study of one arm.

    Args:
        space: with absolute ranges.
        seed: of the run.
        sampler: tpe | gp (model-based after the start-up), random, qmc (Sobol throughout), grid.
        trials: configs the arm will train; start-up is max(2*dims+1, trials//4) of them unless
            `startup` says otherwise.
    """

    def __init__(
        self, space: SearchSpace, *, seed: int, sampler: str, trials: int, startup: int | None
    ) -> None:
        self.space, self.seed, self.sampler = space, seed, sampler
        default = max(2 * len(space.free) + 1, trials // 4)
        self.num_startup = startup if startup is not None else default
        self.numbers: dict[str, int] = {}
        self.last_number = -1
        self.rebuild([])

    def rebuild(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Forget the study and make it anew from the ledger's rows of this arm."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = build_study(self.space, [dict(row) for row in rows])
        self.numbers = {t.user_attrs["trial_key"]: t.number for t in self.study.trials}

    def is_model_based(self, number: int) -> bool:
        """True when ask `number` is answered by a model of earlier results."""
        return self.sampler in ("tpe", "gp") and number >= self.num_startup

    def ask(self, number: int, is_known: Callable[[Params], bool]) -> Params | None:
        """Parameters of ask `number` (from 0), or None when the space has no new ones.

        Args:
            is_known: True for parameters that were trained already; those are not repeated.
        """
        if self.sampler == "grid":
            return self._ask_grid(is_known)
        for attempt in range(MAX_ATTEMPTS):
            seed = derive_seed(self.seed, self.space.name, number, attempt)
            if self.is_model_based(number) and attempt < MAX_ATTEMPTS // 2:
                params = self._ask_model(seed)
            elif self.sampler == "random" or attempt > 0:
                params = self._at(np.random.default_rng(seed).random(len(self.space.free)))
            else:
                params = self._at(self._sobol(number))
            if not is_known(params):
                return self._keep(params)
        return None

    def attach(self, trial_key: str) -> None:
        """Name the trial that the last `ask` became."""
        self.numbers[trial_key] = self.last_number

    def tell(self, trial_key: str, objective: float | None) -> None:
        """The result of a trial; None = it failed."""
        state = optuna.trial.TrialState.FAIL if objective is None else None
        self.study.tell(self.numbers[trial_key], objective, state=state)

    def _ask_model(self, seed: int) -> Params:
        """A suggestion of the model. The study itself is left as it was."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if self.sampler == "gp":
                self.study.sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=1)
            else:
                self.study.sampler = optuna.samplers.TPESampler(
                    seed=seed, multivariate=True, constant_liar=True, n_startup_trials=1
                )
            trial = self.study.ask(distributions(self.space))
        params = {name: float(value) for name, value in trial.params.items()}
        self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return self._complete(params)

    def _ask_grid(self, is_known: Callable[[Params], bool]) -> Params | None:
        for point in self.space.grid():
            params = self._complete(point)
            if not is_known(params):
                return self._keep(params)
        return None

    def _sobol(self, number: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        from scipy.stats import qmc  # 0.7 s, loaded while the cluster starts

        engine = qmc.Sobol(
            d=max(1, len(self.space.free)), rng=derive_seed(self.seed, self.space.name, "sobol")
        )
        if number:
            engine.fast_forward(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # balance holds for powers of two only
            return np.asarray(engine.random(1)[0])

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

    def _keep(self, params: Params) -> Params:
        """Add the trial to the study as running."""
        free = {name: params[name] for name in self.space.free}
        self.study.add_trial(
            optuna.trial.create_trial(
                params=free,
                distributions=distributions(self.space),
                state=optuna.trial.TrialState.RUNNING,
            )
        )
        self.last_number = len(self.study.trials) - 1
        return params
