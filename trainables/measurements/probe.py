"""What is measured along a training besides loss and accuracy? The `measure=` of a run.

A measurement is a `Probe` in a file of its own, named in `trainables.MEASUREMENTS`: its options
are the arguments of its class, what it returns are fields of EpochRecord and Outcome, or, with
names that these lack, entries of their field `measured`.

No probe changes the training, but for the end that `critical` sets (which is refused unless lr
and batch are constant): random numbers are its own, the model is put back as it was.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import nn

from search_spaces.records import EpochRecord, Outcome
from search_spaces.registry import lookup
from search_spaces.trial import STOPPING, TrialConfig
from trainables import MEASUREMENTS
from trainables.data.images import Batch, ImageSet
from trainables.data.stream import NUM_DRAWS, Samples
from trainables.measurements.gradients import BatchNormMode, Loss


class Subject(Protocol):
    """What a probe may look at: a training between two epochs."""

    trial: TrialConfig
    model: nn.Module
    loss: Loss
    train_set: ImageSet
    diverged: bool
    batch_size: int  # of the last step; 0 before the first

    @property
    def finished(self) -> bool:
        """True when no epoch is left."""
        ...


class Probe:
    """One measurement of one training; where it has nothing to do, it does this: nothing."""

    def after_backward(self, model: nn.Module) -> None:
        """After each step's gradient, before any clipping."""

    def end_epoch(self, training: Subject, epoch: int) -> dict[str, Any]:
        """Fields of the EpochRecord; `epoch` epochs are done."""
        return {}

    def end_training(self, training: Subject) -> dict[str, Any]:
        """Fields of the Outcome."""
        return {}

    @property
    def is_done(self) -> bool:
        """True when the training is to end for its sake; only one of STOPPING may."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """What it needs to go on, under keys of its own."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the states of all probes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchProbe(Probe):
    """What is measured on batches of its own at every `every`-th report (the end of an epoch).

    Attributes:
        estimator: two_batch | per_example; of `noise` alone.
        batch_norm: see `at_rest`; eval for per_example, which knows no batch.
        batch: examples of a batch; None = with BatchNorm in train mode, where C^2 depends on it,
            that of the training's last step (ours: resnet8 on digits, C^2 67 at batch 16 and 36
            at 256 with the same weights), in eval mode its first.
        pairs: pairs of batches; per_example takes the examples of as many.
    """

    estimator: str = "two_batch"
    batch_norm: BatchNormMode = "train"
    batch: int | None = None
    pairs: int = 32
    every: int = 1

    def end_epoch(self, training: Subject, epoch: int) -> dict[str, Any]:
        """Also at the last report; never once the training has diverged."""
        is_due = training.finished or epoch % self.every == 0
        return self.measure(training, epoch) if is_due and not training.diverged else {}

    def measure(self, training: Subject, epoch: int) -> dict[str, Any]:
        """Fields of the EpochRecord."""
        raise NotImplementedError

    def batch_size(self, training: Subject) -> int:
        """Examples of a measuring batch."""
        micro_batch = training.trial.recipe.micro_batch or math.inf
        used = training.batch_size if self.batch_norm == "train" else 0
        batch = int(self.batch or min(used or training.trial.batch0, micro_batch))
        return min(batch, len(training.train_set))

    def draw(self, training: Subject, rng: np.random.Generator) -> Iterator[Batch]:
        """Two batches a pair, drawn with replacement and augmented.

        As the theory of SGD's noise and the training have them; none holds more than one
        backward pass may.
        """
        size, batch = len(training.train_set), self.batch_size(training)
        return training.train_set.batches(
            Samples(rng.integers(0, size, batch), rng.random((batch, NUM_DRAWS), dtype=np.float32))
            for _ in range(2 * self.pairs)
        )


class Probes:
    """What one training was asked to measure.

    Args:
        options: of each measurement, by its name (Recipe.measurements).
    """

    def __init__(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        # Those first that may end the training: others measure at its end.
        names = sorted(options, key=lambda name: name not in STOPPING)
        self.probes: list[Probe] = [
            lookup("measurement", name, MEASUREMENTS)(**options[name]) for name in names
        ]

    def after_backward(self, model: nn.Module) -> None:
        """Let each note what it needs of the step."""
        for probe in self.probes:
            probe.after_backward(model)

    def end_epoch(self, training: Subject, epoch: int) -> dict[str, Any]:
        """The fields of EpochRecord that were asked for."""
        return _fields_of(EpochRecord, (p.end_epoch(training, epoch) for p in self.probes))

    def end_training(self, training: Subject) -> dict[str, Any]:
        """The fields of Outcome that were asked for."""
        return _fields_of(Outcome, (p.end_training(training) for p in self.probes))

    @property
    def watch_steps(self) -> bool:
        """True where one notes something of each step."""
        return any(type(p).after_backward is not Probe.after_backward for p in self.probes)

    @property
    def is_done(self) -> bool:
        """True when a stopping rule has ended the training."""
        return any(probe.is_done for probe in self.probes)

    def state_dict(self) -> dict[str, Any]:
        """What the probes need to go on."""
        return {key: value for probe in self.probes for key, value in probe.state_dict().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        for probe in self.probes:
            probe.load_state_dict(state)


def _fields_of(record: type, measured: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What has no field of its own goes as JSON into the field `measured`."""
    values = {name: value for fields in measured for name, value in fields.items()}
    others = {name: values.pop(name) for name in [*values] if not hasattr(record, name)}
    return values | ({"measured": json.dumps(others)} if others else {})
