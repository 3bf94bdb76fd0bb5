"""What stands beside the interval of a difference? One entry a statistic; every table tells them.

Under repeated looks only those stand there that hold at any number of seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from results.statistics.paired import CONFIDENCE_SEQUENCE, Difference
from results.statistics.wording import p_text, percent, points_interval
from results.tables import UNKNOWN


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistic:
    """One way to look at the paired differences of two arms.

    Attributes:
        text: what it says of a difference (see its `values`); "-" where it says nothing.
        caption: what it is, in a few words.
        at_any_n: True where it may be read after every seed.
    """

    text: Callable[[Difference], str]
    caption: str
    at_any_n: bool = False


def share_won(difference: Difference) -> str:
    """ "80 [38, 96]": percent of the seeds, ties half."""
    share = percent(difference.prob_better, 0)
    if difference.prob_low is None:
        return share
    return f"{share} [{percent(difference.prob_low, 0)}, {percent(difference.prob_high, 0)}]"


def sign_flips(difference: Difference) -> str:
    """The p value of the sign-flip test."""
    return p_text(difference.permutation_p)


def bootstrap(difference: Difference) -> str:
    """The BCa interval, in points."""
    return _interval(difference.mean, difference.bootstrap_low, difference.bootstrap_high)


def fresh_images(difference: Difference) -> str:
    """The interval for fresh seeds and fresh test images, in points."""
    return _interval(difference.mean, difference.examples_low, difference.examples_high)


# Title of a column -> the statistic under it.
STATISTICS: dict[str, Statistic] = {
    "seeds won %": Statistic(
        text=share_won,
        caption="share of seeds on which the first is better with 95% Wilson interval",
        at_any_n=True,
    ),
    "sign-flip p": Statistic(text=sign_flips, caption="sign-flip test"),
    "BCa": Statistic(text=bootstrap, caption="95% BCa interval"),
    "seeds x test images": Statistic(
        text=fresh_images, caption="95% interval for fresh seeds and fresh test images"
    ),
}


def stand_beside(differences: Iterable[Difference]) -> dict[str, list[str]]:
    """Columns of text, one entry a difference; without those in which nothing is known."""
    differences = list(differences)
    columns = {
        title: [_cell(statistic, difference) for difference in differences]
        for title, statistic in STATISTICS.items()
    }
    return {title: cells for title, cells in columns.items() if set(cells) - {UNKNOWN}}


def _cell(statistic: Statistic, difference: Difference) -> str:
    is_valid = statistic.at_any_n or difference.interval_kind != CONFIDENCE_SEQUENCE
    return statistic.text(difference) if difference.n and is_valid else UNKNOWN


def _interval(mean: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return UNKNOWN
    return points_interval(mean, low, high)[1]
