"""The command against a server that speaks Google Cloud Storage."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import results
from results.__main__ import main as results_command
from results.storage.place import Place
from tests.commands.command import SMALL, reproducible, wait_for
from tests.conftest import ROOT
from tests.fakes.processes import ready
from tests.fakes.storage.servers import serving_google
from tests.fakes.tune_loop import Inline

pytest.importorskip("gcp_storage_emulator")
pytestmark = pytest.mark.slow

WORDS = ("space=poly", *SMALL, "trials=2", "confirm.seeds=1", "epochs=3")


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """The server, with an empty bucket; everything here and started from here finds it."""
    with serving_google():
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies lie in a folder of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.fault(
    "storage", "gs://, a server: the driver killed, resumed on another machine: the same rows"
)
@pytest.mark.full
def test_a_killed_driver_is_resumed_from_another_machine_and_read_by_its_folder(
    tmp_path: Path,
    inline: Inline,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = f"gs://bucket/{tmp_path.name}"
    process = ready.popen(
        *("tests.fakes.storage.driver", *WORDS, "name=cut", f"runs_dir={runs}"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(process, "[1/")
    process.kill()
    process.communicate(timeout=30)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    resumed = inline.run(f"resume={runs}/cut")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.splitlines()[-1] == f"{runs}/cut"
    assert inline.run(*WORDS, "name=whole").returncode == 0
    # What is in the bucket, not the copy here.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "third"))
    assert reproducible(results.load(f"{runs}/cut")) == reproducible(
        results.load(tmp_path / "whole")
    )
    assert results.verify(f"{runs}/cut") == []
    capsys.readouterr()
    assert results_command(["compare", f"{runs}/*"]) == 0
    assert "poly" in capsys.readouterr().out
    assert results_command(["report", f"{runs}/cut"]) == 0
    assert capsys.readouterr().out == f"{runs}/cut/report.html\n"
    assert b"</html>" in Place.parse(f"{runs}/cut").read("report.html")


@pytest.mark.fault("storage", "gs://, a server: a name taken, a bucket that is none: one line")
def test_a_name_is_taken_once_and_a_bucket_that_is_not_there_is_told(
    inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Inline("gs://bucket/names", monkeypatch)  # type: ignore[arg-type]
    tiny = ("workload=sphere", "space=poly", "epochs=2", "trials=1", "confirm.seeds=1")
    assert there.run(*tiny, "name=one").returncode == 0
    again = there.run(*tiny, "name=one")
    assert again.returncode == 2
    assert "name=one: this run exists; use resume=gs://bucket/names/one" in again.stderr
    nowhere = Inline("gs://nowhere/names", monkeypatch)  # type: ignore[arg-type]
    refused = nowhere.run(*tiny, "name=one")
    assert refused.returncode == 2
    assert refused.stderr == "error: runs_dir=gs://nowhere/names: no such bucket\n"
