"""By how much does each arm differ from the user's default, seed by seed?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from results.plots.figure import Plot
from results.plots.style import color_of, subplots
from results.run import Run
from results.statistics.claims import Claim
from results.statistics.compare import Comparison
from results.statistics.paired import (
    BY_PAIR,
    IN_TURN,
    OF_MEANS,
    T_INTERVAL,
    Difference,
    how_taken,
)
from results.statistics.wording import (
    amount,
    arm_label,
    better_words,
    counts,
    metric_words,
    p_text,
    with_unit,
)
from results.tables import UNKNOWN, Table
from search_spaces.metric import Metric

SIDE = 0.3  # of the width; a label takes up to 0.45 of it


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmDifference:
    """One arm minus the reference. seed_R: by paired seed; outcome: of the comparison."""

    name: str
    difference: Difference
    seed_R: NDArray[np.float64]
    outcome: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DifferencesInfo:
    """The objective of each arm on test data minus the reference's, best first.

    The reference is the baseline, or the first arm where there is none.
    """

    reference: str
    min_effect: float | None
    metric: Metric
    arms: tuple[ArmDifference, ...]

    @property
    def interval_kind(self) -> str:
        """What the bars are."""
        return self.arms[0].difference.interval_kind if self.arms else T_INTERVAL


def differences_info(run: Run) -> DifferencesInfo:
    """Paired differences of the confirm seeds, as the comparison judges them."""
    return compared_info(run.compare())


def compared_info(comparison: Comparison) -> DifferencesInfo:
    """The same of any comparison; seeds that are not paired have no dots."""
    metric = comparison.metric
    reference, minus = comparison.differences()
    claims = {frozenset((claim.a, claim.b)): claim for claim in comparison.claims}
    arms = [
        ArmDifference(
            name=name,
            difference=difference,
            seed_R=np.array(difference.values),
            outcome=_outcome(claims[frozenset((name, reference))], name),
        )
        for name, difference in minus.items()
    ]
    arms.sort(key=lambda arm: (-metric.score(arm.difference.mean), arm.name))
    return DifferencesInfo(
        reference=reference, min_effect=comparison.min_effect, metric=metric, arms=tuple(arms)
    )


def draw_differences(info: DifferencesInfo, figure: Figure) -> None:
    """One line an arm: dots are seeds, the bar is the interval of their mean."""
    axes = subplots(figure, 1.9 + 0.75 * len(info.arms))
    metric, grey = info.metric, ""
    if info.min_effect is not None:
        effect = metric.scale * info.min_effect
        axes.axvspan(-effect, effect, color="#e8e8e8", zorder=0)
        grey = f"; grey: below the minimum effect ({amount(info.min_effect, metric)})"
    axes.axvline(0.0, color="#404040", linewidth=1.0)
    arms = info.arms[::-1]
    for height, arm in enumerate(arms):
        _draw_arm(axes, arm, height)
    axes.set_yticks(range(len(arms)), [arm_label(arm.name) for arm in arms])
    axes.set_ylim(-0.6, len(arms) - 0.4)
    axes.margins(x=0.08)
    for height, arm in enumerate(arms):
        _write_label(axes, arm, height)
    unit = f" [{metric.unit}]" if metric.unit else ""
    axes.set_xlabel(
        f"{metric_words(metric)} minus {arm_label(info.reference)}{unit}, {better_words(metric)}"
    )
    is_paired = how_taken(arm.difference for arm in arms) == BY_PAIR
    dots = f"Dots: {'paired seeds' if is_paired else 'seeds, taken one by one'}; bar"
    dots = dots if any(len(arm.seed_R) for arm in arms) else "Bar"
    axes.set_title(f"{dots}: mean with {info.interval_kind}{grey}", fontsize=11)


def _outcome(claim: Claim, name: str) -> str:
    """In words, of the arm against the reference."""
    is_won = claim.winner in (None, name)
    return claim.outcome if is_won else claim.outcome.replace("better", "worse")


def _draw_arm(axes: Axes, arm: ArmDifference, height: int) -> None:
    color, difference = color_of(arm.name), arm.difference
    scale = difference.metric.scale
    seed_R = scale * arm.seed_R
    axes.scatter(seed_R, np.full(len(seed_R), height - 0.16), s=22, color=color, alpha=0.55)
    if difference.low is not None and difference.high is not None:
        ends = scale * difference.low, scale * difference.high
        axes.hlines(height, *ends, color=color, linewidth=3)
    axes.plot(scale * difference.mean, height, "D", color=color, markersize=8)


def _write_label(axes: Axes, arm: ArmDifference, height: int) -> None:
    """Above the mean; towards the middle from near the sides, not over the axis."""
    low, high = axes.get_xlim()
    mean, n = arm.difference.metric.scale * arm.difference.mean, arm.difference.n
    place = (mean - low) / (high - low)
    side = "left" if place < SIDE else "right" if place > 1 - SIDE else "center"
    text = f"{' '.join(arm.difference.texts)}, n={n}: {arm.outcome}"
    axes.annotate(text, (mean, height), (0, 9), textcoords="offset points", ha=side, fontsize=10)


def _differences_caption(info: DifferencesInfo) -> str:
    kinds = {arm.difference.interval_kind for arm in info.arms}
    taken = how_taken(arm.difference for arm in info.arms)
    seeds = counts(
        [(arm.name, arm.difference.n) for arm in info.arms],
        "paired seeds" if taken == BY_PAIR else "seeds",
    )
    how = {BY_PAIR: " on the same seed", IN_TURN: ", seeds taken one by one"}.get(taken, "")
    words, grey = metric_words(info.metric).capitalize(), ""
    if info.min_effect is not None:
        effect = with_unit(amount(info.min_effect, info.metric), info.metric)
        grey = f"; grey: below the minimum effect of {effect}"
    return (
        f"{words} of each arm minus {arm_label(info.reference)}"
        f"{how}, {seeds}; {better_words(info.metric)}. "
        f"Diamond: mean; bar: {' or '.join(sorted(kinds))} of the mean"
        f"{'' if taken == OF_MEANS else '; dots: seeds'}{grey}."
    )


def _differences_table(info: DifferencesInfo) -> Table:
    rows = [
        [
            arm_label(arm.name),
            str(arm.difference.n),
            *arm.difference.texts,
            p_text(arm.difference.p_value),
            ", ".join(_of_seed(float(value), info.metric) for value in arm.seed_R),
        ]
        for arm in info.arms
    ]
    words = metric_words(info.metric)
    words = f"Points of {words}" if info.metric.is_accuracy else words.capitalize()
    by = how_taken(arm.difference for arm in info.arms)
    caption = f"{words} minus {arm_label(info.reference)}, {by}; {better_words(info.metric)}"
    header = ["arm", "n", "mean", "interval", "p", "by seed"]
    rows = [[*cells, seeds or UNKNOWN] for *cells, seeds in rows]
    return Table(caption=caption, header=header, rows=rows).known()


def _of_seed(value: float, metric: Metric) -> str:
    return f"{100 * value:.2f}" if metric.is_accuracy else amount(value, metric)


DIFFERENCES = Plot(
    title="Paired differences", section="Evidence", info=differences_info, draw=draw_differences,
    caption=_differences_caption, table=_differences_table,
)  # fmt: skip
