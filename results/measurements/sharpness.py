"""How sharp are the minima, and what goes along with it? As measured, config by config."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from results.records.schema import Row, trial_from_row
from results.run import Run
from results.statistics.correlation import Correlation, spearman
from search_spaces.records import MEASURED

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
        best_delta: of the config with the highest mean test accuracy; nan without any.
    """

    arms: tuple[ConfigSharpness, ...]
    correlations: dict[Panel, Correlation]
    num_left_out: int
    is_constant: bool
    setting: str
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
    arms = tuple(_config(seeds) for seeds in by_config.values())
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
    ]


def _options(row: Row) -> dict[str, object]:
    """How this trial was asked to measure sharpness; empty = not at all."""
    return dict(trial_from_row(row).recipe.measurements.get("sharpness", {}))


def _is_usable(row: Row) -> bool:
    values = [row["sharpness_loss"], row["test_accuracy"], row["delta0"]]
    return row["status"] == "completed" and all(v is not None and math.isfinite(v) for v in values)


def _config(seeds: list[Row]) -> ConfigSharpness:
    columns = ("batch0", "lr0", "delta0", "sharpness_loss", "test_accuracy")  # as LABELS
    values = {
        quantity: np.array([row[column] for row in seeds], dtype=float)
        for quantity, column in zip(LABELS, columns, strict=True)
    }
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
