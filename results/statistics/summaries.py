"""What is told of one arm beside its differences? Its scores, what it took, what it chose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from results.statistics.paired import Difference


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
        params: of the chosen config. config_key: its identity.
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
