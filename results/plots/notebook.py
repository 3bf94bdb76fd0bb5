"""Which figures does a notebook show of a run and of a comparison? The main ones, as pictures."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Callable
from html import escape

from matplotlib.figure import Figure

from results.plots import PLOTS
from results.plots.arms.differences import DIFFERENCES, compared_info
from results.plots.figure import arms_of
from results.plots.style import draw_figure
from results.run import Run
from results.statistics.compare import Comparison

OF_A_RUN = ("curves", "schedules")  # names in PLOTS
WIDTH_PIXELS = 720  # on the page; a picture has more for screens with fine pixels


def draw_run(run: Run) -> str:
    """How its chosen schedules trained and what they did, as HTML."""
    drawn = []
    for name in OF_A_RUN:
        plot = PLOTS[name]
        info = plot.info(run)
        if arms_of(info):
            drawn.append(_image(functools.partial(plot.draw, info), plot.title))
    return "".join(drawn)


def draw_comparison(comparison: Comparison) -> str:
    """Every arm minus the reference, seed by seed, as HTML."""
    info = compared_info(comparison)
    if not info.arms:
        return ""
    return _image(functools.partial(DIFFERENCES.draw, info), DIFFERENCES.title)


def _image(draw: Callable[[Figure], None], title: str) -> str:
    file = io.BytesIO()
    draw_figure(draw).savefig(file, format="png")
    data = base64.b64encode(file.getvalue()).decode()
    style = f"max-width: {WIDTH_PIXELS}px; width: 100%"
    return f'<img alt="{escape(title)}" style="{style}" src="data:image/png;base64,{data}">'
