"""How far from the global minimum does each method end, function by function?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from results.measurements.functions import Solved
from results.plots.style import subplots

SMALLEST, LARGEST = 1e-6, 1e4  # errors beyond are drawn as these


def draw_functions(table: Sequence[Solved], note: str, figure: Figure) -> None:
    """A field per function and method: colour the mean error, text the share of starts solved.

    note: scale of the experiment (dimension, evaluations), part of the caption.
    """
    functions = list(dict.fromkeys(entry.function for entry in table))
    methods = list(dict.fromkeys(entry.method for entry in table))
    error_FM = np.full((len(functions), len(methods)), np.nan)
    axes = subplots(figure, 1.9 + 0.42 * len(functions))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    for entry in table:
        row, column = functions.index(entry.function), methods.index(entry.method)
        error_FM[row, column] = min(max(entry.error, SMALLEST), LARGEST)
        is_dark = error_FM[row, column] > 1.0
        text = f"{entry.error:.2g}\n{entry.num_solved}/{entry.num_starts}"
        color = "white" if is_dark else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    image = axes.imshow(error_FM, norm=LogNorm(SMALLEST, LARGEST), cmap="cividis_r", aspect="auto")
    axes.set_xticks(
        range(len(methods)), [m.replace(" ", "\n").replace("_", "\n") for m in methods], fontsize=9
    )
    axes.set_yticks(range(len(functions)), functions)
    axes.xaxis.tick_top()
    figure.colorbar(image, ax=axes, label="mean f - f*", extend="both", pad=0.01)
    axes.set_xlabel(
        f"mean f - f* at the end, and starts that ended within tolerance of the minimum\n{note}",
        fontsize=9.5,
    )
