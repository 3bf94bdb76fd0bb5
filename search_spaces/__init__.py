"""WHICH schedules exist and which are tried: the registries of families and spaces."""

from __future__ import annotations

import math

from search_spaces.families import constant, cosine, cosine_power, exp, poly, wsd
from search_spaces.schedule import Curve
from search_spaces.space import Range, SearchSpace

# A family is a decay curve d(progress, **params) with d(0) = 1.
FAMILIES: dict[str, Curve] = {
    "poly": poly.curve,
    "cosine": cosine.curve,
    "exp": exp.curve,
    "wsd": wsd.curve,
    "cosine_power": cosine_power.curve,
    "constant": constant.curve,
}

# Default ranges of each family's own parameters.
FAMILY_RANGES: dict[str, dict[str, Range]] = {
    "poly": poly.RANGES,
    "cosine": cosine.RANGES,
    "exp": exp.RANGES,
    "wsd": wsd.RANGES,
    "cosine_power": cosine_power.RANGES,
    "constant": constant.RANGES,
}

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

SPACES: dict[str, SearchSpace] = {
    "poly": SearchSpace(name="poly", family="poly", ranges=COMMON | poly.RANGES),
    "linear": SearchSpace(name="linear", family="poly", ranges=COMMON | {"p": Range(value=1.0)}),
    "cosine": SearchSpace(name="cosine", family="cosine", ranges=COMMON),
    "exp": SearchSpace(name="exp", family="exp", ranges=COMMON | exp.RANGES),
    "step": SearchSpace(name="step", family="exp", ranges=COMMON | STEP_STAGES),
    "lr": SearchSpace(name="lr", family="exp", ranges=COMMON | PAPER_STAGES),
    "batch": SearchSpace(
        name="batch", family="exp", ranges=COMMON | PAPER_STAGES | {"split": BATCH}
    ),
    "hybrid": SearchSpace(
        name="hybrid", family="exp", ranges=COMMON | PAPER_STAGES | {"split": HYBRID}
    ),
    "wsd": SearchSpace(name="wsd", family="wsd", ranges=COMMON | wsd.RANGES),
    "cosine_power": SearchSpace(
        name="cosine_power", family="cosine_power", ranges=COMMON | cosine_power.RANGES
    ),
    "constant": SearchSpace(name="constant", family="constant", ranges=COMMON | ONE_STAGE),
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
    "momentum": SearchSpace(
        name="momentum",
        family="poly",
        ranges=COMMON | poly.RANGES | {"momentum_share": Range(value=1.0)},
    ),
    # The loss is also smoothed explicitly, by moving the weights at random.
    "explicit": SearchSpace(
        name="explicit",
        family="poly",
        ranges=COMMON | poly.RANGES | {"radius0": Range(low=0.1, high=10.0, log=True)},
    ),
}
