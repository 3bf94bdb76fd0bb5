"""Which of the searched parameters decides about the objective? Optuna's fANOVA, and its figure.

Not in results/study.py: resuming needs the study, but never scikit-learn's forests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.plots.figure import Plot
from results.plots.style import color_of, subplots
from results.run import Run
from results.statistics.wording import arm_label, counts, metric_words, percent
from results.study import distributions, frozen_trial, quiet_optuna, tried_configs
from results.tables import Table
from search_spaces.metric import VAL_ACCURACY, Metric
from search_spaces.registry import unknown_name

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
    """Share of the variance of the objective over the space that each parameter explains.

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
            objectives are equal. The message is a sentence for readers.
    """
    if space not in run.spaces:
        raise unknown_name("space", space, run.spaces)
    configs, _ = tried_configs(run.spaces[space], run.search_rows())
    complete = [config for config in configs if config.kind == "complete"]
    complete = [c for c in complete if math.isfinite(c.objective or 0.0)]  # not diverged
    params = list(run.spaces[space].free)
    if len(params) < 2:
        raise ValueError(f"{space}: importances need two free parameters, but it has {params}.")
    if len(complete) < MIN_TRIALS:
        raise ValueError(
            f"{space}: importances need {MIN_TRIALS} finished search trials of full length, "
            f"but it has {len(complete)}."
        )
    if len({config.objective for config in complete}) < 2:
        raise ValueError(f"{space}: all search trials reached the same {_words(run.objective)}.")
    if len(complete) > MAX_TRIALS:  # before Optuna copies each of them
        rng = np.random.default_rng(SEED)
        places = sorted(rng.permutation(len(complete))[:MAX_TRIALS])
        complete = [complete[place] for place in places]
    known = distributions(run.spaces[space])
    trials = [frozen_trial(config, known) for config in complete]
    whole = _fanova(trials, min(MOST_TREES, TREES_TIMES_TRIALS // len(trials)))
    parts = []
    for left_out in range(NUM_PARTS):
        kept = [trial for place, trial in enumerate(trials) if place % NUM_PARTS != left_out]
        parts.append(_fanova(kept, TREES_OF_PART))
    share = dict(sorted(whole.items(), key=lambda item: -item[1]))
    finite = {
        name: [part[name] for part in (*parts, whole) if math.isfinite(part[name])]
        for name in share
    }
    return Importances(
        space=space,
        num_trials=len(trials),
        share=share,
        low={name: min(shares) for name, shares in finite.items()},
        high={name: max(shares) for name, shares in finite.items()},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportancesInfo:
    """Importances by space. refused: a sentence for every space that allows none."""

    arms: tuple[Importances, ...]
    refused: tuple[str, ...]
    metric: Metric = VAL_ACCURACY


def importances_info(run: Run) -> ImportancesInfo:
    """fANOVA importances of every space of the run that has enough search trials."""
    arms, refused = [], []
    for space in run.spaces:
        try:
            arms.append(importances(run, space))
        except ValueError as error:
            refused.append(str(error))
    return ImportancesInfo(arms=tuple(arms), refused=tuple(refused), metric=run.objective)


def draw_importances(info: ImportancesInfo, figure: Figure) -> None:
    """A panel an arm, a bar a parameter; line: smallest to largest with trials left out."""
    most = max(len(arm.share) for arm in info.arms)
    all_axes = subplots(figure, 1.5 + 0.42 * most, 1, len(info.arms), squeeze=False, sharex=True)
    for axes, arm in zip(all_axes.flat, info.arms, strict=True):
        _draw_arm(axes, arm, most)
    figure.suptitle(
        f"Share of the {_words(info.metric)}'s variance (fANOVA); line: with an eighth of the "
        "trials left out",
        fontsize=11,
    )


def _words(metric: Metric) -> str:
    return "accuracy" if metric.is_accuracy else metric_words(metric)


def _fanova(trials: list[optuna.trial.FrozenTrial], num_trees: int) -> dict[str, float]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    with quiet_optuna():
        study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    evaluator = FanovaImportanceEvaluator(n_trees=num_trees, seed=SEED)
    shares = get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in shares.items()}


def _draw_arm(axes: Axes, arm: Importances, most: int) -> None:
    place_P = np.arange(len(arm.share))
    share_P, low_P, high_P = (
        100 * np.array([shares[name] for name in arm.share])
        for shares in (arm.share, arm.low, arm.high)
    )
    axes.barh(place_P, share_P, height=0.6, color=color_of(arm.space), alpha=0.75)
    axes.hlines(place_P, low_P, high_P, color="black", linewidth=1.6)
    axes.set_yticks(place_P, list(arm.share))
    axes.set(ylim=(most - 0.4, -0.6), xlim=(0, 100), xlabel="share [%]")
    axes.set_title(f"{arm_label(arm.space)} (n={arm.num_trials})", fontsize=10.5)
    axes.grid(visible=False, axis="y")


def _importances_caption(info: ImportancesInfo) -> str:
    trials = counts([(arm.space, arm.num_trials) for arm in info.arms], "configs")
    notes = "".join(f" Not shown: {sentence}" for sentence in info.refused)
    if any(arm.num_trials == MAX_TRIALS for arm in info.arms):
        notes = f" At most {MAX_TRIALS} configs an arm, drawn at random.{notes}"
    return (
        f"Share of the variance of {metric_words(info.metric)} over the searched ranges that a "
        f"parameter explains (fANOVA on a random forest, main effects), {trials}, one seed each. "
        "Line: smallest to largest when an eighth of the configs is left out; no confidence "
        f"interval.{notes}"
    )


def _importances_table(info: ImportancesInfo) -> Table:
    rows = [
        [arm_label(arm.space), name]
        + [percent(shares[name], 1) for shares in (arm.share, arm.low, arm.high)]
        for arm in info.arms
        for name in arm.share
    ]
    header = ["arm", "parameter", "share %", "smallest", "largest"]
    return Table(caption="Importances by arm", header=header, rows=rows)


IMPORTANCES = Plot(
    title="Which parameter matters", section="Search", info=importances_info,
    draw=draw_importances, caption=_importances_caption, table=_importances_table,
)  # fmt: skip
