"""Figures of a run: each an info function (numbers) and a draw function (ink)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from results.load import Run
from results.plots.curves import curves_info, draw_curves
from results.plots.differences import differences_info, draw_differences
from results.plots.schedules import draw_schedules, schedules_info
from results.plots.slices import draw_slices, slices_info
from results.plots.style import DPI


class Plot(NamedTuple):
    """A figure: what it shows (an info with `.arms`, empty = nothing to show), and how."""

    info: Callable[[Run], Any]  # each info type fits its own draw function
    draw: Callable[[Any, Figure], None]


PLOTS: dict[str, Plot] = {
    "curves": Plot(curves_info, draw_curves),
    "schedules": Plot(schedules_info, draw_schedules),
    "slices": Plot(slices_info, draw_slices),
    "differences": Plot(differences_info, draw_differences),
}


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
        for kind in formats:
            path = directory / f"{name}.{kind}"
            figure.savefig(path)
            written.append(path)
    return written
