"""Which parameter matters? Optuna's fANOVA on the search trials of a space.

Not in results/study.py: resuming needs the study, but never scikit-learn's forests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from results.run import Run
from results.study import quiet_optuna

if TYPE_CHECKING:  # optuna is imported late: `import results` stays cheap
    import optuna

MIN_TRIALS = 8  # a forest of fewer tells of noise only
NUM_PARTS = 8  # each left out in turn, to see how far the importances hang on single trials
SEED = 0  # of the random forests
# A tree takes 10 ms for 100 trials of 4 parameters, and grows with the square of the trials.
MAX_TRIALS = 200  # of more a random choice
MOST_TREES, TREES_OF_PART = 64, 8
TREES_TIMES_TRIALS = 6400


@dataclass(frozen=True, kw_only=True, slots=True)
class Importances:
    """Share of the variance of the accuracy over the space that each parameter explains.

    Attributes:
        num_trials: finished full trainings the estimate rests on, at most 200.
        share: by free parameter, sums to 1, largest first.
        low, high: smallest and largest share when one eighth of the trials is left out; no
            confidence interval.
    """

    space: str
    num_trials: int
    share: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]


def importances(run: Run, space: str) -> Importances:
    """fANOVA importances (Hutter et al. 2014, as in Optuna) of a space's free parameters.

    Raises:
        ValueError: no such space; fewer than two free parameters or 8 finished trials; or all
            accuracies are equal. The message is a sentence for readers.
    """
    import optuna

    study = run.to_study(space)
    trials = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    params = list(run.spaces[space].free)
    if len(params) < 2:
        raise ValueError(f"{space}: importances need two free parameters, but it has {params}.")
    if len(trials) < MIN_TRIALS:
        raise ValueError(
            f"{space}: importances need {MIN_TRIALS} finished search trials of full length, "
            f"but it has {len(trials)}."
        )
    if len({trial.value for trial in trials}) < 2:
        raise ValueError(f"{space}: all search trials reached the same accuracy.")
    if len(trials) > MAX_TRIALS:
        rng = np.random.default_rng(SEED)
        trials = [trials[place] for place in sorted(rng.permutation(len(trials))[:MAX_TRIALS])]
    whole = _fanova(trials, min(MOST_TREES, TREES_TIMES_TRIALS // len(trials)))
    parts = [
        _fanova(
            [trial for place, trial in enumerate(trials) if place % NUM_PARTS != left_out],
            TREES_OF_PART,
        )
        for left_out in range(NUM_PARTS)
    ]
    names = sorted(whole, key=lambda name: -whole[name])
    return Importances(
        space=space,
        num_trials=len(trials),
        share={name: whole[name] for name in names},
        low={name: min(_finite(part[name] for part in [*parts, whole])) for name in names},
        high={name: max(_finite(part[name] for part in [*parts, whole])) for name in names},
    )


def _fanova(trials: list[optuna.trial.FrozenTrial], num_trees: int) -> dict[str, float]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    with quiet_optuna():
        study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    evaluator = FanovaImportanceEvaluator(n_trees=num_trees, seed=SEED)
    found = get_param_importances(study, evaluator=evaluator)
    return {name: float(value) for name, value in found.items()}


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
