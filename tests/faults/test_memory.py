"""Whole searches in which some trainings do not fit into memory."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

import results
from tests.commands.command import Command
from tests.fakes.tune_loop import Inline
from tests.faults.counts import only_full
from tests.faults.faulty import SMALL, events, statuses, write_model

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

# As on a GPU that holds 40 images at most.
TOO_LARGE = """
    def forward(self, x):
        if self.training and len(x) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.line(x.flatten(1))
"""
MARGIN = 3 * 2**30  # bytes below Ray's limit, more than what else runs here takes or gives
ARMS = tuple(word for word in SMALL if word != "space=poly")
ERROR = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


def model_of_small_gpu(folder: Path) -> str:
    word = write_model(folder, "pass")
    path = folder / "faulty.py"
    head, _, rest = path.read_text().partition("    def forward")
    path.write_text(head + TOO_LARGE.lstrip("\n") + rest[rest.index("def make") :])
    return word


@pytest.mark.fault("27", "no batch above 40 fits: oom rows, the plan that fits is told, and does")
def test_large_batches_that_do_not_fit_are_marked_and_the_plan_that_fits_is_told(
    inline: Inline, tmp_path: Path
) -> None:
    # The batch stays at 32 in one arm and grows beyond 40 in the other.
    words = (model_of_small_gpu(tmp_path), *ARMS, "spaces.batch.interval.value=1")
    done = inline.run(*words, "space=[lr,batch]", "name=run")
    assert done.returncode == 1, done.stdout + done.stderr
    run = results.load(inline.folder / "run")
    by_arm = Counter((row["space"], row["status"]) for row in run.trials.to_pylist())
    assert by_arm["lr", "completed"] == 5
    assert {status for space, status in by_arm if space == "batch"} == {"oom"}
    for row in run.trials.to_pylist():
        if row["status"] == "oom":
            assert row["error"].endswith(ERROR)
            assert row["epochs_done"] >= 1
            assert row["attempt"] == 2  # tried again once, of the three times that were allowed
    assert "out of memory at a batch of " in done.stdout
    assert "32 fitted: batch.max=32 or micro_batch=32 in a new run does" in done.stdout
    for plan in ("batch.max=32", "micro_batch=32"):  # each does
        fits = inline.run(*words, "space=batch", plan)
        assert fits.returncode == 0, fits.stderr


@pytest.mark.fault("27", "fits the second time: whole")
def test_a_training_that_fits_the_second_time_is_whole(inline: Inline, tmp_path: Path) -> None:
    raised = "raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')"
    words = (write_model(tmp_path, f"if among_first(1):\n    {raised}"), *SMALL)
    done = inline.run(*words, "name=run")
    assert done.returncode == 0, done.stderr
    run = results.load(inline.folder / "run")
    assert statuses(run) == {"completed": 5}
    (lost,) = events(run, "lost")
    assert lost["why"] == ERROR
    assert f"{ERROR} (retry 1 of 1)" in done.stdout
    assert "1 training ran out of memory at a batch of 32, which fitted in others" in done.stdout


USERS = """
def train(schedule, seed, report):
    for number in range(report.report, schedule.num_reports):
        if report.needs_test:
            raise MemoryError("no room for 9 GB")
        report(val_accuracy=0.5 + number / 100, test_accuracy=0.5, state={"n": number})
"""


@pytest.mark.fault("27", "a user's function out of memory: tried again once, oom row")
def test_a_training_of_the_users_own_is_tried_again_once_too(
    inline: Inline, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(USERS)
    words = (f"trainable={path}:train", "dataset.train_examples=100", "lr=0.5", "epochs=3")
    more = ("batch.initial=5", "trials=3", "confirm.seeds=2", "display=plain", "baseline=false")
    done = inline.run(*words, *more, "name=own")
    assert done.returncode == 1
    run = results.load(inline.folder / "own")
    assert statuses(run) == {"completed": 3, "oom": 2}
    assert len(events(run, "lost")) == 2
    for row in run.trials.to_pylist():
        if row["status"] == "oom":
            log = run.dirs[0] / "logs" / f"{row['trial_key']}.txt"
            assert row["error"].startswith(f"log: {log}\nTraceback")
            assert row["error"].endswith("MemoryError: no room for 9 GB")
    assert "2 trainings ran out of memory at a batch of" in done.stdout
    assert "micro_batch" not in done.stdout


@only_full
@pytest.mark.fault(
    "27", "ended by Ray for the host's memory: oom row, resume does not begin it again"
)
def test_a_worker_that_ray_ends_for_memory_costs_its_training_alone(
    alone: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's monitor of memory ends the worker that took more than what is left below a limit."""
    sizes = {
        name: int(value.split()[0]) * 1024
        for name, _, value in (
            line.partition(":") for line in Path("/proc/meminfo").read_text().splitlines()
        )
    }
    total, free = sizes["MemTotal"], sizes["MemAvailable"]
    if free < 3 * MARGIN:
        pytest.skip("the machine has no memory to fill")
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{(total - free + MARGIN) / total:.4f}")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    # Twice, which is once more than it is tried again.
    act = f"if among_first(2):\n    block = numpy.ones({2 * MARGIN}, dtype=numpy.uint8)"
    words = (write_model(tmp_path, f"{act}\n    time.sleep(60)"), *SMALL, "trials=2")
    done = alone.run(*words, "confirm.seeds=1", "name=run", address=False)
    assert done.returncode == 1, done.stderr
    run = results.load(alone.folder / "run")
    assert statuses(run) == {"completed": 3, "oom": 1}
    (row,) = [row for row in run.trials.to_pylist() if row["status"] == "oom"]
    line = row["error"].splitlines()[-1]
    assert re.fullmatch(
        r"out of memory: its worker used [\d.]+GB and was ended by Ray when [\d.]+GB of "
        r"[\d.]+GB were in use on its node",
        line,
    )
    assert f"trial {row['trial_key']}: out of memory: its worker used" in done.stdout
    assert f"1 of 4 trials failed; the first with:\n  {line}" in done.stdout
    assert "max_concurrent, resources.cpus_per_trial" in done.stdout
    assert done.stderr == ""
    again = alone.run(f"resume={alone.folder / 'run'}", words[0], address=False)
    assert again.returncode == 0, again.stderr
    assert statuses(results.load(alone.folder / "run"))["oom"] == 1  # not begun again
