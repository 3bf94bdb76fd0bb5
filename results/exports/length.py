"""How does a found schedule look at another length? The same curve, stretched or squeezed."""

from __future__ import annotations

import math
from dataclasses import replace

from search_spaces.clock import STEP
from search_spaces.trial import TrialConfig


def stretched(
    trial: TrialConfig, *, epochs: float | None = None, steps: int | None = None
) -> TrialConfig:
    """The config at another length: each stage, the warmup too, keeps its share of the samples.

    lr, batch and delta of a stage stay; at every step (interval=step) the curve is read as often
    as there are steps, and a `factor` per step becomes the whole's end_ratio. That lr and delta
    are also best at this length, nobody has tried.

    Args:
        epochs: of the data of the run, > 0; may be a fraction.
        steps: optimizer steps, >= 20; with growing batches the most samples they can take.
            None of both: the length of the run's full trainings.

    Raises:
        ValueError: too short, both lengths, or no such number of steps.
    """
    trial = replace(trial, horizon=1.0, until=None)
    if epochs is None and steps is None:
        return trial
    if epochs is not None and steps is not None:
        raise ValueError(f"epochs={epochs:g} steps={steps}: give one of them.")
    if epochs is not None and not (math.isfinite(epochs) and epochs > 0):
        raise ValueError(f"epochs={epochs:g}: a number above 0.")
    if steps is not None and steps < 1:
        raise ValueError(f"steps={steps}: a whole number above 0.")
    asked = f"steps={steps}" if epochs is None else f"epochs={epochs:g}"
    try:
        if steps is not None:
            return _with_steps(trial, steps)
        assert epochs is not None, "one of both is given"
        longer = _with_samples(trial, max(1, round(epochs * trial.recipe.train_examples)))
        assert longer.schedule.num_steps(), "the table can be made"
    except ValueError as error:
        raise ValueError(f"{asked}: {error}") from error
    return longer


def _with_samples(trial: TrialConfig, samples: int) -> TrialConfig:
    """A training of the next whole number of epochs, and its share that has so many samples."""
    recipe, params = trial.recipe, dict(trial.params)
    epochs = -(-samples // recipe.train_examples)
    ratio = epochs / recipe.epochs
    if params["interval"] != STEP:
        params["interval"] *= ratio
    elif "factor" in params:  # of each step: their number is another, the whole decay is not
        del params["factor"]
        params |= trial.curve_params
    return replace(
        trial,
        params=params,
        recipe=replace(recipe, epochs=epochs, warmup_epochs=recipe.warmup_epochs * ratio),
        horizon=samples / (epochs * recipe.train_examples),
    )


def _with_steps(trial: TrialConfig, steps: int) -> TrialConfig:
    """The longest training of so many optimizer steps, by halving the samples in question."""
    batch_S = trial.schedule.batch_size_S
    low, high = steps * int(batch_S.min()), steps * int(batch_S.max()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        fits = _with_samples(trial, middle).schedule.num_steps() <= steps
        low, high = (middle, high) if fits else (low, middle)
    longer = _with_samples(trial, low)
    if longer.schedule.num_steps() != steps:
        raise ValueError(
            "with these growing batches no length has so many optimizer steps; "
            f"nearest: steps={longer.schedule.num_steps()}."
        )
    return longer
