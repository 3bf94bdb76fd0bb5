"""What a GPU is asked for, as far as can be told without one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ray.tune import PlacementGroupFactory

from tests.fakes.trials import small_trial
from trainables.checkpoints import Checkpoints, read_newest
from trainables.trainable import ALLOCATOR, OLD_ALLOCATOR, ScheduledTrainable, set_allocator
from trainables.training import count_memory_anew, settle_device

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def switches() -> dict[str, bool]:
    return {
        "deterministic": torch.backends.cudnn.deterministic,
        "benchmark": torch.backends.cudnn.benchmark,
        "convolutions in TF32": torch.backends.cudnn.allow_tf32,
        "products in TF32": torch.backends.cuda.matmul.allow_tf32,
    }


def switch(deterministic: bool, benchmark: bool, convolutions: bool, products: bool) -> None:
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = products


@pytest.fixture
def fast() -> Iterator[None]:
    """All switches for speed; afterwards as they were."""
    before = switches()
    switch(False, True, True, True)
    yield
    switch(*before.values())


@pytest.mark.usefixtures("fast")
def test_a_gpu_computes_the_same_bits_again_and_fp32_is_no_tf32() -> None:
    settle_device(CPU)
    assert [*switches().values()] == [False, True, True, True]
    settle_device(CUDA)
    assert [*switches().values()] == [True, False, False, False]


@pytest.mark.parametrize(
    ("device", "is_used", "told"), [(CUDA, True, [CUDA]), (CUDA, False, []), (CPU, True, [])]
)
def test_the_peak_of_memory_is_that_of_one_training(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, is_used: bool, told: list[object]
) -> None:
    reset: list[object] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: is_used)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    count_memory_anew(device)
    assert reset == told


def test_a_state_saved_on_a_gpu_is_read_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as on_gpu:
        on_gpu.setattr("torch.serialization.location_tag", lambda storage: "cuda:0")
        Checkpoints(tmp_path).save(1, {"weights": torch.arange(3.0)})
    state = read_newest(tmp_path)
    assert state is not None
    assert (state["weights"].device, state["weights"].tolist()) == (CPU, [0.0, 1.0, 2.0])


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the allocator; afterwards as before."""
    for name in (ALLOCATOR, OLD_ALLOCATOR):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("gpus", "settings"),
    [
        (1.0, "expandable_segments:True"),
        (2.0, "expandable_segments:True"),
        (0.25, "expandable_segments:True,per_process_memory_fraction:0.225"),
    ],
)
@pytest.mark.usefixtures("unset")
def test_trainings_on_one_gpu_leave_each_other_their_memory(gpus: float, settings: str) -> None:
    set_allocator(gpus)
    assert os.environ[ALLOCATOR] == settings
    torch._C._accelerator_setAllocatorSettings(settings)  # raises for a key that torch lacks


@pytest.mark.parametrize("name", [ALLOCATOR, OLD_ALLOCATOR])
@pytest.mark.usefixtures("unset")
def test_settings_of_the_users_own_stay(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "max_split_size_mb:512")
    before = {**os.environ}
    set_allocator(0.5)
    assert {**os.environ} == before


@pytest.mark.parametrize(
    ("device", "fraction"), [("cuda", "per_process_memory_fraction:0.45"), ("cpu", "")]
)
@pytest.mark.usefixtures("unset")
def test_a_worker_knows_its_part_from_tune(
    monkeypatch: pytest.MonkeyPatch, device: str, fraction: str
) -> None:
    resources = PlacementGroupFactory([{"CPU": 1, "GPU": 0.5}])
    monkeypatch.setattr(ScheduledTrainable, "trial_resources", resources)
    ScheduledTrainable({"trial": json.dumps(small_trial().to_dict()), "device": device})
    assert os.environ.get(ALLOCATOR, "").rpartition(",")[2] == fraction
