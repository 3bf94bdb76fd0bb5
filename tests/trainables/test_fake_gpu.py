"""A step on a CUDA device that only knows shapes (torch's FakeTensorMode): does it meet the host?

A fake device has neither backward nor the fused optimizer's kernel: both are left out, and the
gradients are made up. What is looked at is the rest of a step: gathering, augmenting, normalising,
forward, sums, and that the optimizer is called with a tensor for its lr.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from search_spaces.trial import TrialConfig
from tests.fakes.trials import small_trial
from trainables import MODELS, graphs, loop
from trainables.data import images
from trainables.graphs import Eager
from trainables.loop import NetworkTraining

CUDA = torch.device("cuda")
FUSED = "aten._fused_sgd_.tensor_lr"
CALLS_OF_CONVOLUTION = 8  # with its BatchNorm, ReLU, sum, casts and bookkeeping
OTHER_CALLS = 100  # gathering and augmenting (30 without rotation), normalising, head, loss, sums
NUM_STEPS = 3


class Calls(TorchDispatchMode):
    """Notes every call of aten, and those that meet the host: a tensor there, a number read."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.crossings: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = str(func)
        result = None if "_fused_" in name else func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
        if name.startswith("aten"):
            self.names.append(name)
        if "local_scalar" in name or any(t.device.type != "cuda" for t in tensors):
            self.crossings.append(name)
        return result


@contextlib.contextmanager
def cast_to_bf16() -> Iterator[None]:
    """torch.autocast of CUDA, which refuses where there is none."""
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", True)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        torch.autocast_decrement_nesting()
        torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", False)


class FakeGpu:
    """A training there; to be used within its `mode`."""

    def __init__(self, trial: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_uploads = 0
        self.training = training = NetworkTraining(trial)
        held, recipe = training.train_set, trial.recipe
        assert isinstance(held, images.TensorImages)
        shape = (recipe.train_examples, *held.images_NHWC.shape[1:])
        for module in (images, graphs):
            monkeypatch.setattr(module, "upload", self.upload)
        monkeypatch.setattr(loop, "CudaRecorder", lambda device: Eager())
        monkeypatch.setattr(images, "_scale_and_shift", functools.cache(constants))
        monkeypatch.setattr(torch.autograd, "backward", self.backward)
        if recipe.precision == "bf16":
            monkeypatch.setattr(training, "_autocast", cast_to_bf16)
        self.mode = FakeTensorMode()
        training.device = CUDA
        with self.mode, CUDA:
            training.model = loop.lookup("model", recipe.model, MODELS)(
                num_classes=recipe.num_classes, in_channels=shape[-1], width=recipe.width
            )
            self.gradients = [(p, p.detach()) for p in training.model.parameters()]
            training.optimizer = loop._make_optimizer(training.model, recipe, trial.lr0)
            training.loss_sum = torch.zeros((), dtype=torch.float64)
            training.num_correct = torch.zeros((), dtype=torch.int64)
            training.train_set = images.TensorImages(
                images_NHWC=torch.zeros(shape, dtype=torch.uint8),
                labels_N=torch.zeros(len(held), dtype=torch.int64),
                normalization=held.normalization,
                augmentation=images.Augmentation(pad=4, flip=True, max_degrees=10.0),
            )
            training.static = training._static_steps()

    def upload(self, array: Any, device: torch.device) -> Tensor:
        self.num_uploads += 1
        kind = {"i": torch.int64, "f": torch.float32}[array.dtype.kind]
        return torch.zeros(array.shape, dtype=kind, device=device)

    def backward(self, loss: Tensor) -> None:
        for parameter, gradient in self.gradients:
            parameter.grad = gradient


def constants(mean: Any, std: Any, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    row = torch.zeros(width * len(mean), device=device)
    return row, row


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "precision", "norm"),
    [
        ("resnet8", "fp32", "aten.cudnn_batch_norm.default"),
        ("resnet18", "bf16", "aten.native_batch_norm.default"),  # cuDNN's takes no bf16
        ("wrn28x10", "bf16", "aten.native_batch_norm.default"),
    ],
)
def test_a_step_never_meets_the_host_and_its_calls_are_few(
    model: str, precision: str, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = small_trial(f"model={model}", f"precision={precision}", "batch.initial=16")
    gpu = FakeGpu(trial, monkeypatch)
    training, static = gpu.training, gpu.training.static
    assert static is not None, "a plain training of ours"
    assert all(p.is_cuda for p in (*training.model.parameters(), static.index_B))
    steps = list(training.schedule.steps())[:NUM_STEPS]
    with gpu.mode, Calls() as calls:
        static.take(steps)
        assert gpu.num_uploads == 2, "order and draws, once for all steps"
        assert calls.names.count(FUSED) == NUM_STEPS
        calls.names.clear()
        calls.crossings.clear()
        training.update(*static.images.batch(static.index_B, static.draws_BD), stage=0)
    assert calls.crossings == []
    num_convolutions = calls.names.count("aten.convolution.default")
    assert num_convolutions > 8
    assert calls.names.count(norm) > 6
    assert len(calls.names) <= OTHER_CALLS + CALLS_OF_CONVOLUTION * num_convolutions
    assert calls.names[-1] == FUSED


def test_a_read_number_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu(small_trial("batch.initial=16"), monkeypatch)
    with gpu.mode, Calls() as calls:
        torch.zeros(3, device=CUDA) + torch.zeros(())
    assert calls.crossings == ["aten.zeros.default", "aten.add.Tensor"]
