"""How are numbers spoken of? Here every number of a table or a sentence becomes text.

Accuracies are told in percent, their differences in points (100 x accuracy), any other metric in
its own unit, with as many decimals as show two digits of its spread; what is not known is "-".
Columns that differ between tables differ in their titles, never in how a number is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from results.statistics.resampling import SAME
from results.tables import UNKNOWN
from search_spaces.metric import Metric
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
    kind, _, given_name = name.partition(":")
    return f"{given_name or 'your default'} ({'' if kind == TUNED_BASELINE else 'not '}tuned)"


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


def amount(value: float, metric: Metric, width: float = math.nan) -> str:
    """A difference of this metric without its unit; width: of its interval, which sets the digits.

    Example:
        >>> amount(0.002, VAL_ACCURACY), amount(0.0291, make_metric("val_loss"), width=0.006)
        ('0.2', '0.0291')
    """
    if metric.is_accuracy:
        return points(value)[0]
    return _fixed(value, width) if 0 < width < math.inf else f"{value + 0.0:.4g}"


def amount_interval(mean: float, low: float, high: float, metric: Metric) -> tuple[str, str]:
    """A difference of this metric and its interval: ("-0.0291", "[-0.0350, -0.0232]")."""
    if metric.is_accuracy:
        return points_interval(mean, low, high)
    value, *ends = (amount(x, metric, (high - low) / 2) for x in (mean, low, high))
    return value, f"[{', '.join(ends)}]"


def with_unit(text: str, metric: Metric) -> str:
    """ "0.7 points", "0.029 nats", or the number alone where the metric names no unit."""
    return f"{text} {metric.unit}".rstrip()


def value_text(value: float | None, metric: Metric, spread: float = math.nan) -> str:
    """A value of this metric, of an accuracy in percent; spread: sets the digits of any other.

    Example:
        >>> value_text(0.9731, VAL_ACCURACY), value_text(3.28713, make_metric("val_loss"))
        ('97.31', '3.2871')
    """
    if metric.is_accuracy:
        return percent(value)
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return _fixed(value, spread) if 0 < spread < math.inf else f"{value:.5g}"


def screen_text(value: float | None, metric: Metric) -> str:
    """The same with the sign that it has on a screen: "97.31 %", "3.2871"."""
    text = value_text(value, metric)
    return f"{text} %" if metric.is_accuracy and text != UNKNOWN else text


def metric_words(metric: Metric) -> str:
    """ "validation accuracy" for val_accuracy, "test loss" for test_loss."""
    return " ".join("validation" if w == "val" else w for w in metric.name.split("_"))


def short_words(metric: Metric) -> str:
    """Where there is little room: "val" of an accuracy, "val loss" of a loss."""
    words = metric.name.replace("_", " ")
    return words.removesuffix(" accuracy") if metric.is_accuracy else words


def column_title(words: str, metric: Metric) -> str:
    """Over a column of values: "test accuracy %", "test loss (nats)"."""
    unit = " %" if metric.is_accuracy else f" ({metric.unit})" if metric.unit else ""
    return f"{words}{unit}"


def better_words(metric: Metric) -> str:
    """ "higher is better", or "lower is better"."""
    return f"{'higher' if metric.goal == 'max' else 'lower'} is better"


def axis_title(words: str, metric: Metric) -> str:
    """Along an axis of values: "validation accuracy [%]", "validation loss [nats]"."""
    unit = " [%]" if metric.is_accuracy else f" [{metric.unit}]" if metric.unit else ""
    return f"{words}{unit}"


def diverged_text(diverged: Mapping[str, tuple[int, int]], metric: Metric) -> str:
    """A sentence on what became of diverged seeds (how many of how many, by arm), or nothing."""
    parts = [
        f"{arm_label(name)} diverged on {count} of {counted(of, 'seed')}"
        for name, (count, of) in diverged.items()
        if count
    ]
    if not parts:
        return ""
    how = "counted as chance"
    if not metric.is_accuracy:
        how = "left out of its mean; an arm with diverged seeds is never called better"
    return f"{', '.join(parts)}, {how}."


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


def _fixed(value: float, width: float) -> str:
    """With as many decimals as show two digits of the width."""
    decimals = min(12, max(0, 1 - math.floor(math.log10(width))))
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"


def _in_points(values: tuple[float, ...], finely: bool) -> list[str]:
    decimals = 2 if finely else 1
    return [f"{round(100 * value, decimals) + 0.0:.{decimals}f}" for value in values]
