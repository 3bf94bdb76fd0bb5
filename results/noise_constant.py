"""How noisy were an arm's gradients? C^2 and K over its trainings, as measured.

C^2 is a property of a point and changes along a training; what stands for an arm is its mean
over the measured epochs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from results.arms import chosen_row, confirm_rows, group_by_arm
from results.load import Run
from results.mean import mean_of
from results.records import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseConstant:
    """C^2 and K of one arm.

    Attributes:
        c2: mean over the measured epochs of each seed, then over seeds.
        low, high: 95% t-interval over seeds, cut at 0; None for one seed.
        k: largest gradient norm of a measuring batch (or example) seen in any seed. It falls
            with the measuring batch's size and grows with their number.
        num_seeds: completed trainings averaged. num_epochs: measured in the longest of them.
    """

    c2: float
    low: float | None
    high: float | None
    k: float
    num_seeds: int
    num_epochs: int


def noise_constant(run: Run) -> dict[str, NoiseConstant]:
    """C^2 by arm, of the completed trainings that stand for it; arms without any are left out."""
    constants = {}
    for name, trials in measured_trials(run, "noise_c2").items():
        seeds = [epochs for trial, epochs in trials if trial["status"] == "completed"]
        if seeds:
            constants[name] = _constant(seeds)
    return constants


def measured_trials(run: Run, column: str) -> dict[str, list[tuple[Row, list[Row]]]]:
    """By arm: its trials and their epochs with something in this column, in order of epochs.

    Of each arm the confirm trials of the config that stands for it, before confirmation its best
    search trial. Diverged and lost trials and arms without any measurement are left out.
    """
    by_trial = run.epochs_by_trial()
    arms = {}
    for name, rows in group_by_arm(run.rows()).items():
        chosen = chosen_row(rows)
        trials = confirm_rows(rows) or ([chosen] if chosen else [])
        found = [
            (trial, epochs)
            for trial in trials
            if trial["status"] in ("completed", "running", "interrupted")
            and (
                epochs := _measured(
                    by_trial.get((trial["run_id"], trial["trial_key"]), []), column
                )
            )
        ]
        if found:
            arms[name] = found
    return arms


def _measured(epochs: Iterable[Row], column: str) -> list[Row]:
    return sorted(
        (row for row in epochs if row[column] is not None), key=lambda row: int(row["epoch"])
    )


def _constant(seeds: list[list[Row]]) -> NoiseConstant:
    c2 = mean_of(_finite_mean(row["noise_c2"] for row in epochs) for epochs in seeds)
    norms = [row["max_gradient_norm"] for epochs in seeds for row in epochs]
    return NoiseConstant(
        c2=c2.mean,
        low=None if c2.low is None else max(0.0, c2.low),
        high=c2.high,
        k=max((norm for norm in norms if norm is not None), default=math.nan),
        num_seeds=c2.n,
        num_epochs=max(len(epochs) for epochs in seeds),
    )


def _finite_mean(values: Iterable[float]) -> float:
    value_E = np.array([value for value in values if math.isfinite(value)])
    return float(value_E.mean()) if len(value_E) else math.nan
