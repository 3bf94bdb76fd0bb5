"""Two machines, one run: whoever goes on with it has all of it, and takes nothing away."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import results
from results.records.exclusions import EXCLUSIONS_NAME, exclude, include, read_exclusions
from results.records.repair import repair
from results.storage.lease import Lease, read_lease
from results.storage.mirror import Mirror, mirror_of
from results.storage.place import BucketError, Place
from results.storage.twin import READ, WRITE, publish, take_up, twin_of
from tests.fakes.results import write_run
from tests.fakes.storage.bucket import Bucket, use_bucket
from tests.fakes.storage.moments import two_moments

HOME = Place("s3", "b/runs/one")
REFUSED = r"^s3://b/runs/one was written by another driver [^\n]*again"


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return use_bucket(monkeypatch, tmp_path / "cache")


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What follows happens on this machine."""

    def go(machine: str) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))

    return go


def records(bucket: Bucket) -> dict[str, bytes]:
    return {name: data for name, (data, _) in bucket.files.items() if "lease" not in name}


def driver(run_dir: Path) -> Mirror:
    """One at work, whose thread does not run."""
    mirror = Mirror(run_dir, HOME)
    mirror.take()
    assert mirror.push()
    return mirror


def go_on(run_dir: Path) -> None:
    """Another driver, from its start to its end, with nothing new."""
    mirror = mirror_of(run_dir)
    assert mirror is not None
    mirror.close()


@pytest.mark.slow
def test_rows_that_came_after_the_copy_are_not_overwritten(
    tmp_path: Path, bucket: Bucket, on: Callable[[str], None]
) -> None:
    older, newer = two_moments(tmp_path)
    on("first")
    here = Path(shutil.copytree(older, twin_of(HOME, WRITE)))
    closing = driver(here)
    on("second")
    copy = take_up(HOME)  # and then its plan is made
    on("first")
    shutil.copytree(newer, here, dirs_exist_ok=True)
    closing.close()
    before = records(bucket)
    on("second")
    for _ in range(2):  # trying again with the old copy does not help
        with pytest.raises(ValueError, match=REFUSED):
            mirror_of(copy)
        assert records(bucket) == before
    assert read_lease(HOME)["released"] is True
    assert take_up(HOME) == copy
    assert results.load(copy).trials.equals(results.load(newer).trials)
    go_on(copy)
    assert results.load(str(HOME)).trials.equals(results.load(newer).trials)
    assert results.verify(str(HOME)) == []
    on("first")
    (here / "notes.txt").touch()
    assert "notes.txt" not in [path.name for path in take_up(HOME).iterdir()]  # set aside


@pytest.mark.slow
def test_rows_that_another_machine_wrote_meanwhile_are_not_overwritten(
    tmp_path: Path, bucket: Bucket, on: Callable[[str], None]
) -> None:
    older, newer = two_moments(tmp_path)
    on("first")
    here = Path(shutil.copytree(older, twin_of(HOME, WRITE)))
    go_on(here)
    assert take_up(HOME) == here  # it wrote last; and then its plan is made
    on("second")
    there = take_up(HOME)
    mirror = driver(there)
    shutil.copytree(newer, there, dirs_exist_ok=True)
    mirror.close()
    before = records(bucket)
    on("first")
    for _ in range(2):
        with pytest.raises(ValueError, match=REFUSED):
            mirror_of(here)
        assert records(bucket) == before
    assert results.load(take_up(HOME)).trials.equals(results.load(newer).trials)
    assert results.load(*here.parent.glob("one.*")).trials.equals(results.load(older).trials)


def test_a_run_that_another_machine_began_under_the_name_is_not_overwritten(
    tmp_path: Path, bucket: Bucket, on: Callable[[str], None]
) -> None:
    on("first")
    begun = twin_of(HOME, WRITE)  # and the bucket holds none of this name
    begun.mkdir()
    on("second")
    go_on(write_run(twin_of(HOME, WRITE), trials=1))
    before = records(bucket)
    on("first")
    with pytest.raises(ValueError, match=REFUSED):
        mirror_of(begun)
    assert records(bucket) == before
    assert read_lease(HOME)["released"] is True


def test_a_repair_takes_away_nothing_that_came_after_its_copy(
    tmp_path: Path,
    bucket: Bucket,
    on: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older, newer = two_moments(tmp_path)
    on("first")
    here = Path(shutil.copytree(older, twin_of(HOME, WRITE)))
    closing = driver(here)
    bucket.files["b/runs/one/trials/00000.parquet"] = (b"damaged", 1)
    on("second")

    def slow(home: Place) -> Path:
        copy = take_up(home)
        shutil.copytree(newer, here, dirs_exist_ok=True)
        closing.close()
        return copy

    with monkeypatch.context() as patch:
        patch.setattr("results.verification.take_up", slow)
        with pytest.raises(ValueError, match=REFUSED):
            results.repair(str(HOME))
    assert results.verify(str(HOME)) == []
    assert results.load(str(HOME)).trials.equals(results.load(newer).trials)


@pytest.mark.slow
@pytest.mark.parametrize("place", range(1, 12))
def test_a_start_that_breaks_off_leaves_the_run_to_the_machine_that_wrote_it(
    bucket: Bucket, on: Callable[[str], None], place: int
) -> None:
    """Whichever request is the last that this machine makes, or hears an answer to."""
    on("first")
    here = write_run(twin_of(HOME, WRITE), trials=1)
    go_on(here)
    (here / "unpushed").touch()  # what a silent bucket did not take
    bucket.asked.clear()

    def fail(kind: str, path: str) -> None:
        if bucket.asked.total() >= place:
            raise OSError("AWS Error NETWORK_CONNECTION")

    bucket.fails = fail
    mirror = Mirror(here, HOME)
    try:
        mirror.take()
    except BucketError:
        pass
    else:
        assert bucket.asked.total() < place
        mirror.lease.drop()
    bucket.fails = lambda kind, path: None
    assert (take_up(HOME) / "unpushed").exists()
    Lease(home=HOME).check()  # nobody holds it


def leave_out(trial: str, why: str | None) -> None:
    """As `results exclude s3://b/runs/one TRIAL` does; None takes it back."""
    (run_dir,) = results.load(str(HOME)).dirs
    include(run_dir, trial) if why is None else exclude(run_dir, trial, why)
    publish(run_dir / EXCLUSIONS_NAME)


def excluded() -> dict[str, str]:
    assert results.verify(str(HOME)) == []
    return {key: why for (_, key), why in results.load(str(HOME)).excluded.items()}


@pytest.mark.slow
def test_what_was_excluded_there_stays_so_whoever_goes_on(
    bucket: Bucket, on: Callable[[str], None]
) -> None:
    on("first")
    here = write_run(twin_of(HOME, WRITE), trials=2)
    keys = results.load(here).trials["trial_key"].to_pylist()
    exclude(here, keys[0], "known before")
    go_on(here)
    on("second")
    leave_out(keys[1], "spilled")
    leave_out(keys[0], None)
    leave_out(keys[0], "after all")
    wanted = {keys[1]: "spilled", keys[0]: "after all"}
    for machine in ("first", "third"):
        on(machine)
        go_on(take_up(HOME))
        assert excluded() == read_exclusions(twin_of(HOME, WRITE)) == wanted


@pytest.mark.slow
def test_lines_of_both_are_kept_in_the_order_of_their_times(
    bucket: Bucket, on: Callable[[str], None]
) -> None:
    on("first")
    here = write_run(twin_of(HOME, WRITE), trials=2)
    keys = results.load(here).trials["trial_key"].to_pylist()
    go_on(here)
    exclude(here, keys[0], "here")
    exclude(here, keys[1], "here")
    on("second")
    leave_out(keys[1], "there")
    leave_out(keys[2], "there")
    on("first")
    include(here, keys[0])
    wanted = {keys[1]: "there", keys[2]: "there"}
    mirror = Mirror(here, HOME)
    mirror.take()
    assert excluded() == read_exclusions(here) == wanted
    on("second")  # while the first works
    leave_out(keys[3], "later")
    on("first")
    exclude(here, keys[4], "here again")
    mirror.close()
    wanted |= {keys[3]: "later", keys[4]: "here again"}
    assert excluded() == read_exclusions(here) == wanted


def test_of_two_that_exclude_at_once_both_are_heard(
    bucket: Bucket, on: Callable[[str], None]
) -> None:
    on("first")
    go_on(write_run(twin_of(HOME, WRITE), trials=2))
    keys = results.load(str(HOME)).trials["trial_key"].to_pylist()
    exclude(twin_of(HOME, READ), keys[0], "first")
    on("second")
    leave_out(keys[1], "second")
    on("first")
    publish(twin_of(HOME, READ) / EXCLUSIONS_NAME)
    assert excluded() == {keys[0]: "first", keys[1]: "second"}


COPY = f"b/runs/one/copies/{EXCLUSIONS_NAME}"


@pytest.mark.slow
def test_lines_that_are_gone_there_are_missed_and_come_back(
    bucket: Bucket, on: Callable[[str], None]
) -> None:
    """As of a run here, whose exclusions.jsonl is written twice."""
    on("first")
    go_on(write_run(twin_of(HOME, WRITE), trials=2))
    keys = results.load(str(HOME)).trials["trial_key"].to_pylist()
    on("second")
    leave_out(keys[0], "there")
    leave_out(keys[1], "there")
    whole = bucket.files[COPY]
    assert whole[0] == bucket.files[f"b/runs/one/{EXCLUSIONS_NAME}"][0]
    for machine in ("first", "second", "third"):
        for left in (whole[0].splitlines(keepends=True)[0], None):
            if left is None:
                del bucket.files[f"b/runs/one/{EXCLUSIONS_NAME}"]
            else:
                bucket.files[f"b/runs/one/{EXCLUSIONS_NAME}"] = (left, 1)
            on(machine)
            assert "lines are missing" in results.verify(str(HOME))[0]
            results.repair(str(HOME))
            assert excluded() == dict.fromkeys(keys[:2], "there")
    del bucket.files[COPY]
    on("first")
    go_on(take_up(HOME))
    assert bucket.files[COPY][0] == whole[0]


@pytest.mark.slow
def test_a_reader_sees_no_line_in_the_copy_that_is_not_in_the_file(
    bucket: Bucket, on: Callable[[str], None]
) -> None:
    on("first")
    go_on(write_run(twin_of(HOME, WRITE), trials=1))
    for place in range(1, 30):
        on(f"writer {place}")
        key = results.load(str(HOME)).trials["trial_key"][0].as_py()
        bucket.asked.clear()

        def meanwhile(kind: str, path: str, place: int = place, key: str = key) -> None:
            if bucket.asked.total() == place:
                bucket.fails = lambda kind, path: None
                on(f"writer {place}")
                leave_out(key, "odd" if place % 2 else None)
                on(f"reader {place}")

        on(f"reader {place}")
        bucket.fails = meanwhile
        assert results.verify(str(HOME)) == [], place
        if bucket.asked.total() < place:
            assert place > 7 + 9
            return
    raise AssertionError("it never passed")


def test_a_run_that_another_replaced_has_no_lines_of_it(
    bucket: Bucket, on: Callable[[str], None]
) -> None:
    on("first")
    go_on(write_run(twin_of(HOME, WRITE), trials=1))
    leave_out(results.load(str(HOME)).trials["trial_key"][0].as_py(), "odd")
    bucket.files.clear()
    on("second")
    go_on(write_run(twin_of(HOME, WRITE), trials=1))
    on("first")
    assert excluded() == {}


@pytest.mark.slow
def test_an_exclusion_that_did_not_get_there_can_be_made_again(
    bucket: Bucket, on: Callable[[str], None]
) -> None:
    on("first")
    go_on(write_run(twin_of(HOME, WRITE), trials=1))
    keys = results.load(str(HOME)).trials["trial_key"].to_pylist()

    def fail(kind: str, path: str) -> None:
        if kind == "put":
            raise OSError("AWS Error NETWORK_CONNECTION")

    for key in keys[:2]:  # the first of its file, and another
        bucket.fails = fail
        with pytest.raises(BucketError):
            leave_out(key, "odd")
        bucket.fails = lambda kind, path: None
        assert key not in excluded()
        leave_out(key, "odd")
        assert key in excluded()


def test_a_report_that_was_put_there_is_not_overwritten_by_an_older_one(
    bucket: Bucket, on: Callable[[str], None]
) -> None:
    on("first")
    here = write_run(twin_of(HOME, WRITE), trials=1)
    (here / "report.html").write_text("of the run's end")
    go_on(here)
    on("second")
    results.load(str(HOME))
    (twin_of(HOME, READ) / "report.html").write_text("of today")
    publish(twin_of(HOME, READ) / "report.html")
    on("first")
    go_on(take_up(HOME))
    assert bucket.files["b/runs/one/report.html"][0] == b"of today"
    (here / "report.html").write_text("of another end")
    go_on(take_up(HOME))
    assert bucket.files["b/runs/one/report.html"][0] == b"of another end"


OLD = ("epochs/00000.parquet", "trials/00000.parquet")


@pytest.mark.slow
@pytest.mark.parametrize("damage", [None, b"", b"damaged"])
@pytest.mark.parametrize(
    "names",
    [
        OLD,
        ("trials/00000.parquet",),
        ("config.yaml",),
        ("manifest.json",),
        ("manifest.json", *OLD),
        ("events.jsonl",),
    ],
)
def test_what_a_cleaner_took_from_the_folder_here_comes_back_from_there(
    tmp_path: Path,
    bucket: Bucket,
    on: Callable[[str], None],
    names: tuple[str, ...],
    damage: bytes | None,
) -> None:
    _, newer = two_moments(tmp_path)
    on("first")
    here = Path(shutil.copytree(newer, twin_of(HOME, WRITE)))
    go_on(here)
    before, whole = records(bucket), results.load(str(HOME))
    for name in (*names, *(f"copies/{name}" for name in names)):
        if damage is None or "events" in name:
            (here / name).unlink(missing_ok=True)
        else:
            (here / name).write_bytes(damage)
    assert take_up(HOME) == here
    repair(here, with_states=False)  # as a resume does
    go_on(here)
    for name in before:
        is_same = name.endswith((".parquet", "config.yaml"))
        assert not is_same or records(bucket)[name] == before[name], name
    assert results.load(str(HOME)).trials.equals(whole.trials)
    assert results.load(str(HOME)).epochs.equals(whole.epochs)
    assert results.verify(str(HOME)) == []
    assert not list(here.parent.glob("one.*"))


def test_what_is_newer_here_is_not_replaced_by_what_is_there(
    tmp_path: Path, bucket: Bucket, on: Callable[[str], None]
) -> None:
    older, newer = two_moments(tmp_path)
    on("first")
    here = Path(shutil.copytree(older, twin_of(HOME, WRITE)))
    driver(here).lease.drop()  # and it died
    shutil.copytree(newer, here, dirs_exist_ok=True)
    for name in ("manifest.json", "trials/00000.parquet"):
        (here / name).unlink()  # its copy is here
    take_up(HOME)
    repair(here, with_states=False)
    go_on(here)
    assert results.load(str(HOME)).trials.equals(results.load(newer).trials)
    assert results.verify(str(HOME)) == []


def test_a_segment_that_nobody_put_away_here_stays_there(
    bucket: Bucket, on: Callable[[str], None]
) -> None:
    on("first")
    here = write_run(twin_of(HOME, WRITE), trials=1)
    (here / "trials" / "00000.parquet").unlink()
    bucket.files["b/runs/one/trials/00000.parquet"] = (b"the only one", 1)
    go_on(here)
    assert bucket.files["b/runs/one/trials/00000.parquet"][0] == b"the only one"
