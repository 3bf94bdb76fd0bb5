"""The whole command on a bucket: the same rows, also after it was silent or another went on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import results
from results.__main__ import main as results_command
from tests.commands.command import SMALL, reproducible
from tests.fakes.storage.bucket import Bucket, use_bucket
from tests.fakes.tune_loop import Inline
from tuner.reproduce import main as reproduce_command

pytestmark = pytest.mark.slow

WORDS = ("space=poly", *SMALL, "trials=2")
URI = "s3://b/runs"


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return use_bucket(monkeypatch, tmp_path / "cache")


@pytest.fixture
def there(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Inline:
    monkeypatch.setattr("tuner.session.session.PATIENCE_SECONDS", 0.1)
    return Inline(URI, monkeypatch)  # type: ignore[arg-type]


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


def test_a_name_that_is_taken_there_is_refused(there: Inline, bucket: Bucket) -> None:
    bucket.files["b/runs/taken/manifest.json"] = (b"{}", 0)
    done = there.run(*WORDS, "name=taken")
    assert done.returncode == 2
    assert f"name=taken: this run exists; use resume={URI}/taken" in done.stderr


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
