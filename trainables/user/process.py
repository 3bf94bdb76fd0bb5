"""How does the user's function get a process of its own, and how does it tell us how it goes?

A worker starts one `server.py`, a process that has imported torch and nothing of the user's. It
forks a child for each training in 0.05 s, where a new Python would import torch for seconds; the
worker itself, with Ray's threads and perhaps CUDA, is no process to fork. The child runs the
function in its main thread. Its end, however it comes, is the end of no other process.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Protocol

from search_spaces.metric import Metric
from search_spaces.schedule import Schedule
from trainables.failures import ProcessError, hang_text
from trainables.user.answers import End, EpochReport, Ready
from trainables.user.handed import Handed

STOP_SECONDS = 5.0  # an abandoned function has to leave `report` and clean up
DUMP_SECONDS = 2.0  # to write where it hangs
STATUS = struct.Struct("!i")
# What pickled functions of a notebook are made of, so that not every child imports it anew.
PICKLED = "ray.cloudpickle"


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What a child is to run; see `Report` for the fields that it hands on.

    Attributes:
        function: `package.module:function`, or where one lies that cannot be imported (or
            itself, for a player in this process).
        state: as the function gave it, serialized. log: where its output goes; None = nowhere
            else. path: where modules are found. environment: variables of this process, which
            may have changed since the server was started.
    """

    function: str | Handed | Callable[..., object]
    schedule: Schedule
    seed: int
    report: int
    state: bytes | None
    device: str
    threads: int
    confirms: bool
    metric: Metric
    params: Mapping[str, float] = field(default_factory=dict)
    log: str | None = None
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))
    environment: Mapping[str, str] = field(default_factory=lambda: {**os.environ}, repr=False)


class Player(Protocol):
    """Whoever runs the function: it is asked for report after report, and told when to leave.

    start_seconds: until the function was imported.
    """

    start_seconds: float

    def ask(self, seconds: float | None, ahead: int = 0) -> EpochReport | End:
        """The next report; ProcessError where none comes within the seconds.

        ahead: further reports that the function may make meanwhile, without being asked.
        """
        ...

    def leave(self) -> End | None:
        """Ask for no more; what the function ended with, where it said so."""
        ...


Start = Callable[[Order, float | None], Player]


class Child:
    """A child of the server, from its start to its end.

    Args:
        is_kept: it waits for the next order when a function has ended well.
    """

    def __init__(self, preload: tuple[str, ...], *, is_kept: bool) -> None:
        self.is_kept, self.preload = is_kept, preload
        self.log: str | None = None
        self.is_running = False
        ours, theirs = socket.socketpair()
        status, their_status = socket.socketpair()
        with theirs, their_status:
            server(preload).fork(theirs, their_status)
        self.connection, self.status = Connection(ours.detach()), status
        self.pid = self._read_status(None)
        if self.pid is None:
            raise ProcessError("the server of processes has died", log=None)

    @property
    def is_alive(self) -> bool:
        """True until it has ended."""
        return not self.connection.closed and not wait([self.status], 0)

    def begin(self, order: Order, seconds: float | None) -> None:
        """Let it import the function; returns when that is done."""
        self.log, self.is_running, begun = order.log, True, time.perf_counter()
        self.num_asked = self.num_allowed = 0
        with contextlib.suppress(OSError):  # a death is told below
            self.connection.send(order)
        ready = self._answer(seconds)
        assert isinstance(ready, Ready), "a child says first that it is ready"
        self.start_seconds = time.perf_counter() - begun

    def ask(self, seconds: float | None, ahead: int = 0) -> EpochReport | End:
        """Let the function go on to its next report, or end; and `ahead` reports beyond.

        Raises:
            ProcessError: the child has died; or it had said nothing for so long, and was ended.
        """
        self.num_asked += 1
        if self.num_allowed <= self.num_asked + ahead // 2:
            self._allow(self.num_asked + ahead)
        answer = self._answer(seconds)
        assert not isinstance(answer, Ready), "said once, at the start"
        if isinstance(answer, End):
            self.is_running = False
            self.is_kept = self.is_kept and answer.failure is None
        return answer

    def _allow(self, num_reports: int) -> None:
        """So many in all; a word for each report would cost more than the report."""
        more = num_reports - self.num_allowed
        if more > 0:
            self.num_allowed = num_reports
            with contextlib.suppress(OSError):
                self.connection.send(more)

    def leave(self) -> End | None:
        """Make the function leave `report`; then it waits for the next order, or it ends."""
        end = None
        if self.is_running and self.is_alive:
            with contextlib.suppress(OSError, EOFError):
                self.connection.send(0)
                end = self._last_words()
        self.is_running = False
        if end is not None and end.failure is not None:
            self.is_kept = False
        if self.is_kept and self.is_alive:
            _idle.append(self)
        else:
            self.close()
        return end

    def close(self) -> None:
        """End it: it has time for what it does at its exit."""
        if self.connection.closed:
            return
        self.connection.close()
        self._read_status(STOP_SECONDS)
        self._kill()
        self.status.close()

    def _last_words(self) -> End | None:
        """What an abandoned function ends with; None when it will not within STOP_SECONDS."""
        deadline = time.monotonic() + STOP_SECONDS
        while (left := deadline - time.monotonic()) > 0 and self.connection.poll(left):
            answer = self.connection.recv()
            if isinstance(answer, End):
                return answer
        self.is_kept = False
        return None

    def _answer(self, seconds: float | None) -> EpochReport | End | Ready:
        ready = wait([self.connection, self.status], seconds)
        if self.connection in ready:
            with contextlib.suppress(EOFError, OSError):
                answer: EpochReport | End | Ready = self.connection.recv()
                return answer
        raise ProcessError(self._died() if ready else self._hangs(seconds), log=self.log)

    def _died(self) -> str:
        """How; what it has left running ends too."""
        self._kill()
        how = describe_exit(self._read_status(STOP_SECONDS))
        self._forget()
        return f"the training's process {how}"

    def _hangs(self, seconds: float | None) -> str:
        """SIGABRT makes it write to its log where it is."""
        assert self.pid is not None
        assert seconds is not None, "without a limit nothing hangs"
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGABRT)
        wait([self.status], DUMP_SECONDS)
        self._kill()
        self._forget()
        return hang_text(seconds)

    def _forget(self) -> None:
        self.is_running = self.is_kept = False
        self.connection.close()
        self.status.close()

    def _kill(self) -> None:
        """It and whatever it has started (loaders); returns when its memory is free."""
        assert self.pid is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        wait([self.status], STOP_SECONDS)

    def _read_status(self, seconds: float | None) -> int | None:
        """The next number of the server's: first the child's id, then how it ended."""
        if not wait([self.status], seconds):
            return None
        data = self.status.recv(STATUS.size)
        return STATUS.unpack(data)[0] if data else None


_idle: list[Child] = []  # kept for the next training of this worker


def start_child(order: Order, seconds: float | None, *, isolate: bool = True) -> Child:
    """A child that has imported the function: a new one, or else the one of the last training.

    Raises:
        ProcessError: see `Child.ask`.
    """
    preload = preload_of(order.function)
    while _idle:
        child = _idle.pop()
        if child.is_alive and child.preload == preload and not isolate:
            break
        child.close()
    else:
        child = Child(preload, is_kept=not isolate)
    child.begin(order, seconds)
    return child


def preload_of(function: object) -> tuple[str, ...]:
    """Modules, none of the user's, that its server imports beforehand."""
    return (PICKLED,) if isinstance(function, Handed) else ()


class Server:
    """The process that forks; it ends with this one."""

    def __init__(self, preload: tuple[str, ...]) -> None:
        self.channel, theirs = socket.socketpair()
        code = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
        code += "from trainables.user.server import main; main(int(sys.argv[2]), sys.argv[3:])"
        with theirs:
            number = theirs.fileno()
            words = [sys.executable, "-c", code, json.dumps(sys.path), str(number), *preload]
            self.process = subprocess.Popen(
                words, pass_fds=[number], stdin=subprocess.DEVNULL, start_new_session=True
            )
        atexit.register(self.close)

    def fork(self, connection: socket.socket, status: socket.socket) -> None:
        """A new child, with these to speak over."""
        socket.send_fds(self.channel, [b"f"], [connection.fileno(), status.fileno()])

    def close(self) -> None:
        """End it, and its children."""
        self.channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)


@functools.cache
def _make_server(preload: tuple[str, ...], owner: int) -> Server:
    return Server(preload)


def server(preload: tuple[str, ...]) -> Server:
    """This process's server; a new one where it has died."""
    found = _make_server(preload, os.getpid())
    if found.process.poll() is not None:
        _make_server.cache_clear()
        found = _make_server(preload, os.getpid())
    return found


def describe_exit(status: int | None) -> str:
    """Words for what `os.wait` told of a process; None = it said nothing."""
    if status is None:
        return "has died"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
    why = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was ended by {name}{why}"
