"""What was measured along trainings: numbers and their words, one file a measurement."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from results.measurements import (
    critical,
    equivalence,
    exchange,
    noise,
    realised,
    sampling,
    sharpness,
)
from results.run import Run


class Measurement(NamedTuple):
    """What is measured, in a line; and what was found, line by line: none where nothing was."""

    meaning: str
    describe: Callable[[Run], list[str]]


# By name, as after `python -m tuner.measure`.
MEASUREMENTS: dict[str, Measurement] = {
    "noise": Measurement(
        "C^2 and K along the recipe's training, and delta as realised, with intervals",
        lambda run: [*noise.describe(run), *realised.describe(run)],
    ),
    "critical": Measurement(
        "the papers' critical batch size b* and the bound of C^2 that follows from it",
        critical.describe,
    ),
    "sampling": Measurement(
        "distribution of the gradient noise at one point (several batch sizes)", sampling.describe
    ),
    "exchange": Measurement(
        "doubling the batch equals dividing lr by 2^a: a, with an interval", exchange.describe
    ),
    "equivalence": Measurement(
        "SGD on known functions against descent on their smoothed form", equivalence.describe
    ),
    "sharpness": Measurement("worst-case sharpness over lr x batch", sharpness.describe),
}
