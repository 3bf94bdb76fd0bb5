"""Recorded times: no clock that is set makes a negative or absurd duration."""

from __future__ import annotations

import ast
import time
from datetime import UTC, datetime, timedelta

import pytest

from results.records.wall_time import now
from tests.conftest import ROOT
from tests.test_layering import FILES

# Why each of these may ask the clock that jumps.
WALL = {
    "results/records/wall_time.py": "once, as the process begins",
    "results/records/lock.py": "compared with a file's time",
    "trainables/user/server.py": "a line for a person, in a log",
    "tuner/status.py": "compared with what another machine has told",
    "tuner/display/standing.py": "compared with what another process has recorded",
    "tuner/recording/trackers.py": "what a tracker's server wants, of a process of its own",
}


def test_it_is_the_walls_time_and_moves_on_with_it() -> None:
    first = now()
    assert first.tzinfo is UTC
    assert abs(first - datetime.now(UTC)) < timedelta(minutes=5)
    time.sleep(0.05)
    assert timedelta(seconds=0.05) <= now() - first < timedelta(seconds=5)


@pytest.mark.fault("28", "the clock of recorded times does not follow")
def test_a_clock_that_is_set_does_not_move_it(monkeypatch: pytest.MonkeyPatch) -> None:
    first = now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert timedelta(0) <= now() - first < timedelta(seconds=5)


def test_nothing_else_asks_a_clock_that_can_be_set() -> None:
    asked = {
        str(path.relative_to(ROOT))
        for path in FILES.values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in {("datetime", "now"), ("time", "time")}
    }
    assert asked <= {*WALL}
