"""The lock of a run: one driver, whoever died holding it, on whatever machine and file system."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from results.records import lock as lock_module
from results.records.lock import RunBusy, RunLock, TakenOver, check_free, lock_holder
from results.records.wall_time import now
from tests.conftest import ROOT
from tests.faults.counts import tries

GONE_PID = 2**22 + 1  # above what Linux gives


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of waiting instead of ten."""
    monkeypatch.setattr(lock_module, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(lock_module, "WATCH_SECONDS", 0.6)
    monkeypatch.setattr(lock_module, "PATIENCE_SECONDS", 0.4)


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has none."""

    def refuse(fd: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)


def left_by(run_dir: Path, *, quiet: float = 0.0, **changes: Any) -> None:
    """The lock of a driver that is no more: a real one's, with these fields changed."""
    lock = RunLock(run_dir)
    content = json.loads((run_dir / ".lock").read_text())
    lock.release()
    write_lock(run_dir, content | {"token": "dead"} | changes, quiet)


def write_lock(run_dir: Path, content: dict[str, Any], quiet: float = 0.0) -> None:
    path = run_dir / ".lock"
    path.write_text(json.dumps(content))
    os.utime(path, (time.time() - quiet,) * 2)


def test_a_second_driver_hears_at_once_who_where_and_since_when(tmp_path: Path) -> None:
    begun = now()
    lock = RunLock(tmp_path)
    start = time.monotonic()
    with pytest.raises(RunBusy) as refused:
        RunLock(tmp_path)
    assert time.monotonic() - start < 1.0
    text = str(refused.value)
    assert f"process {os.getpid()} on {socket.gethostname()} since {begun:%Y-%m-%d %H:}" in text
    assert "\n" not in text
    with pytest.raises(RunBusy):
        check_free(tmp_path)
    lock.release()
    check_free(tmp_path)
    RunLock(tmp_path).release()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_released_once(tmp_path: Path) -> None:
    first = RunLock(tmp_path)
    first.release()
    second = RunLock(tmp_path)
    first.release()
    assert lock_holder(tmp_path) is not None
    second.release()


@pytest.mark.parametrize(
    "changes",
    [
        {"pid": GONE_PID},
        {"process": "1"},  # our pid now, as pid 1 of a container that was started again
        {"pid": 1, "process": "999999999999"},  # a pid that another process has by now
        {"pid": GONE_PID, "host": "renamed"},  # the container got another name
    ],
    ids=["gone", "our own pid", "reused pid", "other host name"],
)
@pytest.mark.parametrize("flock", [True, False])
def test_the_lock_of_a_dead_process_is_taken_over_at_once(
    tmp_path: Path, changes: dict[str, Any], flock: bool
) -> None:
    left_by(tmp_path, flock=flock, **changes)
    holder = lock_holder(tmp_path)
    assert holder is not None
    assert not holder.alive
    start = time.monotonic()
    lock = RunLock(tmp_path)
    assert time.monotonic() - start < 1.0
    (note,) = lock.notes
    assert note.endswith("which has ended")
    assert f"process {holder.pid} on {holder.host}" in note
    lock.release()


@pytest.mark.slow
def test_a_driver_in_another_container_lives_as_long_as_the_kernels_lock(
    tmp_path: Path, fast: None
) -> None:
    left_by(tmp_path, processes="pid:[1]", pid=1)
    with open(tmp_path / ".lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RunBusy, match="process 1 on"):
            RunLock(tmp_path)
    lock = RunLock(tmp_path)
    assert lock.notes[0].endswith("which gives no sign of life any more")
    lock.release()


ELSEWHERE = {"host": "node7", "kernel": "another boot", "pid": 1}


def test_a_driver_of_another_machine_lives_while_its_heartbeat_is_fresh(tmp_path: Path) -> None:
    left_by(tmp_path, quiet=lock_module.STALE_SECONDS - 5, **ELSEWHERE)
    with pytest.raises(RunBusy, match=r"process 1 on node7 since .* try again in 30 s\.$"):
        RunLock(tmp_path)


@pytest.mark.slow
def test_a_driver_of_another_machine_without_a_heartbeat_is_followed_and_told(
    tmp_path: Path, fast: None
) -> None:
    left_by(tmp_path, quiet=lock_module.STALE_SECONDS + 5, **ELSEWHERE)
    lock = RunLock(tmp_path)
    (note,) = lock.notes
    assert note.startswith("taken over from process 1 on node7 since")
    assert note.endswith("which gives no sign of life any more")
    lock.release()


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_jumps_makes_no_second_driver(
    tmp_path: Path, fast: None, jump: float
) -> None:
    left_by(tmp_path, **ELSEWHERE)
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.1):
            beats = time.time() + jump
            os.utime(tmp_path / ".lock", (beats, beats))

    thread = threading.Thread(target=beat)
    thread.start()
    time.sleep(0.2)
    try:
        with pytest.raises(RunBusy, match="node7"):
            RunLock(tmp_path)
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
def test_the_holder_shows_that_it_lives(tmp_path: Path, fast: None) -> None:
    lock = RunLock(tmp_path)
    os.utime(tmp_path / ".lock", (0, 0))
    time.sleep(0.5)
    holder = lock_holder(tmp_path)
    assert holder is not None
    assert abs(holder.beat - time.time()) < 1.0
    lock.release()


@pytest.mark.fault("16", "a file system without locks: told, one driver")
def test_a_file_system_without_locks_is_told_and_still_has_one_driver(
    tmp_path: Path, no_flock: None
) -> None:
    lock = RunLock(tmp_path)
    (note,) = lock.notes
    assert "no file locks" in note
    assert str(tmp_path) in note
    with pytest.raises(RunBusy, match=f"process {os.getpid()}"):
        RunLock(tmp_path)
    lock.release()


@pytest.mark.slow
@pytest.mark.fault("16")
@pytest.mark.parametrize("flock", [True, False])
@pytest.mark.parametrize("content", [None, "dead", ""], ids=["free", "dead", "older, ended"])
def test_of_many_that_race_exactly_one_wins(
    tmp_path: Path, request: pytest.FixtureRequest, flock: bool, content: str | None
) -> None:
    if not flock:
        request.getfixturevalue("no_flock")
    with tries() as once:
        for number in range(10):
            run_dir = tmp_path / str(number)
            run_dir.mkdir()
            if content:
                left_by(run_dir, pid=GONE_PID)
            elif content is not None:
                (run_dir / ".lock").touch()
                os.utime(run_dir / ".lock", (0, 0))
            with once("16", "eight race for a lock, free or of a dead driver: exactly one wins"):
                won, lost = race(run_dir)
                assert (len(won), len(lost)) == (1, 7)
            for lock in won:
                lock.release()


def race(run_dir: Path) -> tuple[list[RunLock], list[str]]:
    won: list[RunLock] = []
    lost: list[str] = []
    gate = threading.Barrier(8)

    def take() -> None:
        gate.wait()
        try:
            won.append(RunLock(run_dir))
        except RunBusy as error:
            lost.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won, lost


def test_a_lock_that_is_just_being_written_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "PATIENCE_SECONDS", 60.0)  # also of a busy machine
    left_by(tmp_path)
    content = (tmp_path / ".lock").read_text()
    (tmp_path / ".lock").write_text("")
    with open(tmp_path / ".lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = threading.Timer(0.2, (tmp_path / ".lock").write_text, [content])
        writer.start()
        with pytest.raises(RunBusy, match=f"process {os.getpid()}"):
            RunLock(tmp_path)
        writer.join()


def test_a_lock_that_was_never_written_is_free_after_a_moment(tmp_path: Path, fast: None) -> None:
    (tmp_path / ".lock").touch()
    RunLock(tmp_path).release()


def test_what_a_takeover_that_was_killed_left_behind_does_not_last(
    tmp_path: Path, fast: None
) -> None:
    left_by(tmp_path, pid=GONE_PID)
    (tmp_path / ".lock.taking").touch()
    os.utime(tmp_path / ".lock.taking", (0, 0))
    RunLock(tmp_path).release()
    assert list(tmp_path.iterdir()) == []


def test_who_was_taken_for_dead_finds_out_before_it_writes(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    lock.check()
    mine = json.loads((tmp_path / ".lock").read_text())
    write_lock(tmp_path, mine | {"token": "newer", "host": "node7", "pid": 4})
    with pytest.raises(TakenOver, match="taken over by process 4 on node7"):
        lock.check()
    (tmp_path / ".lock").unlink()  # it has ended
    lock.check()  # or the whole folder is not there: that is what writing tells
    (tmp_path / "manifest.json").touch()
    with pytest.raises(TakenOver, match="taken over by another process, which has ended"):
        lock.check()
    write_lock(tmp_path, mine | {"token": "newer"})
    lock.release()
    assert json.loads((tmp_path / ".lock").read_text())["token"] == "newer"


def test_a_symbolic_link_is_refused_and_its_target_stays(tmp_path: Path) -> None:
    run_dir, target = tmp_path / "run", tmp_path / "precious"
    run_dir.mkdir()
    target.write_text("precious")
    (run_dir / ".lock").symlink_to(target)
    with pytest.raises(ValueError, match="is a symbolic link"):
        RunLock(run_dir)
    assert target.read_text() == "precious"
    assert lock_holder(run_dir) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"pid": "x"}', "\x00\x01", '{"pid": 1}'])
def test_a_damaged_lock_is_no_lock(tmp_path: Path, fast: None, text: str) -> None:
    (tmp_path / ".lock").write_text(text)
    os.utime(tmp_path / ".lock", (0, 0))
    RunLock(tmp_path).release()


HOLD = """
import sys
from pathlib import Path
from results.records.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.fault("16", "a killed driver's lock: free")
def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == b"held\n"
    with pytest.raises(RunBusy, match=f"process {driver.pid} "):
        RunLock(tmp_path)
    driver.kill()
    while driver.poll() is None:  # a zombie at first: dead, and in the table of processes
        time.sleep(0.01)
    RunLock(tmp_path).release()
    driver.communicate()
