"""The command against a server that speaks S3: killed, resumed, and refused in time."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import results
from results.storage.place import open_filesystem
from tests.commands.command import SMALL, reproducible, wait_for
from tests.conftest import ROOT
from tests.fakes.storage.servers import serving_s3
from tests.fakes.tune_loop import Inline
from tuner.run import main

pytest.importorskip(
    "moto", reason="a server that speaks S3: pip install 'moto[s3]' flask flask-cors"
)
pytestmark = pytest.mark.slow

# A Ray of its own would give the lone training all CPUs, and their sums differ by thread.
ONE_THREAD = "resources.cpus_per_trial=1"
WORDS = ("space=poly", *SMALL, "trials=2", "confirm.seeds=1", "epochs=6", ONE_THREAD)


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    """The server, with an empty bucket; everything here and started from here finds it."""
    with serving_s3() as process:
        yield process


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies lie; of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    open_filesystem.cache_clear()  # the test before may have had another server
    return tmp_path / "cache"


@pytest.mark.fault("storage", "s3://, a server: the driver killed, resumed: the same rows")
@pytest.mark.parametrize(("machine", "options"), [("same", []), ("other", ["--ray"])])
def test_a_driver_that_is_killed_is_resumed_with_the_rows_of_an_uninterrupted_run(
    tmp_path: Path,
    inline: Inline,
    server: Any,
    cache: Path,
    machine: str,
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = f"s3://bucket/{tmp_path.name}/cut"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.fakes.storage.driver",
            *options,
            *WORDS,
            "name=cut",
            f"runs_dir={uri.removesuffix('/cut')}",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(process, "[1/")
    process.kill()
    process.communicate(timeout=30)
    if machine == "other":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    resumed = Inline(tmp_path, monkeypatch).run(f"resume={uri}")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.splitlines()[-1] == uri
    assert inline.run(*WORDS, "name=whole").returncode == 0
    cut = results.load(uri)
    assert reproducible(cut) == reproducible(results.load(tmp_path / "whole"))
    assert results.verify(uri) == []
    for path in (*(tmp_path / "cache").rglob("*"), *(tmp_path / "other").rglob("*")):
        assert path.is_dir() or b"CANARY" not in path.read_bytes()


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that is refused with code 2 within 10 s."""
    open_filesystem.cache_clear()
    begun = time.monotonic()
    assert main(["space=poly", *SMALL, *words]) == 2
    assert time.monotonic() - begun < 10.0
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "CANARY" not in line
    return line


@pytest.mark.fault(
    "storage", "s3://, a server: what cannot be written: one line before anything starts"
)
def test_what_cannot_be_written_is_refused_before_anything_starts(
    server: subprocess.Popen[str],
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = refusal(["runs_dir=s3://no-such-bucket/x"], capsys)
    assert line == "error: runs_dir=s3://no-such-bucket/x: no such bucket\n"
    line = refusal(["runs_dir=s3://me:CANARY@bucket/x"], capsys)
    assert line.startswith("error: runs_dir=s3://...: no user, password")
    line = refusal(["runs_dir=ftp://bucket/x"], capsys)
    assert "unknown storage" in line
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        assert "cannot be reached" in refusal(["runs_dir=s3://bucket/x"], capsys)
    with socket.socket() as silent:  # takes the connection, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        line = refusal(["runs_dir=s3://bucket/x"], capsys)
        assert "cannot be reached" in line or "no answer within" in line


@pytest.mark.fault("storage", "s3://, a server: two drivers: the second is refused")
def test_two_drivers_on_one_run_the_second_is_refused(
    tmp_path: Path,
    server: Any,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    inline: Inline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from results.storage.lease import Lease
    from results.storage.place import Place

    there = Inline("s3://bucket/two", monkeypatch)  # type: ignore[arg-type]
    assert there.run(*SMALL, "space=poly", "trials=1", "name=one").returncode == 0
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    held = Lease(home=Place.parse("s3://bucket/two/one"))
    held.take()
    held.confirm()
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    done = there.run("resume=s3://bucket/two/one", "trials=+1")
    assert done.returncode == 2
    assert "is being written by process" in done.stderr
    assert "on another since" in done.stderr
    held.release()
    done = there.run("resume=s3://bucket/two/one", "trials=+1")
    assert done.returncode == 0, done.stderr
