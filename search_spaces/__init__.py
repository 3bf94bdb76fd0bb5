"""WHICH schedules exist and which are tried: the registries of families and spaces."""

from __future__ import annotations

import math

from search_spaces.families import FAMILIES as FAMILIES
from search_spaces.space import Range, SearchSpace

LR, BATCH = Range(value=1.0), Range(value=0.0)
# kappa = sqrt(3)/2 on lr and lambda = 1.5 on the batch: s = ln(sqrt(3)/2) / ln(1/sqrt(2)).
HYBRID = Range(value=0.41503749927884376)

# interval: from every epoch to half the training. delta0: a decade around the recipe's.
COMMON: dict[str, Range] = {
    "interval": Range(low=0.0, high=0.5, log=True, integer=True, relative=True),
    "delta0": Range(low=0.1, high=10.0, log=True, relative=True),
    "split": LR,
}
ONE_STAGE = {"interval": Range(value=1.0, integer=True, relative=True)}
# The papers' common decay: noise times 1/sqrt(2) every 40 of 200 epochs.
PAPER_STAGES = {
    "interval": Range(value=0.2, integer=True, relative=True),
    "factor": Range(value=math.sqrt(0.5)),
}
STEP_STAGES = {
    "interval": Range(low=0.05, high=0.5, log=True, integer=True, relative=True),
    "factor": Range(low=0.1, high=0.9, log=True),
}


def _space(name: str, family: str, **ranges: Range) -> SearchSpace:
    """The common ranges and the family's own, some of them changed."""
    known = COMMON | FAMILIES[family].ranges | ranges
    if "factor" in ranges:  # says per stage what end_ratio says of the whole
        del known["end_ratio"]
    return SearchSpace(name=name, family=family, ranges=known)


# Every family is a space of its own name.
SPACES: dict[str, SearchSpace] = {
    **{name: _space(name, name) for name in FAMILIES},
    "constant": _space("constant", "constant", **ONE_STAGE),
    "linear": _space("linear", "poly", p=Range(value=1.0)),
    # wsd with the cooldowns of arXiv 2405.18392: linear and 1 - sqrt.
    "wsd_linear": _space("wsd_linear", "wsd", p=Range(value=1.0)),
    "wsd_sqrt": _space("wsd_sqrt", "wsd_power_cool", q=Range(value=0.5)),
    # The cosine that ends above zero ("cosine to 10 %": end 0.1).
    "floor": _space("floor", "cosine", end=Range(low=0.0, high=0.5)),
    # Halving the cosine multiplies lr by 1/sqrt(2) and doubles the batch (arXiv 2510.14717).
    "seesaw": _space("seesaw", "cosine", split=Range(value=0.5)),
    "step": _space("step", "exp", **STEP_STAGES),
    "lr": _space("lr", "exp", **PAPER_STAGES),
    "batch": _space("batch", "exp", **PAPER_STAGES, split=BATCH),
    "hybrid": _space("hybrid", "exp", **PAPER_STAGES, split=HYBRID),
    # Constant lr and batch: what to search when no schedule is wanted.
    "lr_batch": SearchSpace(
        name="lr_batch",
        family="constant",
        ranges={
            **ONE_STAGE,
            "split": LR,
            "lr0": Range(low=0.1, high=10.0, log=True, relative=True),
            "batch0": Range(low=0.25, high=4.0, log=True, integer=True, relative=True),
        },
    ),
    # Momentum alone lowers delta (needs optimizer.momentum > 0).
    "momentum": _space("momentum", "poly", momentum_share=Range(value=1.0)),
    # How long lr rises before it decays is searched too.
    "warmup": _space("warmup", "cosine", warmup=Range(low=0.0, high=0.2)),
    # The loss is also smoothed explicitly, by moving the weights at random.
    "explicit": _space("explicit", "poly", radius0=Range(low=0.1, high=10.0, log=True)),
}
