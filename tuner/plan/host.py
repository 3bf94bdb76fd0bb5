"""What does this machine allow? CPUs, and a folder for the sockets, logs and tokens of Ray."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tuner.config.schema import ConfigError

CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# A batch system's job -> the CPUs that it was given on this machine.
JOBS = {
    "SLURM_JOB_ID": "SLURM_CPUS_ON_NODE",
    "PBS_JOBID": "NCPUS",
    "LSB_JOBID": "LSB_DJOB_NUMPROC",
    "JOB_ID": "NSLOTS",  # Grid Engine
}
# Where temporary files may go: as these variables wish, else one of these places.
WISHES, PLACES = ("RAY_TMPDIR", "TMPDIR"), ("/tmp", "/var/tmp", "/dev/shm")
# What the kernel allows the path of a socket to have, and what comes below the folder: of Ray's
# own, and of those of Python's multiprocessing.
MAX_SOCKET_BYTES = 107
RAY_BYTES = len("/session_2026-11-26_10-07-08_601899_4194304/sockets/plasma_store.1")
LISTENER_BYTES = len("/pymp-abcdefgh/listener-abcdefgh")
MIN_FREE_BYTES = 100 * 2**20  # Ray's logs of a day take about as much


def num_cpus(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int:
    """CPUs that this process may keep busy, at least 1.

    The fewest that its affinity, the quotas of its cgroups (version 1 and 2, a part of a CPU
    rounded down) and its batch job allow.
    """
    has_affinity = hasattr(os, "sched_getaffinity")  # Linux
    counts = [len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1]
    counts += [int(quota) for quota in _quotas(cgroups, own)]
    for job, count in JOBS.items():
        if job in os.environ and os.environ.get(count, "").isdecimal():
            counts.append(int(os.environ[count]))
    return max(1, min(counts))


def _quotas(cgroups: Path, own: Path) -> Iterator[float]:
    """CPUs by the quota of each cgroup around this process, up to the root that it sees."""
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = Path(path)
        for name in ("", "unified") if not controllers else ("cpu", controllers):
            for level in (group, *group.parents):
                yield from _quota(cgroups / name / str(level).lstrip("/"))


def _quota(group: Path) -> Iterator[float]:
    limits = _read(group / "cpu.max").split()  # version 2
    if not limits:
        limits = [_read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(limits) == 2 and all(limit.isdecimal() for limit in limits) and int(limits[1]):
        yield int(limits[0]) / int(limits[1])


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def find_ray_folder() -> tuple[Path, list[str]]:
    """Where Ray's sockets and logs may go, and why it is not where RAY_TMPDIR or TMPDIR say.

    It must be writable, with space left, its path short enough for a socket, and no other user's.

    Raises:
        ConfigError: no folder is any good; each with its reason.
    """
    problems: dict[str, str] = {}
    wishes = {f"{name}={root}": root for name in WISHES if (root := os.environ.get(name))}
    for told, root in (wishes | dict(zip(PLACES, PLACES, strict=True))).items():
        for name in ("ray", f"ray-{os.getuid()}"):
            folder = Path(root).absolute() / name
            problems[told] = _why_not(folder, RAY_BYTES, is_own=True)
            if not problems[told]:
                return folder, [_told(wish, problems) for wish in wishes if problems.get(wish)]
    listed = "; ".join(_told(told, problems) for told in problems)
    raise ConfigError(
        f"no folder for Ray's sockets and logs ({listed}); set RAY_TMPDIR to a writable one whose "
        f"path has at most {MAX_SOCKET_BYTES - RAY_BYTES - len('/ray')} bytes"
    )


def _told(place: str, problems: dict[str, str]) -> str:
    return f"{place}: {problems[place]}"


def settle_temporary() -> Path:
    """The folder for Ray; what is not as RAY_TMPDIR or TMPDIR say is told on stderr.

    Where no temporary file can be made either, TMPDIR is set for this process and its children.
    """
    folder, problems = find_ray_folder()
    for problem in problems:
        print(f"note: {problem}: Ray's sockets and logs go to {folder}", file=sys.stderr)
    if _why_not(Path(os.environ.get("TMPDIR") or PLACES[0]), LISTENER_BYTES):
        os.environ["TMPDIR"], tempfile.tempdir = str(folder.parent), None
    return folder


def _why_not(folder: Path, num_bytes: int, *, is_own: bool = False) -> str:
    """Why a socket, whose path goes on for so many bytes, cannot be made here; '' if it can.

    is_own: the folder is ours alone and may be made.
    """
    if len(os.fsencode(folder)) + num_bytes > MAX_SOCKET_BYTES:
        return "its path is too long for a socket"
    try:
        if is_own:
            folder.mkdir(exist_ok=True)
            if folder.lstat().st_uid != os.getuid():
                return f"{folder} is another user's"
        tempfile.TemporaryFile(dir=folder).close()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return str(error.strerror)
    return "" if free >= MIN_FREE_BYTES else f"only {free / 1e6:.0f} MB are free"


def settle_home() -> None:
    """Of a user whom this machine does not know, as containers have them: none, and it says so."""
    if os.path.expanduser("~") == "~":  # importing ray.tune would fail
        os.environ["HOME"] = "/nonexistent"


def settle_token(folder: Path) -> None:
    """A token of this run's own, in a file below `folder`, where Ray could keep none in HOME."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    token = Path(os.path.expanduser("~")) / ".ray" / "auth_token"
    with contextlib.suppress(OSError):
        token.parent.mkdir(mode=0o700, exist_ok=True)
        is_there = token.exists()
        if os.access(token if is_there else token.parent, os.R_OK if is_there else os.W_OK):
            return
    number, name = tempfile.mkstemp(prefix="auth_token-", dir=folder)
    with os.fdopen(number, "w") as file:
        file.write(secrets.token_hex(32))
    os.environ["RAY_AUTH_TOKEN_PATH"] = name
    atexit.register(Path(name).unlink, missing_ok=True)
