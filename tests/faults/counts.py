"""How often did what is promised hold? Collected where GRADTUNE_FAULTS names a file.

`@pytest.mark.fault(row, text)` counts each run of a test (of each of its parameters) as one try;
`tries` counts what a test does several times, and such a test is marked with its row alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fcntl import LOCK_EX, flock  # not looked up later: tests replace it
from pathlib import Path
from typing import Any

import pytest

FILE = "GRADTUNE_FAULTS"
only_full = pytest.mark.skipif(not os.environ.get(FILE), reason="only in `make faults`")
Once = Callable[[str, str], AbstractContextManager[None]]


def count(row: str, text: str, passed: int, of: int, test: str | None = None) -> None:
    """Add to the counts of a row of the fault table; the same text again adds up.

    Args:
        row: of the table, as "10". text: what was done and what has to follow.
        passed: how often it followed, `of` so many times; 0 of 0 where it was not tried.
        test: pytest's name of it; None = the one that runs.
    """

    def add(entry: dict[str, Any]) -> None:
        entry["passed"] += passed
        entry["of"] += of

    _change(row, text, add, test)


def worst(row: str, text: str, value: float, unit: str) -> None:
    """Keep the largest of the numbers that are told of this text."""

    def keep(entry: dict[str, Any]) -> None:
        entry["worst"], entry["unit"] = max(value, entry.get("worst", value)), unit

    _change(row, text, keep)


@contextmanager
def tries() -> Iterator[Once]:
    """Inside, `with once(row, text)` is one try of several: it held if it raised nothing.

    All are made and counted, also after one that did not hold, for which the test fails at last.
    """
    errors: list[Exception] = []

    @contextmanager
    def once(row: str, text: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            errors.append(error)
            count(row, text, 0, 1)
        else:
            count(row, text, 1, 1)

    yield once
    if errors:
        raise ExceptionGroup(f"{len(errors)} tries did not hold", errors)


def repeats(few: int, many: int) -> int:
    """How often to try: `many` times where the counts are published (`make faults`)."""
    return many if os.environ.get(FILE) else few


def _change(
    row: str, text: str, change: Callable[[dict[str, Any]], None], test: str | None = None
) -> None:
    name = os.environ.get(FILE)
    if not name:
        return
    path, test = Path(name), test or os.environ["PYTEST_CURRENT_TEST"]
    path.touch()
    with path.open("r+") as file:
        flock(file, LOCK_EX)
        counts = json.loads(file.read() or "{}")
        entry = counts.setdefault(row, {}).setdefault(text, {"passed": 0, "of": 0, "tests": []})
        change(entry)
        entry["tests"] = sorted({*entry["tests"], test.partition("[")[0].partition(" (")[0]})
        file.seek(0)
        file.truncate()
        json.dump(counts, file, indent=2, sort_keys=True)
