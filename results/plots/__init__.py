"""Figures of a run, in order: one line each; a figure's file owns numbers, ink and words."""

from __future__ import annotations

import functools
import textwrap
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from results.arms.choice import unit_of
from results.plots.arms.curves import CURVES, CURVES_BY_COST, draw_curves, metric_info
from results.plots.arms.differences import DIFFERENCES
from results.plots.arms.schedules import SCHEDULES
from results.plots.arms.time_use import TIME_USE
from results.plots.figure import Plot, arms_of
from results.plots.papers.critical import CRITICAL
from results.plots.papers.decay_rates import DECAY_RATES, decay_rates_plot
from results.plots.papers.equivalence import EQUIVALENCE
from results.plots.papers.exchange import EXCHANGE
from results.plots.papers.noise import NOISE
from results.plots.papers.noise_paths import REALISED
from results.plots.papers.published import PUBLISHED
from results.plots.papers.sampling import SAMPLING
from results.plots.papers.sharpness import SHARPNESS
from results.plots.search.best_of_n import BEST_OF_N
from results.plots.search.importances import IMPORTANCES
from results.plots.search.parallel import PARALLEL
from results.plots.search.parameter_map import PARAMETER_MAP
from results.plots.search.progress import PROGRESS
from results.plots.search.slices import SLICES
from results.plots.style import save_figure
from results.run import Run
from results.statistics.wording import counted

# Name, also of the file -> figure; in the report they stand in this order, section by section.
PLOTS: dict[str, Plot] = {
    "curves": CURVES,
    "curves_by_cost": CURVES_BY_COST,
    "schedules": SCHEDULES,
    "parameter_map": PARAMETER_MAP,
    "parallel": PARALLEL,
    "progress": PROGRESS,
    "best_of_n": BEST_OF_N,
    "importances": IMPORTANCES,
    "slices": SLICES,
    "differences": DIFFERENCES,
    "time_use": TIME_USE,
    "decay_rates": DECAY_RATES,
    "sharpness": SHARPNESS,
    "sampling": SAMPLING,
    "noise": NOISE,
    "realised": REALISED,
    "critical": CRITICAL,
    "exchange": EXCHANGE,
    "equivalence": EQUIVALENCE,
    "published": PUBLISHED,
}


def scale_line(run: Run) -> str:
    """What was trained, how long and how often: along the edge of every figure."""
    confirmed = {(r["run_id"], r["replicate"]) for r in run.rows() if r["role"] == "confirm"}
    parts = []
    for run_id, manifest in run.manifests.items():
        if recipe := manifest.get("recipe"):
            seeds = sum(trial_run == run_id for trial_run, _ in confirmed)
            title = " on ".join(n for n in (recipe["model"], recipe["dataset"]) if n != "none")
            unit = unit_of({run_id: manifest})
            length = f"{counted(recipe['epochs'], 'epoch')} of {recipe['train_examples']:,} {unit}"
            part = f"{title}, {length}"
            part += f", {counted(seeds, 'confirm seed')}" if seeds else ""
            # What differs from the figure's stands in the report.
            scale = str(manifest.get("scale") or "").partition(": ")[0]
            part += f" ({scale})" if scale else ""
            parts.append(part)
    return "; ".join(dict.fromkeys(parts))


def write_along_edge(figure: Figure, text: str) -> int:
    """Write it down the right edge, the one without legend and title; how many lines it takes."""
    grey: dict[str, Any] = {"fontsize": 8, "color": "#555555"}
    edge = figure.text(0.995, 0.5, text, rotation=270, ha="right", va="center", **grey)
    share = edge.get_window_extent().height / (0.98 * figure.bbox.height)
    if share <= 1:
        return 1
    lines = textwrap.wrap(text, int(len(text) / share))
    edge.set_text("\n".join(lines))
    return len(lines)


def save_curves(run: Run, metric: str, directory: str | Path) -> list[Path]:
    """Draw the curves of one metric as curves_<metric>.png; nothing where no epoch has it."""
    arms = metric_info(run, metric)
    path = Path(directory) / f"curves_{metric}.png"
    return save_figure(functools.partial(draw_curves, arms), path) if arms else []


def save_plots(
    run: Run,
    directory: str | Path,
    formats: tuple[str, ...] = ("png",),
    *,
    radius_factor: float | None = None,
) -> list[Path]:
    """Draw every figure that has something to show, as png | pdf | svg; returns the files.

    Args:
        radius_factor: the constant a, at least sqrt(2), of the admissible region in the figure of
            decay rates; None = the assumed one.
    """
    written: list[Path] = []
    scale = scale_line(run)
    plots = dict(PLOTS)
    if radius_factor is not None:
        plots["decay_rates"] = decay_rates_plot(radius_factor)
    for name, plot in plots.items():
        info = plot.info(run)
        if not arms_of(info):
            continue

        def draw(figure: Figure, plot: Plot = plot, info: object = info) -> None:
            plot.draw(info, figure)
            engine = figure.get_layout_engine()
            assert isinstance(engine, ConstrainedLayoutEngine), "every figure is laid out so"
            num_lines = write_along_edge(figure, scale)
            engine.set(rect=(0.0, 0.0, 0.995 - 0.015 * num_lines, 1.0))

        written += save_figure(draw, *(Path(directory) / f"{name}.{kind}" for kind in formats))
    return written
