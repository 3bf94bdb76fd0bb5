"""Why a worker was lost: the line for the person and the status of the row."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError

from tests.fakes.tune_loop import tune_trial
from trainables.failures import OutOfMemoryError
from tuner.recording.losses import WorkerLostError, loss_of

# As Ray 2.60 words it, shortened.
RAY_MEMORY = """OutOfMemoryError: 1 worker(s) were killed due to the node running low on memory. \
Memory on the node (IP: 10.0.0.7, ID: 23e4) was 11.43GB used / 23.54GB limit (0.485679)
OOM kill reason: Memory usage 12275785728B exceeded threshold of 11017836544B (43.6% of \
25276063744B limit)
Object store memory usage: [- objects spillable: 0
Selected to kill: (Task: job ID=01, task name=ResourceTrainable.__init__, pid=10762, actual \
memory used=1.25GB, worker ID=5d34)
Refer to the documentation on how to address the out of memory issue: https://docs.ray.io/x.html."""
NODE = "The actor is dead because its node has died. Node Id: 77"
DIED = "the process of its worker died (killed, out of memory, or crashed)"


def lost(folder: Path, error: Exception | None, text: str = "") -> Any:
    trial = tune_trial(0, {})
    if error is not None:
        trial.pickled_error_file = str(folder / "error.pkl")
        Path(trial.pickled_error_file).write_bytes(pickle.dumps(error))
    if text:
        trial.error_file = str(folder / "error.txt")
        Path(trial.error_file).write_text(text)
    return trial


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (
            WorkerLostError(RAY_MEMORY, True),
            "oom",
            "out of memory: its worker used 1.25GB and was ended by Ray when 11.43GB of 23.54GB "
            "were in use on its node",
        ),
        (WorkerLostError("no words", True), "oom", "out of memory: its worker was ended by Ray"),
        (WorkerLostError("TaskUnschedulableError: x", False), "failed", DIED),
        (ActorDiedError(), "failed", DIED),
        (RayActorError(error_msg=NODE), "failed", "the node of its worker died"),
        (None, "failed", DIED),
        (
            OutOfMemoryError("log: a.txt\nTraceback\nRuntimeError: CUDA out of memory."),
            "oom",
            "RuntimeError: CUDA out of memory.",
        ),
        (OSError("a disk went away"), "failed", "OSError: a disk went away"),
    ],
)
def test_the_line_says_why_and_the_row_what(
    tmp_path: Path, error: Exception | None, status: str, line: str
) -> None:
    loss = loss_of(lost(tmp_path, error))
    assert (loss.status, loss.line) == (status, line)
    assert loss.text.endswith(line)


def test_an_exception_of_the_worker_is_told_by_its_own_name(tmp_path: Path) -> None:
    raised = RayTaskError("train", "Traceback ...", OSError("a disk went away"))
    loss = loss_of(lost(tmp_path, raised, text="Failure # 1\n\x1b[36mray::train\x1b[39m"))
    assert loss.line == "OSError: a disk went away"
    assert loss.text == "Failure # 1\nray::train\nOSError: a disk went away"


def test_out_of_memory_of_a_worker_is_seen_through_rays_wrapping(tmp_path: Path) -> None:
    text = "log: a.txt\nTraceback\nRuntimeError: CUDA out of memory."
    raised = RayTaskError("train", "Traceback ...", OutOfMemoryError(text))
    loss = loss_of(lost(tmp_path, raised, text="Failure # 1\nray::train"))
    assert (loss.status, loss.text) == ("oom", text)


def test_a_worker_that_we_ended_was_ended_for_our_reason(tmp_path: Path) -> None:
    loss = loss_of(lost(tmp_path, ActorDiedError()), cause="no report for 3 s")
    assert (loss.status, loss.line, loss.text) == ("failed", *["no report for 3 s"] * 2)


def test_an_error_that_cannot_be_read_is_still_a_loss(tmp_path: Path) -> None:
    trial = lost(tmp_path, OSError("x"), text="Failure # 1\nof some kind")
    Path(trial.pickled_error_file).write_bytes(b"no pickle")
    assert loss_of(trial).line == "of some kind"


def test_of_rays_pages_the_reason_is_kept_and_of_two_workers_no_size(tmp_path: Path) -> None:
    loss = loss_of(lost(tmp_path, WorkerLostError(RAY_MEMORY, True)))
    assert "exceeded threshold" in loss.text
    assert "spillable" not in loss.text
    assert len(loss.text.splitlines()) == 3
    second = "\nSelected to kill: (pid=2, actual memory used=0.05GB)"
    two = loss_of(lost(tmp_path, WorkerLostError(RAY_MEMORY + second, True)))
    assert two.line.startswith("out of memory: its worker was ended by Ray when 11.43GB")
