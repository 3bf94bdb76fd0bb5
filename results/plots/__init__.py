"""Figures of a run, in order: one line each; a figure's file owns numbers, ink and words."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from results.plots.arms.curves import CURVES, CURVES_BY_COST
from results.plots.arms.differences import DIFFERENCES
from results.plots.arms.schedules import SCHEDULES
from results.plots.arms.time_use import TIME_USE
from results.plots.figure import Plot, arms_of
from results.plots.papers.critical import CRITICAL
from results.plots.papers.decay_rates import DECAY_RATES
from results.plots.papers.exchange import EXCHANGE
from results.plots.papers.noise import NOISE
from results.plots.papers.published import PUBLISHED
from results.plots.papers.sampling import SAMPLING
from results.plots.papers.sharpness import SHARPNESS
from results.plots.search.best_of_n import BEST_OF_N
from results.plots.search.importances import IMPORTANCES
from results.plots.search.parameter_map import PARAMETER_MAP
from results.plots.search.progress import PROGRESS
from results.plots.search.slices import SLICES
from results.plots.style import save_figure
from results.records.schema import Row
from results.run import Run

# Name, also of the file -> figure; in the report they stand in this order, section by section.
PLOTS: dict[str, Plot] = {
    "curves": CURVES,
    "curves_by_cost": CURVES_BY_COST,
    "schedules": SCHEDULES,
    "parameter_map": PARAMETER_MAP,
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
    "critical": CRITICAL,
    "exchange": EXCHANGE,
    "published": PUBLISHED,
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
    written: list[Path] = []
    for name, plot in PLOTS.items():
        info = plot.info(run)
        if not arms_of(info):
            continue

        def draw(figure: Figure, plot: Plot = plot, info: object = info) -> None:
            plot.draw(info, figure)
            _add_scale(figure, scale_line(run))

        written += save_figure(draw, *(Path(directory) / f"{name}.{kind}" for kind in formats))
    return written
