"""A training of the user's own, searched by the real command."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import results
from tests.commands.command import Command, reproducible, wait_for
from tests.fakes.tune_loop import Inline

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

TRAINABLE = "trainable=tests.trainables.user.test_user_training:descend"
SMALL = (
    *("dataset.train_examples=100", "lr=0.5", "batch.initial=5", "epochs=6", "trials=6"),
    *("confirm.seeds=2", "max_concurrent=1", "display=plain"),
)

BROKEN = """
def train(schedule, seed, report):
    for epoch in range(schedule.num_epochs):
        report(val_accuracy=50 + epoch)
"""


def test_a_killed_and_resumed_run_has_the_rows_of_an_uninterrupted_one(
    command: Command, inline: Inline
) -> None:
    whole = inline.run(TRAINABLE, *SMALL, "name=whole")
    assert whole.returncode == 0, whole.stderr
    assert "your default (not tuned)" in whole.stdout
    process = command.start(TRAINABLE, *SMALL, "name=cut")
    wait_for(process, "[3/")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    refused = inline.run(f"resume={command.folder / 'cut'}")
    assert refused.returncode == 2
    assert f"repeat {TRAINABLE} to allow it" in refused.stderr
    resumed = command.run(f"resume={command.folder / 'cut'}", TRAINABLE)
    assert resumed.returncode == 0, resumed.stderr
    cut, uncut = (results.load(command.folder / name) for name in ("cut", "whole"))
    assert reproducible(cut) == reproducible(uncut)
    assert f"resume={command.folder / 'cut'} {TRAINABLE} trials=+10" in resumed.stdout


@pytest.mark.parametrize("fidelity", ["squeezed", "prefix"])
def test_shorter_trainings_of_the_users_own_are_searched_first(
    inline: Inline, fidelity: str
) -> None:
    words = (*SMALL, "epochs=9", "trials=9", f"search.fidelity={fidelity}", "name=rungs")
    done = inline.run(TRAINABLE, *words)
    assert done.returncode == 0, done.stderr
    run = results.load(inline.folder / "rungs")
    rows = [row for row in run.trials.to_pylist() if row["role"] == "search"]
    samples = sorted(row["samples_seen"] for row in rows)
    # 9 configs for a ninth of 900 samples, 3 of them for a third, 1 in full.
    assert len([n for n in samples if n >= 100]) >= 9
    assert samples[-1] >= 900 > samples[-2]
    assert {row["status"] for row in rows} <= {"completed", "paused"}


def test_a_training_named_by_its_file_that_reports_percent_fails_with_that_line(
    inline: Inline, tmp_path: Path
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(BROKEN)
    done = inline.run(f"trainable={path}:train", *SMALL, "name=broken")
    assert done.returncode == 1
    assert "the first 5 trials all failed" in done.stderr
    errors = results.load(inline.folder / "broken").trials["error"].to_pylist()
    found = [error for error in errors if error]
    assert len(found) >= 5
    for error in found:
        assert f'File "{path}", line 4' in error
        assert "`0 <= val_accuracy <= 1` must hold, but got (val_accuracy=50)" in error


def test_dry_run_times_one_epoch_of_the_users_own_training(inline: Inline) -> None:
    done = inline.run(TRAINABLE, *SMALL, "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert (
        "workload user: tests.trainables.user.test_user_training:descend, 100 training samples"
        in done.stdout
    )
    assert "from one timed epoch" in done.stdout


def test_the_examples_of_the_repository_train(inline: Inline) -> None:
    words = ("dataset.train_examples=64", "lr=0.01", "batch.initial=16", "epochs=2", "trials=1")
    done = inline.run(
        "trainable=examples.char_transformer:train", *words, "confirm.seeds=1", "display=plain"
    )
    assert done.returncode == 0, done.stderr
    run = results.load(done.stdout.strip().splitlines()[-1])
    rows = run.trials.to_pylist()
    assert {row["status"] for row in rows} == {"completed"}
    # 16 test blocks of 31 windows of 32 characters, one bit each.
    bits = {len(row["test_correct"]) * 8 for row in rows if row["role"] == "confirm"}
    assert bits == {16 * 31 * 32}
