"""The driver is killed at times of a fixed seed, and the run is resumed: rows 1, 2, 3 and 31."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import results
from tests.commands.command import Command, reproducible, wait_for
from tests.fakes.tune_loop import Inline
from tests.faults.counts import only_full, repeats, tries, worst

pytestmark = pytest.mark.slow

# 5 trainings of 4 epochs; each epoch is noted in a file, whoever trains it. They take as long as
# the environment says: the rows are the same.
TRAINING = """
import os, time
def train(schedule, seed, report):
    x = report.state["x"] if report.state else 1.0
    for epoch in range(report.epoch + 1, schedule.num_epochs + 1):
        for step in schedule.epoch_steps(epoch):
            x -= float(schedule.lr_S[step.stage]) * (x - seed % 97 / 1000)
        time.sleep(float(os.environ.get("EPOCH_SECONDS", "0.03")))
        with open({log!r}, "a") as log:
            print(schedule.lr_S.sum(), seed, epoch, file=log)
        report(val_accuracy=1 / (1 + abs(x)), test_accuracy=1 / (1 + abs(x)), state={{"x": x}})
"""
WORDS = (
    *("dataset.train_examples=100", "lr=0.05", "batch.initial=20", "epochs=4", "trials=3"),
    *("confirm.seeds=1", "max_concurrent=1", "display=plain", "isolate=false"),
)
NUM_TRAININGS, EPOCHS = 5, 4
SECONDS = 0.3  # of an epoch; what comes faster travels together, and is lost together
WHOLE_SECONDS = NUM_TRAININGS * EPOCHS * SECONDS
START_SECONDS = 0.5  # of a start that imports nothing, before there is a folder


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EPOCH_SECONDS", "0.03")
    (tmp_path / "mine.py").write_text(TRAINING.format(log=str(tmp_path / "trained.txt")))
    return tmp_path / "trained.txt"


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)  # what it started may have to import torch before it ends


def wait_for_file(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)


def finished(inline: Inline, *words: str) -> None:
    done = inline.run(*words)
    assert done.returncode == 0, done.stderr


def rows_of_whole(inline: Inline, trainable: str) -> tuple[list[Any], list[Any]]:
    finished(inline, trainable, *WORDS, "name=whole")
    rows = reproducible(results.load(inline.folder / "whole"))
    assert len(rows[1]) == NUM_TRAININGS * EPOCHS
    return rows


def check_log(log: Path) -> int:
    """How many epochs were trained again; every one was."""
    trained = Counter(log.read_text().splitlines())
    assert len(trained) == NUM_TRAININGS * EPOCHS
    return trained.total() - len(trained)


@pytest.fixture
def trainable(log: Path) -> str:
    return f"trainable={log.parent / 'mine.py'}:train"


@pytest.mark.fault("1")
def test_kills_at_any_time_lose_no_row_and_redo_an_epoch_at_most(
    inline: Inline, trainable: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncut, rng = rows_of_whole(inline, trainable), random.Random(20261126)
    with tries() as once:
        for number in range(repeats(1, 20)):
            log.write_text("")
            with once("1", "driver killed, resumed: the rows of the whole run, <= 2 epochs again"):
                with monkeypatch.context() as slow:
                    slow.setenv("EPOCH_SECONDS", str(SECONDS))
                    process = inline.start(trainable, *WORDS, f"name=cut{number}")
                wait_for(process, "epoch 1/4")
                time.sleep(rng.uniform(0, WHOLE_SECONDS))
                kill(process)
                finished(inline, f"resume={inline.folder / f'cut{number}'}", trainable)
                assert reproducible(results.load(inline.folder / f"cut{number}")) == uncut
                again = check_log(log)
                worst("1", "epochs of 0.3 s trained again after one of these", again, "")
                # One was under way; the state is another behind where it took a twentieth of one.
                assert again <= 2


OUTCOMES = {
    "2": "driver killed in its first seconds: no config under two keys",
    "3": "killed before there is a folder: resume says so, the name is free",
}


@pytest.mark.fault("2")
@pytest.mark.fault("3")
def test_a_kill_before_and_after_the_run_folder_is_there(inline: Inline, trainable: str) -> None:
    rng = random.Random(20261127)
    with tries() as once:
        for number in range(repeats(2, 20)):
            folder = inline.folder / f"early{number}"
            process = inline.start(trainable, *WORDS, f"name={folder.name}")
            if number % 2:  # of its life
                wait_for_file(folder / "manifest.json")
                time.sleep(rng.uniform(0, 1.0))
            else:  # of its start
                time.sleep(rng.uniform(0, START_SECONDS))
            kill(process)
            row = "2" if (folder / "manifest.json").exists() else "3"
            with once(row, OUTCOMES[row]):
                words: tuple[str, ...] = (f"resume={folder}", trainable)
                if row == "3":
                    refused = inline.run(*words)
                    assert refused.returncode == 2
                    assert refused.stderr.startswith("error: resume=")
                    assert refused.stderr.count("\n") == 1
                    words = (trainable, *WORDS, f"name={folder.name}")
                finished(inline, *words)
                rows = results.load(folder).trials.to_pylist()
                assert Counter(row["status"] for row in rows) == {"completed": NUM_TRAININGS}
                assert len({row["config_key"] for row in rows if row["role"] == "search"}) == 3


@only_full
@pytest.mark.fault("1")
def test_a_killed_driver_of_a_real_ray_is_resumed_by_another(
    alone: Command, inline: Inline, trainable: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose workers outlive it for some seconds."""
    uncut, rng = rows_of_whole(inline, trainable), random.Random(20261128)
    with tries() as once:
        for number in range(5):
            log.write_text("")
            with once("1", "the same with a Ray of its own, before and after"):
                with monkeypatch.context() as slow:
                    slow.setenv("EPOCH_SECONDS", str(SECONDS))
                    process = alone.start(trainable, *WORDS, f"name=ray{number}", address=False)
                wait_for(process, "epoch 1/4")
                time.sleep(rng.uniform(0, WHOLE_SECONDS / 2))
                kill(process)
                run_dir, begun = alone.folder / f"ray{number}", time.monotonic()
                resumed = alone.start(f"resume={run_dir}", trainable, address=False)
                wait_for(resumed, "epoch ")
                worst(
                    "1",
                    "from `resume` with a Ray of its own to the first epoch",
                    time.monotonic() - begun,
                    "s",
                )
                _, err = resumed.communicate(timeout=60)
                assert resumed.returncode == 0, err
                assert reproducible(results.load(run_dir)) == uncut
                worst("1", "epochs of 0.3 s trained again after one with Ray", check_log(log), "")


@pytest.mark.fault("31")
def test_the_same_seed_gives_the_same_run(inline: Inline, trainable: str) -> None:
    first = rows_of_whole(inline, trainable)
    with tries() as once:
        for number in range(repeats(1, 3)):
            with once("31", "the same seed again, one training at a time: equal to the bit"):
                finished(inline, trainable, *WORDS, f"name=same{number}")
                assert reproducible(results.load(inline.folder / f"same{number}")) == first
