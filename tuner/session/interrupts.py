"""How does a person or a scheduler stop a run? Signals, noted and obeyed in order."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tuner.display.phrases import say_at_once

# Exit codes; that of an interrupt is 128 + its signal.
OK, SOME_FAILED, STORAGE_LOST = 0, 1, 4
# What asks a process to end: Ctrl-C, kill, schedulers of jobs (USR1, USR2, XCPU), a closed
# terminal, Ctrl-\. All end a process that does not handle them.
STOPS = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU),
)
STOPPING = "stopping: keeping everything (again to leave at once)"
PATIENCE_SECONDS = 6.0  # for Tune's loop to stop after a signal; usually 0.4 s
# After `ray job stop` Ray kills the job; the loop and Ray's shutdown may each use this share.
JOB_STOP_SECONDS, SHARE_OF_JOB = 3.0, 0.4
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it for a job's own process


def patience_seconds(environ: Mapping[str, str]) -> float:
    """How long Tune's loop may take to stop; in a job of Ray's less than what Ray itself waits.

    Example:
        >>> patience_seconds({}), round(patience_seconds({"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}), 1)
        (6.0, 1.2)
    """
    if JOB_VARIABLE not in environ:
        return PATIENCE_SECONDS
    try:
        waits = float(environ.get("RAY_JOB_STOP_WAIT_TIME_S", JOB_STOP_SECONDS))
    except ValueError:
        waits = JOB_STOP_SECONDS
    return min(PATIENCE_SECONDS, SHARE_OF_JOB * waits)


class Interrupted(KeyboardInterrupt):
    """A signal came before there was anything to keep."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interrupts:
    """Notes the signals of STOPS: the first stops the run in order, the second at once.

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
        self.abandon: Callable[[], None] = lambda: None
        self.may_keep = True  # False: nothing has begun, and a signal raises Interrupted
        self.leave: Callable[[], None] | None = None
        self.watchdog: threading.Timer | None = None

    def install(self) -> None:
        """Take over the signals, also again: Ray and Tune set their own. Other threads have none.

        Under nohup a closed terminal stays ignored.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in STOPS:
            before = signal.getsignal(number)
            if number != signal.SIGHUP or before != signal.SIG_IGN:
                self.before.setdefault(number, before)
                signal.signal(number, self._handle)

    @contextlib.contextmanager
    def before_anything(self, abandon: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Within, nothing has begun that could be kept: a signal ends the block at once.

        Where it came amidst an import the exception may be lost, or leave a lock that all wait
        for: then the process ends a little later, if it is ours to end.

        Args:
            abandon: gives free what has been claimed.

        Raises:
            Interrupted: a signal came.
        """
        self.install()
        self.may_keep, self.abandon = False, abandon
        try:
            yield
            if self.received is not None:
                raise Interrupted(self.received)
        except BaseException as error:
            self.restore()
            if isinstance(error, SystemExit):  # Ray's own way to end at SIGTERM, while it starts
                raise Interrupted(int(error.code or signal.SIGTERM)) from None
            raise
        self.may_keep = True
        self.install()

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
        self.watchdog = threading.Timer(patience_seconds(os.environ), leave)
        self.watchdog.daemon = True
        self.watchdog.start()

    def _give_up(self) -> None:
        with contextlib.suppress(Exception):
            self.abandon()
        say_at_once("interrupted before anything started")
        os._exit(self.exit_code)

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
        if not self.may_keep:
            if self.may_exit:
                self._watch(self._give_up)
            raise Interrupted(number)
        if self.leave is not None:
            self._watch(self.leave)
        self.notice(STOPPING)
