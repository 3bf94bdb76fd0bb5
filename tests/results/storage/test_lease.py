"""Two drivers on one run of a bucket: one of them writes, whatever their clocks say."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from results.records.lock import about_us
from results.storage import lease
from results.storage.lease import Lease, LeaseLostError, is_held, read_lease
from results.storage.place import Place
from tests.fakes.storage.bucket import Bucket, use_bucket

HOME = Place("s3", "b/runs/one")
DEAD_PID = 2**22 + 1  # above what Linux gives


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return use_bucket(monkeypatch, tmp_path)


def elsewhere(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """What follows happens on this host."""
    monkeypatch.setattr("socket.gethostname", lambda: host)


def test_a_run_that_is_written_is_refused_and_says_by_whom(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(monkeypatch, "first")
    held = Lease(home=HOME)
    held.take()
    held.confirm()
    elsewhere(monkeypatch, "second")
    with pytest.raises(ValueError, match=rf"{os.getpid()} on first since .* again in 100 s"):
        Lease(home=HOME).take()
    held.release()
    Lease(home=HOME).take()


def test_of_two_that_come_at_once_the_later_writes_and_the_other_is_refused(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Lease(home=HOME), Lease(home=HOME)
    monkeypatch.setattr(lease, "read_lease", lambda home: {})  # both look before either puts
    first.take()
    second.take()
    monkeypatch.undo()
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr("results.storage.place.open_filesystem", _same(bucket))
    with pytest.raises(ValueError, match="at the same moment"):
        first.confirm()
    second.confirm()


def _same(bucket: Bucket) -> object:
    from pyarrow import fs

    return lambda *which: fs.PyFileSystem(bucket)


def test_a_driver_that_gave_no_sign_for_long_is_taken_over_and_stops_when_it_wakes(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0]
    bucket.clock = lambda: now[0]  # far from this machine's clock: it does not count
    elsewhere(monkeypatch, "slept")
    sleeper = Lease(home=HOME)
    sleeper.take()
    now[0] += int((lease.STALE_SECONDS + 1) * 1e9)
    elsewhere(monkeypatch, "woke it")
    Lease(home=HOME).take()
    with pytest.raises(LeaseLostError, match=r"on woke it since .* now"):
        sleeper.beat()
    sleeper.release()  # no longer its to give
    assert read_lease(HOME)["released"] is False


@pytest.mark.parametrize(
    ("fields", "age", "held"),
    [
        ({}, 0.0, True),
        ({}, 101.0, False),
        ({"released": True}, 0.0, False),
        ({"token": "of a run that this process has ended"}, 0.0, False),
        ({"pid": DEAD_PID}, 0.0, False),
        ({"pid": DEAD_PID, "kernel": "of another machine"}, 0.0, True),
        # Two containers may have the same host name, and the same numbers for their processes.
        ({"pid": DEAD_PID, "processes": "of another container"}, 0.0, True),
        (
            {"pid": os.getppid(), "process": "1"},
            0.0,
            False,
        ),  # another process has its number by now
        ({"pid": 10**30}, 0.0, False),
        ({"pid": None}, 0.0, True),  # a stranger's
    ],
)
def test_who_may_be_alive(
    fields: dict[str, object], age: float, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "HELD", {"t"})
    content = about_us(False, "t") | {"released": False} | fields
    assert is_held(content, age) is held


@pytest.mark.parametrize("data", [b"", b"[1]", b"\xff", b"{"])
def test_a_damaged_lease_is_nobodys(bucket: Bucket, data: bytes) -> None:
    bucket.files["b/runs/one/lease.json"] = (data, 0)
    Lease(home=HOME).take()
    assert json.loads(bucket.files["b/runs/one/lease.json"][0])["pid"] == os.getpid()
