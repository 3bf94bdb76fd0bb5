"""Signals: the first stops in order; the second leaves, or is raised where others live on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from tuner.session import interrupts as module
from tuner.session.interrupts import Interrupts


@pytest.fixture
def guest() -> Iterator[Interrupts]:
    """In a script or notebook."""
    interrupts = Interrupts(may_exit=False)
    interrupts.notice = lambda text: None
    interrupts.install()
    yield interrupts
    interrupts.restore()


def test_the_second_signal_is_raised_where_the_process_is_not_ours(guest: Interrupts) -> None:
    signal.raise_signal(signal.SIGINT)
    assert guest.received == signal.SIGINT
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_no_signal_is_heard_while_the_books_are_closed(guest: Interrupts) -> None:
    signal.raise_signal(signal.SIGTERM)
    guest.loop_ended()
    signal.raise_signal(signal.SIGINT)
    assert guest.exit_code == 143


def test_a_loop_that_does_not_stop_soon_is_left_as_by_a_second_signal(
    guest: Interrupts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.1)
    guest.leave = guest.repeat
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        threading.Event().wait(10)


def test_handlers_of_before_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    interrupts = Interrupts(may_exit=False)
    interrupts.install()
    assert signal.getsignal(signal.SIGINT) != before
    interrupts.restore()
    assert signal.getsignal(signal.SIGINT) == before
