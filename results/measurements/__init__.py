"""What was measured along trainings: numbers and their words, one file a measurement."""

from __future__ import annotations

from collections.abc import Callable

from results.measurements import critical, exchange, noise, sampling, sharpness
from results.run import Run

# Name, as after `python -m tuner.measure` -> what it found, line by line; none where nothing was
# measured.
MEASUREMENTS: dict[str, Callable[[Run], list[str]]] = {
    "noise": noise.describe,
    "critical": critical.describe,
    "sampling": sampling.describe,
    "exchange": exchange.describe,
    "sharpness": sharpness.describe,
}
