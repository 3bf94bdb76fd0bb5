"""How are a network's gradients measured at one point, without a trace?

Legend: P trained parameters, B examples of a batch, K classes, T steps; b batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.data.images import Batch

# Sum of the losses of a batch, from logits (B, K) and labels (B).
Loss = Callable[[Tensor, Tensor], Tensor]

BatchNormMode = Literal["eval", "train"]


@contextmanager
def at_rest(model: nn.Module, batch_norm: BatchNormMode) -> Iterator[None]:
    """Measure gradients inside, in float32; afterwards the model is as before, bit for bit.

    Set back, also after an exception: train/eval flags, buffers (running statistics,
    num_batches_tracked), every p.grad (None inside), torch's global random state.
    Weights are not: who moves them puts them back.

    Args:
        batch_norm: "train" uses the batch's statistics, as the steps of a training do; other
            layers (dropout) are in eval mode all the same. "eval" uses the running ones: the loss
            is then a plain mean over examples, but not the one that is trained, and where running
            statistics lag, as early in a training, its gradients are far larger.

    Raises:
        ValueError: another `batch_norm`.
    """
    if batch_norm not in get_args(BatchNormMode):
        raise ValueError(
            f"`batch_norm` must be one of {', '.join(get_args(BatchNormMode))}, "
            f"but got (batch_norm={batch_norm!r})."
        )
    device = next(model.parameters()).device
    training = [(module, module.training) for module in model.modules()]
    gradients = [(p, p.grad) for p in model.parameters()]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    generators = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=generators),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        try:
            for module, _ in training:
                module.training = batch_norm == "train" and isinstance(module, _BatchNorm)
            for p, _ in gradients:
                p.grad = None
            yield
        finally:
            for module, flag in training:
                module.training = flag
            for p, gradient in gradients:
                p.grad = gradient
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    buffer.copy_(buffers[name])


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that require a gradient, in the model's order; P numbers in all."""
    return [p for p in model.parameters() if p.requires_grad]


def flatten(tensors: Iterable[Tensor]) -> Tensor:
    """One vector, each tensor in its logical order whatever its memory format; detached."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def flat_gradient(model: nn.Module, loss: Loss, x_B: Tensor, y_B: Tensor) -> Tensor:
    """Gradient of the mean loss over the batch, (P,) float32, in the order of the parameters.

    Leaves p.grad alone; 0 where the loss does not use a parameter. The mode is the caller's.
    """
    mean_loss = loss(model(x_B), y_B) / len(y_B)
    parameters = trained_parameters(model)
    return flatten(torch.autograd.grad(mean_loss, parameters, materialize_grads=True))


class StepNorms:
    """Norms of a training's own gradients, step by step, kept on the device until taken."""

    def __init__(self) -> None:
        self._norms: list[Tensor] = []

    def note(self, model: nn.Module) -> None:
        """Of the gradient that the step has now, over all parameters."""
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        norms = torch._foreach_norm(grads)
        self._norms.append(torch.linalg.vector_norm(torch.stack(norms).float()))

    def take(self) -> NDArray[np.float64]:
        """Those of all steps since the last call, in order; (T,)."""
        norm_T = [norm.double() for norm in self._norms]
        self._norms.clear()
        return to_numpy(norm_T) if norm_T else np.empty(0)


def mean_gradient(model: nn.Module, loss: Loss, batches: Iterable[Batch]) -> Tensor:
    """Gradient of the mean loss over the examples of all batches, (P,) float64."""
    total, num_examples = torch.zeros((), dtype=torch.float64), 0
    for x_B, y_B in batches:
        total = total + len(y_B) * flat_gradient(model, loss, x_B, y_B).double()
        num_examples += len(y_B)
    if num_examples == 0:
        raise ValueError("The full gradient needs at least one batch, but got none.")
    return total / num_examples


def to_numpy(scalars: list[Tensor]) -> NDArray[np.float64]:
    """One number of each tensor, on the CPU."""
    return torch.stack(scalars).cpu().numpy()
