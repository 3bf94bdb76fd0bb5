"""How does a person or a scheduler stop a run? Signals, noted and obeyed in order."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from tuner.display.phrases import say_at_once

# Exit codes; that of an interrupt is 128 + its signal.
OK, SOME_FAILED, STORAGE_LOST = 0, 1, 4
STOPPING = "stopping: keeping everything (again to leave at once)"
PATIENCE_SECONDS = 6.0  # for Tune's loop to stop after a signal; usually 0.4 s


class Interrupts:
    """Notes SIGINT, SIGTERM, SIGUSR1: the first stops the run in order, the second at once.

    A signal to the whole process group (timeout, systemd, SLURM) also ends Ray's processes, and
    Tune's loop, or Ray's shutdown after it, then waits for them without end: `leave` is called
    when all has not stopped soon. `notice` tells the person, out of the signal's handler.

    Args:
        may_exit: the process is ours to end. In that of a script or notebook the second signal is
            a KeyboardInterrupt, and so is what has not stopped soon; while the books are closed
            no signal is heard.
    """

    def __init__(self, *, may_exit: bool = True) -> None:
        self.may_exit, self.is_closing = may_exit, False
        self.received: int | None = None
        self.notice: Callable[[str], None] = say_at_once
        self.before: dict[int, Any] = {}
        self.leave: Callable[[], None] | None = None
        self.watchdog: threading.Timer | None = None

    def install(self) -> None:
        """Take over the signals; after ray.init, which sets its own. Other threads have none."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            self.before.setdefault(number, signal.signal(number, self._handle))

    def restore(self) -> None:
        """Give the signals back and call off `leave`: a notebook goes on after the run."""
        if self.watchdog is not None:
            self.watchdog.cancel()
        for number, handler in self.before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def loop_ended(self) -> None:
        """Tune's loop has stopped: from now on only Ray's shutdown may be waited for in vain."""
        self.leave, self.is_closing = None, True
        if self.watchdog is not None:
            self.watchdog.cancel()
            if self.may_exit:
                self._watch(lambda: os._exit(self.exit_code))

    def repeat(self) -> None:
        """As if the person had pressed again; from another thread."""
        main = threading.main_thread().ident
        if main is not None:
            signal.pthread_kill(main, signal.SIGINT)

    def _watch(self, leave: Callable[[], None]) -> None:
        self.watchdog = threading.Timer(PATIENCE_SECONDS, leave)
        self.watchdog.daemon = True
        self.watchdog.start()

    @property
    def exit_code(self) -> int:
        """128 + the signal's number."""
        assert self.received is not None, "asked only after an interrupt"
        return 128 + self.received

    def _handle(self, number: int, frame: Any) -> None:
        if self.received is not None and self.may_exit:
            os._exit(128 + number)
        if self.received is not None:
            if self.is_closing:
                return
            raise KeyboardInterrupt
        self.received = number
        if self.leave is not None:
            self._watch(self.leave)
        self.notice(STOPPING)
