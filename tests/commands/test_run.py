"""The real command, end to end, as a user types it; on one small Ray cluster.

What does not need Ray's processes to be seen runs in this one (tests/fakes/tune_loop.py).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

import results
from tests.commands.command import SMALL, Command, reproducible, wait_for
from tests.conftest import ClusterProcess
from tests.fakes.results import edit_manifest
from tests.fakes.tune_loop import Inline
from tests.faults.counts import only_full

fault = pytest.mark.fault
WHOLE = ("space=poly", *SMALL, "trials=8", "epochs=6")


@dataclass(frozen=True)
class Finished:
    """A run that nothing disturbed, and what its command printed."""

    run_dir: Path
    stdout: str


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Trained once, with its report, for all tests that compare with it."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        done = Inline(folder, patch).run(*WHOLE, "report=true", "name=whole")
    assert done.returncode == 0, done.stderr
    return Finished(run_dir=folder / "whole", stdout=done.stdout)


@pytest.mark.slow
def test_the_command_searches_confirms_and_names_its_run_folder(whole: Finished) -> None:
    run_dir = Path(whole.stdout.strip().splitlines()[-1])
    assert run_dir == whole.run_dir
    assert f"report: {run_dir / 'report.html'}" in whole.stdout
    assert "</html>" in (run_dir / "report.html").read_text()
    assert re.search(r"^best schedule( tried, .*)?: poly p=", whole.stdout, re.MULTILINE)
    assert "preliminary" in whole.stdout
    assert "your default (not tuned)" in whole.stdout
    run = results.load(run_dir)
    rows = run.trials.to_pylist()
    assert len(rows) == 8 + 2 + 2
    assert {row["status"] for row in rows} == {"completed"}
    assert run.epochs.num_rows == 12 * 6
    assert run.notes == []
    assert not list((run_dir / "checkpoints").iterdir())
    for row in rows:
        assert (row["test_accuracy"] is None) == (row["role"] != "confirm")
        assert row["samples_seen"] >= 6 * row["train_examples"]


def states_of_tunes(run_dir: Path) -> list[str]:
    """Files that hold one, or any pickle."""
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    assert len(files) > 5
    state = re.compile(
        r"tuner\.pkl|experiment_state.*|search(er|_gen)[-_]state.*|.*\.(pkl|pickle)"
    )
    return [path.name for path in files if state.fullmatch(path.name)]


@pytest.mark.fault("11", "impossible: a run folder holds no state of Tune's, nor any pickle")
@pytest.mark.slow
@pytest.mark.full
def test_no_state_of_tunes_lies_in_a_run_folder(command: Command) -> None:
    done = command.run("space=poly", *SMALL, "trials=1", "confirm.seeds=1", "name=whole")
    assert done.returncode == 0, done.stderr
    assert states_of_tunes(command.folder / "whole") == []


@only_full
@pytest.mark.fault("31", "the same seed on a cluster and on a Ray of its own: equal to the bit")
@pytest.mark.slow
def test_a_ray_of_its_own_and_the_same_seed_give_the_same_run_to_the_bit(
    command: Command, whole: Finished
) -> None:
    done = command.run(*WHOLE, "name=again", address=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    again = results.load(command.folder / "again")
    assert reproducible(again) == reproducible(results.load(whole.run_dir))


@pytest.mark.slow
def test_logged_schedule_values_equal_the_table_of_the_logged_config(inline: Inline) -> None:
    done = inline.run("space=hybrid", "spaces.hybrid.interval.value=1", *SMALL, "trials=1")
    run = results.load(done.stdout.strip().splitlines()[-1])
    best = run.best("hybrid")
    epochs = [r for r in run.epochs.to_pylist() if r["trial_key"] == best.trial_key]
    assert len({r["batch_size"] for r in epochs}) == 3
    for row in epochs:
        assert row["lr"] == best.schedule.lr_S[row["stage"]]
        assert row["batch_size"] == best.schedule.batch_size_S[row["stage"]]
        assert row["delta"] == best.schedule.delta_S[row["stage"]]
        assert row["decay_rate"] == best.schedule.decay_rate_S[row["stage"]]


@pytest.mark.slow
def test_three_arms_share_one_run_with_equal_budgets(inline: Inline) -> None:
    done = inline.run("space=[poly,cosine,exp]", *SMALL)
    assert done.returncode == 0, done.stderr
    run = results.load(done.stdout.strip().splitlines()[-1])
    rows = [r for r in run.trials.to_pylist() if r["role"] == "search"]
    for space in ("poly", "cosine", "exp"):
        assert len([r for r in rows if r["space"] == space]) == 4
    assert {arm.name for arm in run.compare().arms} == {"poly", "cosine", "exp", "baseline"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",  # SIGINT: below, test_api
    [
        pytest.param(
            signal.SIGTERM, marks=[fault("8", "SIGTERM, then resumed: the same rows"), only_full]
        ),
        pytest.param(
            signal.SIGKILL,
            marks=fault("1", "a run on a cluster that stays: the same"),
        ),
    ],
)
def test_an_interrupted_and_resumed_run_has_the_rows_of_an_uninterrupted_one(
    command: Command, inline: Inline, whole: Finished, number: signal.Signals
) -> None:
    process = command.start(*WHOLE, "name=cut")
    wait_for(process, "[4/")
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert states_of_tunes(command.folder / "cut") == []
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        assert f"resume={command.folder / 'cut'}" in out
    resumed = inline.run(f"resume={command.folder / 'cut'}")
    assert resumed.returncode == 0, resumed.stderr
    cut, uncut = results.load(command.folder / "cut"), results.load(whole.run_dir)
    assert reproducible(cut) == reproducible(uncut)


@pytest.mark.fault("8", "Ctrl-C for the whole group, then resumed: the same rows")
@pytest.mark.slow
def test_ctrl_c_reaches_the_whole_process_group_and_ends_the_run_in_order(
    command: Command, inline: Inline, whole: Finished
) -> None:
    process = command.start(*WHOLE, "name=group", address=False)
    wait_for(process, "[4/")
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT
    assert f"resume={command.folder / 'group'}" in out
    statuses = set(results.load(command.folder / "group").trials["status"].to_pylist())
    assert statuses <= {"interrupted", "completed"}
    resumed = inline.run(f"resume={command.folder / 'group'}")
    assert resumed.returncode == 0, resumed.stderr
    group, uncut = results.load(command.folder / "group"), results.load(whole.run_dir)
    assert reproducible(group) == reproducible(uncut)


@only_full
@pytest.mark.fault("8", "Ctrl-C before the first training: exit 130, no traceback")
@pytest.mark.slow
def test_an_interrupt_before_the_training_says_so(command: Command) -> None:
    process = command.start("space=poly", *SMALL, address=False)
    wait_for(process, "starting Ray")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err


@pytest.mark.fault("4", "a worker of a cluster killed: the rows of an undisturbed run")
@pytest.mark.slow
def test_a_killed_worker_costs_no_row(
    command: Command, inline: Inline, cluster: ClusterProcess
) -> None:
    words = ("space=poly", *SMALL, "trials=1", "confirm.seeds=1", "epochs=20")
    whole = inline.run(*words, "name=whole")
    assert whole.returncode == 0, whole.stderr
    process = command.start(*words, "name=hurt")
    wait_for(process, "epoch 1/20")
    (worker,) = cluster.worker_pids()
    os.kill(worker, signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    hurt, unhurt = (results.load(command.folder / name) for name in ("hurt", "whole"))
    assert max(hurt.trials["attempt"].to_pylist()) == 2
    assert reproducible(hurt) == reproducible(unhurt)


@pytest.mark.slow
def test_other_versions_are_told_once_on_resume_and_in_every_verdict(inline: Inline) -> None:
    run_dir = inline.folder / "run"
    assert inline.run("space=poly", *SMALL, "name=run", "trials=2").returncode == 0
    now = json.loads((run_dir / "manifest.json").read_text())["versions"]
    edit_manifest(run_dir, versions=now | {"torch": "1.0", "ray": "1.0"})
    more = inline.run(f"resume={run_dir}", "trials=+1")
    note = (
        "note: not as when the run began or last went on: "
        f"ray 1.0 -> {now['ray']}, torch 1.0 -> {now['torch']}\n"
    )
    assert more.stderr == note
    again = inline.run(f"resume={run_dir}", "trials=+1")
    assert again.stderr == ""
    warning = f"run: torch 1.0 -> {now['torch']} on "
    for done in (more, again):
        assert done.returncode == 0
        assert warning in " ".join(done.stdout.split())


@pytest.mark.slow
def test_more_trials_extend_a_finished_run(inline: Inline, whole: Finished) -> None:
    grown = shutil.copytree(whole.run_dir, inline.folder / "grown")
    for refused in ("space=cosine", "model=resnet20", "seed=3", "epochs=9"):
        other = inline.run(f"resume={grown}", refused)
        assert other.returncode == 2
        assert "cannot change" in other.stderr
    more = inline.run(f"resume={grown}", "trials=+3")
    assert more.returncode == 0, more.stderr
    rows = results.load(grown).trials.to_pylist()
    assert len([r for r in rows if r["role"] == "search"]) == 11


@pytest.mark.fault("5", "a network that always raises: recorded, the run ends after five")
@pytest.mark.slow
def test_a_users_model_that_raises_is_recorded_and_exits_one(inline: Inline) -> None:
    words = [w for w in SMALL if not w.startswith("model.")]
    done = inline.run(
        "space=poly",
        "workload=digits",
        "model=tests.fakes.users_code:broken_model",
        "max_failures=0",
        *words,
    )
    assert done.returncode == 1
    assert "the first 5 trials all failed" in done.stderr
    assert "resume=" in done.stderr
    (run_dir,) = inline.folder.iterdir()
    rows = results.load(run_dir).trials.to_pylist()
    failed = [r for r in rows if r["status"] == "failed"]
    assert len(failed) >= 5
    assert all("this model is broken" in r["error"] for r in failed)


@pytest.mark.slow
def test_a_users_space_file_model_dataset_and_optimizer_work(inline: Inline) -> None:
    done = inline.run(
        "space=./tests/fakes/knee.py",
        "model=tests.fakes.users_code:linear_model",
        "workload=digits",
        "dataset=tests.fakes.users_code:two_classes",
        "optimizer=tests.fakes.users_code:plain_sgd",
        "optimizer.momentum=0",
        "optimizer.nesterov=false",
        *[w for w in SMALL if not w.startswith("dataset.")],
    )
    assert done.returncode == 0, done.stderr
    run = results.load(done.stdout.strip().splitlines()[-1])
    assert run.best().space == "knee"
    assert run.compare().arms[0].mean > 0.9
