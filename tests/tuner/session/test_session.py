"""The end of a run that its loop does not reach by itself: the process leaves, once and always."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from tuner.session import session
from tuner.session.interrupts import SOME_FAILED, Interrupts
from tuner.session.session import Session


class Left(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Session]:
    """A session whose books close as `end` says; the process's end is an exception."""

    def leave(code: int) -> NoReturn:
        session.LEAVING.release()
        raise Left(code)

    def make(end: Callable[[Any], int]) -> Session:
        recorder: Any = SimpleNamespace(show=lambda event: None)
        unused: Any = None
        made = Session(
            plan=unused,
            slots=unused,
            campaign=unused,
            recorder=recorder,
            interrupts=Interrupts(),
        )
        monkeypatch.setattr(Session, "end", lambda self, problem: end(problem))
        return made

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(session, "LEAVING", threading.Lock())
    return make


def test_books_that_cannot_be_closed_do_not_keep_the_process(
    leaving: Callable[..., Session], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(problem: str | None) -> int:
        raise RuntimeError("dictionary changed size during iteration")

    with pytest.raises(Left) as left:
        leaving(fail)._leave("Ray has died")
    assert left.value.args == (SOME_FAILED,)
    assert "dictionary changed size" in capsys.readouterr().err
    stopped = leaving(fail)
    stopped.interrupts.received = 15
    with pytest.raises(Left) as left:
        stopped._leave()
    assert left.value.args == (143,)


def test_books_that_are_closed_are_not_closed_again(leaving: Callable[..., Session]) -> None:
    closed: list[str | None] = []
    made = leaving(lambda problem: closed.append(problem) or 3)
    made.ended.set()  # by the loop's own thread, while this one waited
    made._leave("Ray has died")
    assert closed == []
    assert not session.LEAVING.locked()
