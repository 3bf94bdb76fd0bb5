"""What is measured along a training besides loss and accuracy? The `measure=` of a run.

noise      C^2, its interval and gradient norms at an epoch's end            epoch record
sampling   the distribution of the gradient noise at that same point         epoch record
critical   the running mean of the batch gradient's norm; the training ends
           when it has fallen to every epsilon (the papers' stopping rule)    both records
sharpness  worst-case sharpness of the final weights                         trial record

None of them changes the training but for the end that critical sets (and it is refused unless lr
and batch are constant): random numbers are their own, the model is put back as it was.
Batches for the noise are drawn with replacement and augmented, as the theory of SGD's noise and
the training have them; sharpness looks at the first images without augmentation.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.trial import derive_seed
from trainables.data.stream import NUM_DRAWS, Samples
from trainables.measurements.noise import (
    NoiseEstimate,
    first_below,
    per_example_noise,
    sample_noise,
    two_batch_noise,
)
from trainables.measurements.sharpness import worst_case_sharpness

if TYPE_CHECKING:
    from trainables.loop import NetworkTraining

Batch = tuple[Tensor, Tensor]
FULL_GRADIENT_BATCH = 500  # images


class Measurements:
    """What one training was asked to measure.

    Args:
        options: of each measurement, by its name (Recipe.measurements).
    """

    def __init__(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        self.options = options
        self.step_norms: list[Tensor] = []  # of this epoch, on the device
        self.norm_sum, self.norm_count = 0.0, 0
        self.steps_to: dict[str, int] = {}

    def after_backward(self, model: nn.Module) -> None:
        """Note the norm of the step's gradient, before any clipping."""
        if "critical" in self.options:
            grads = [p.grad for p in model.parameters() if p.grad is not None]
            norms = torch._foreach_norm(grads)
            self.step_norms.append(torch.linalg.vector_norm(torch.stack(norms).float()))

    def end_epoch(self, training: NetworkTraining, epoch: int) -> dict[str, Any]:
        """The fields of EpochRecord that were asked for."""
        fields = self._critical(epoch) if "critical" in self.options else {}
        if not training.diverged and _is_due(training, self.options.get("noise"), epoch):
            fields |= _noise_fields(_noise(training, self.options["noise"], epoch))
        if not training.diverged and _is_due(training, self.options.get("sampling"), epoch):
            fields |= _sampling(training, self.options["sampling"], epoch)
        return fields

    def end_training(self, training: NetworkTraining) -> dict[str, Any]:
        """The fields of Outcome that were asked for."""
        fields: dict[str, Any] = {}
        if "critical" in self.options:
            reached = {str(e): self.steps_to.get(str(e)) for e in self._epsilons}
            fields["steps_to_epsilon"] = json.dumps(reached)
        if "sharpness" in self.options and not training.diverged:
            options = dict(self.options["sharpness"])
            num, batch = options.pop("examples"), options.pop("batch")
            plan = _in_order(min(num, len(training.train_set)), batch)
            batches = training.train_set.batches(plan)
            found = worst_case_sharpness(training.model, training.loss, batches, **options)
            fields |= {"sharpness_loss": found.loss, "sharpness_error": found.error}
        return fields

    @property
    def is_done(self) -> bool:
        """True when the stopping rule of the critical batch size has ended the training."""
        return "critical" in self.options and all(str(e) in self.steps_to for e in self._epsilons)

    def state_dict(self) -> dict[str, Any]:
        """What the stopping rule needs to go on."""
        return {
            "norm_sum": self.norm_sum,
            "norm_count": self.norm_count,
            "steps_to": dict(self.steps_to),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self.norm_sum, self.norm_count = state["norm_sum"], state["norm_count"]
        self.steps_to = dict(state["steps_to"])

    @property
    def _epsilons(self) -> list[float]:
        return list(self.options["critical"]["epsilon"])

    def _critical(self, epoch: int) -> dict[str, Any]:
        """Steps until the mean norm fell to each epsilon; looked for after `min_epochs`."""
        norm_T = torch.stack(self.step_norms).double().cpu().numpy()
        self.step_norms.clear()
        if epoch > self.options["critical"]["min_epochs"]:
            for epsilon in self._epsilons:
                index = first_below(norm_T, epsilon, self.norm_sum, self.norm_count)
                if index is not None and str(epsilon) not in self.steps_to:
                    self.steps_to[str(epsilon)] = self.norm_count + index + 1
        self.norm_sum += float(norm_T.sum())
        self.norm_count += len(norm_T)
        return {"mean_batch_norm": self.norm_sum / self.norm_count}


def _is_due(training: NetworkTraining, options: Mapping[str, Any] | None, epoch: int) -> bool:
    """Every `every` epochs, and after the last."""
    if options is None:
        return False
    return training.finished or epoch % int(options["every"]) == 0


def _batch_size(training: NetworkTraining, options: Mapping[str, Any]) -> int:
    """As asked for, else the first batch; at most what one backward pass may hold."""
    recipe = training.trial.recipe
    wanted = int(options["batch"] or min(training.trial.batch0, recipe.micro_batch or math.inf))
    return min(wanted, len(training.train_set))


def _noise(training: NetworkTraining, options: Mapping[str, Any], epoch: int) -> NoiseEstimate:
    batch = _batch_size(training, options)
    rng = np.random.default_rng(derive_seed(training.trial.seed, "noise", epoch))
    if options["estimator"] == "per_example":
        examples = _draw(training, rng, batch, 2 * int(options["pairs"]))
        x_N, y_N = (torch.cat(parts) for parts in zip(*examples, strict=True))
        return per_example_noise(training.model, training.loss, x_N, y_N)
    batches = _draw(training, rng, batch, 2 * int(options["pairs"]))
    pairs = ((first, next(batches)) for first in batches)
    return two_batch_noise(training.model, training.loss, pairs, options["batch_norm"])


def _noise_fields(found: NoiseEstimate) -> dict[str, Any]:
    return {
        "noise_c2": found.c2,
        "noise_c2_low": found.low,
        "noise_c2_high": found.high,
        "gradient_norm": found.gradient_norm,
        "max_gradient_norm": found.max_gradient_norm,
    }


def _sampling(training: NetworkTraining, options: Mapping[str, Any], epoch: int) -> dict[str, Any]:
    """The noise of several batches against the gradient of the whole training set.

    The whole is not augmented where its images are not: its batches are those of one pass
    through the set with fresh augmentation draws.
    """
    batch = _batch_size(training, options)
    rng = np.random.default_rng(derive_seed(training.trial.seed, "sampling", epoch))
    full = training.train_set.batches(
        Samples(part.index_B, rng.random((len(part.index_B), NUM_DRAWS), dtype=np.float32))
        for part in _in_order(len(training.train_set), FULL_GRADIENT_BATCH)
    )
    mini = _draw(training, rng, batch, 2 * int(options["pairs"]))
    found = sample_noise(
        training.model, training.loss, full, mini, options["batch_norm"], num_bins=81
    )
    told = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(found).items()}
    return {"noise_sample": json.dumps(told)}


def _draw(
    training: NetworkTraining, rng: np.random.Generator, batch: int, count: int
) -> Iterator[Batch]:
    """`count` batches of training images, drawn with replacement and augmented."""
    size = len(training.train_set)
    return training.train_set.batches(
        Samples(
            rng.integers(0, size, batch),
            rng.random((batch, NUM_DRAWS), dtype=np.float32),
        )
        for _ in range(count)
    )


def _in_order(num_images: int, batch: int) -> Iterator[Samples]:
    for first in range(0, num_images, batch):
        yield Samples(np.arange(first, min(first + batch, num_images), dtype=np.int64))
