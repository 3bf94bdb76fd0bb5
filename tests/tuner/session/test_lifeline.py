"""Who notices that the head of the cluster, or this machine's node, has died?"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tuner.session import lifeline
from tuner.session.lifeline import Lifeline, addresses_of_ray

SOON = 5.0  # seconds, on a busy machine


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setattr(lifeline, "PROBE_SECONDS", 0.02)
    monkeypatch.setattr(lifeline, "DEAD_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_death_is_told_once_by_name_and_address(listener: socket.socket) -> None:
    address, lines, told = listener.getsockname(), [], threading.Event()

    def lost(line: str) -> None:
        lines.append(line)
        told.set()

    with Lifeline({"the head": address}, lost) as life:
        assert life.verdict() is None
        listener.close()
        assert told.wait(SOON)
        life.thread.join(SOON)
    assert lines == [f"the head, 127.0.0.1:{address[1]}, has died"]
    assert life.verdict() == lines[0]


def test_one_that_comes_back_in_time_was_not_dead(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifeline, "DEAD_SECONDS", 1000.0)
    lines: list[str] = []
    with Lifeline({"the head": listener.getsockname()}, lines.append):
        listener.close()
        time.sleep(0.2)
    assert lines == []


@pytest.mark.slow
def test_one_that_is_slow_to_answer_is_not_dead(listener: socket.socket) -> None:
    # Nobody accepts: a frozen process, or a slow network.
    listener.listen(0)
    lines: list[str] = []
    with Lifeline({"the head": listener.getsockname()}, lines.append):
        time.sleep(0.5)
    assert lines == []


def test_without_a_ray_nothing_is_asked_and_none_is_started() -> None:
    assert addresses_of_ray() == {}
    with Lifeline({}, lambda line: None) as life:
        assert not life.thread.is_alive()
    assert addresses_of_ray() == {}
