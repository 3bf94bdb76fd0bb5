"""How sharp is the minimum: how much can a tiny change of the weights raise the loss?

S = mean over batches of  max_{|delta_i| <= rho c_i} L_B(w + delta) - L_B(w),  c = |w| (adaptive)
or 1, in eval mode. The maximum is sought by APGD from delta = 0, which gives a lower bound:

    new       = clip(delta_k + step c sign(grad L_B(w + delta_k)), -rho c, rho c),  step_0 = 2 rho
    delta_k+1 = 0.75 new + 0.25 delta_k-1

and at checkpoints the step is halved and the search goes on from the best point if less than 3/4
of the steps since the last checkpoint raised the loss, or neither step nor best changed.

Legend: P trained parameters, B examples of a batch.
Source: arXiv 2302.07011 (definition) and its public code; arXiv 2311.08745 section 3.3.1 (values);
checkpoints arXiv 2003.01690. Where that code, back at the best weights, goes on from the old
delta and counts only steps to a new best, ours follows 2003.01690.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainables.data.images import Batch
from trainables.data.stream import in_order
from trainables.measurements.gradients import Loss, at_rest, flatten, trained_parameters
from trainables.measurements.probe import Probe, Subject

RHO = 0.0002  # relative to |w|; arXiv 2311.08745's
MOMENTUM = 0.25  # weight of the perturbation before the current one
MIN_IMPROVED = 0.75  # share of steps
FIRST_CHECKPOINT = 0.22  # share of the iterations
CHECKPOINT_DECREMENT = 0.03
MIN_CHECKPOINT_GAP = 0.06


@dataclass(frozen=True, kw_only=True, slots=True)
class Sharpness:
    """Worst-case sharpness over some batches.

    Attributes:
        loss: mean increase of the mean loss at the worst perturbation found, >= 0.
        error: mean increase of the error rate at the same perturbation, in [-1, 1]: above 0 as a
            rule, though a higher loss need not mean more errors.
    """

    loss: float
    error: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SharpnessProbe(Probe):
    """Worst-case sharpness of the final weights, on the first training images.

    Attributes:
        examples: images in all; batch: of them at once.
        others: see `worst_case_sharpness`.
    """

    rho: float = RHO
    adaptive: bool = True
    examples: int = 1024
    batch: int = 128
    iterations: int = 20

    def end_training(self, training: Subject) -> dict[str, Any]:
        """sharpness_loss, sharpness_error."""
        if training.diverged:
            return {}
        images = training.train_set
        sharpness = worst_case_sharpness(
            training.model,
            training.loss,
            images.batches(in_order(min(self.examples, len(images)), self.batch)),
            rho=self.rho,
            adaptive=self.adaptive,
            iterations=self.iterations,
        )
        return {"sharpness_loss": sharpness.loss, "sharpness_error": sharpness.error}


@dataclass(frozen=True, slots=True)
class _Point:
    """What was measured at w + delta: mean loss, error rate, gradient of the mean loss."""

    delta_P: Tensor
    loss: float
    error: float
    gradient_P: Tensor


def worst_case_sharpness(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    *,
    rho: float = RHO,
    adaptive: bool = True,
    iterations: int = 20,
) -> Sharpness:
    """The mean over batches of the largest increase of the loss within the box rho * c.

    Uses no randomness; the model is afterwards as before, bit for bit, also after an exception.
    Costs iterations + 1 gradients a batch. Frozen parameters are not perturbed. Float32 resolves
    the result to about 1e-7 of the loss.

    Args:
        loss: sum over the batch, from logits and labels.
        batches: the papers': the first 1024 training images, unaugmented, 128 each. An example
            weighs the same in every batch.
        rho: > 0.
        adaptive: c = |w|, which makes the result invariant to rescalings of the weights that
            leave the function alone; otherwise c = 1.
        iterations: steps of APGD, >= 1.

    Raises:
        ValueError: rho or iterations out of range, or no batch.
    """
    if not (rho > 0 and iterations >= 1):
        raise ValueError(
            "`rho > 0` and `iterations >= 1` must hold, "
            f"but got (rho={rho}, iterations={iterations})."
        )
    increases, errors, sizes = [], [], []
    with at_rest(model, "eval"):
        for batch in batches:
            search = _Search(model, loss, batch, rho, adaptive)
            start, worst = search.run(iterations)
            increases.append(worst.loss - start.loss)
            errors.append(worst.error - start.error)
            sizes.append(len(batch[1]))
    if not sizes:
        raise ValueError("Sharpness needs at least one batch, but got none.")
    return Sharpness(loss=_weighted_mean(increases, sizes), error=_weighted_mean(errors, sizes))


def apgd_checkpoints(iterations: int) -> list[int]:
    """After how many iterations APGD looks whether its step is still right; may end beyond.

    p_0 = 0, p_1 = 0.22, p_j+1 = p_j + max(p_j - p_j-1 - 0.03, 0.06); ceil(p_j * iterations),
    up to the first that is not below `iterations`. In floating point, as published (0.7 * 20 is
    15 there).

    Source: arXiv 2003.01690 section 3.

    Example:
        >>> apgd_checkpoints(20)
        [5, 9, 12, 15, 16, 18, 19, 20]
    """
    before, share = 0.0, FIRST_CHECKPOINT
    checkpoints = [math.ceil(share * iterations)]
    while checkpoints[-1] < iterations:
        gap = max(share - before - CHECKPOINT_DECREMENT, MIN_CHECKPOINT_GAP)
        before, share = share, share + gap
        checkpoints.append(math.ceil(share * iterations))
    return checkpoints


class _Search:
    """APGD for one batch; the weights are those of the model at the start and at the end."""

    def __init__(
        self, model: nn.Module, loss: Loss, batch: Batch, rho: float, adaptive: bool
    ) -> None:
        self.model = model
        self.loss = loss
        self.batch = batch
        self.rho = rho
        self.parameters = trained_parameters(model)
        self.weights_P = flatten(self.parameters)
        self.scale_P = self.weights_P.abs() if adaptive else torch.ones_like(self.weights_P)

    def run(self, iterations: int) -> tuple[_Point, _Point]:
        """The unperturbed point and the worst one found."""
        try:
            start = self._measure(torch.zeros_like(self.weights_P))
            return start, self._ascend(start, iterations)
        finally:
            self._set_weights(self.weights_P)

    def _ascend(self, start: _Point, iterations: int) -> _Point:
        checkpoints = set(apgd_checkpoints(iterations))
        step, previous, current, best = 2 * self.rho, start, start, start
        last_iteration, last_step, last_best, num_improved = 0, step, start, 0
        for iteration in range(1, iterations + 1):
            point = self._measure(self._next(current, previous, step))
            num_improved += point.loss > current.loss
            previous, current = current, point
            if current.loss > best.loss:
                best = current
            if iteration in checkpoints:
                few = num_improved < MIN_IMPROVED * (iteration - last_iteration)
                stuck = step == last_step and best is last_best
                last_iteration, last_step, last_best, num_improved = iteration, step, best, 0
                if few or stuck:
                    step /= 2
                    previous = current = best
        return best

    def _next(self, current: _Point, previous: _Point, step: float) -> Tensor:
        reach_P = self.rho * self.scale_P
        new_P = current.delta_P + step * self.scale_P * current.gradient_P.sign()
        new_P = torch.clamp(new_P, -reach_P, reach_P)
        return (1 - MOMENTUM) * new_P + MOMENTUM * previous.delta_P

    def _measure(self, delta_P: Tensor) -> _Point:
        self._set_weights(self.weights_P + delta_P)
        x_B, y_B = self.batch
        logits_BK = self.model(x_B)
        mean_loss = self.loss(logits_BK, y_B) / len(y_B)
        gradients = torch.autograd.grad(mean_loss, self.parameters, materialize_grads=True)
        error = (logits_BK.argmax(1) != y_B).double().mean()
        return _Point(delta_P, mean_loss.item(), error.item(), flatten(gradients))

    @torch.no_grad()
    def _set_weights(self, weights_P: Tensor) -> None:
        pieces = torch.split(weights_P, [p.numel() for p in self.parameters])
        for p, piece in zip(self.parameters, pieces, strict=True):
            p.copy_(piece.view(p.shape))


def _weighted_mean(values: list[float], sizes: list[int]) -> float:
    return sum(v * size for v, size in zip(values, sizes, strict=True)) / sum(sizes)
