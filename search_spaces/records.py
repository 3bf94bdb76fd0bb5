"""What does a training tell? An EpochRecord an epoch, and one Outcome; its status in one word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["running", "completed", "diverged", "failed", "oom", "interrupted", "paused"]
OPEN = ("running", "interrupted")  # not ended: a resume goes on with them
LOST = ("failed", "oom")  # the machinery's fault, not the schedule's
MEASURED = ("completed", "diverged")  # to the end of their schedule, or of sense
ENDED_WELL = (*MEASURED, "paused")  # paused: on a rung, until it is promoted


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """What one epoch used and measured; schedule values are those of its last step.

    Attributes:
        epoch: completed epochs, from 1.
        num_steps: optimizer steps of this epoch; samples_seen: since the training's start.
        train_loss, train_accuracy: mean over the epoch's samples, in train mode as they passed.
        val_loss, val_accuracy: eval mode, at the epoch's end. Accuracies in [0, 1].
        seconds: training only; eval_seconds: validation.
        noise_c2 ... noise_sample: as the probes of trainables/measurements tell; None unless
            measured. measured: JSON, of measurements without columns of their own.
    """

    epoch: int
    stage: int
    lr: float
    batch_size: int
    batch_capped: bool
    momentum: float
    delta: float
    decay_rate: float
    num_steps: int
    samples_seen: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    eval_seconds: float
    images_per_second: float
    noise_c2: float | None = None
    noise_c2_low: float | None = None
    noise_c2_high: float | None = None
    gradient_norm: float | None = None
    max_gradient_norm: float | None = None
    mean_batch_norm: float | None = None
    noise_sample: str | None = None
    measured: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a whole training came to.

    Attributes:
        status: completed | diverged (| failed | oom | interrupted when told by the driver).
        objective: validation accuracy at the end; 1/num_classes when diverged. Finite.
        final_train_loss, final_train_accuracy: eval mode over the whole training set.
        test_*: None unless role=confirm; test_correct: one bit per test image, in order.
        train_seconds: epochs without evaluation; peak_memory_bytes of the device (GPU) or process.
        sharpness_loss ... measured: as in an EpochRecord.
    """

    status: Status
    objective: float
    best_val_accuracy: float
    val_loss: float
    final_train_loss: float | None
    final_train_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    test_correct: bytes | None
    samples_seen: int
    optimizer_steps: int
    train_seconds: float
    num_params: int
    peak_memory_bytes: int
    device: str
    sharpness_loss: float | None = None
    sharpness_error: float | None = None
    steps_to_epsilon: str | None = None
    measured: str | None = None


def so_far(records: Sequence[EpochRecord]) -> dict[str, Any]:
    """What these epochs of a training came to; fields of an Outcome."""
    last = records[-1]
    return {
        "objective": last.val_accuracy,
        "best_val_accuracy": max(record.val_accuracy for record in records),
        "val_loss": last.val_loss,
        "samples_seen": last.samples_seen,
        "optimizer_steps": sum(record.num_steps for record in records),
        "train_seconds": sum(record.seconds for record in records),
    }
