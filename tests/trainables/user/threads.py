"""The user's function in a thread of this process: it may be any closure, and costs no fork.

What only processes can show (deaths, hangs, module state, signals, logs) is tested with them, in
tests/trainables/user/test_process.py.
"""

from __future__ import annotations

import functools
import threading
from queue import SimpleQueue
from typing import Any

from trainables.user.adapter import UserTraining
from trainables.user.answers import Abandoned, End, EpochReport, Ready
from trainables.user.process import STOP_SECONDS, Order
from trainables.user.server import run


class Queues:
    """Implements `Turns`."""

    def __init__(self) -> None:
        self.asked: SimpleQueue[None] = SimpleQueue()
        self.answers: SimpleQueue[Any] = SimpleQueue()
        self.is_over = False

    def tell(self, answer: EpochReport | End | Ready) -> None:
        self.answers.put(answer)

    def wait(self) -> None:
        if not self.is_over:
            self.asked.get()
        if self.is_over:
            raise Abandoned


class Thread:
    """Implements `Player`."""

    start_seconds = 0.0

    def __init__(self, order: Order, seconds: float | None) -> None:
        self.turns = Queues()
        self.thread = threading.Thread(target=run, args=(order, self.turns), daemon=True)
        self.thread.start()
        assert isinstance(self.turns.answers.get(), Ready)

    def ask(self, seconds: float | None, ahead: int = 0) -> EpochReport | End:
        self.turns.asked.put(None)
        answer: EpochReport | End = self.turns.answers.get()
        return answer

    def leave(self) -> End | None:
        self.turns.is_over = True
        self.turns.asked.put(None)
        self.thread.join(STOP_SECONDS)
        return None if self.turns.answers.empty() else self.turns.answers.get()


InThread = functools.partial(UserTraining, start=Thread)
