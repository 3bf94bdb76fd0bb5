"""How sharp are the minima, and what goes along with it? As measured, config by config."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from results.records.schema import Row, trial_from_row
from results.run import Run
from results.statistics.correlation import Correlation, spearman
from results.statistics.intervals import mean_of
from search_spaces.records import MEASURED
from search_spaces.theory import C2_BY_LR

Quantity = Literal["batch_size", "lr", "delta", "sharpness", "test_accuracy"]
LABELS: dict[Quantity, str] = {
    "batch_size": "batch size",
    "lr": "learning rate",
    "delta": "noise level delta",
    "sharpness": "sharpness (increase of the loss)",
    "test_accuracy": "test accuracy [%]",
}
# Of LABELS, those that a schedule may change during a training.
SCHEDULED: tuple[Quantity, ...] = ("batch_size", "lr", "delta")


class Panel(NamedTuple):
    """y against x."""

    x: Quantity
    y: Quantity


PANELS = (
    *(Panel(x, "sharpness") for x in SCHEDULED),
    *(Panel("sharpness", "test_accuracy"), Panel("delta", "test_accuracy")),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigSharpness:
    """One config: quantity -> value of each seed; lr, batch_size and delta at the start."""

    name: str
    values: dict[Quantity, NDArray[np.float64]]

    @property
    def lr(self) -> float:
        """Initial learning rate."""
        return float(self.values["lr"][0])

    def mean(self, quantity: Quantity) -> float:
        """Mean over the seeds."""
        return float(self.values[quantity].mean())


@dataclass(frozen=True, kw_only=True, slots=True)
class Sharpness:
    """Sharpness of all confirmed configs.

    Attributes:
        correlations: of each panel, between means of configs (n = configs): the seeds of one
            config are not independent of each other.
        num_left_out: trainings that diverged, or whose sharpness or accuracy is not finite.
        is_constant: lr and batch never changed.
        setting: how sharpness was measured, in words.
        c2_setting: which C^2 the configs' delta has, in words.
        best_delta: of the config with the highest mean test accuracy; nan without any.
    """

    arms: tuple[ConfigSharpness, ...]
    correlations: dict[Panel, Correlation]
    num_left_out: int
    is_constant: bool
    setting: str
    c2_setting: str
    best_delta: float

    @property
    def num_trainings(self) -> int:
        """Dots of each panel."""
        return sum(len(arm.values["sharpness"]) for arm in self.arms)

    @property
    def lrs(self) -> list[float]:
        """Initial learning rates, ascending."""
        return sorted({arm.lr for arm in self.arms})


def read_sharpness(run: Run) -> Sharpness:
    """Sharpness, test accuracy and the schedule's start of every confirm training."""
    asked = {r["trial_key"]: r for r in run.rows() if r["role"] == "confirm" and _options(r)}
    rows = [row for row in asked.values() if _is_usable(row)]
    by_config: dict[str, list[Row]] = {}
    for row in rows:
        by_config.setdefault(row["config_key"], []).append(row)
    c2_by_lr, c2_setting = _c2_by_lr(run, rows)
    arms = tuple(_config(seeds, c2_by_lr) for seeds in by_config.values())
    best = max(arms, key=lambda arm: arm.mean("test_accuracy"), default=None)
    num_measured = sum(row["status"] in MEASURED for row in asked.values())
    return Sharpness(
        arms=arms,
        correlations={
            panel: spearman(*([arm.mean(quantity) for arm in arms] for quantity in panel))
            for panel in PANELS
        },
        num_left_out=num_measured - len(rows),
        is_constant=all(row["family"] == "constant" for row in rows),
        setting=_setting(rows),
        c2_setting=c2_setting,
        best_delta=best.mean("delta") if best else math.nan,
    )


def describe(run: Run) -> list[str]:
    """Spearman correlations of sharpness, noise level and accuracy over the configs."""
    sharpness = read_sharpness(run)
    if not sharpness.arms:
        return []
    return [
        f"{sharpness.num_trainings} trainings; Spearman's rho between configs, 95% interval:",
        *(
            f"  {LABELS[panel.y]} against {LABELS[panel.x]}: {correlation}"
            for panel, correlation in sharpness.correlations.items()
        ),
        f"  highest mean test accuracy at delta = {sharpness.best_delta:.4g}",
        f"  delta has {sharpness.c2_setting}",
    ]


def _options(row: Row) -> dict[str, object]:
    """How this trial was asked to measure sharpness; empty = not at all."""
    return dict(trial_from_row(row).recipe.measurements.get("sharpness", {}))


def _is_usable(row: Row) -> bool:
    values = [row["sharpness_loss"], row["test_accuracy"], row["delta0"]]
    return row["status"] == "completed" and all(v is not None and math.isfinite(v) for v in values)


def _c2_by_lr(run: Run, rows: list[Row]) -> tuple[dict[float, float], str]:
    """C^2 of each learning rate, and where it is from; {} where one C stands for all.

    C^2 differs between learning rates (by 50 in the paper), so that delta = lr C / sqrt(b) with
    one C for all orders configs of one learning rate alone. As measured along these very
    trainings, else as published of the paper's own network and data.
    """
    by_trial = run.epochs_by_trial(rows)
    logs: dict[float, dict[int, list[float]]] = {}
    for row in rows:
        epochs = by_trial.get((row["run_id"], row["trial_key"]), [])
        c2s = [epoch["noise_c2"] for epoch in epochs if epoch["noise_c2"]]
        log = mean_of(math.log(c2) for c2 in c2s if c2 > 0 and math.isfinite(c2)).mean
        logs.setdefault(row["lr0"], {}).setdefault(row["batch0"], []).append(log)
    # As the paper has it, one C^2 for all batches of a learning rate; how they differ is told.
    by_batch = {
        lr: [float(np.mean(values)) for values in batches.values()]
        for lr, batches in sorted(logs.items())
    }
    measured = {lr: math.exp(float(np.mean(means))) for lr, means in by_batch.items()}
    if measured and all(map(math.isfinite, measured.values())):
        ranges = {lr: (math.exp(min(m)), math.exp(max(m))) for lr, m in by_batch.items()}
        return measured, (
            "C^2 measured at each learning rate, the geometric mean over its batches (smallest "
            f"and largest of them): {_listed(measured, ranges)}"
        )
    recipes = [trial_from_row(row).recipe for row in rows]
    is_papers = all(
        (r.model, r.width, r.dataset, r.optimizer, r.momentum)
        == ("resnet18", None, "cifar100", "sgd", 0.0)
        for r in recipes
    )
    if rows and is_papers and set(logs) <= set(C2_BY_LR):
        published = {lr: C2_BY_LR[lr] for lr in sorted(logs)}
        return published, f"C^2 by learning rate of arXiv 2311.08745 Table 2: {_listed(published)}"
    return {}, (
        "one C for all learning rates, which orders configs of one learning rate alone; "
        "'measure=[sharpness,noise]' measures C^2 at each"
    )


def _listed(
    c2_by_lr: dict[float, float], ranges: dict[float, tuple[float, float]] | None = None
) -> str:
    told = {lr: f" ({low:.3g} to {high:.3g})" for lr, (low, high) in (ranges or {}).items()}
    return ", ".join(f"{c2:.5g}{told.get(lr, '')} at {lr:g}" for lr, c2 in c2_by_lr.items())


def _config(seeds: list[Row], c2_by_lr: dict[float, float]) -> ConfigSharpness:
    columns = ("batch0", "lr0", "delta0", "sharpness_loss", "test_accuracy")  # as LABELS
    values = {
        quantity: np.array([row[column] for row in seeds], dtype=float)
        for quantity, column in zip(LABELS, columns, strict=True)
    }
    if c2_by_lr:
        lr, batch = seeds[0]["lr0"], seeds[0]["batch0"]
        law = replace(trial_from_row(seeds[0]).recipe.law, c2=c2_by_lr[lr])
        values["delta"] = np.full(len(seeds), law.delta(lr, batch))
    return ConfigSharpness(name=seeds[0]["space"], values=values)


def _setting(rows: list[Row]) -> str:
    settings = {json.dumps(_options(row), sort_keys=True) for row in rows}
    if len(settings) != 1:
        return "several settings of sharpness" if settings else ""
    options = json.loads(settings.pop())
    box = f"{options['rho']:g} * |w|" if options["adaptive"] else f"{options['rho']:g}"
    return (
        f"worst case in a box of +-{box}, {options['examples']} images in batches of "
        f"{options['batch']}, {options['iterations']} steps of APGD"
    )
