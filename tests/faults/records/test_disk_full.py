"""A disk that is full at the start, fills up, and has space again: whole commands."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import results
from results.records import store as store_module
from tests.commands.command import SMALL, Command, reproducible
from tests.fakes.tune_loop import Inline
from tests.faults.counts import only_full, tries
from tests.faults.drivers import TINY
from tests.faults.records.disk import Disk
from trainables.trainable import ScheduledTrainable
from tuner.recording import recorder as recorder_module

NUM_TRAININGS = 4  # of TINY


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inline: Inline) -> Iterator[Disk]:
    """That of the runs folder; the run has a second of patience and retries often."""
    monkeypatch.setattr(recorder_module, "STORAGE_PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(store_module, "MAX_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(store_module, "FLUSH_SECONDS", 0.05)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    inline.folder = tmp_path / "runs"
    inline.folder.mkdir()
    return Disk(inline.folder, monkeypatch)


@pytest.fixture(autouse=True)
def trainings_of_some_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each end writes its rows, as it does where trainings take more than a second."""
    monkeypatch.setattr(recorder_module, "CLEAN_SECONDS", 0.0)


def when_ended(monkeypatch: pytest.MonkeyPatch, number: int, act: object) -> None:
    """Call `act` once this many trainings have ended, before they are recorded."""
    ended, end = [], recorder_module.Recorder._end

    def counted(self: object, *args: object, **keys: object) -> None:
        ended.append(1)
        if len(ended) == number:
            act()
        end(self, *args, **keys)

    monkeypatch.setattr(recorder_module.Recorder, "_end", counted)


@only_full
@pytest.mark.fault("13")
@pytest.mark.slow
def test_whichever_write_fails_first_the_name_is_free_again_or_the_run_goes_on(
    inline: Inline, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The n-th write and all after it, n = 1, 2, ..., until the run has begun to train."""
    monkeypatch.setattr(recorder_module, "STORAGE_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr("tuner.display.summary.print_summary", lambda run_dir: None)
    tiny = (*TINY, "trials=1", "baseline=false")

    def outcome(number: int) -> str:
        disk.count, name = 0, f"n{number}"
        disk.fails = lambda count: count >= number
        failed = inline.run(*tiny, f"name={name}")
        disk.empty()
        run_dir = inline.folder / name
        assert failed.returncode == 4, (number, failed)
        assert re.search(
            f"^error: no space left on {inline.folder}(/{name})?$", failed.stderr, re.M
        )
        assert "Traceback" not in failed.stdout + failed.stderr
        again, found = inline.run(*tiny, f"name={name}"), "free"
        if again.returncode == 2:
            assert f"use resume={run_dir}" in again.stderr
            assert json.loads((run_dir / "manifest.json").read_text())["status"] != "completed"
            again, found = inline.run(f"resume={run_dir}"), "resumed"
        assert again.returncode == 0, (number, again)
        assert results.load(run_dir).trials.num_rows == 2
        assert results.verify(run_dir) == []
        return found

    outcomes: list[str] = []
    with tries() as once:
        for number in range(1, 40):
            with once("13", "n-th write of a start fails: exit 4, the name is free or it resumes"):
                outcomes.append(outcome(number))
            if outcomes[-3:] == ["resumed"] * 3:
                break
    assert outcomes.count("free") >= 5
    assert outcomes[-3:] == ["resumed"] * 3
    assert not list(inline.folder.glob("*/.*.tmp"))


@pytest.mark.fault("13", "the disk fills up and has space again: told at once, 0 rows lost")
@pytest.mark.slow
def test_a_full_disk_is_told_at_once_and_nothing_is_lost_when_space_returns(
    inline: Inline, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[bool] = []
    setup = ScheduledTrainable.setup

    def noted(self: ScheduledTrainable, config: dict[str, object]) -> None:
        begun.append(disk.fails(0))
        setup(self, config)

    monkeypatch.setattr(ScheduledTrainable, "setup", noted)

    def fill() -> None:
        disk.fill()
        threading.Timer(0.5, disk.empty).start()

    when_ended(monkeypatch, 2, fill)
    done = inline.run(*TINY, "name=full")
    run_dir = inline.folder / "full"
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"warning: no space left on {run_dir}") == 1
    assert done.stdout.count(f"{run_dir} can be written again; nothing is lost") == 1
    assert begun == [False] * NUM_TRAININGS  # none began while nothing could be written
    run = results.load(run_dir)
    assert run.trials["status"].to_pylist() == ["completed"] * NUM_TRAININGS
    assert run.notes == []
    events = (run_dir / "events.jsonl").read_text()
    kinds = [json.loads(line)["kind"] for line in events.splitlines()]
    assert kinds.count("storage failed") == 1
    assert list((run_dir / "checkpoints").iterdir()) == []


@pytest.mark.fault("13", "full when the last training ends: waited for, 0 rows lost")
@pytest.mark.slow
def test_a_disk_that_is_full_when_the_last_training_ends_is_waited_for(
    inline: Inline, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill() -> None:
        disk.fill()
        threading.Timer(0.5, disk.empty).start()

    when_ended(monkeypatch, NUM_TRAININGS, fill)
    done = inline.run(*TINY, "name=late")
    assert done.returncode == 0, done.stderr
    assert "warning: no space left on" in done.stdout
    run = results.load(inline.folder / "late")
    assert run.trials["status"].to_pylist() == ["completed"] * NUM_TRAININGS
    (manifest,) = run.manifests.values()
    assert manifest["status"] == "completed"


@pytest.mark.fault("13", "the disk stays full: exit 4, what it did not take is kept beside it")
@pytest.mark.slow
def test_a_disk_that_stays_full_ends_the_run_honestly_and_what_it_did_not_take_is_kept(
    inline: Inline, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = inline.run(*TINY, "name=whole")
    assert whole.returncode == 0
    when_ended(monkeypatch, 2, disk.fill)
    done = inline.run(*TINY, "name=full")
    run_dir = inline.folder / "full"
    assert done.returncode == 4
    error, kept, go_on = done.stderr.splitlines()
    assert error == f"error: no space left on {run_dir}"
    assert go_on.startswith("when there is space again, go on with: ")
    assert json.loads((run_dir / "manifest.json").read_text())["status"] == "running"
    assert results.load(run_dir).trials["status"].to_pylist() == ["completed", "running"]
    disk.empty()
    copy = re.search(r", and the last \d+ rows are kept beside it: (cp -r .*)$", kept)
    assert copy
    subprocess.run(copy[1], shell=True, check=True)
    assert results.load(run_dir).trials["status"].to_pylist() == ["completed"] * 2
    resumed = inline.run(f"resume={run_dir}")
    assert resumed.returncode == 0, resumed.stderr
    ours, theirs = map(results.load, (run_dir, inline.folder / "whole"))
    assert reproducible(ours) == reproducible(theirs)
    assert results.verify(run_dir) == []


@pytest.mark.fault("13", "full before the run: one line")
@pytest.mark.slow
def test_a_disk_that_is_full_before_the_run_is_one_line(inline: Inline, disk: Disk) -> None:
    disk.fill()
    done = inline.run(*TINY)
    assert done.returncode == 4
    assert done.stderr == f"error: no space left on {inline.folder}\n"
    assert "starting Ray" not in done.stdout
    assert list(inline.folder.iterdir()) == []


def mounted(folder: Path, size: str) -> bool:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    return os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0


def fill(path: Path) -> None:
    """Write until there is no space left."""
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@only_full
@pytest.mark.fault("13", "a real disk fills up, and has space again: 0 rows lost")
@pytest.mark.slow
def test_a_real_disk_that_fills_up_with_a_real_run(command: Command, tmp_path: Path) -> None:
    small = tmp_path / "small"
    if not mounted(small, "400k"):
        pytest.skip("only root can mount a small disk")
    try:
        command.folder = small
        process = command.start("space=poly", *SMALL, "trials=6", "name=full")
        assert process.stdout is not None
        told = []
        for line in process.stdout:
            told.append(line)
            if "[2/" in line:
                fill(small / "else")
            if "warning: no space left" in line:
                break
        (small / "else").unlink()
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, (told, err)
        assert "can be written again; nothing is lost" in out
        run = results.load(small / "full")
        assert set(run.trials["status"].to_pylist()) == {"completed"}
        assert run.notes == []
        assert results.verify(small / "full") == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
        shutil.rmtree(small)
