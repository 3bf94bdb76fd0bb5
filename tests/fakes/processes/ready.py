"""`python -m MODULE` or `python FILE` in a process forked from one that has imported everything.

A driver imports for 3 s (6 s of CPU) before it does anything; a test of what it does then need not
wait for that. `python -m tests.fakes.processes.ready SOCKET` imports, and forks for each request;
the child has the output, folder, environment and session that its caller gave. What a first import
does (a start from nothing, a missing package, variables that Ray or torch read while they are
imported) is tested with `subprocess` itself.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import inspect
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tuner.session.cluster import ENVIRONMENT
from tuner.session.execution import HEAVY

IMPORTED = (*HEAVY, "torch", "tuner.display.summary")


@functools.cache
def _server() -> str:
    """The socket of the process that forks; it ends with this one."""
    path = f"{tempfile.mkdtemp(prefix='ready-')}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, path],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.communicate)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return path


def popen(code: str, *words: str, **options: Any) -> subprocess.Popen[str]:
    """subprocess.Popen of `python -m code words`, or of a file's `python code words`."""
    start = [code] if code.endswith(".py") else ["-m", code]
    return _Forked([sys.executable, *start, *words], text=True, **options)


def run(code: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The same to its end, with what it printed."""
    process = popen(code, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


class _Forked(subprocess.Popen[str]):
    """A child of the server: it is the server that waits for it."""

    def _execute_child(self, *args: Any) -> None:
        given = inspect.signature(super()._execute_child).bind(*args).arguments  # type: ignore[misc]
        with contextlib.ExitStack() as stack:
            ends = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
            null = os.open(os.devnull, os.O_RDWR)
            stack.callback(os.close, null)
            for end in {*ends}:
                if end > 2:
                    stack.callback(os.close, end)
            request = {
                "command": given["args"][1:],
                "cwd": str(given["cwd"] or os.getcwd()),
                "env": dict(given["env"] or os.environ),
                "session": given["start_new_session"],
            }
            line = socket.socket(socket.AF_UNIX)
            line.connect(_server())
            socket.send_fds(line, [b"3"], [null if end == -1 else end for end in ends])
            line.sendall(json.dumps(request).encode() + b"\n")
            self.pid = int(line.recv(20))
            self._child_created = True
            self._status = line.detach()

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        os.set_blocking(self._status, not wait_flags & os.WNOHANG)
        try:
            told = os.read(self._status, 20)
        except BlockingIOError:
            return 0, 0
        os.close(self._status)
        return self.pid, int(told)

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(False):  # type: ignore[attr-defined]
            try:
                pid, status = self._try_wait(os.WNOHANG)
                if pid:
                    self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode


def _serve(path: str) -> None:
    gc.disable()
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    gc.enable()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    wake, woken = socket.socketpair()
    for end in (wake, woken):
        end.setblocking(False)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    watch = selectors.DefaultSelector()
    for end in (listener, wake, sys.stdin):
        watch.register(end, selectors.EVENT_READ)
    callers: dict[int, socket.socket] = {}
    print("ready", flush=True)
    while True:
        ready = {key.fileobj for key, _ in watch.select()}
        if sys.stdin in ready:
            os._exit(0)
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                wake.recv(1000)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                caller = callers.pop(ended[0])
                with contextlib.suppress(OSError):  # whoever asked is gone
                    caller.sendall(str(ended[1]).encode())
                caller.close()
        if listener in ready:
            caller = listener.accept()[0]
            _, ends, _, _ = socket.recv_fds(caller, 1, 3)
            request = json.loads(caller.makefile().readline())
            pid = os.fork()
            if pid == 0:
                for end in (listener, wake, woken, *callers.values()):
                    end.close()
                return _become(request, ends, caller)
            for end in ends:
                os.close(end)
            callers[pid] = caller


def _become(request: dict[str, Any], ends: list[int], caller: socket.socket) -> None:
    """Do as `python -m` would; the caller knows of it when it has its session and its ends."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if request["session"]:
        os.setsid()
    for number, end in enumerate(ends):
        os.dup2(end, number)
        os.close(end)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = open(
        2, "w", buffering=1, errors="backslashreplace", closefd=False
    )
    caller.sendall(str(os.getpid()).encode())
    caller.close()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    first, *words = request["command"]
    if first == "-m":
        sys.argv = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *words]
        sys.path[0] = os.path.dirname(os.path.abspath(first))
        _run_file(first)


def _run_file(path: str) -> None:
    """As `__main__`, which stays when its functions are called later (runpy takes its names)."""
    main = types.ModuleType("__main__")
    main.__file__ = path
    sys.modules["__main__"] = main
    exec(compile(Path(path).read_text(), path, "exec"), main.__dict__)


if __name__ == "__main__":
    _serve(sys.argv[1])
