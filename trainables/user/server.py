"""What runs in the processes of the user's functions? A server that forks, and its children.

The server imports torch and computes nothing, so it has no threads and no CUDA that a fork
would break. A child becomes the leader of a group of its own, which ends with it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import faulthandler
import importlib
import io
import os
import random
import select
import signal
import socket
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from search_spaces.registry import allow_import, import_callable
from trainables.failures import lasting
from trainables.training import count_memory_anew, hardware
from trainables.user import extra_arguments
from trainables.user.answers import Abandoned, End, EpochReport, Failure, Ready, Turns
from trainables.user.handed import Handed, load
from trainables.user.process import STATUS, Order
from trainables.user.report import Report, load_state

PR_SET_PDEATHSIG = 1  # Linux: the signal that a process gets when its parent has died
# What torch imports as the first optimizer is made: 3 s, in every child anew.
LAZY = ("torch._dynamo",)
OURS = Path(__file__).resolve().parents[1]


def main(channel_number: int, preload: Sequence[str]) -> None:
    """Fork a child whenever the channel says so, tell how each ended, until the channel closes."""
    for name in (*LAZY, *preload):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    channel = socket.socket(fileno=channel_number)
    children: dict[int, int] = {}  # process -> where to tell how it ended
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    while True:
        ready, _, _ = select.select([channel_number, awake], [], [])
        if awake in ready:
            os.read(awake, 4096)
            _reap(children)
        if channel_number not in ready:
            continue
        message, numbers, _, _ = socket.recv_fds(channel, 1, 2)
        if not message:
            break
        connection, status = numbers
        child = os.fork()
        if child == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in (awake, wake, status, *children.values()):
                os.close(number)
            channel.close()
            _live(Connection(connection))
            _exit()
        os.close(connection)
        os.write(status, STATUS.pack(child))
        children[child] = status
    for child in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)


def _reap(children: dict[int, int]) -> None:
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            return
        number = children.pop(child)
        with contextlib.suppress(OSError):  # nobody listens any more
            os.write(number, STATUS.pack(status))
        os.close(number)


def _live(connection: Connection) -> None:
    """A child's life: what is ordered, one function after the other."""
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout, sys.stderr = map(_text_stream, (1, 2))
    faulthandler.enable()
    environment = {**os.environ}
    while True:
        try:
            order = connection.recv()
        except (EOFError, OSError):
            return
        if not isinstance(order, Order):  # meant for a function that had ended
            continue
        if order.log is not None:
            _write_to(Path(order.log), order)
        sys.path[:] = order.path
        # What has changed there: a function that is called again keeps what its module has set.
        for name in environment.keys() - order.environment.keys():
            os.environ.pop(name, None)
        for name, value in order.environment.items():
            if environment.get(name) != value:
                os.environ[name] = value
        environment = {**order.environment}
        run(order, Line(connection))


def _write_to(path: Path, order: Order) -> None:
    """Everything that is printed from now on, by whatever library."""
    sys.stdout.flush()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        if error.errno == errno.ELOOP:  # a symbolic link
            raise
        return  # a full disk costs the log, not the training
    for stream in (1, 2):
        os.dup2(number, stream)
    os.close(number)
    after = f" after report {order.report}" if order.report else ""
    print(f"[{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC] seed {order.seed}{after}")


class Output(io.RawIOBase):
    """A file descriptor that takes what it can: a full disk costs the log, not the training."""

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        """The descriptor."""
        return self.number

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: Any, /) -> int:
        """All of it, as far as one can tell."""
        with contextlib.suppress(OSError):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self.number, rest) :]
        return memoryview(data).nbytes


def _text_stream(number: int) -> io.TextIOWrapper:
    """What prints to it fails neither on a full disk nor on letters that it lacks."""
    raw = io.BufferedWriter(Output(number))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _exit() -> None:
    """As Python ends, without freeing torch's modules piece by piece (2 s)."""
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


class Line:
    """The child's end of the connection; implements `Turns`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.is_over = False
        self.num_allowed = 0  # reports that may be made without another word

    def tell(self, answer: EpochReport | End | Ready) -> None:
        """Answer what was asked."""
        with contextlib.suppress(OSError):  # nobody listens; `wait` says so
            self.connection.send(answer)

    def wait(self) -> None:
        """Until the next report may be made; what was said meanwhile is heard."""
        try:
            while not self.is_over and (not self.num_allowed or self.connection.poll()):
                more = self.connection.recv()
                self.num_allowed += more
                self.is_over = more == 0
        except (EOFError, OSError):
            self.is_over = True
        if self.is_over:
            raise Abandoned
        self.num_allowed -= 1


def run(order: Order, turns: Turns) -> None:
    """Import the function, wait for the first report to be asked for, let it report to its end.

    Python's, numpy's and torch's global generators are seeded before it is called.
    """
    failure = None
    is_ready = False
    try:
        function = load_function(order.function)
        extra = extra_arguments(function, order.params)
        turns.tell(Ready())
        is_ready = True
        turns.wait()
        report = Report(
            turns,
            num_reports=order.schedule.num_reports,
            report=order.report,
            state=None if order.state is None else load_state(order.state),
            device=order.device,
            threads=order.threads,
            confirms=order.confirms,
            metric=order.metric,
        )
        torch.set_num_threads(order.threads)
        random.seed(order.seed)
        np.random.seed(order.seed % 2**32)  # noqa: NPY002  (what the function's libraries use)
        torch.manual_seed(order.seed)
        count_memory_anew(torch.device(order.device))
        function(order.schedule, order.seed, report, **extra)
    except Abandoned:
        pass
    except BaseException as raised:
        failure = describe(raised)
    if not is_ready:
        turns.tell(Ready())
    about: dict[str, Any] = {}
    try:
        about = hardware(torch.device(order.device))
    except Exception as raised:  # a broken GPU: what the function has raised says more
        failure = failure or describe(raised)
    turns.tell(End(failure=failure, hardware=about))


def load_function(function: str | Handed | Callable[..., object]) -> Callable[..., object]:
    """The function that is named, handed over or given."""
    if isinstance(function, Handed):
        return load(function)
    if not isinstance(function, str):
        return function
    allow_import(function)  # whoever sent the order has asked: see UserTraining
    return import_callable(function)


def describe(error: BaseException) -> Failure:
    """What travels of an exception, which itself may not."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not Path(frame.filename).is_relative_to(OURS)]
    own = [frame for frame in theirs if not _is_installed(frame.filename)] or theirs or frames
    place = f"{own[-1].filename}, line {own[-1].lineno}" if own else ""
    return Failure(
        is_exception=isinstance(error, Exception),
        name=repr(error),
        line=traceback.format_exception_only(error)[-1].strip(),
        text="".join(traceback.format_exception(error)),
        place=place,
        status=lasting(error, is_users=True),
    )


def _is_installed(filename: str) -> bool:
    """True of a library's file."""
    places = map(sysconfig.get_path, ("purelib", "platlib", "stdlib"))
    return any(Path(filename).is_relative_to(place) for place in places)
