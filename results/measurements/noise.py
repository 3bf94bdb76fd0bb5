"""How noisy were an arm's gradients? C^2 and K over its trainings, as measured.

C^2 is a property of a point and changes along a training, often by orders of magnitude; what
stands for an arm is its geometric mean over the measured epochs, and its range is told beside.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from results.arms.choice import full_rows, group_by_arm
from results.records.schema import Row, trial_from_row
from results.run import Run
from results.statistics.intervals import mean_of
from results.statistics.wording import arm_label, counted
from search_spaces.records import OPEN

MODES = {
    "train": "BatchNorm in train mode, as the training's steps",
    "eval": "BatchNorm in eval mode: not the gradients of the training's steps, and early in a "
    "training far larger",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """C^2 and K of one arm.

    Attributes:
        c2: geometric mean over the measurements of each seed, then over seeds.
        low, high: 95% t-interval over seeds, taken of the logarithm; None for one seed.
        first, last: geometric mean over seeds at the first and the last measurement.
        k: largest gradient norm of a step of any seed, from the first step on, before clipping.
        k_is_of_steps: False for a run that recorded no step's: k is then the largest of a
            measuring batch (or example), which falls with its size and grows with their number.
        k_is_of_all: of every step of every training averaged: False where a run of before, which
            recorded none, was gone on with.
        num_seeds: completed trainings averaged. num_measurements: of the longest of them.
    """

    c2: float
    low: float | None
    high: float | None
    first: float
    last: float
    k: float
    k_is_of_steps: bool
    k_is_of_all: bool
    num_seeds: int
    num_measurements: int


def read_noise(run: Run) -> dict[str, Noise]:
    """C^2 by arm, of the completed trainings that stand for it; arms without any are left out."""
    measured = measured_trials(run, "noise_c2")
    steps = measured_trials(run, "max_step_norm")
    num_reports = run.epochs_by_trial(trial for pairs in measured.values() for trial, _ in pairs)
    constants = {}
    for name, trials in measured.items():
        if seeds := _completed(trials):
            known = {row["trial_key"]: len(epochs) for row, epochs in steps.get(name, [])}
            is_of_all = all(
                known.get(row["trial_key"]) == len(num_reports[row["run_id"], row["trial_key"]])
                for row, _ in trials
                if row["status"] == "completed"
            )
            constants[name] = _noise(seeds, _completed(steps.get(name, [])), is_of_all)
    return constants


def describe(run: Run) -> list[str]:
    """C^2 and K of each arm, averaged over the training; empty where nothing was measured."""
    lines = []
    constants = read_noise(run)
    for arm, noise in constants.items():
        interval = "" if noise.low is None else f" [{noise.low:.4g}, {noise.high:.4g}]"
        lines += [
            f"{arm_label(arm)}: C^2 = {noise.c2:.4g}{interval}, from {noise.first:.4g} at first "
            f"to {noise.last:.4g} at last; K = {noise.k:.4g}",
            f"  (geometric mean over {counted(noise.num_measurements, 'measurement')}, "
            f"n={noise.num_seeds} seeds, 95% t-interval of the logarithm over seeds)",
        ]
    if lines:
        row = run.rows()[0]
        options = trial_from_row(row).recipe.measurements["noise"]
        lines += [
            f"estimator {options['estimator']}, augmented batches drawn with replacement; "
            + batch_norm_text(row, "noise"),
            f"K is the largest gradient norm of {steps_text(list(constants.values()))}",
        ]
    return lines


def steps_text(constants: list[Noise]) -> str:
    """Whose norms the K of these arms are."""
    if not all(noise.k_is_of_steps for noise in constants):
        return "a measuring batch: this run did not record that of its steps"
    if all(noise.k_is_of_all for noise in constants):
        return "the training's own steps, the first included"
    return (
        "those of the training's own steps that were recorded: not of all, for this run was begun "
        "by an earlier version, and the first may be missing"
    )


def batch_norm_text(row: Row, measurement: str) -> str:
    """How BatchNorm stood while this trial's gradients were measured; runs of before say it too.

    In train mode the gradients are those of the training's own steps; in eval mode they are not.
    """
    options = trial_from_row(row).recipe.measurements.get(measurement, {})
    return MODES[options.get("batch_norm", "eval")]


def measured_trials(run: Run, column: str) -> dict[str, list[tuple[Row, list[Row]]]]:
    """By arm: its trials and their epochs with something in this column, in order of epochs.

    Of each arm the confirm trials of the config that stands for it, before confirmation its best
    search trial. Diverged and lost trials and arms without any measurement are left out.
    """
    trials = {name: full_rows(rows) for name, rows in group_by_arm(run.rows()).items()}
    by_trial = run.epochs_by_trial(itertools.chain(*trials.values()), column)
    arms: dict[str, list[tuple[Row, list[Row]]]] = {}
    for name, rows in trials.items():
        for trial in rows:
            epochs = by_trial.get((trial["run_id"], trial["trial_key"]), [])
            if epochs and trial["status"] in ("completed", *OPEN):
                epochs.sort(key=lambda row: int(row["epoch"]))
                arms.setdefault(name, []).append((trial, epochs))
    return arms


def rows_by_epoch(trials: list[tuple[Row, list[Row]]]) -> dict[float, list[Row]]:
    """The rows of all these trials by the epochs they had trained, in order.

    Whole epochs; where `reports` lay elsewhere, the samples seen in epochs.
    """
    by_epoch: dict[float, list[Row]] = {}
    for trial, rows in trials:
        recipe = trial_from_row(trial).recipe
        for row in rows:
            seen = float(row["samples_seen"]) / recipe.train_examples
            by_epoch.setdefault(row["epoch"] if recipe.reports is None else seen, []).append(row)
    return dict(sorted(by_epoch.items()))


def _completed(trials: list[tuple[Row, list[Row]]]) -> list[list[Row]]:
    return [epochs for trial, epochs in trials if trial["status"] == "completed"]


def _noise(seeds: list[list[Row]], steps: list[list[Row]], is_of_all: bool) -> Noise:
    log = mean_of(mean_of(_log(row) for row in epochs).mean for epochs in seeds)
    column = "max_step_norm" if steps else "max_gradient_norm"
    norms = [row[column] for epochs in steps or seeds for row in epochs]
    return Noise(
        c2=math.exp(log.mean),
        low=None if log.low is None else math.exp(log.low),
        high=None if log.high is None else math.exp(log.high),
        first=math.exp(mean_of(_log(epochs[0]) for epochs in seeds).mean),
        last=math.exp(mean_of(_log(epochs[-1]) for epochs in seeds).mean),
        k=max((norm for norm in norms if norm is not None), default=math.nan),
        k_is_of_steps=bool(steps),
        k_is_of_all=is_of_all,
        num_seeds=log.n,
        num_measurements=max(len(epochs) for epochs in seeds),
    )


def _log(row: Row) -> float:
    """Of C^2; nan, which means leave out, where it is 0 or not finite."""
    c2 = row["noise_c2"]
    return math.log(c2) if math.isfinite(c2) and c2 > 0 else math.nan
