"""A run of a bucket is read like one here; only what changed travels."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import results
from results.records.segments import TABLES, read_manifest, write_manifest
from results.storage.lease import Lease
from results.storage.mirror import Mirror, mirror_of
from results.storage.place import BucketError, Place
from results.storage.twin import (
    READ,
    WRITE,
    bring,
    describe,
    home_of,
    notes_path,
    publish,
    take_up,
    twin_of,
)
from tests.fakes.results import write_run
from tests.fakes.storage.bucket import Bucket, use_bucket
from tests.fakes.storage.moments import two_moments

HOME = Place("s3", "b/runs/one")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return use_bucket(monkeypatch, tmp_path / "cache")


def test_a_run_in_a_bucket_is_the_run_here(tmp_path: Path, bucket: Bucket) -> None:
    here = write_run(tmp_path / "one", trials=3)
    bucket.upload(here, "b/runs/one")
    there, run = results.load("s3://b/runs/one"), results.load(here)
    assert there.trials.equals(run.trials)
    assert there.epochs.equals(run.epochs)
    assert there.manifests == run.manifests
    assert there.notes == run.notes
    assert there.compare().verdict == run.compare().verdict
    assert results.verify("s3://b/runs/one") == []


def test_what_did_not_change_is_not_read_again(tmp_path: Path, bucket: Bucket) -> None:
    bucket.upload(write_run(tmp_path / "one", trials=3), "b/runs/one")
    bucket.files["b/runs/one/logs/x.txt"] = bucket.files["b/runs/one/plots/x.png"] = (b"", 0)
    results.load("s3://b/runs/one")
    # Manifest, config and a segment of each table, twice; not what no command reads. What a driver
    # writes from its first event on is asked for.
    assert bucket.asked["get"] == 2 * (2 + len(TABLES)) + 1
    bucket.asked.clear()
    results.load("s3://b/runs/one")
    # Is it a run; the run, its copies, the tables of both.
    assert bucket.asked == {"list": 1 + 2 + 2 * len(TABLES), "get": 1}
    bucket.files["b/runs/one/events.jsonl"] = (b"", 1)
    results.load("s3://b/runs/one")
    bucket.asked.clear()
    results.load("s3://b/runs/one")
    assert bucket.asked == {"list": 1 + 2 + 2 * len(TABLES)}
    bucket.asked.clear()
    here = tmp_path / "one"
    write_manifest(here, read_manifest(here) | {"status": "cut short"})
    bucket.files["b/runs/one/manifest.json"] = ((here / "manifest.json").read_bytes(), 1)
    (run,) = results.load("s3://b/runs/one").manifests.values()
    assert run["status"] == "cut short"
    assert bucket.asked["get"] == 1


def test_a_run_that_is_written_elsewhere_is_running(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.upload(write_run(tmp_path / "one", trials=1), "b/runs/one")
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    held = Lease(home=HOME)
    held.take()
    monkeypatch.undo()
    use_bucket(monkeypatch, tmp_path / "cache", bucket)
    assert results.load("s3://b/runs/one").notes == [
        "run one is still running: 0 trials unfinished."
    ]
    held.release()
    assert results.load("s3://b/runs/one").notes == []


def test_a_segment_that_was_moved_there_goes_here_too(tmp_path: Path, bucket: Bucket) -> None:
    bucket.upload(write_run(tmp_path / "one", trials=3), "b/runs/one")
    bucket.files["b/runs/one/trials/00001.parquet"] = (b"damaged", 1)
    assert "00001.parquet was skipped" in results.load("s3://b/runs/one").notes[0]
    del bucket.files["b/runs/one/trials/00001.parquet"]
    assert results.load("s3://b/runs/one").notes == []


@pytest.mark.slow
def test_folders_and_globs_of_a_bucket_are_runs(tmp_path: Path, bucket: Bucket) -> None:
    for number, name in enumerate(("a1", "a2", "b1")):
        bucket.upload(write_run(tmp_path / name, trials=1, run_seed=number), f"b/runs/{name}")
    bucket.files["b/runs/notes.txt"] = bucket.files["b/runs/empty/x"] = (b"", 0)
    ids = lambda uri: [*results.load(uri).manifests]  # noqa: E731
    assert ids("s3://b/runs") == ["a1", "a2", "b1"]
    assert ids("s3://b/runs/*") == ["a1", "a2", "b1"]
    assert ids("s3://b/*/a[12]") == ["a1", "a2"]
    assert [*results.load(["s3://b/runs/a1", tmp_path / "b1"]).manifests] == ["a1", "b1"]
    for nothing in ("s3://b/runs/empty", "s3://b/none", "s3://b/runs/c*"):
        with pytest.raises(ValueError, match=r"holds no run"):
            results.load(nothing)


@pytest.mark.slow
def test_a_reader_never_sees_a_trial_whose_epochs_are_not_there(
    tmp_path: Path, bucket: Bucket
) -> None:
    # A writer puts all that is new between any two requests of a reader.
    old, new = two_moments(tmp_path)
    for place in range(1, 1 + 7 + 9):  # lists and files
        bucket.files.clear()
        bucket.asked.clear()
        bucket.upload(old, "b/runs/one")

        def meanwhile(kind: str, path: str, place: int = place) -> None:
            if bucket.asked.total() == place:
                bucket.upload(new, "b/runs/one")

        bucket.fails = meanwhile
        shutil.rmtree(twin_of(HOME, READ), ignore_errors=True)
        notes_path(twin_of(HOME, READ)).unlink(missing_ok=True)
        assert results.verify("s3://b/runs/one") == [], place
        assert bucket.asked.total() >= place


def test_a_bucket_that_cannot_be_read_is_told_in_one_line(
    bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    from results.__main__ import main

    def fail(kind: str, path: str) -> None:
        raise OSError("AWS Error ACCESS_DENIED during ListObjectsV2 operation\nRequestId: x")

    bucket.fails = fail
    assert main(["show", "s3://b/runs/one"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: s3://b/runs/one: no right to it")
    assert error.count("\n") == 1


def test_the_folder_that_wrote_last_is_gone_on_with(tmp_path: Path, bucket: Bucket) -> None:
    here = write_run(twin_of(HOME, WRITE), trials=2)
    mirror = Mirror(here, HOME)
    mirror.take()
    mirror.push()
    (here / "extra").touch()  # what a dead driver did not get there
    assert take_up(HOME) == here
    assert (here / "extra").exists()
    assert home_of(here) == HOME
    assert describe(here / "report.html") == "s3://b/runs/one/report.html"
    assert describe(tmp_path) is None


@pytest.mark.slow
def test_a_folder_that_another_driver_went_on_after_is_set_aside(
    bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    here = write_run(twin_of(HOME, WRITE), trials=2)
    bucket.upload(write_run(here.parent / "other" / "one", trials=3), "b/runs/one")
    Lease(home=HOME).take()  # not noted: of another machine
    assert take_up(HOME) == here
    assert (
        results.load(here).trials.num_rows == results.load(here.parent / "other").trials.num_rows
    )
    (aside,) = here.parent.glob("one.*")
    assert f"what was here is in {aside}" in capsys.readouterr().out


def test_a_run_that_never_got_there_is_gone_on_with_from_here(bucket: Bucket) -> None:
    assert take_up(HOME.parent / write_run(twin_of(HOME, WRITE), trials=1).name)
    with pytest.raises(ValueError, match=r"s3://b/runs/two: no run there"):
        take_up(HOME.parent / "two")


def test_copies_go_below_the_temporary_folder_where_home_cannot_be_written(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert twin_of(HOME, WRITE).is_relative_to(tmp_path)
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/proc/none")
    with pytest.raises(BucketError, match="set XDG_CACHE_HOME"):
        twin_of(HOME, WRITE)


@pytest.mark.slow
def test_a_strangers_word_on_where_a_run_belongs_does_not_count(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = write_run(twin_of(HOME, WRITE), trials=1)
    digest = here.parent.name
    assert home_of(here) == HOME
    monkeypatch.chdir(here.parent)
    assert home_of(Path(here.name)) == HOME
    cache = tmp_path / "cache" / "gradtune"
    for around in (
        tmp_path / "runs",  # a folder of runs that somebody gave away
        tmp_path / "elsewhere" / WRITE / digest,  # a cache of somebody's
        tmp_path / "elsewhere" / READ / digest,
        cache / "write" / "0123456789abcdef",  # below ours, of another bucket
        cache / "notes" / digest,
    ):
        strange = write_run(around / "one", trials=1)
        (around / ".uri").write_text("s3://b/runs")
        before = dict(bucket.files)
        assert home_of(strange) is None
        assert describe(strange / "report.html") is None
        assert publish(strange / "config.yaml") == str(strange / "config.yaml")
        assert mirror_of(strange) is None
        assert bring(strange, "logs") == strange / "logs"
        assert bucket.files == before


@pytest.fixture
def damaged(bucket: Bucket) -> Path:
    """The copy that is read of a run that is damaged there."""
    mirror = mirror_of(write_run(twin_of(HOME, WRITE), trials=1))
    assert mirror is not None
    mirror.close()
    for name in ("trials/00000.parquet", "copies/config.yaml"):
        bucket.files[f"b/runs/one/{name}"] = (b"damaged", 1)
    return twin_of(HOME, READ)


def test_what_is_damaged_there_is_told_by_its_place_there(
    bucket: Bucket, damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from results.__main__ import main

    assert "s3://b/runs/one/trials/00000.parquet was skipped" in results.load(str(HOME)).notes[0]
    for words, code in (([], 0), (["--strict"], 1)):
        assert main(["verify", str(HOME), *words]) == code
        out = capsys.readouterr().out
        for name in ("copies/config.yaml", "trials/00000.parquet"):
            assert f"s3://b/runs/one/{name} was skipped" in out
        assert str(damaged) not in out
    assert main(["verify", str(HOME), "repair=true"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "no problems found"


def test_a_repair_from_another_machine_is_told_by_places_there(
    bucket: Bucket, damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other machine"))
    lines = results.repair(str(HOME))
    assert "moved to s3://b/runs/one/quarantine/trials/00000.parquet." in lines[1]
    assert "quarantine/trials/00000.parquet" in bucket.names("b/runs/one")
    assert not any("other machine" in line for line in lines)


def test_a_copy_that_is_damaged_here_is_no_damage_of_the_run(
    bucket: Bucket, tmp_path: Path
) -> None:
    bucket.upload(write_run(tmp_path / "one", trials=1), "b/runs/one")
    run, before = results.load(str(HOME)), dict(bucket.files)
    for name in ("trials/00000.parquet", "manifest.json", "copies/config.yaml"):
        (twin_of(HOME, READ) / name).write_bytes(b"rot")
    bucket.asked.clear()
    assert results.verify(str(HOME)) == []
    assert bucket.asked["get"] == 3 + 2  # and what may have come: events, twice
    assert results.load(str(HOME)).trials.equals(run.trials)
    (twin_of(HOME, READ) / "epochs" / "00000.parquet").write_bytes(b"rot")
    assert results.repair(str(HOME)) == []
    assert bucket.files == before
