"""How do arms, their pairs and their costs stand side by side? As tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from results.statistics.beside import STATISTICS, stand_beside
from results.statistics.claims import Claim
from results.statistics.paired import Difference
from results.statistics.summaries import ArmDetails, ArmSummary
from results.statistics.wording import (
    arm_label,
    duration,
    format_params,
    number,
    p_text,
    percent,
    points,
    short_label,
)
from results.tables import UNKNOWN, Table


def arms_table(
    arms: Sequence[ArmSummary],
    minus: Mapping[str, Difference],
    *,
    metric: str,
    reference: str,
    losses: bool = False,
) -> Table:
    """What each arm scored on its confirm seeds, best first.

    Args:
        minus: by arm, its difference to the reference.
        losses: with the training losses, also over the reference's.
    """
    rows = []
    for arm in sorted(arms, key=lambda arm: -arm.mean if arm.n else math.inf):
        difference = str(minus[arm.name]) if arm.name in minus else UNKNOWN
        cells = [arm_label(arm.name), str(arm.n), _score(arm), difference]
        rows.append([*cells, *_losses(arm, arm.name == reference)] if losses else cells)
    metric, told = metric.replace("_", " "), "; differences in points, paired by seed"
    kinds = _kinds(minus.values())
    header = ["arm", "n", f"{metric} %", f"minus {short_label(reference)}{kinds}"]
    return Table(
        caption=f"{metric.capitalize()}: mean and standard deviation over the confirm seeds (n)"
        f"{told if minus else ''}",
        header=[*header, "training loss", "over its"] if losses else header,
        rows=rows,
    ).known()


def pairs_table(claims: Sequence[Claim], *, min_effect: float, left_out: int = 0) -> Table:
    """Every pair of arms: interval, p values, and what may be claimed."""
    rows = [
        [
            _pair(claim),
            str(claim.difference.n),
            _in_points(claim.difference),
            p_text(claim.difference.p_value),
            p_text(claim.p_holm),
            _outcome(claim, points(min_effect)[0]),
        ]
        for claim in claims
    ]
    kinds = _kinds(claim.difference for claim in claims)
    more = f"{left_out} more pairs are not shown: results.load(...).compare().claims"
    return Table(
        caption="Pairs of arms: mean difference by paired seed (n); p of no difference, then "
        "adjusted for all pairs",
        header=["pair", "n", f"points{kinds}", "p", "adjusted p", "outcome"],
        rows=rows,
        note=more if left_out else "",
    ).known()


def tests_table(claims: Sequence[Claim]) -> Table:
    """What stands beside the interval of each pair; no rows where nothing does."""
    beside = stand_beside(claim.difference for claim in claims)
    told = "; ".join(f"{title}: {STATISTICS[title].caption}" for title in beside)
    return Table(
        caption=f"What stands beside the intervals. {told}",
        header=["pair", *beside],
        rows=[
            [_pair(claim), *cells]
            for claim, *cells in zip(claims, *beside.values(), strict=True)
            if cells
        ],
    )


def costs_table(details: Mapping[str, ArmDetails]) -> Table:
    """What each arm took."""
    rows = [
        [
            arm_label(name),
            number(arm.search.samples_seen),
            duration(arm.search.train_seconds),
            number(arm.confirm.samples_seen),
            number(arm.confirm.optimizer_steps),
            duration(arm.confirm.train_seconds),
        ]
        for name, arm in details.items()
    ]
    return Table(
        caption="What each arm took: samples and training time of its search, then samples, "
        "optimizer steps and training time of its confirm trials",
        header=["arm", "search samples", "time", "confirm samples", "steps", "time"],
        rows=rows,
    )


def choices_table(details: Mapping[str, ArmDetails]) -> Table:
    """What each arm chose, and what became of its trials."""
    rows = [
        [
            arm_label(name),
            (format_params(arm.params) or UNKNOWN)
            + (f" (at an end of its range: {', '.join(arm.on_edge)})" if arm.on_edge else ""),
            ", ".join(f"{count} {status}" for status, count in arm.num_trials.items()),
        ]
        for name, arm in details.items()
    ]
    return Table(
        caption="What each arm chose, and all its trials",
        header=["arm", "chosen config", "trials"],
        rows=rows,
    )


def _score(arm: ArmSummary) -> str:
    spread = f" +- {percent(arm.sd)}" if arm.n > 1 else ""
    return percent(arm.mean) + spread if arm.n else UNKNOWN


def _losses(arm: ArmSummary, is_reference: bool) -> list[str]:
    """Geometric mean, and its ratio with an interval."""
    loss = UNKNOWN if math.isnan(arm.loss) else f"{arm.loss:.4f}"
    if is_reference or math.isnan(arm.loss_ratio):
        return [loss, UNKNOWN]
    interval = ""
    if arm.loss_low is not None and arm.loss_high is not None:
        interval = f" [{arm.loss_low:.2f}, {arm.loss_high:.2f}]"
    return [loss, f"{arm.loss_ratio:.2f}{interval}"]


def _in_points(difference: Difference) -> str:
    """The mean with its interval; why there is none is told in the table of arms."""
    return (
        str(difference) if difference.low is not None else f"{difference.texts[0]} (no interval)"
    )


def _outcome(claim: Claim, effect: str) -> str:
    if claim.outcome == "equivalent":
        return f"equal within {effect}"
    if claim.winner is not None:
        by = f" by over {effect}" if claim.outcome == "better by min_effect" else ""
        return f"{short_label(claim.winner)} is better{by}"
    needed = "" if claim.seeds_needed is None else f", ~{claim.seeds_needed:,} more seeds"
    return f"undecided{needed}"


def _pair(claim: Claim) -> str:
    return f"{short_label(claim.a)} - {short_label(claim.b)}"


def _kinds(differences: Iterable[Difference]) -> str:
    """ ", 95% t-interval": for a header."""
    return "".join(f", {kind}" for kind in sorted({d.interval_kind for d in differences}))
