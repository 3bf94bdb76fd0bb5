"""How are numbers spoken of? Here every number of a table or a sentence becomes text.

Accuracies are told in percent, their differences in points (100 x accuracy); what is not known is
"-". Columns that differ between tables differ in their titles, never in how a number is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from results.statistics.resampling import SAME
from results.tables import UNKNOWN
from search_spaces.space import TUNED_BASELINE, is_baseline, param_text

LEAST_P = 0.001  # smaller p values are called so


def arm_label(name: str) -> str:
    """The arm's name for readers: the baseline is "your default", or as the user calls it.

    Example:
        >>> arm_label("baseline"), arm_label("baseline_tuned:cosine to 10 %")
        ('your default (not tuned)', 'cosine to 10 % (tuned)')
    """
    if not is_baseline(name):
        return name
    kind, _, own = name.partition(":")
    return f"{own or 'your default'} ({'' if kind == TUNED_BASELINE else 'not '}tuned)"


def short_label(name: str) -> str:
    """The arm's name where there is little room: the baseline is "default", or its own name."""
    return (name.partition(":")[2] or "default") if is_baseline(name) else name


def points(*values: float) -> list[str]:
    """Accuracies in points with one decimal, or two where one would show a false zero."""
    return _in_points(values, any(SAME < abs(value) < 0.0005 for value in values))


def points_interval(mean: float, low: float, high: float) -> tuple[str, str]:
    """A difference in points and its interval: ("0.7", "[-3.1, 4.5]").

    All with one decimal, or two where one would show a false zero or one end as the mean.

    Example:
        >>> points_interval(0.001, 0.0008, 0.0012)
        ('0.10', '[0.08, 0.12]')
    """
    value, *ends = points(mean, low, high)
    if value in ends:
        value, *ends = _in_points((mean, low, high), True)
    return value, f"[{', '.join(ends)}]"


def interval_text(low: float | None, high: float | None) -> str:
    """ " [0.123, 1,450]", three digits each, or nothing where there is no interval."""
    if low is None or high is None:
        return ""
    return f" [{short_number(low)}, {short_number(high)}]"


def p_text(p_value: float | None) -> str:
    """Three decimals, "<0.001" below 0.001; "-" where there is none."""
    if p_value is None or not math.isfinite(p_value):
        return UNKNOWN
    return f"<{LEAST_P}" if p_value < LEAST_P else f"{p_value:.3f}"


def percent(share: float | None, decimals: int = 2) -> str:
    """ "97.31" for 0.9731; "-" where unknown."""
    if share is None or not math.isfinite(share):
        return UNKNOWN
    return f"{100 * share:.{decimals}f}"


def number(value: float | None) -> str:
    """Four digits, whole numbers with commas; "-" where unknown."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def short_number(value: float) -> str:
    """Three digits, without an exponent where the number is large: 0.0123, 1,450."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """ "3.2 s", "4 min 05 s" or "2 h 07 min"; "-" where unknown."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def counted(count: int, noun: str) -> str:
    """ "1 seed", "1,200 seeds"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def counts(pairs: Sequence[tuple[str, int]], unit: str) -> str:
    """ "n=5 seeds each", or "n seeds: poly 5, cosine 4" where they differ."""
    if len({n for _, n in pairs}) == 1:
        return f"n={pairs[0][1]} {unit}" + (" each" if len(pairs) > 1 else "")
    return f"n {unit}: " + ", ".join(f"{arm_label(name)} {n}" for name, n in pairs)


def status_counts(trials: Mapping[str, int]) -> str:
    """ "16 completed, 2 failed"."""
    return ", ".join(f"{count} {status}" for status, count in trials.items())


def format_params(params: Mapping[str, float]) -> str:
    """ "delta0=0.0884, interval=1, p=0.9": four digits, in a fixed order."""
    return ", ".join(f"{name}={param_text(name, value)}" for name, value in sorted(params.items()))


def _in_points(values: tuple[float, ...], finely: bool) -> list[str]:
    decimals = 2 if finely else 1
    return [f"{round(100 * value, decimals) + 0.0:.{decimals}f}" for value in values]
