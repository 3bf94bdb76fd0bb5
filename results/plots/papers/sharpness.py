"""Are minima sharper after larger batches, lower learning rates, less noise? Does it matter?"""

from __future__ import annotations

import json
import math
import textwrap
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from results.plots.looks import Look, grid_axis, log_axis, ordered_looks
from results.plots.style import set_size, tidy
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
METHOD_LETTERS = 48  # of a line
MIN_LOG_RATIO = 8.0  # of sharpness; less is drawn on a linear axis


class Panel(NamedTuple):
    """y against x."""

    x: Quantity
    y: Quantity


PANELS = (
    Panel("batch_size", "sharpness"),
    Panel("lr", "sharpness"),
    Panel("delta", "sharpness"),
    Panel("sharpness", "test_accuracy"),
    Panel("delta", "test_accuracy"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigSharpness:
    """The trainings of one config.

    Attributes:
        name: its arm.
        values: quantity -> value of each seed; lr, batch_size and delta at the start.
    """

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
class SharpnessInfo:
    """Sharpness of all confirmed configs.

    Attributes:
        arms: one entry a config.
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


def sharpness_info(run: Run) -> SharpnessInfo:
    """Sharpness, test accuracy and the schedule's start of every confirm training."""
    asked = {r["trial_key"]: r for r in run.rows() if r["role"] == "confirm" and _options(r)}
    rows = [row for row in asked.values() if _is_usable(row)]
    by_config: dict[str, list[Row]] = {}
    for row in rows:
        by_config.setdefault(row["config_key"], []).append(row)
    arms = tuple(_config(seeds) for seeds in by_config.values())
    best = max(arms, key=lambda arm: arm.mean("test_accuracy"), default=None)
    left_out = [row for row in asked.values() if row["status"] in MEASURED and not _is_usable(row)]
    return SharpnessInfo(
        arms=arms,
        correlations={panel: _correlation(arms, panel) for panel in PANELS},
        num_left_out=len(left_out),
        is_constant=all(row["family"] == "constant" for row in rows),
        setting=_setting(rows),
        best_delta=best.mean("delta") if best else math.nan,
    )


def draw_sharpness(info: SharpnessInfo, figure: Figure) -> None:
    """Five panels, one dot a training, coloured by lr; the sixth holds legend and method."""
    set_size(figure, 7.4)
    all_axes = figure.subplots(2, 3, sharey="row")
    looks = dict(zip(info.lrs, ordered_looks(len(info.lrs)), strict=True))
    for letter, axes, panel in zip("abcde", all_axes.flat, PANELS, strict=False):
        for arm in info.arms:
            _draw_config(axes, arm, panel, looks[arm.lr])
        _set_scales(axes, info, panel)
        axes.set_xlabel(_label(info, panel.x))
        if letter in "ad":
            axes.set_ylabel(_label(info, panel.y))
        axes.set_title(f"({letter}) {info.correlations[panel]}", fontsize=10)
        tidy(axes)
    _draw_key(all_axes[1, 2], info, looks)
    figure.suptitle(
        f"Sharpness of the final weights: {info.num_trainings} trainings of "
        f"{len(info.arms)} configs, one dot a training",
        fontsize=11,
    )


def _options(row: Row) -> dict[str, object]:
    """How this trial was asked to measure sharpness; empty = not at all."""
    return dict(trial_from_row(row).recipe.measurements.get("sharpness", {}))


def _is_usable(row: Row) -> bool:
    values = [row["sharpness_loss"], row["test_accuracy"], row["delta0"]]
    return row["status"] == "completed" and all(v is not None and math.isfinite(v) for v in values)


def _config(seeds: list[Row]) -> ConfigSharpness:
    columns: dict[Quantity, str] = {
        "batch_size": "batch0",
        "lr": "lr0",
        "delta": "delta0",
        "sharpness": "sharpness_loss",
        "test_accuracy": "test_accuracy",
    }
    return ConfigSharpness(
        name=seeds[0]["space"],
        values={
            quantity: np.array([row[column] for row in seeds], dtype=float)
            for quantity, column in columns.items()
        },
    )


def _correlation(arms: tuple[ConfigSharpness, ...], panel: Panel) -> Correlation:
    return spearman([arm.mean(panel.x) for arm in arms], [arm.mean(panel.y) for arm in arms])


def _setting(rows: list[Row]) -> str:
    found = {json.dumps(_options(row), sort_keys=True) for row in rows}
    if len(found) != 1:
        return "several settings of sharpness" if found else ""
    options = json.loads(found.pop())
    box = f"{options['rho']:g} * |w|" if options["adaptive"] else f"{options['rho']:g}"
    return (
        f"worst case in a box of +-{box}, {options['examples']} images in batches of "
        f"{options['batch']}, {options['iterations']} steps of APGD"
    )


def _values(info: SharpnessInfo, quantity: Quantity) -> NDArray[np.float64]:
    return np.concatenate([arm.values[quantity] for arm in info.arms] or [np.empty(0)])


def _draw_config(axes: Axes, arm: ConfigSharpness, panel: Panel, look: Look) -> None:
    x_R, y_R = (_shown(arm.values[quantity], quantity) for quantity in panel)
    axes.scatter(x_R, y_R, s=26, color=look.color, marker=look.marker, alpha=0.75, linewidths=0)


def _shown(value_R: NDArray[np.float64], quantity: Quantity) -> NDArray[np.float64]:
    return 100 * value_R if quantity == "test_accuracy" else value_R


def _set_scales(axes: Axes, info: SharpnessInfo, panel: Panel) -> None:
    for which, quantity in zip("xy", panel, strict=True):
        value_T = _values(info, quantity)
        if quantity in ("batch_size", "lr"):
            grid_axis(axes, value_T)
        elif quantity in SCHEDULED or _is_wide(value_T, quantity):
            log_axis(axes, which, value_T)


def _is_wide(value_T: NDArray[np.float64], quantity: Quantity) -> bool:
    is_positive = quantity == "sharpness" and len(value_T) > 0 and value_T.min() > 0
    return bool(is_positive and value_T.max() > MIN_LOG_RATIO * value_T.min())


def _label(info: SharpnessInfo, quantity: Quantity) -> str:
    is_initial = quantity in SCHEDULED and not info.is_constant
    return f"initial {LABELS[quantity]}" if is_initial else LABELS[quantity]


def _draw_key(axes: Axes, info: SharpnessInfo, looks: dict[float, Look]) -> None:
    axes.axis("off")
    handles: list[Artist] = [
        Line2D([], [], linestyle="", color=look.color, marker=look.marker, label=f"lr {lr:g}")
        for lr, look in looks.items()
    ]
    if handles:
        axes.legend(
            handles=handles, loc="upper left", frameon=False, ncols=math.ceil(len(handles) / 4)
        )
    told = axes.text(0.0, 0.0, _method(info), transform=axes.transAxes, fontsize=8.5)
    told.set_in_layout(False)  # or its width would be taken from the panels


def _method(info: SharpnessInfo) -> str:
    sentences = [
        f"rho: Spearman's, on means of configs (n = {len(info.arms)}), as the seeds of one "
        "config are not independent. [ ]: 95% interval (Fisher z, Bonett & Wright), none for "
        "n < 4 or |rho| = 1. Monotone relations only, no hump.",
        f"(e) highest mean test accuracy at delta = {info.best_delta:.3g}.",
        f"Left out: {info.num_left_out} trainings (diverged or not finite).",
        f"Sharpness: {info.setting}.",
    ]
    return "\n".join(textwrap.fill(sentence, METHOD_LETTERS) for sentence in sentences)
