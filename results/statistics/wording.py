"""How are differences spoken of? In points (100 x accuracy), with their interval and seeds."""

from __future__ import annotations

from results.statistics.paired import Difference
from results.statistics.resampling import SAME
from search_spaces.space import BASELINE

BASELINE_LABEL = "your default (not tuned)"
FEW_SEEDS = 5  # fewer are called preliminary


def arm_label(name: str) -> str:
    """The arm's name for readers: the baseline is "your default (not tuned)"."""
    return BASELINE_LABEL if name == BASELINE else name


def points(*values: float) -> list[str]:
    """Accuracies in points with one decimal, or two where one would show a false zero."""
    decimals = 2 if any(SAME < abs(value) < 0.0005 for value in values) else 1
    return [f"{round(100 * value, decimals) + 0.0:.{decimals}f}" for value in values]


def interval_text(difference: Difference) -> str:
    """ "[0.3, 2.1]" in points, or why there is none."""
    if difference.low is None or difference.high is None:
        if difference.n < 2:
            return "(no interval from one seed)"
        return f"(no interval from {'equal differences' if difference.sd == 0 else 'few seeds'})"
    _, low, high = points(difference.mean, difference.low, difference.high)
    return f"[{low}, {high}]"


def minus(a: str, b: str, difference: Difference) -> str:
    """ "poly minus cosine = 0.7 points [-3.1, 4.5]"."""
    if difference.n == 0:
        return "no seed in common"
    shown = points(difference.mean)[0]
    return f"{arm_label(a)} minus {arm_label(b)} = {shown} points {interval_text(difference)}"


def seeds(difference: Difference) -> str:
    """ "n=3 paired seeds (preliminary)"."""
    text = f"n={difference.n} paired seed{'s' if difference.n != 1 else ''}"
    if difference.num_unpaired:
        text += f", {difference.num_unpaired} unpaired left out"
    return text + (" (preliminary)" if difference.n < FEW_SEEDS else "")
