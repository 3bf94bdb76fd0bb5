"""Who writes a run? A lock file with host, process and heartbeat, so that two drivers never do.

`.lock` is made with O_EXCL: of many that come at once one makes it, on every file system. That of
a dead driver is removed by the next one, inside `.lock.taking`, which is made the same way.
Whether the holder lives is known by the surest of these that applies:

1. the same kernel, and a file system with flock: the kernel's lock, which ends with its process;
2. the same table of processes (kernel and pid namespace): its pid, with the time it was started;
3. another machine, or another container: its heartbeat, the file's mtime.

Unless its process is seen to be gone, a heartbeat that seems old is watched before the run is
taken over, so that no clock that jumps makes a second driver. A driver that was stopped for so
long that another took over finds that out before it writes.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import json
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from results.records.segments import MANIFEST_NAME
from results.records.wall_time import now

LOCK_NAME, TAKING_NAME = ".lock", ".lock.taking"
BEAT_SECONDS = 3.0
STALE_SECONDS = 30.0  # without a heartbeat, for a holder that cannot be looked at
WATCH_SECONDS = 2.5 * BEAT_SECONDS  # in which one that lives is seen to beat
PATIENCE_SECONDS = 2.0  # for what takes another process milliseconds
PAUSE_SECONDS = 0.05
NO_FLOCK = (
    "the file system of {run_dir} has no file locks: whether another driver writes the run is "
    "known by its heartbeat alone"
)


class RunBusy(ValueError):
    """Another process writes the run; one sentence: who, where, since when."""


class TakenOver(OSError):
    """Another process writes the run now, as this one gave no sign of life."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """The process that holds, or held, a run's lock.

    Attributes:
        process: when it was started, in the kernel's ticks; "" where nobody tells.
        kernel: the boot of its machine. processes: the namespace that its pid belongs to.
        since: when it took the lock, ISO time. flock: the kernel's lock is on the file.
        token: of this lock alone.
        beat: time of the last heartbeat, of the file system's clock, in seconds.
        alive: as far as it can be known at a glance.
    """

    pid: int
    host: str
    process: str = ""
    kernel: str = ""
    processes: str = ""
    since: str = ""
    flock: bool = False
    token: str = ""
    beat: float = field(default=0.0, compare=False)
    alive: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        since = f" since {self.since[:19].replace('T', ' ')} UTC" if self.since else ""
        return f"process {self.pid} on {self.host}{since}"

    @property
    def is_known(self) -> bool:
        """True where its process can be looked at: the same table of processes."""
        here = bool(self.kernel) or self.host == socket.gethostname()
        return here and (self.kernel, self.processes) == _place()

    @property
    def is_gone(self) -> bool:
        """True where its process is seen to be gone; another may have its pid by now."""
        if not (self.is_known or self.is_older_here):
            return False
        started = _started(self.pid)
        return started is None or bool(self.process and started and started != self.process)

    @property
    def is_older_here(self) -> bool:
        """Of a version that wrote pid and host alone, on this host."""
        return not self.token and self.host == socket.gethostname()


class RunLock:
    """The right to write one run; held until `release` or the end of the process.

    Attributes:
        notes: what the person should know: whose lock was taken over, no flock here.

    Raises:
        RunBusy: another process writes the run.
        ValueError: the lock file is a symbolic link.
        OSError: the storage refused.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self._path = run_dir, run_dir / LOCK_NAME
        self.notes: list[str] = []
        self._token = secrets.token_hex(8)
        self._fd = self._take()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="run-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Before a write.

        Raises:
            TakenOver: another process writes the run now, or did and has ended.
        """
        try:
            self._path.lstat()
        except FileNotFoundError:
            if not (self.run_dir / MANIFEST_NAME).exists():  # nor is the run: writing will tell
                return
            why = "the run was taken over by another process, which has ended"
            raise TakenOver(errno.ESTALE, why) from None
        except OSError:  # of a network: what is to be written will tell
            return
        holder = lock_holder(self.run_dir)
        if holder is not None and holder.token != self._token:
            raise TakenOver(errno.ESTALE, f"the run was taken over by {holder}")

    def release(self) -> None:
        """Give the run free for the next writer. Releasing twice is harmless."""
        if self._released.is_set():
            return
        self._released.set()
        self._thread.join()
        with suppress(OSError):
            self.check()
            self._path.unlink()
        os.close(self._fd)

    def _take(self) -> int:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            with suppress(FileExistsError):
                return self._make()
            seen = _identity(self._path)
            holder = _read(self._path)
            if holder is not None and _lives(self._path, holder):
                raise _busy(self.run_dir, holder)
            # Empty is how an older version leaves it, and how it is before it is written.
            is_being_made = holder is None and _is_new(self._path)
            if is_being_made or not self._remove(holder, seen):
                time.sleep(PAUSE_SECONDS)
                if time.monotonic() > end:
                    raise _busy(self.run_dir, holder)

    def _make(self) -> int:
        """A lock file of our own: made, locked, written."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        fd = os.open(self._path, flags, 0o644)
        try:
            flocked = _flock(fd)
            os.write(fd, json.dumps(about_us(flocked, self._token)).encode())
            os.fsync(fd)
        except BaseException:
            os.close(fd)
            self._path.unlink(missing_ok=True)
            raise
        if not flocked:
            self.notes.append(NO_FLOCK.format(run_dir=self.run_dir))
        return fd

    def _remove(self, dead: Holder | None, seen: tuple[int, int] | None) -> bool:
        """Remove the lock of a dead driver, unless another does; False where it was not done."""
        taking = self._path.with_name(TAKING_NAME)
        try:
            os.close(os.open(taking, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        except FileExistsError:
            if not _is_new(taking):  # its maker was killed in these milliseconds
                taking.unlink(missing_ok=True)
            return False
        try:
            if _identity(self._path) != seen:  # another's by now, though still empty
                return False
            self._path.unlink(missing_ok=True)
        finally:
            taking.unlink(missing_ok=True)
        if dead is not None:
            why = "which has ended" if dead.is_gone else "which gives no sign of life any more"
            self.notes.append(f"taken over from {dead}, {why}")
        return True

    def _beat(self) -> None:
        """Show that we live; what cannot be done for now is done at the next beat."""
        while not self._released.wait(BEAT_SECONDS):
            with suppress(OSError):
                self.check()
                os.utime(self._path)


def lock_holder(run_dir: Path) -> Holder | None:
    """Who holds the lock, or died holding it; None after an orderly end."""
    try:
        return _read(run_dir / LOCK_NAME)
    except (OSError, ValueError):
        return None


def check_free(run_dir: Path) -> None:
    """Raise RunBusy where a process that lives writes the run, as far as is seen at a glance."""
    holder = lock_holder(run_dir)
    if holder is not None and holder.alive:
        raise _busy(run_dir, holder)


def _read(path: Path) -> Holder | None:
    """The holder that the file names; None where it names none.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is a symbolic link.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError(f"{path} is a symbolic link: remove it.") from None
        raise
    with open(fd, "rb") as file:
        holder = parse_holder(file.read())
        if holder is None:
            return None
        holder = replace(holder, beat=os.fstat(fd).st_mtime)
        return replace(holder, alive=_is_alive(holder, fd))


_TEXTS = ("process", "kernel", "processes", "since", "token")


def parse_holder(data: bytes) -> Holder | None:
    """The process that wrote this (see `about_us`), without when; None of anything else."""
    try:
        content = json.loads(data)
        known: dict[str, Any] = {name: str(content.get(name, "")) for name in _TEXTS}
        known["host"] = str(content["host"])
        return Holder(pid=int(content["pid"]), flock=bool(content.get("flock", True)), **known)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_alive(holder: Holder, fd: int) -> bool:
    """As far as it can be known at a glance."""
    is_same_kernel = holder.is_older_here or (holder.kernel and holder.kernel == _place()[0])
    is_flocked = _is_flocked(fd) if holder.flock and is_same_kernel else None
    if is_flocked is not None:
        return is_flocked
    if holder.is_known or holder.is_older_here:
        return not holder.is_gone
    # An older version has no heartbeat.
    return not holder.token or abs(time.time() - holder.beat) <= STALE_SECONDS


def _lives(path: Path, holder: Holder) -> bool:
    """As far as it can be known by looking for a while."""
    return holder.alive or not (holder.is_gone or _is_silent(path, holder))


def _is_silent(path: Path, holder: Holder) -> bool:
    """Whether it gives no sign for as long as a living one would."""
    end = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < end:
        time.sleep(BEAT_SECONDS / 10)
        seen = _read(path)
        if seen is None or seen != holder:
            return True  # another's by now, or nobody's
        if seen.alive or seen.beat != holder.beat:
            return False
    return True


def _identity(path: Path) -> tuple[int, int] | None:
    """Tells this file from any that came after it under its name; None = there is none."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _is_new(path: Path) -> bool:
    """Made within the last second, or gone already."""
    try:
        return abs(time.time() - path.lstat().st_mtime) <= PATIENCE_SECONDS / 2
    except FileNotFoundError:
        return True


def _flock(fd: int) -> bool:
    """Lock a file that is ours; False where the file system cannot."""
    for _ in range(100):  # somebody may be looking whether it is locked
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(PAUSE_SECONDS / 10)
        except OSError:
            return False
    return False


def _is_flocked(fd: int) -> bool | None:
    """Whether a process holds the kernel's lock, whose end gives it free; None = nobody tells."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def about_us(flocked: bool, token: str) -> dict[str, Any]:
    """What a lock tells of this process, so that others can see whether it lives."""
    kernel, processes = _place()
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "process": _started(os.getpid()) or "",
        "kernel": kernel,
        "processes": processes,
        "since": now().isoformat(),
        "flock": flocked,
        "token": token,
    }


@functools.cache
def _place() -> tuple[str, str]:
    """This boot of the kernel, and the namespace of our pids; "" where nobody tells."""
    kernel = processes = ""
    with suppress(OSError):
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        processes = os.readlink("/proc/self/ns/pid")
    return kernel, processes


def _started(pid: int) -> str | None:
    """When this process was started, in ticks of the kernel's; None where there is none.

    "" where there is one, and nobody tells when it was started.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]  # dead, and not yet waited for
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        return ""
    return ""


def _busy(run_dir: Path, holder: Holder | None) -> RunBusy:
    if holder is None:
        return RunBusy(f"run {run_dir.name!r} is just being taken by another process.")
    cure = "Stop it first"
    if not holder.token:
        cure += f"; if that machine is gone, delete {run_dir / LOCK_NAME}"
    elif not holder.is_known:
        cure += f"; if that machine is gone, try again in {STALE_SECONDS:.0f} s"
    return RunBusy(f"run {run_dir.name!r} is being written by {holder}. {cure}.")
