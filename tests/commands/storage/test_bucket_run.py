"""The whole command on a bucket: the same rows, also after it was silent or another went on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import results
from results.__main__ import main as results_command
from results.storage.lease import Lease, read_lease
from results.storage.place import Place
from results.storage.twin import take_up
from tests.commands.command import SMALL, reproducible
from tests.fakes.storage.bucket import Bucket, use_bucket
from tests.fakes.tune_loop import Inline
from tuner.config.schema import ConfigError
from tuner.reproduce import main as reproduce_command

pytestmark = pytest.mark.slow

WORDS = ("space=poly", *SMALL, "trials=2")
URI = "s3://b/runs"


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return use_bucket(monkeypatch, tmp_path / "cache")


@pytest.fixture
def there(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Inline:
    monkeypatch.setattr("tuner.session.session.PATIENCE_SECONDS", 5.0)
    monkeypatch.setattr("tuner.session.session.WORKER_PATIENCE_SECONDS", 0.1)
    return Inline(URI, monkeypatch)  # type: ignore[arg-type]


@pytest.mark.fault("storage", "a run there goes on on another machine: the rows of one here")
def test_a_run_in_a_bucket_has_the_rows_of_one_here_and_goes_on_elsewhere(
    tmp_path: Path, inline: Inline, there: Inline, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inline.run(*WORDS, "name=here", "report=true").returncode == 0
    done = there.run(*WORDS, "name=there", "report=true")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{URI}/there"
    assert f"report: {URI}/there/report.html" in done.stdout
    assert f"resume={URI}/there" in done.stdout
    run = results.load(f"{URI}/there")
    assert reproducible(run) == reproducible(results.load(tmp_path / "here"))
    assert results.verify(f"{URI}/there") == []
    assert run.notes == []
    names = bucket.names("b/runs/there")
    assert "report.html" in names
    assert not [name for name in names if name.startswith("checkpoints/")]
    trial = run.trials["trial_key"][0].as_py()
    assert reproduce_command([f"{URI}/there", trial]) == 0

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other machine"))
    again = there.run(f"resume={URI}/there")
    assert again.returncode == 0, again.stderr
    assert "starting Ray" not in again.stdout
    more, whole = (
        there.run(f"resume={URI}/there", "trials=+1"),
        inline.run(f"resume={tmp_path / 'here'}", "trials=+1"),
    )
    assert (more.returncode, whole.returncode) == (0, 0), more.stderr
    grown = results.load(f"{URI}/there")
    assert grown.trials.num_rows == run.trials.num_rows + 1
    assert reproducible(grown) == reproducible(results.load(tmp_path / "here"))


@pytest.mark.fault("storage", "a name that is taken there: refused")
def test_a_name_that_is_taken_there_is_refused(there: Inline, bucket: Bucket) -> None:
    bucket.files["b/runs/taken/manifest.json"] = (b"{}", 0)
    done = there.run(*WORDS, "name=taken")
    assert done.returncode == 2
    assert f"name=taken: this run exists; use resume={URI}/taken" in done.stderr


@pytest.mark.fault("storage", "a start that fails: the name is free there")
def test_a_start_that_fails_gives_the_name_free_there(
    there: Inline, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: object, may_wait: object) -> None:
        assert bucket.names("b/runs/x") == ["lease.json"]  # taken before Ray starts
        raise ConfigError("no node has a GPU")

    with monkeypatch.context() as patch:
        patch.setattr("tuner.session.cluster.lay_out", fail)
        done = there.run(*WORDS, "name=x")
    assert (done.returncode, done.stderr) == (2, "error: no node has a GPU\n")
    assert bucket.files == {}
    assert there.run(*WORDS, "name=x").returncode == 0


@pytest.mark.fault("storage", "a second driver: refused before Ray starts")
def test_a_second_driver_is_refused_before_ray_starts(
    there: Inline, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert there.run(*WORDS, "name=x").returncode == 0
    held = Lease(home=Place.parse(f"{URI}/x"))
    seen = [Lease.check]  # the check of the words finds the run free

    def take_between(self: Lease) -> None:
        check = seen.pop()
        check(self)
        monkeypatch.setattr(Lease, "check", check)
        held.take()

    monkeypatch.setattr(Lease, "check", take_between)
    done = there.run(f"resume={URI}/x", "trials=+1")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: resume={URI}/x: run 'x' is being written by process")
    assert "starting Ray" not in done.stdout
    assert held.is_ours()


@pytest.mark.fault("storage", "rows that came after the copy of a resume: kept")
def test_what_came_after_the_copy_of_a_resume_is_kept_and_the_next_goes_on_from_it(
    there: Inline, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert there.run(*WORDS, "name=x").returncode == 0
    trial = next(r for r in results.load(f"{URI}/x").rows() if r["role"] == "confirm")
    words = ["exclude", f"{URI}/x", trial["trial_key"], "--why", "spilled"]

    def meanwhile(home: Place) -> Path:
        copy = take_up(home)
        with monkeypatch.context() as other:
            other.setenv("XDG_CACHE_HOME", str(tmp_path / "third machine"))
            other.setattr("tuner.session.resume.take_up", take_up)
            assert there.run(f"resume={URI}/x", "trials=+1").returncode == 0
            assert results_command(words) == 0
        return copy

    with monkeypatch.context() as second:
        second.setenv("XDG_CACHE_HOME", str(tmp_path / "second machine"))
        second.setattr("tuner.session.resume.take_up", meanwhile)
        done = there.run(f"resume={URI}/x", "trials=+1")
    assert done.returncode == 2
    first_line = done.stderr.splitlines()[0]
    assert first_line.startswith(f"error: resume={URI}/x: {URI}/x was written by another driver")
    assert "starting Ray" not in done.stdout
    grown = results.load(f"{URI}/x")
    again = there.run(f"resume={URI}/x", "trials=+1")  # on the machine that wrote first
    assert again.returncode == 0, again.stderr
    assert results.load(f"{URI}/x").trials.num_rows == grown.trials.num_rows + 1
    assert "spilled" in results.load(f"{URI}/x").compare().verdict
    assert "spilled" in again.stdout
    assert results.verify(f"{URI}/x") == []


@pytest.mark.fault("storage", "taken over by another driver: ends, its rows are kept here")
def test_another_driver_that_took_over_ends_the_run_with_its_rows_kept_here(
    there: Inline, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_over(kind: str, path: str) -> None:
        if path.endswith("trials/00000.parquet"):
            bucket.fails = lambda kind, path: None
            bucket.files["b/runs/x/lease.json"] = (b'{"token": "t", "pid": 7, "host": "h"}', 0)

    bucket.fails = take_over
    monkeypatch.setattr("results.storage.mirror.BEAT_SECONDS", 0.0)
    monkeypatch.setattr("results.storage.mirror.PUSH_SECONDS", 0.05)
    done = there.run(*WORDS, "name=x")
    assert done.returncode == 4
    first, second = done.stderr.splitlines()[-2:]
    assert first == f"error: {URI}/x is being written by process 7 on h now"
    (kept,) = re.findall(r"all of the run is kept in (.*), but not there", second)
    assert results.verify(kept) == []


@pytest.mark.fault("storage", "damaged there: found, named, mended there")
def test_what_was_damaged_there_is_mended_there(there: Inline, bucket: Bucket) -> None:
    assert there.run(*WORDS, "name=x").returncode == 0
    whole = results.load(f"{URI}/x")
    segment = "b/runs/x/trials/00000.parquet"
    bucket.files[segment] = (b"damaged", 1)
    bucket.files["b/runs/x/epochs/00007.parquet"] = (b"of a stranger", 1)
    assert len(results.verify(f"{URI}/x")) > 0
    assert len(results.repair(f"{URI}/x")) > 0
    assert results.verify(f"{URI}/x") == []
    assert "b/runs/x/epochs/00007.parquet" not in bucket.files
    assert results.load(f"{URI}/x").trials.equals(whole.trials)
    assert read_lease(Place.parse(f"{URI}/x"))["released"] is True


@pytest.mark.fault("storage", "damaged there: mended from another machine")
def test_what_was_damaged_there_is_mended_from_another_machine(
    there: Inline, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert there.run(*WORDS, "name=x").returncode == 0
    whole = results.load(f"{URI}/x")
    bucket.files["b/runs/x/trials/00000.parquet"] = (b"damaged", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other machine"))
    assert any("back" in line for line in results.repair(f"{URI}/x"))
    assert results.verify(f"{URI}/x") == []
    assert results.load(f"{URI}/x").trials.equals(whole.trials)
    assert "quarantine/trials/00000.parquet" in bucket.names("b/runs/x")


@pytest.mark.fault("storage", "the bucket falls silent: said, all is there in the end")
def test_a_bucket_that_falls_silent_costs_nothing_that_was_trained(
    tmp_path: Path, inline: Inline, there: Inline, bucket: Bucket
) -> None:
    assert inline.run(*WORDS, "name=here").returncode == 0

    def fail(kind: str, path: str) -> None:
        if bucket.asked["put"] > 8:
            raise OSError("AWS Error NETWORK_CONNECTION during PutObject operation")

    bucket.fails = fail
    done = there.run(*WORDS, "name=cut")
    assert done.returncode == 4
    assert f"error: {URI}/cut" in done.stderr
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
    (kept,) = re.findall(r"all of the run is kept in (.*), but", done.stderr)
    assert reproducible(results.load(kept)) == reproducible(results.load(tmp_path / "here"))
    bucket.fails = lambda kind, path: None
    again = there.run(f"resume={URI}/cut")
    assert again.returncode == 0, again.stderr
    there_now = results.load(f"{URI}/cut")
    assert reproducible(there_now) == reproducible(results.load(tmp_path / "here"))


def test_what_is_read_is_written_to_where_it_says(
    there: Inline, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    assert there.run(*WORDS, "name=one").returncode == 0
    trial = next(r for r in results.load(f"{URI}/one").rows() if r["role"] == "confirm")
    capsys.readouterr()
    for words in (["compare", f"{URI}/*", "--no-plots"], ["show", f"{URI}/one"]):
        assert results_command(words) == 0
    assert results_command(["report", f"{URI}/one"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{URI}/one/report.html"
    assert "report.html" in bucket.names("b/runs/one")
    assert results_command(["exclude", f"{URI}/one", trial["trial_key"], "--why", "spilled"]) == 0
    assert "exclusions.jsonl" in bucket.names("b/runs/one")
    assert "spilled" in results.load(f"{URI}/one").compare().verdict
