"""Are minima sharper after larger batches, lower learning rates, less noise? Does it matter?"""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from results.measurements.sharpness import (
    LABELS,
    PANELS,
    SCHEDULED,
    ConfigSharpness,
    Panel,
    Quantity,
    Sharpness,
    read_sharpness,
)
from results.plots.figure import Plot
from results.plots.style import Look, grid_axis, log_axis, ordered_looks, subplots

METHOD_LETTERS = 48  # of a line
MIN_LOG_RATIO = 8.0  # of sharpness; less is drawn on a linear axis


def draw_sharpness(info: Sharpness, figure: Figure) -> None:
    """Five panels, one dot a training, coloured by lr; the sixth holds legend and method."""
    all_axes = subplots(figure, 7.4, 2, 3, sharey="row")
    looks = dict(zip(info.lrs, ordered_looks(len(info.lrs)), strict=True))
    for letter, axes, panel in zip("abcde", all_axes.flat, PANELS, strict=False):
        for arm in info.arms:
            _draw_config(axes, arm, panel, looks[arm.lr])
        _set_scales(axes, info, panel)
        axes.set_xlabel(_label(info, panel.x))
        if letter in "ad":
            axes.set_ylabel(_label(info, panel.y))
        axes.set_title(f"({letter}) {info.correlations[panel]}", fontsize=10)
    _draw_key(all_axes[1, 2], info, looks)
    figure.suptitle(
        f"Sharpness of the final weights: {info.num_trainings} trainings of "
        f"{len(info.arms)} configs, one dot a training",
        fontsize=11,
    )


def _draw_config(axes: Axes, arm: ConfigSharpness, panel: Panel, look: Look) -> None:
    x_R, y_R = (arm.values[name] * (100 if name == "test_accuracy" else 1) for name in panel)
    axes.scatter(x_R, y_R, s=26, color=look.color, marker=look.marker, alpha=0.75, linewidths=0)


def _set_scales(axes: Axes, info: Sharpness, panel: Panel) -> None:
    for which, quantity in zip("xy", panel, strict=True):
        value_T = np.concatenate([np.empty(0), *(arm.values[quantity] for arm in info.arms)])
        if quantity in ("batch_size", "lr"):
            grid_axis(axes, value_T)
        elif quantity in SCHEDULED:
            log_axis(axes, which, value_T)
        elif quantity == "sharpness" and value_T.size:
            if value_T.max() > MIN_LOG_RATIO * value_T.min() > 0:
                log_axis(axes, which, value_T)


def _label(info: Sharpness, quantity: Quantity) -> str:
    is_initial = quantity in SCHEDULED and not info.is_constant
    return f"initial {LABELS[quantity]}" if is_initial else LABELS[quantity]


def _draw_key(axes: Axes, info: Sharpness, looks: dict[float, Look]) -> None:
    axes.axis("off")
    handles: list[Artist] = [
        Line2D([], [], linestyle="", color=look.color, marker=look.marker, label=f"lr {lr:g}")
        for lr, look in looks.items()
    ]
    if handles:
        # Two rows: the text below needs the room.
        look: dict[str, Any] = {"frameon": False, "fontsize": 9, "columnspacing": 1.0}
        axes.legend(handles=handles, loc="upper left", ncols=math.ceil(len(handles) / 2), **look)
    method = axes.text(0.0, 0.0, _method(info), transform=axes.transAxes, fontsize=8)
    method.set_in_layout(False)  # or its width would be taken from the panels


def _method(info: Sharpness) -> str:
    sentences = [
        f"rho: Spearman's, on means of configs (n = {len(info.arms)}), as the seeds of one "
        "config are not independent. [ ]: 95% interval (Fisher z, Bonett & Wright), none for "
        "n < 4 or |rho| = 1. Monotone relations only, no hump.",
        f"(e) highest mean test accuracy at delta = {info.best_delta:.3g}.",
        f"Left out: {info.num_left_out} trainings (diverged or not finite).",
        f"Sharpness: {info.setting}.",
        f"Delta has {info.c2_setting}.",
    ]
    return "\n".join(textwrap.fill(sentence, METHOD_LETTERS) for sentence in sentences)


SHARPNESS = Plot(
    title="Sharpness", section="Measurements", info=read_sharpness, draw=draw_sharpness
)
