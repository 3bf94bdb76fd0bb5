"""How noisy are a network's mini-batch gradients at one point? C^2, K and the shape of the noise.

At fixed weights, omega = grad_batch - grad has E||omega||^2 = C^2 / b for batches of b independent
examples, so C^2 is the trace of the covariance of the per-example gradient: its unit is that of
a squared gradient of the loss. It is a property of the point: it changes during training.
All functions leave the model as it was and take no step.

Which C^2 a way of drawing estimates, from a set of N examples:
    with replacement, or independent augmentations: divisor N (the set is the population);
    disjoint batches of one permutation, as the training stream gives: divisor N - 1 in
    `two_batch_noise`, exactly, and grad_norm2 too small by C^2 / N.
The two differ by N / (N - 1).

Legend: P trained parameters, N examples, B examples of a batch, M mini-batches; b batch size,
g gradient of the mean loss, omega gradient noise.
Source: arXiv 2311.08745 section 3.3; the estimators are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.data.images import Batch

CONFIDENCE = 0.95
HISTOGRAM_LIMIT = 5.0  # standard deviations; a normal has 6e-7 of its mass beyond
CHUNK_BYTES = 2**26  # of per-example gradients; ResNet-20 on CPU is slower with more
MAX_CHUNK = 256  # examples

# Sum of the losses of a batch, from logits (B, K) and labels (B).
Loss = Callable[[Tensor, Tensor], Tensor]

BatchNormMode = Literal["eval", "train"]


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseEstimate:
    """C^2 at one point, with its uncertainty.

    Attributes:
        c2: unbiased estimate of C^2.
        low, high: 95% t-interval of C^2 (cut at 0, below which C^2 cannot be).
        n: values averaged: pairs of batches, or examples.
        gradient_norm: sqrt of the unbiased estimate of ||g||^2; 0 where that is negative.
        max_gradient_norm: the papers' K: largest norm of a batch's (an example's) gradient among
            those seen. It falls with the batch size and grows with n.
    """

    c2: float
    low: float
    high: float
    n: int
    gradient_norm: float
    max_gradient_norm: float


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseSample:
    """The noise omega of M mini-batches at one point, each described by itself.

    The P components are neither independent nor equally distributed (layers differ in scale):
    these numbers describe the histogram, no p-value follows.

    Attributes:
        batch_size: b, the same for all mini-batches.
        num_params: P.
        gradient_norm: ||g|| of the full gradient.
        norm_M: ||omega||.
        skewness_M, excess_kurtosis_M: of the components of each omega; 0 for a normal.
        ks_M: Kolmogorov-Smirnov distance in [0, 1] of the components of each omega from the
            normal of the same mean and standard deviation.
        edges: (bins + 1,), in standard deviations of an omega's own components from their mean.
        counts: (bins,), summed over the mini-batches; M * P less the components beyond the edges.
    """

    batch_size: int
    num_params: int
    gradient_norm: float
    norm_M: NDArray[np.float64]
    skewness_M: NDArray[np.float64]
    excess_kurtosis_M: NDArray[np.float64]
    ks_M: NDArray[np.float64]
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def scaled_norm_M(self) -> NDArray[np.float64]:
        """sqrt(b) * ||omega||, whose mean square estimates C^2."""
        return math.sqrt(self.batch_size) * self.norm_M


def two_batch_noise(
    model: nn.Module,
    loss: Loss,
    pairs: Iterable[tuple[Batch, Batch]],
    batch_norm: BatchNormMode = "eval",
) -> NoiseEstimate:
    """C^2 from pairs of independent batches: (b/2) ||g_1 - g_2||^2 and <g_1, g_2>, averaged.

    They are unbiased for C^2 and ||g||^2, and cost two gradients a pair.

    Args:
        pairs: two batches of equal size each; several pairs may differ in size. Draw them with
            replacement or disjoint (see the top of the file). If drawn lazily, then not from
            torch's global generator: its state is set back at the end.
        batch_norm: see `at_rest`. With "train" the loss is no mean over examples: the result is
            b/2 E||g_1 - g_2||^2 of batches of that size, and can change with b.

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
    return _estimate(_to_numpy(c2), _to_numpy(norm2).mean(), _to_numpy(largest).max())


def per_example_noise(
    model: nn.Module, loss: Loss, x_N: Tensor, y_N: Tensor, chunk: int | None = None
) -> NoiseEstimate:
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
        g_P = _mean_gradient(model, loss, _chunks(x_N, y_N, size))
        gradients = _per_example_gradients(model, loss)
        for x_B, y_B in _chunks(x_N, y_N, size):
            g_BP = gradients(x_B, y_B)
            norms.append(g_BP.norm(dim=1))
            g_BP -= g_P.float()
            squared_distances.append(g_BP.square().sum(dim=1, dtype=torch.float64))
    v_N = torch.cat(squared_distances).cpu().numpy() * (num_examples / (num_examples - 1))
    norm2 = float(g_P @ g_P) - v_N.mean() / num_examples
    return _estimate(v_N, norm2, torch.cat(norms).max().item())


def sample_noise(
    model: nn.Module,
    loss: Loss,
    full_batches: Iterable[Batch],
    mini_batches: Iterable[Batch],
    batch_norm: BatchNormMode = "eval",
    *,
    num_bins: int = 101,
) -> NoiseSample:
    """omega = g_mini - g_full of each mini-batch at this very point, as norms, shape, histogram.

    Holds a handful of vectors of P float64, however many batches there are. Non-finite gradients
    and an omega without spread give nan.

    Args:
        full_batches: every example once, in batches of any sizes; each example weighs the same.
        mini_batches: equally large; drawn without replacement from the same N examples,
            E||omega||^2 is `finite_population_factor(b, N)` times C^2 / b.
        num_bins: odd, so that 0, where dead units pile up, is inside a bin.
        batch_norm: see `at_rest`; with "train", g_full depends on the sizes of `full_batches`.

    Raises:
        ValueError: no full or no mini-batch, or mini-batches of unequal sizes.

    Source: arXiv 2311.08745 figure 8, of one mini-batch and a full gradient one step later.
    """
    edges = np.linspace(-HISTOGRAM_LIMIT, HISTOGRAM_LIMIT, num_bins + 1)
    counts = np.zeros(num_bins, dtype=np.int64)
    sizes, norms, shapes = set(), [], []
    with at_rest(model, batch_norm):
        g_P = _mean_gradient(model, loss, full_batches)
        for x_B, y_B in mini_batches:
            sizes.add(len(y_B))
            omega_P = flat_gradient(model, loss, x_B, y_B).double() - g_P
            norms.append(omega_P.norm())
            shape, inside = _shape(omega_P, edges)
            shapes.append(shape)
            counts += inside
    if len(sizes) != 1:
        raise ValueError(f"Mini-batches must be of one size, but got (sizes={sorted(sizes)}).")
    skewness_M, kurtosis_M, ks_M = torch.stack(shapes).cpu().numpy().T
    return NoiseSample(
        batch_size=sizes.pop(),
        num_params=len(g_P),
        gradient_norm=g_P.norm().item(),
        norm_M=_to_numpy(norms),
        skewness_M=skewness_M,
        excess_kurtosis_M=kurtosis_M,
        ks_M=ks_M,
        edges=edges,
        counts=counts,
    )


def finite_population_factor(b: int, N: int) -> float:
    """(N - b) / (N - 1): what drawing b of N examples without replacement leaves of the noise.

    E||g_batch - g||^2 = C^2/b * factor, with the C^2 of divisor N, that of drawing with
    replacement (with divisor N - 1 the factor is 1 - b/N). 1 for b = 1, 0 for b = N.

    Raises:
        ValueError: unless 1 <= b <= N.
    """
    if not 1 <= b <= N:
        raise ValueError(f"`1 <= b <= N` must hold, but got (b={b}, N={N}).")
    return (N - b) / (N - 1) if N > 1 else 0.0


def first_below(
    norms: NDArray[np.float64], threshold: float, before_sum: float, before_count: int
) -> int | None:
    """The first of these steps at which the mean gradient norm since step 0 is <= threshold.

    The stopping rule of the critical-batch method: the arithmetic mean of the mini-batch
    gradient's norm over ALL steps so far. None if no step gets there; nan is never below, nor is
    any step after one.

    Args:
        norms: of these steps, in order (one epoch's, say).
        before_sum, before_count: sum and number of the norms of all earlier steps.

    Source: arXiv 2311.08745 appendix C; that 10 epochs have passed is the caller's to ask.

    Example:
        >>> first_below(np.array([4.0, 2.0, 0.0]), 2.0, before_sum=0.0, before_count=0)
        2
    """
    num_steps = before_count + np.arange(1, len(norms) + 1)
    means = (before_sum + np.cumsum(norms, dtype=np.float64)) / num_steps
    below = np.flatnonzero(means <= threshold)
    return int(below[0]) if len(below) else None


@contextmanager
def at_rest(model: nn.Module, batch_norm: BatchNormMode = "eval") -> Iterator[None]:
    """Measure gradients inside, in float32; afterwards the model is as before, bit for bit.

    Set back, also after an exception: train/eval flags, buffers (running statistics,
    num_batches_tracked), every p.grad (None inside), torch's global random state.
    Weights are not: who moves them puts them back.

    Args:
        batch_norm: "eval" uses the running statistics, and the loss is a plain mean over
            examples, as in theory. "train" uses the batch's, as training does; other layers
            (dropout) are in eval mode all the same.

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


def _mean_gradient(model: nn.Module, loss: Loss, batches: Iterable[Batch]) -> Tensor:
    """Gradient of the mean loss over the examples of all batches, (P,) float64."""
    total, num_examples = torch.zeros((), dtype=torch.float64), 0
    for x_B, y_B in batches:
        total = total + len(y_B) * flat_gradient(model, loss, x_B, y_B).double()
        num_examples += len(y_B)
    if num_examples == 0:
        raise ValueError("The full gradient needs at least one batch, but got none.")
    return total / num_examples


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


def _shape(omega_P: Tensor, edges: NDArray[np.float64]) -> tuple[Tensor, NDArray[np.int64]]:
    """Skewness, excess kurtosis and distance from a normal, (3,); counts between the edges."""
    P = len(omega_P)
    z_P = ((omega_P - omega_P.mean()) / omega_P.std(correction=0)).sort().values
    normal_P = torch.special.ndtr(z_P)
    step_P = torch.arange(P, dtype=torch.float64, device=z_P.device) / P
    ks = torch.maximum((normal_P - step_P).max(), (step_P + 1 / P - normal_P).max())
    moments = [z_P.pow(3).mean(), z_P.pow(4).mean() - 3]
    ranks = torch.searchsorted(z_P, torch.from_numpy(edges).to(z_P.device))
    return torch.stack([*moments, ks]), ranks.diff().cpu().numpy()


def _estimate(values: NDArray[np.float64], norm2: float, largest: float) -> NoiseEstimate:
    """Mean of the unbiased values of C^2 and its t-interval."""
    from scipy.special import stdtrit  # Student's quantile, without scipy.stats' slow import

    n = len(values)
    mean = float(values.mean())
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2) * values.std(ddof=1) / math.sqrt(n))
    return NoiseEstimate(
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


def _to_numpy(scalars: list[Tensor]) -> NDArray[np.float64]:
    return torch.stack(scalars).cpu().numpy()
