"""How noisy are a network's mini-batch gradients at one point? C^2 and K.

At fixed weights, omega = grad_batch - grad has E||omega||^2 = C^2 / b for batches of b independent
examples, so C^2 is the trace of the covariance of the per-example gradient: its unit is that of
a squared gradient of the loss. It is a property of the point: it changes during training.
All functions leave the model as it was and take no step.

Which C^2 a way of drawing estimates, from a set of N examples:
    with replacement, or independent augmentations: divisor N (the set is the population);
    disjoint batches of one permutation, as the training stream gives: divisor N - 1 in
    `two_batch_noise`, exactly, and grad_norm2 too small by C^2 / N.
The two differ by N / (N - 1).

Legend: P trained parameters, N examples, B examples of a batch; b batch size, g gradient of the
mean loss, omega gradient noise.
Source: arXiv 2311.08745 section 3.3; the estimators are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from search_spaces.trial import derive_seed
from trainables.data.images import Batch
from trainables.measurements.gradients import (
    BatchNormMode,
    Loss,
    StepNorms,
    at_rest,
    flat_gradient,
    mean_gradient,
    to_numpy,
    trained_parameters,
)
from trainables.measurements.probe import BatchProbe, Subject

CONFIDENCE = 0.95
CHUNK_BYTES = 2**26  # of per-example gradients; ResNet-20 on CPU is slower with more
MAX_CHUNK = 256  # examples


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """C^2 at one point, with its uncertainty.

    Attributes:
        c2: unbiased estimate of C^2.
        low, high: 95% t-interval of C^2 (cut at 0, below which C^2 cannot be).
        n: values averaged: pairs of batches, or examples.
        gradient_norm: sqrt of the unbiased estimate of ||g||^2; 0 where that is negative.
        max_gradient_norm: largest norm of a batch's (an example's) gradient among those seen.
            It falls with the batch size and grows with n.
    """

    c2: float
    low: float
    high: float
    n: int
    gradient_norm: float
    max_gradient_norm: float


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseProbe(BatchProbe):
    """C^2, its interval and gradient norms; the papers' K from the training's own steps."""

    step_norms: StepNorms = field(default_factory=StepNorms, init=False, repr=False)

    def after_backward(self, model: nn.Module) -> None:
        """Note the norm of the step's gradient, before any clipping."""
        self.step_norms.note(model)

    def end_epoch(self, training: Subject, epoch: int) -> dict[str, Any]:
        """max_step_norm of the steps since the last report, whether more is due or not."""
        norm_T = self.step_norms.take()
        largest = {"max_step_norm": float(norm_T.max())} if len(norm_T) else {}
        return BatchProbe.end_epoch(self, training, epoch) | largest

    def measure(self, training: Subject, epoch: int) -> dict[str, Any]:
        """noise_c2 with its interval, gradient_norm, max_gradient_norm.

        The batches are the same for all arms of a replicate.
        """
        rng = np.random.default_rng(derive_seed(training.trial.seed, "noise", epoch))
        batches = self.draw(training, rng)
        if self.estimator == "per_example":
            x_N, y_N = (torch.cat(parts) for parts in zip(*batches, strict=True))
            noise = per_example_noise(training.model, training.loss, x_N, y_N)
        else:
            pairs = ((first, next(batches)) for first in batches)
            noise = two_batch_noise(training.model, training.loss, pairs, self.batch_norm)
        return {
            "noise_c2": noise.c2,
            "noise_c2_low": noise.low,
            "noise_c2_high": noise.high,
            "gradient_norm": noise.gradient_norm,
            "max_gradient_norm": noise.max_gradient_norm,
        }


def two_batch_noise(
    model: nn.Module,
    loss: Loss,
    pairs: Iterable[tuple[Batch, Batch]],
    batch_norm: BatchNormMode = "train",
) -> Noise:
    """C^2 from pairs of independent batches: (b/2) ||g_1 - g_2||^2 and <g_1, g_2>, averaged.

    They are unbiased for C^2 and ||g||^2, and cost two gradients a pair.

    Args:
        pairs: two batches of equal size each; several pairs may differ in size. Draw them with
            replacement or disjoint (see the top of the file). If drawn lazily, then not from
            torch's global generator: its state is set back at the end.
        batch_norm: see `at_rest`. With "train", as the steps of a training have it, the loss is
            no mean over examples: the result is b/2 E||g_1 - g_2||^2 of batches of that size, and
            can change with b.

    Raises:
        ValueError: fewer than 2 pairs, or unequal batches in one.
    """
    c2, norm2, largest = [], [], []
    with at_rest(model, batch_norm):
        for (x_1, y_1), (x_2, y_2) in pairs:
            if len(y_1) != len(y_2):
                raise ValueError(
                    f"A pair's batches must be equally large, but got ({len(y_1)}, {len(y_2)})."
                )
            g_1 = flat_gradient(model, loss, x_1, y_1).double()
            g_2 = flat_gradient(model, loss, x_2, y_2).double()
            c2.append(len(y_1) / 2 * (g_1 - g_2).square().sum())
            norm2.append(g_1 @ g_2)
            largest.append(torch.maximum(g_1.norm(), g_2.norm()))
    _check_count(len(c2), "pairs")
    return _estimate(to_numpy(c2), to_numpy(norm2).mean(), to_numpy(largest).max())


def per_example_noise(
    model: nn.Module, loss: Loss, x_N: Tensor, y_N: Tensor, chunk: int | None = None
) -> Noise:
    """C^2 from the gradient of every example, in eval mode: sum_i ||g_i - g||^2 / (N - 1).

    Unbiased when the examples are an independent sample of a population. When they are the whole
    population, (N - 1) / N of the result is the C^2 of drawing from it with replacement.
    The interval is a large-sample one: Student's t on v_i = ||g_i - g||^2 N / (N - 1), whose
    distribution has a long right tail; it speaks of the population, not of these N.

    Args:
        x_N, y_N: inputs and labels on the model's device; in channels-last where the model is.
        chunk: examples whose gradients are held at once, 4 * P bytes each, three times that at
            the peak. Decides only the cost; None: CHUNK_BYTES of them, at most MAX_CHUNK.

    Raises:
        ValueError: fewer than 2 examples.
    """
    num_examples = len(y_N)
    _check_count(num_examples, "examples")
    num_params = sum(p.numel() for p in trained_parameters(model))
    size = chunk or max(1, min(MAX_CHUNK, CHUNK_BYTES // (4 * num_params)))
    squared_distances, norms = [], []
    with at_rest(model, "eval"):
        g_P = mean_gradient(model, loss, _chunks(x_N, y_N, size))
        gradients = _per_example_gradients(model, loss)
        for x_B, y_B in _chunks(x_N, y_N, size):
            g_BP = gradients(x_B, y_B)
            norms.append(g_BP.norm(dim=1))
            g_BP -= g_P.float()
            squared_distances.append(g_BP.square().sum(dim=1, dtype=torch.float64))
    v_N = torch.cat(squared_distances).cpu().numpy() * (num_examples / (num_examples - 1))
    norm2 = float(g_P @ g_P) - v_N.mean() / num_examples
    return _estimate(v_N, norm2, torch.cat(norms).max().item())


def _per_example_gradients(model: nn.Module, loss: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    """A map from a batch to the gradients of its examples, (B, P)."""
    from torch.func import functional_call, grad, vmap

    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def example_loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return loss(functional_call(model, weights, (x.unsqueeze(0),)), y.unsqueeze(0))

    batched = vmap(grad(example_loss), in_dims=(None, 0, 0))

    return lambda x_B, y_B: torch.cat(
        [g.flatten(1) for g in batched(weights, x_B, y_B).values()], dim=1
    )


def _estimate(values: NDArray[np.float64], norm2: float, largest: float) -> Noise:
    """Mean of the unbiased values of C^2 and its t-interval."""
    from scipy.special import stdtrit  # Student's quantile, without scipy.stats' slow import

    n = len(values)
    mean = float(values.mean())
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2) * values.std(ddof=1) / math.sqrt(n))
    return Noise(
        c2=mean,
        low=max(0.0, mean - half),
        high=mean + half,
        n=n,
        gradient_norm=math.sqrt(max(0.0, float(norm2))),
        max_gradient_norm=float(largest),
    )


def _check_count(count: int, what: str) -> None:
    if count < 2:
        raise ValueError(f"At least 2 {what} must be given for an interval, but got ({count}).")


def _chunks(x_N: Tensor, y_N: Tensor, size: int) -> Iterable[Batch]:
    return zip(torch.split(x_N, size), torch.split(y_N, size), strict=True)
