"""A training that does not fit into memory: what its worker tells, and that it is used no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes.trials import small_trial
from trainables.failures import OutOfMemoryError, lasting
from trainables.loop import NetworkTraining
from trainables.trainable import ScheduledTrainable

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."


def worker(folder: Path) -> ScheduledTrainable:
    config = {"trial": json.dumps(small_trial().to_dict()), "checkpoints": str(folder)}
    return ScheduledTrainable(config)


@pytest.fixture
def full_after_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second epoch of any network does not fit."""
    run_epoch = NetworkTraining.run_epoch

    def run(self: NetworkTraining) -> Any:
        if self.records:
            raise torch.OutOfMemoryError(FULL)
        return run_epoch(self)

    monkeypatch.setattr(NetworkTraining, "run_epoch", run)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 1000.0])
@pytest.mark.usefixtures("full_after_one")
def test_epochs_that_were_done_are_told_before_it_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(ScheduledTrainable, "report_seconds", seconds)
    training = worker(tmp_path)
    told = training.train()
    assert [record["epoch"] for record in told["records"]] == [1]
    assert not told["done"]
    with pytest.raises(OutOfMemoryError, match=f"(?s)Traceback.*{FULL}"):
        training.train()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (torch.OutOfMemoryError("anything"), "oom"),
        (MemoryError(), "oom"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x"), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "oom"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "oom"),
        (RuntimeError("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), "oom"),
        (torch.AcceleratorError("CUDA error: out of memory"), "oom"),
        (RuntimeError("CUDA error: device-side assert triggered"), None),
        (OSError("a disk went away"), None),
        (ValueError("out of memory"), "failed"),
    ],
)
def test_what_is_called_out_of_memory(error: Exception, status: str | None) -> None:
    assert lasting(error) == status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "failed"),
        (RuntimeError("CUDA error: device-side assert triggered"), None),
        (torch.AcceleratorError("an illegal memory access was encountered"), None),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x"), "oom"),
        (torch.OutOfMemoryError(FULL), "oom"),
    ],
)
def test_a_users_function_whose_gpu_is_lost_is_worth_another_process(
    error: Exception, status: str | None
) -> None:
    assert lasting(error, is_users=True) == status
