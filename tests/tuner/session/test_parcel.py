"""What travels with a function of a notebook: how large it is, by name, and whether it can."""

from __future__ import annotations

import functools
import textwrap
import threading
from typing import Any

import numpy as np
import pytest
import torch

from tuner.config.schema import ConfigError
from tuner.session.parcel import LARGE_BYTES, carried, check_parcel, num_bytes

CODE = """
import numpy as np
from math import sqrt

IMAGES, LABELS, UNUSED, RATE = np.zeros((4, 8)), b"abc", np.zeros(99), 0.5

def load():
    return IMAGES, again

def again():
    return load

def train(schedule, seed, report):
    inner = lambda: LABELS
    schedule.UNUSED = sqrt(np.abs(RATE))
    return load(), inner, missing
"""


def defined(code: str = CODE, **names: Any) -> dict[str, Any]:
    """The names of a notebook that has run this."""
    notebook: dict[str, Any] = {"__name__": "__main__", **names}
    exec(textwrap.dedent(code), notebook)
    return notebook


def test_what_a_function_and_its_helpers_read_travels_and_nothing_else() -> None:
    names = {name for name, _ in carried(defined()["train"])}
    assert names - {"sqrt"} == {"IMAGES", "LABELS", "RATE"}


def test_closures_and_bound_arguments_travel() -> None:
    data = [1, 2]

    def inner(schedule: object, seed: int, report: object) -> object:
        return data

    assert dict(carried(inner)) == {"data": [1, 2]}
    bound = functools.partial(inner, "a", seed=3)
    assert dict(carried(bound)) == {"argument 1": "a", "seed": 3, "data": [1, 2]}


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        (np.zeros((10, 100), dtype=np.float32), 4000, 4000),
        (torch.zeros(10, 100), 4000, 4000),
        ({"a": [np.zeros(500), b"x" * 1000]}, 5000, 5500),
        (b"x" * 100_000, 100_000, 100_100),
        ([torch.zeros(1000)], 4000, 6000),
    ],
)
def test_sizes_are_those_of_the_data(value: object, least: int, most: int) -> None:
    assert least <= num_bytes(value) <= most


def test_little_is_not_told_and_much_is_in_one_line_by_name() -> None:
    train = defined()["train"]
    assert check_parcel("__main__:train", train) == ""
    # An array of this many bytes that takes no memory.
    images = np.broadcast_to(np.float32(0), (LARGE_BYTES // 4,))
    train.__globals__["IMAGES"] = images
    line = check_parcel("__main__:train", train)
    assert line.startswith("note: __main__:train refers to 105 MB (IMAGES 105 MB, ")
    assert "whose trainings share arrays and tensors until they change them" in line
    assert "\n" not in line
    assert "UNUSED" not in line


def test_what_cannot_travel_is_named_before_anything_starts() -> None:
    notebook = defined("def train(schedule, seed, report):\n    LOCK\n", LOCK=threading.Lock())
    with pytest.raises(ConfigError, match="its variable 'LOCK' cannot travel") as caught:
        check_parcel("__main__:train", notebook["train"])
    assert "\n" not in str(caught.value)
