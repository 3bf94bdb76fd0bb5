"""How do arms, their pairs and their costs stand side by side? As tables.

Beside the interval of a difference stand the STATISTICS; under repeated looks only those that hold
at any number of seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from results.statistics.claims import Claim
from results.statistics.paired import BY_PAIR, CONFIDENCE_SEQUENCE, Difference, how_taken
from results.statistics.wording import (
    amount,
    amount_interval,
    arm_label,
    better_words,
    column_title,
    duration,
    format_params,
    number,
    p_text,
    percent,
    short_label,
    status_counts,
    value_text,
)
from results.tables import UNKNOWN, Table
from search_spaces.metric import Metric


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmSummary:
    """One arm's scores.

    Attributes:
        mean, sd: nan for n=0, for n<2.
        difference: to the reference arm, paired.
        loss: geometric mean of the final training loss (nats); nan where a seed of this arm has
            none (no mean over survivors).
        loss_ratio: over the reference's, paired; nan where a seed of either has none.
        loss_low, loss_high: its interval, of the same kind as the difference's, taken of the
            logarithm; None where there is none.
    """

    name: str
    n: int
    mean: float
    sd: float
    difference: Difference | None
    loss: float = math.nan
    loss_ratio: float = math.nan
    loss_low: float | None = None
    loss_high: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What trainings took in all."""

    samples_seen: int
    optimizer_steps: int
    train_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmDetails:
    """What a reader wants to know beside an arm's scores.

    Attributes:
        params, config_key: of the chosen config.
        search, confirm: costs; search includes the select trials and partial trainings.
        num_trials: by status, all roles.
        on_edge: chosen parameters at an end of their range.
    """

    params: Mapping[str, float]
    config_key: str
    search: Cost
    confirm: Cost
    num_trials: Mapping[str, int]
    on_edge: tuple[str, ...]


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


# Title of a column -> the statistic under it.
STATISTICS: dict[str, Statistic] = {
    "seeds won %": Statistic(
        text=share_won,
        caption="share of seeds on which the first is better with 95% Wilson interval",
        at_any_n=True,
    ),
    "sign-flip p": Statistic(text=lambda d: p_text(d.permutation_p), caption="sign-flip test"),
    "BCa": Statistic(
        text=lambda d: _interval(d, d.bootstrap_low, d.bootstrap_high),
        caption="95% BCa interval",
    ),
    "seeds x test images": Statistic(
        text=lambda d: _interval(d, d.examples_low, d.examples_high),
        caption="95% interval for fresh seeds and fresh test images",
    ),
}


def arms_table(
    arms: Sequence[ArmSummary],
    minus: Mapping[str, Difference],
    *,
    metric: Metric,
    reference: str,
    losses: bool = False,
) -> Table:
    """What each arm scored on its confirm seeds, best first, and with which training losses.

    Args:
        minus: by arm, its difference to the reference.
    """
    rows = []
    for arm in sorted(arms, key=lambda arm: -metric.score(arm.mean) if arm.n else math.inf):
        difference = str(minus[arm.name]) if arm.name in minus else UNKNOWN
        cells = [arm_label(arm.name), str(arm.n), _score(arm, metric), difference]
        rows.append([*cells, *_losses(arm, arm.name == reference)] if losses else cells)
    words, unit = metric.name.replace("_", " "), f" in {metric.unit}" if metric.unit else ""
    by = how_taken(minus.values()).replace(BY_PAIR, "paired by seed")
    kinds, note = _kinds(minus.values()), f"; differences{unit}, {by}{_direction(metric)}"
    minus_title = f"minus {short_label(reference)}{kinds}"
    header = ["arm", "n", column_title(words, metric), minus_title]
    return Table(
        caption=f"{words.capitalize()}: mean and standard deviation over the confirm seeds (n)"
        f"{note if minus else ''}",
        header=[*header, "training loss", "over its"] if losses else header,
        rows=rows,
    ).known()


def pairs_table(
    claims: Sequence[Claim], *, metric: Metric, min_effect: float | None, left_out: int = 0
) -> Table:
    """Every pair of arms: interval, p values, and what may be claimed."""
    rows = [
        [
            _pair(claim),
            str(claim.difference.n),
            _amount(claim.difference),
            p_text(claim.difference.p_value),
            p_text(claim.p_holm),
            _outcome(claim, "" if min_effect is None else amount(min_effect, metric)),
        ]
        for claim in claims
    ]
    kinds = _kinds(claim.difference for claim in claims)
    by = how_taken(claim.difference for claim in claims)
    unit = metric.unit or "difference"
    more = f"{left_out} more pairs are not shown: results.load(...).compare().claims"
    return Table(
        caption=f"Pairs of arms: mean difference {by} (n){_direction(metric)}; p of no "
        "difference, then adjusted for all pairs",
        header=[
            "pair",
            "n",
            f"{unit}{kinds}",
            "p",
            "adjusted p",
            "outcome",
        ],
        rows=rows,
        note=more if left_out else "",
    ).known()


def tests_table(claims: Sequence[Claim]) -> Table:
    """What stands beside the interval of each pair; no rows where nothing does."""
    beside = stand_beside(claim.difference for claim in claims)
    captions = "; ".join(f"{title}: {STATISTICS[title].caption}" for title in beside)
    rows = zip(map(_pair, claims), *beside.values(), strict=True) if beside else ()
    return Table(
        caption=f"What stands beside the intervals. {captions}",
        header=["pair", *beside],
        rows=[*map(list, rows)],
    )


def stand_beside(differences: Iterable[Difference]) -> dict[str, list[str]]:
    """Columns of text, one entry a difference; without those in which nothing is known."""
    differences = list(differences)
    columns = {title: [_cell(s, d) for d in differences] for title, s in STATISTICS.items()}
    return {title: cells for title, cells in columns.items() if set(cells) - {UNKNOWN}}


def costs_table(details: Mapping[str, ArmDetails], unit: str = "samples") -> Table:
    """What each arm took; unit: what a sample is called."""
    rows = []
    for name, arm in details.items():
        search, confirm = arm.search, arm.confirm
        cells = [arm_label(name), number(search.samples_seen), duration(search.train_seconds)]
        cells += [number(confirm.samples_seen), number(confirm.optimizer_steps)]
        rows.append([*cells, duration(confirm.train_seconds)])
    return Table(
        caption=f"What each arm took: {unit} and training time of its search, then {unit}, "
        "optimizer steps and training time of its confirm trials",
        header=["arm", f"search {unit}", "time", f"confirm {unit}", "steps", "time"],
        rows=rows,
    )


def choices_table(details: Mapping[str, ArmDetails]) -> Table:
    """What each arm chose, and what became of its trials."""
    rows = []
    for name, arm in details.items():
        edge = f" (at an end of its range: {', '.join(arm.on_edge)})" if arm.on_edge else ""
        chosen = (format_params(arm.params) or UNKNOWN) + edge
        rows.append([arm_label(name), chosen, status_counts(arm.num_trials)])
    header = ["arm", "chosen config", "trials"]
    return Table(caption="What each arm chose, and all its trials", header=header, rows=rows)


def _score(arm: ArmSummary, metric: Metric) -> str:
    spread = f" +- {value_text(arm.sd, metric, arm.sd)}" if arm.n > 1 else ""
    return value_text(arm.mean, metric, arm.sd) + spread


def _losses(arm: ArmSummary, is_reference: bool) -> list[str]:
    """Geometric mean, and its ratio with an interval."""
    loss = UNKNOWN if math.isnan(arm.loss) else f"{arm.loss:.4f}"
    if is_reference or math.isnan(arm.loss_ratio):
        return [loss, UNKNOWN]
    interval = "" if arm.loss_low is None else f" [{arm.loss_low:.2f}, {arm.loss_high:.2f}]"
    return [loss, f"{arm.loss_ratio:.2f}{interval}"]


def _amount(difference: Difference) -> str:
    """The mean with its interval; why there is none is told in the table of arms."""
    if difference.low is None:
        return f"{difference.texts[0]} (no interval)"
    return str(difference)


def _outcome(claim: Claim, effect: str) -> str:
    if claim.outcome == "equivalent":
        return f"equal within {effect}"
    if claim.winner is not None:
        by = f" by over {effect}" if claim.outcome == "better by min_effect" else ""
        return f"{short_label(claim.winner)} is better{by}"
    needed = "" if claim.seeds_needed is None else f", ~{claim.seeds_needed:,} more seeds"
    return f"undecided{needed}"


def _direction(metric: Metric) -> str:
    """ ", lower is better", where that has to be said."""
    return f", {better_words(metric)}" if metric.goal == "min" else ""


def _pair(claim: Claim) -> str:
    return f"{short_label(claim.a)} - {short_label(claim.b)}"


def _kinds(differences: Iterable[Difference]) -> str:
    """ ", 95% t-interval": for a header."""
    return "".join(f", {kind}" for kind in sorted({d.interval_kind for d in differences}))


def _cell(statistic: Statistic, difference: Difference) -> str:
    is_valid = statistic.at_any_n or difference.interval_kind != CONFIDENCE_SEQUENCE
    return statistic.text(difference) if difference.n and is_valid else UNKNOWN


def _interval(difference: Difference, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return UNKNOWN
    return amount_interval(difference.mean, low, high, difference.metric)[1]
