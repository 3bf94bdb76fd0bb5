"""Is the verdict still open after the confirm seeds so far?"""

from __future__ import annotations

from collections.abc import Mapping

from search_spaces.metric import Metric
from tuner.campaign.arm import Arm


def is_undecided(
    arms: Mapping[str, Arm], num_seeds: int, *, metric: Metric, min_effect: float | None
) -> bool:
    """True when the verdict is open after (nearly) all seeds so far (confirm.until=decided).

    One seed may be under way, so that workers need not wait for its last training.

    Args:
        arms: by name, each with its chosen config. min_effect: in the metric's unit.
    """
    # scipy: not while Ray starts
    from results.statistics.claims import penalty
    from results.statistics.sequential import ALPHA, undecided_pairs

    scores = {name: arm.scores for name, arm in arms.items()}
    ended = set.intersection(*(set(own) for own in scores.values()))
    if len(ended) < num_seeds - 1:
        return False
    if not metric.is_accuracy:  # of one that only diverges no seed is paired
        scores = {n: own for n, own in scores.items() if any(v is not None for v in own.values())}
    kept = [i for i in ended if all(own[i] is not None for own in scores.values())]
    values = {name: {i: own[i] or 0.0 for i in kept} for name, own in scores.items()}
    look = 1 + sum(max(0, len(arm.confirmed) - 1) for arm in arms.values())
    alpha = ALPHA / penalty(look)
    return bool(undecided_pairs(values, min_effect=min_effect, alpha=alpha, metric=metric))
