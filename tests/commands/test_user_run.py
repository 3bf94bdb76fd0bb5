"""A training of the user's own, searched by the real command."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import results
from examples.gpt import train_along
from results import __main__ as results_command
from tests.commands.command import Command, reproducible, wait_for
from tests.fakes.tune_loop import Inline

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

TRAINABLE = "trainable=tests.fakes.losses:descend"
SMALL = (
    *("dataset.train_examples=100", "lr=0.5", "batch.initial=5", "epochs=6", "trials=6"),
    *("confirm.seeds=2", "max_concurrent=1", "display=plain"),
)

STATELESS = """
def train(schedule, seed, report):
    for epoch in range(schedule.num_epochs):
        report(val_accuracy=epoch / 10, test_accuracy=0.5)
"""
BROKEN = """
def train(schedule, seed, report):
    for epoch in range(schedule.num_epochs):
        report(val_accuracy=50 + epoch)
"""


@pytest.mark.full
def test_a_killed_and_resumed_run_has_the_rows_of_an_uninterrupted_one(
    command: Command, inline: Inline
) -> None:
    whole = inline.run(TRAINABLE, *SMALL, "name=whole")
    assert whole.returncode == 0, whole.stderr
    assert "your default (not tuned)" in whole.stdout
    process = inline.start(TRAINABLE, *SMALL, "name=cut")
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
    again = f"resume={command.folder / 'cut'} {TRAINABLE} cluster.address={command.address}"
    assert f"{again} trials=+10" in resumed.stdout


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


def test_cooldowns_of_the_users_own_training_continue_from_one_trunk(inline: Inline) -> None:
    words = (
        *SMALL, "space=wsd_linear", "spaces.wsd_linear.delta0.value=0.05", "baseline=false",
        "spaces.wsd_linear.interval.value=1",
    )  # fmt: skip
    for name in ("alone", "shared"):
        on = f"search.share_prefix={name == 'shared'}"
        done = inline.run(TRAINABLE, *words, f"name={name}", on)
        assert done.returncode == 0, done.stderr
    alone, shared = (results.load(inline.folder / name) for name in ("alone", "shared"))
    assert reproducible(alone) == reproducible(shared)
    (manifest,) = shared.manifests.values()
    assert manifest["shared_samples"] >= 100  # samples of one epoch


def test_a_training_without_a_state_is_trained_in_full_and_shares_nothing(
    inline: Inline, tmp_path: Path
) -> None:
    path = tmp_path / "stateless.py"
    path.write_text(STATELESS)
    done = inline.run(
        f"trainable={path}:train", *SMALL, "space=wsd_linear", "baseline=false", "name=whole",
        "spaces.wsd_linear.delta0.value=0.05", "search.share_prefix=true",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = results.load(inline.folder / "whole")
    assert [row["samples_seen"] for row in run.trials.to_pylist()] == [600] * 8
    (manifest,) = run.manifests.values()
    assert manifest["shared_samples"] == 0


def test_a_training_named_by_its_file_that_reports_percent_fails_with_that_line(
    inline: Inline, tmp_path: Path
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(BROKEN)
    done = inline.run(f"trainable={path}:train", *SMALL, "name=broken")
    assert done.returncode == 1
    assert "the first 5 trials all failed" in done.stderr
    errors = results.load(inline.folder / "broken").trials["error"].to_pylist()
    messages = [error for error in errors if error]
    assert len(messages) >= 5
    for error in messages:
        assert f'File "{path}", line 4' in error
        assert "`0 <= val_accuracy <= 1` must hold, but got (val_accuracy=50)" in error


def test_dry_run_times_one_epoch_of_the_users_own_training(inline: Inline) -> None:
    done = inline.run(TRAINABLE, *SMALL, "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "workload user: tests.fakes.losses:descend, 100 training samples" in done.stdout
    assert "from two timed epochs" in done.stdout


SLOPE = """
import helper_of_a_test
def train(schedule, seed, report):
    for number in range(schedule.num_reports):
        report(val_accuracy=0.5 + helper_of_a_test.SLOPE * number / 100, test_accuracy=0.5)
"""


def test_changed_code_is_refused_until_accepted_and_told_in_the_verdict(
    inline: Inline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    path, helper = project / "mine.py", project / "helper_of_a_test.py"
    path.write_text(SLOPE)
    helper.write_text("SLOPE = 1\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "mine"]):
        identity = ("-c", "user.name=n", "-c", "user.email=e")
        subprocess.run(["git", *identity, *words], cwd=project, check=True)
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.delitem(sys.modules, "helper_of_a_test", raising=False)
    again = (f"trainable={path}:train", f"resume={inline.folder / 'mine'}")
    assert inline.run(again[0], *SMALL, "name=mine").returncode == 0
    (manifest,) = results.load(inline.folder / "mine").manifests.values()
    assert list(manifest["code"]["files"]) == ["helper_of_a_test.py", "mine.py"]
    assert len(manifest["code"]["git"]["sha"]) == 40
    assert not manifest["code"]["git"]["dirty"]
    path.write_text(f"# a comment\n{SLOPE}")
    assert inline.run(*again, "trials=+1").returncode == 0
    helper.write_text("SLOPE = 2\n")
    refused = inline.run(*again, "trials=+1")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].endswith(
        "your code changed since the run began (helper_of_a_test.py); code=accept goes on with "
        "it, and the verdict says so"
    )
    accepted = inline.run(*again, "trials=+1", "code=accept")
    assert accepted.returncode == 0, accepted.stderr
    warning = " (helper_of_a_test.py); trainings before and after are compared."
    assert warning in " ".join(accepted.stdout.split())
    assert inline.run(*again, "trials=+1").returncode == 0  # the same change is accepted once
    (manifest,) = results.load(inline.folder / "mine").manifests.values()
    assert [change["files"] for change in manifest["code_changes"]] == [["helper_of_a_test.py"]]


GPT = (
    *("trainable=examples.gpt:train", "objective=val_loss", "optimizer=adamw", "space=wsd"),
    *("dataset.train_examples=640", "lr=0.002", "batch.initial=16", "epochs=1", "reports=4"),
    *("search.fidelity=squeezed", "search.rungs=2", "trials=4", "confirm.seeds=2"),
    *("max_concurrent=1", "display=plain"),
)


@pytest.mark.full
def test_one_epoch_of_a_gpt_is_searched_by_loss_killed_resumed_judged_and_exported(
    inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = inline.run(*GPT, "name=whole")
    assert whole.returncode == 0, whole.stderr
    assert " nats " in whole.stdout
    process = inline.start(*GPT, "name=cut")
    wait_for(process, "[4/")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    resumed = inline.run(f"resume={inline.folder / 'cut'}", GPT[0])
    assert resumed.returncode == 0, resumed.stderr
    cut, uncut = (results.load(inline.folder / name) for name in ("cut", "whole"))
    assert reproducible(cut) == reproducible(uncut)
    best = uncut.best("wsd")
    assert best.params["interval"] == 0, "the curve is read at every step"
    monkeypatch.chdir(inline.folder)
    assert results_command.main(["export", "whole", "--schedule", "best"]) == 0
    (schedule,) = inline.folder.glob("**/schedule.csv")
    rows = [r for r in uncut.trials.to_pylist() if (r["space"], r["role"]) == ("wsd", "confirm")]
    assert len(rows) == 2
    for row in rows:
        assert train_along(schedule.parent, row["seed"]) == pytest.approx(
            row["test_loss"], abs=1e-6
        )
