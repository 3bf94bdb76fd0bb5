"""What is here gets there: in an order that no reader can trip over, and in the end all of it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

import results
from results.records.segments import COPIES, TABLES
from results.records.store import RunStore
from results.storage import mirror as mirrors
from results.storage.lease import LeaseLostError, read_lease
from results.storage.mirror import Mirror
from results.storage.place import BucketError, Place
from results.storage.twin import WRITE, is_behind, twin_of
from results.verification import examine
from tests.fakes.results import write_run
from tests.fakes.storage.bucket import Bucket, use_bucket
from tests.fakes.storage.moments import WRITTEN, two_moments

HOME = Place("s3", "b/runs/one")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return use_bucket(monkeypatch, tmp_path / "cache")


@pytest.fixture
def run_dir(bucket: Bucket) -> Path:
    return write_run(twin_of(HOME, WRITE), trials=2)


def make_mirror(run_dir: Path) -> Mirror:
    """A mirror that pushes when asked, without its thread."""
    mirror = Mirror(run_dir, HOME)
    mirror.take()
    return mirror


def written(bucket: Bucket) -> list[str]:
    """Names below the run, in the order written, without the lease and what tried the place."""
    names = [path.removeprefix("b/runs/one/") for path in bucket.written]
    return [name for name in names if name != "lease.json" and not name.startswith(".")]


def test_epochs_come_before_trials_and_the_manifest_last(bucket: Bucket, run_dir: Path) -> None:
    for name in ("checkpoints/k/1.pt", "logs/k.txt", "tracking/t", ".hidden", "trials/.x.tmp"):
        (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (run_dir / name).touch()
    os.symlink("/etc/passwd", run_dir / "link")
    mirror = make_mirror(run_dir)
    assert mirror.push()
    segments = ["epochs/00000.parquet", "trials/00000.parquet"]
    copies = [f"copies/{name}" for name in segments]
    ends = ["config.yaml", "copies/config.yaml", "copies/manifest.json", "manifest.json"]
    records = [*segments, *copies, *sorted(ends[:2]), *ends[2:]]
    assert written(bucket) == records
    assert mirror.push()
    assert written(bucket) == records  # nothing changed
    mirror.close()
    assert written(bucket) == [*records, "tracking/t"]


@pytest.mark.slow
def test_a_row_that_comes_while_files_are_read_is_not_told_before_its_epochs(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = two_moments(tmp_path)
    run_dir, read, count = twin_of(HOME, WRITE), Path.read_bytes, [0]
    num_files = 2 * len((*TABLES, "config.yaml", "manifest.json"))
    for place in range(1, num_files + 1):
        shutil.rmtree(run_dir, ignore_errors=True)
        shutil.copytree(older, run_dir)
        bucket.files.clear()
        mirror, count[0] = make_mirror(run_dir), 0

        def meanwhile(path: Path, place: int = place) -> bytes:
            count[0] += run_dir in path.parents
            if count[0] == place and run_dir in path.parents:
                for name in WRITTEN:
                    (run_dir / name).write_bytes(read(newer / name))
            return read(path)

        monkeypatch.setattr(Path, "read_bytes", meanwhile)
        assert mirror.push()
        monkeypatch.setattr(Path, "read_bytes", read)
        assert count[0] >= num_files
        assert results.verify(str(HOME)) == []
        assert mirror.push()
        assert results.verify(str(HOME)) == []
        assert results.load(str(HOME)).trials.equals(results.load(newer).trials)
        mirror.lease.release()


@pytest.mark.slow
def test_whichever_write_fails_all_is_there_in_the_end(bucket: Bucket, run_dir: Path) -> None:
    """Fail the n-th request, for n = 1, 2, ..., until none is left to fail."""
    for place in range(1, 40):
        bucket.fails = lambda kind, path: None
        bucket.files.clear()
        mirror = make_mirror(run_dir)
        bucket.asked.clear()

        def fail(kind: str, path: str, place: int = place) -> None:
            if bucket.asked.total() == place:
                raise OSError("AWS Error NETWORK_CONNECTION")

        bucket.fails = fail
        failed = not mirror.push()
        bucket.fails = lambda kind, path: None
        if failed:
            assert isinstance(mirror.error, BucketError)
            # Of what a reader finds now all trials are whole; the manifest comes last.
            names = bucket.names("b/runs/one")
            if "manifest.json" in names:  # what failed looks for segments that were put away
                assert results.verify(str(HOME)) == []
            elif "trials/00000.parquet" in names:
                (found,) = examine(str(HOME))
                assert "manifest.json was skipped: it is missing" in found.sentences()[0]
                assert (found.lost_trainings, found.lost_epochs) == ([], {})
        assert mirror.push()
        assert mirror.error is None
        there = results.load(str(HOME))
        assert there.trials.equals(results.load(run_dir).trials)
        mirror.lease.release()
        if not failed:
            assert place > 8  # each of the eight files was refused once
            return
    raise AssertionError("it never passed")


def test_states_are_removed_only_when_the_row_that_replaces_them_is_there(
    bucket: Bucket, run_dir: Path
) -> None:
    state = "b/runs/one/checkpoints/key/00001.pt"
    mirror = make_mirror(run_dir)
    bucket.files[state] = (b"state", 0)
    mirror.forget(HOME / "checkpoints" / "key")

    def fail(kind: str, path: str) -> None:
        if path.endswith("manifest.json"):
            raise OSError("AWS Error NETWORK_CONNECTION")

    bucket.fails = fail
    assert not mirror.push()
    assert state in bucket.files
    bucket.fails = lambda kind, path: None
    assert mirror.push()
    assert state not in bucket.files


def test_the_end_says_what_is_not_there_and_where_it_is(bucket: Bucket, run_dir: Path) -> None:
    mirror = make_mirror(run_dir)

    def fail(kind: str, path: str) -> None:
        raise OSError("AWS Error ACCESS_DENIED")

    bucket.fails = fail
    with pytest.raises(BucketError, match="no right to it"):
        mirror.close(patience=0.1)
    mirror.close()  # twice is harmless
    assert mirror.is_closed
    assert mirror.error is not None


def test_a_storage_that_is_silent_for_long_is_told_once(
    bucket: Bucket, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PUSH_SECONDS", "MAX_RETRY_SECONDS"):
        monkeypatch.setattr(mirrors, name, 0.01)
    monkeypatch.setattr(mirrors, "PATIENCE_SECONDS", 0.05)
    mirror, lines = make_mirror(run_dir), []
    mirror.tell = lines.append
    mirror.start()

    def fail(kind: str, path: str) -> None:
        raise OSError("AWS Error NETWORK_CONNECTION")

    bucket.fails = fail
    (run_dir / "report.html").touch()
    deadline = time.monotonic() + 10.0
    while not lines and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    (line,) = lines
    assert line.startswith("warning: s3://b/runs/one")
    assert f"everything is kept in {run_dir}" in line
    bucket.fails = lambda kind, path: None
    mirror.close()
    assert "report.html" in bucket.names("b/runs/one")


def test_another_driver_that_took_over_ends_this_one(
    bucket: Bucket, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "BEAT_SECONDS", 0.0)
    mirror = make_mirror(run_dir)
    assert mirror.push()
    bucket.files["b/runs/one/lease.json"] = (b'{"token": "other", "pid": 7, "host": "h"}', 0)
    (run_dir / "report.html").touch()
    assert not mirror.push()
    assert mirror.is_taken_over
    with pytest.raises(LeaseLostError, match="process 7 on h now"):
        mirror.close(patience=0.0)
    assert "report.html" not in bucket.names("b/runs/one")


def test_heartbeats_come_while_a_large_file_travels(
    bucket: Bucket, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = make_mirror(run_dir)
    monkeypatch.setattr(mirrors, "BEAT_SECONDS", 0.01)
    (run_dir / "report.html").write_bytes(bytes(mirrors.LARGE_BYTES))
    beats = []

    def travel(kind: str, path: str) -> None:
        if (kind, Path(path).name) == ("put", "report.html"):
            before, until = bucket.files["b/runs/one/lease.json"], time.monotonic() + 5.0
            while not beats and time.monotonic() < until:
                time.sleep(0.01)
                if bucket.files["b/runs/one/lease.json"] != before:
                    beats.append(path)

    bucket.fails = travel
    assert mirror.push()
    assert beats
    mirror.close()


OTHER = (b'{"token": "other", "pid": 7, "host": "h"}', 0)


def let_pass(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds for which this machine will have slept: its monotonic clock stood still."""
    slept, tell = [0.0], time.clock_gettime

    def gettime(clock: int) -> float:
        return tell(clock) + (slept[0] if clock == time.CLOCK_BOOTTIME else 0.0)

    monkeypatch.setattr(time, "clock_gettime", gettime)
    return slept


def test_a_machine_that_slept_looks_before_it_writes(
    bucket: Bucket, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = let_pass(monkeypatch)
    mirror = make_mirror(run_dir)
    assert mirror.push()
    bucket.files["b/runs/one/lease.json"] = OTHER
    slept[0] = 200.0
    (run_dir / "report.html").touch()
    assert not mirror.push()
    assert mirror.is_taken_over
    assert "report.html" not in bucket.names("b/runs/one")


def test_a_push_that_lasts_shows_between_files_that_it_lives(
    bucket: Bucket, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = let_pass(monkeypatch)
    mirror = make_mirror(run_dir)
    mirror.forget(HOME / "checkpoints" / "key")
    ages, beaten = [], [0.0]

    def slow(kind: str, path: str) -> None:
        if kind in ("put", "delete") and path.endswith("lease.json"):
            ages.append(slept[0] - beaten[0])
            beaten[0] = slept[0]
        elif kind in ("put", "delete"):
            slept[0] += 40.0

    bucket.fails = slow
    assert mirror.push(is_end=True)
    assert slept[0] >= 8 * 40.0
    assert max([*ages, slept[0] - beaten[0]]) <= 40.0
    assert len(ages) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("number", range(8))
def test_a_driver_that_is_taken_over_in_a_push_writes_no_other_file(
    bucket: Bucket, run_dir: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    slept = let_pass(monkeypatch)
    mirror = make_mirror(run_dir)

    def take_over(kind: str, path: str) -> None:
        if kind == "put" and len(written(bucket)) == number:  # this machine falls asleep
            bucket.fails = lambda kind, path: None
            bucket.files["b/runs/one/lease.json"] = OTHER
            slept[0] = 200.0

    bucket.fails = take_over
    with pytest.raises(LeaseLostError, match="process 7 on h now"):
        mirror.close(patience=0.0)
    assert len(written(bucket)) == number + 1
    assert ("manifest.json" in written(bucket)) == (number == 7)
    assert mirror.is_taken_over
    assert is_behind(run_dir)
    assert bucket.files["b/runs/one/lease.json"] == OTHER


def test_a_segment_that_was_put_away_here_goes_there_too(bucket: Bucket, run_dir: Path) -> None:
    stray = "trials/00007.parquet"
    bucket.files[f"b/runs/one/{stray}"] = (b"damaged", 1)
    bucket.files["b/runs/one/trials/notes.txt"] = (b"of a person", 1)
    (run_dir / "quarantine" / "trials").mkdir(parents=True)
    (run_dir / "quarantine" / stray).write_bytes(b"damaged")
    mirror = make_mirror(run_dir)
    assert mirror.push()
    names = bucket.names("b/runs/one")
    assert stray not in names
    assert f"quarantine/{stray}" in names
    assert "trials/notes.txt" in names
    assert results.verify(str(HOME)) == []


def test_a_start_that_fails_leaves_nothing_there(bucket: Bucket) -> None:
    run_dir = twin_of(HOME, WRITE)
    run_dir.mkdir()
    mirror = make_mirror(run_dir)
    (run_dir / "config.yaml").touch()
    assert mirror.push()
    assert bucket.names("b/runs/one") == ["config.yaml", "lease.json"]
    mirror.abandon()
    mirror.abandon()  # twice is harmless
    assert bucket.files == {}
    assert [path.name for path in run_dir.parent.iterdir() if "one" in path.name] == ["one"]


def test_a_run_whose_session_broke_off_is_free_at_once(bucket: Bucket, run_dir: Path) -> None:
    mirror = make_mirror(run_dir)
    mirror.abandon()
    assert read_lease(HOME)["released"] is True
    assert results.verify(str(HOME)) == []
    make_mirror(run_dir)


def test_a_start_that_is_refused_touches_nothing_of_the_other(
    bucket: Bucket, run_dir: Path
) -> None:
    make_mirror(run_dir).push()
    before = dict(bucket.files)
    (run_dir / "report.html").touch()
    with pytest.raises(ValueError, match="is being written by process"):
        make_mirror(run_dir)
    assert bucket.files == before


def test_requests_are_bounded_while_a_run_writes(bucket: Bucket, run_dir: Path) -> None:
    """What docs/storage.md states: up to 7 of a push, 2 of a heartbeat (there a read is 2)."""
    mirror = make_mirror(run_dir)
    mirror.push()
    store = RunStore.open(run_dir)
    files = [f"{table}/00000.parquet" for table in TABLES]
    for _ in range(3):
        bucket.asked.clear()
        store.event("x")
        store.update_manifest(looked=True)
        for name in files:
            os.utime(run_dir / name)
            os.utime(run_dir / COPIES / name)
        mirror.push()
        # The open segment of each table, and the manifest, twice; the events once.
        assert bucket.asked == {"put": 2 * (len(files) + 1) + 1}
    store.close()
    mirror.push()
    bucket.asked.clear()
    mirror.push()
    assert bucket.asked == {}
    mirror.lease.beat()
    assert bucket.asked == {"get": 1, "put": 1}
