"""Which arm is best, in one honest sentence?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from results.statistics.claims import BETTER, Claim, minus
from results.statistics.paired import CONFIDENCE_SEQUENCE, Scores
from results.statistics.sequential import rank
from results.statistics.wording import arm_label, points


def verdict(
    scores: Mapping[str, Scores], claims: Sequence[Claim], *, reference: str, min_effect: float
) -> str:
    """The best searched arm against the reference, then against the next searched arm."""
    finished = {name: values for name, values in scores.items() if values}
    ranked = rank({name: v for name, v in finished.items() if name != reference})
    if len(finished) < 2 or not ranked:
        only = ", ".join(arm_label(name) for name in finished) or "no arm"
        return f"nothing to compare yet: {only} has finished confirm trials."
    top, *others = ranked
    if reference in finished:
        parts = [_find(claims, top, reference).sentence]
        if others:
            parts.append(_lead(_find(claims, top, others[0]), top, others[0], min_effect))
    else:
        parts = [_find(claims, top, others[0]).sentence]
    return "; ".join(parts) + _correction(claims) + "."


def _find(claims: Sequence[Claim], a: str, b: str) -> Claim:
    return next(claim for claim in claims if {claim.a, claim.b} == {a, b})


def _lead(claim: Claim, top: str, following: str, min_effect: float) -> str:
    """Is the best searched arm separated from the next one?"""
    difference = claim.difference if claim.a == top else claim.difference.reverse
    verb = "is not separated from"
    if claim.outcome == "equivalent":
        verb = f"is within {points(min_effect)[0]} points of"
    elif claim.outcome in BETTER and claim.winner == top:
        verb = "is separated from"
    return (
        f"{top} {verb} the next arm, {arm_label(following)}: {minus(top, following, difference)}"
    )


def _correction(claims: Sequence[Claim]) -> str:
    """What the claims hold for."""
    compared = [claim.difference for claim in claims if claim.difference.n]
    several = f"all {len(compared)} comparisons" if len(compared) > 1 else ""
    if any(d.interval_kind == CONFIDENCE_SEQUENCE for d in compared):
        return f" ({f'for {several}, ' if several else ''}valid under repeated looks)"
    return f" (claims corrected for {several})" if several else ""
