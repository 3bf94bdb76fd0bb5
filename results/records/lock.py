"""Who is writing a run? A lock file with pid and host, so that two drivers never do."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOCK_NAME = ".lock"


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """The process that holds, or held, a run's lock."""

    pid: int
    host: str

    @property
    def alive(self) -> bool:
        """False only when this host knows that the process is gone."""
        if self.host == socket.gethostname():
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return False
            except PermissionError:
                return True
        return True


class RunLock:
    """The right to write one run; held until `release` or the end of the process.

    The kernel's flock decides on one host (it cannot be stale and has no race); the pid and
    host inside decide where flock is missing or another host wrote them.
    """

    def __init__(self, run_dir: Path) -> None:
        path = run_dir / LOCK_NAME
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            flocked = self._flock(run_dir)
            holder = lock_holder(run_dir)
            other_host = holder is not None and holder.host != socket.gethostname()
            if holder is not None and holder.alive and (other_host or not flocked):
                raise _busy(run_dir, holder)
            self._write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        except BaseException:
            os.close(self._fd)
            raise

    def release(self) -> None:
        """Give the run free for the next writer."""
        with suppress(OSError):
            self._write("")
        os.close(self._fd)

    def _flock(self, run_dir: Path) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(run_dir, lock_holder(run_dir)) from None
        except OSError:  # a file system without flock
            return False
        return True

    def _write(self, text: str) -> None:
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text.encode(), 0)
        os.fsync(self._fd)


def lock_holder(run_dir: Path) -> Holder | None:
    """Who holds the lock, or died holding it; None after an orderly end."""
    try:
        content = json.loads((run_dir / LOCK_NAME).read_text())
        return Holder(pid=int(content["pid"]), host=str(content["host"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _busy(run_dir: Path, holder: Holder | None) -> ValueError:
    who = f"process {holder.pid} on {holder.host}" if holder else "another process"
    return ValueError(
        f"run {run_dir.name!r} is being written by {who}. Stop it first; if that machine is "
        f"gone, delete {run_dir / LOCK_NAME}."
    )
