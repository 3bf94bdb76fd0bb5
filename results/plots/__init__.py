"""Figures of a run: each an info function (numbers) and a draw function (ink)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from results.plots.arms.curves import costs_info, curves_info, draw_costs, draw_curves
from results.plots.arms.differences import differences_info, draw_differences
from results.plots.arms.schedules import draw_schedules, schedules_info
from results.plots.arms.time_use import draw_time_use, time_use_info
from results.plots.papers.critical import critical_batch_info, draw_critical_batch
from results.plots.papers.decay_rates import (
    DecayRatesInfo,
    decay_rates_info_of_run,
    draw_decay_rates,
)
from results.plots.papers.exchange import draw_exchange, exchange_info
from results.plots.papers.noise import draw_noise_constant, noise_constant_info
from results.plots.papers.published import draw_published, published_info
from results.plots.papers.sampling import draw_noise_sample, noise_sample_info
from results.plots.papers.sharpness import draw_sharpness, sharpness_info
from results.plots.search.best_of_n import best_of_n_info, draw_best_of_n
from results.plots.search.importances import draw_importances, importances_info
from results.plots.search.parameter_map import draw_parameter_map, parameter_map_info
from results.plots.search.progress import draw_progress, progress_info
from results.plots.search.slices import draw_slices, slices_info
from results.plots.style import DPI
from results.records.schema import Row
from results.run import Run

ASSUMED_A = 3.0  # radius factor of strong convexity; no source gives its value
ROUNDING = 1e-9  # of a decay rate; closer to 1 is no decay


class Plot(NamedTuple):
    """A figure: what it shows (an info with `.arms`, empty = nothing to show), and how."""

    info: Callable[[Run], Any]  # each info type fits its own draw function
    draw: Callable[[Any, Figure], None]


def _only_decaying(info: Callable[[Run], DecayRatesInfo], run: Run) -> DecayRatesInfo:
    """The info; without arms where none of them decays."""
    found = info(run)
    decays = any(np.any(arm.decay_rate_E < 1.0 - ROUNDING) for arm in found.arms)
    return found if decays else replace(found, arms=())


def _draw_decay_rates_assuming_a(info: DecayRatesInfo, figure: Figure) -> None:
    draw_decay_rates(info, figure)
    figure.suptitle(
        f"{figure.get_suptitle()}\na = {ASSUMED_A:g} assumed; no source gives its value",
        fontsize=11,
    )


PLOTS: dict[str, Plot] = {
    "curves": Plot(curves_info, draw_curves),
    "curves_by_cost": Plot(costs_info, draw_costs),
    "schedules": Plot(schedules_info, draw_schedules),
    "parameter_map": Plot(parameter_map_info, draw_parameter_map),
    "progress": Plot(progress_info, draw_progress),
    "importances": Plot(importances_info, draw_importances),
    "slices": Plot(slices_info, draw_slices),
    "differences": Plot(differences_info, draw_differences),
    "best_of_n": Plot(best_of_n_info, draw_best_of_n),
    "time_use": Plot(time_use_info, draw_time_use),
    "decay_rates": Plot(
        functools.partial(_only_decaying, functools.partial(decay_rates_info_of_run, a=ASSUMED_A)),
        _draw_decay_rates_assuming_a,
    ),
    "sharpness": Plot(sharpness_info, draw_sharpness),
    "noise_sample": Plot(noise_sample_info, draw_noise_sample),
    "noise_constant": Plot(noise_constant_info, draw_noise_constant),
    "critical_batch": Plot(critical_batch_info, draw_critical_batch),
    "exchange": Plot(exchange_info, draw_exchange),
    "published": Plot(published_info, draw_published),
}


def scale_line(run: Run) -> str:
    """What was trained, how long and how often: along the edge of every figure."""
    parts = []
    for run_id, manifest in run.manifests.items():
        recipe = manifest.get("recipe")
        if recipe is None:
            continue
        seeds = {r["replicate"] for r in run.rows() if r["run_id"] == run_id and _confirms(r)}
        title = " on ".join(n for n in (recipe["model"], recipe["dataset"]) if n != "none")
        part = f"{title}, {recipe['epochs']} epochs"
        part += f", {len(seeds)} confirm seed{'s' if len(seeds) > 1 else ''}" if seeds else ""
        part += f" ({manifest['scale']})" if manifest.get("scale") else ""
        parts.append(part)
    return "; ".join(dict.fromkeys(parts))


def _add_scale(figure: Figure, text: str) -> None:
    """A line along the right edge; legends and titles have the others."""
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0.0, 0.0, 0.98, 1.0))
    figure.text(0.995, 0.5, text, fontsize=8, color="#555555", rotation=270, ha="right",
                va="center")  # fmt: skip


def _confirms(row: Row) -> bool:
    return bool(row["role"] == "confirm")


def save_plots(run: Run, directory: str | Path, formats: tuple[str, ...] = ("png",)) -> list[Path]:
    """Draw every figure that has something to show; returns the files written.

    Args:
        directory: made where missing.
        formats: png | pdf | svg.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, plot in PLOTS.items():
        info = plot.info(run)
        if not info.arms:
            continue
        figure = Figure(dpi=DPI)
        FigureCanvasAgg(figure)
        plot.draw(info, figure)
        _add_scale(figure, scale_line(run))
        for kind in formats:
            path = directory / f"{name}.{kind}"
            figure.savefig(path)
            written.append(path)
    return written
