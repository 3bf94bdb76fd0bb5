"""What is a training to those who drive it, and which hardware does it have?"""

from __future__ import annotations

import resource
from typing import Any, Protocol

import torch

from search_spaces.records import EpochRecord, Outcome
from search_spaces.schedule import Schedule, Step


class Training(Protocol):
    """What the trainable drives: epoch after epoch until finished, restartable from its state."""

    records: list[EpochRecord]
    diverged: bool

    @property
    def finished(self) -> bool:
        """True when no epoch is left, or the training has diverged."""
        ...

    def run_epoch(self) -> EpochRecord:
        """Train one epoch and evaluate on the validation images."""
        ...

    def outcome(self) -> Outcome:
        """What the finished training came to."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on bit-identically (tensors and plain values only)."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()` of the same trial."""
        ...


def planned(schedule: Schedule, step: Step) -> dict[str, Any]:
    """The schedule's columns of an EpochRecord, at the epoch's last step."""
    stage = step.stage
    return {
        "stage": stage,
        "lr": float(schedule.lr_S[stage]),
        "batch_size": step.batch_size,
        "batch_capped": bool(schedule.capped_S[stage]),
        "momentum": float(schedule.momentum_S[stage]),
        "delta": float(schedule.delta_S[stage]),
        "decay_rate": float(schedule.decay_rate_S[stage]),
    }


def pick_device() -> str:
    """The GPU when there is one, the CPU otherwise."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def num_gpus() -> float:
    """Those that this process sees."""
    return float(torch.cuda.device_count())


def settle_device(device: torch.device) -> None:
    """Let a GPU compute the same bits again, in the arithmetic that the recipe names.

    Convolutions as PyTorch comes may add up their weights' gradients in any order, and round fp32
    to TF32's 10 bits. cuDNN picks no algorithm by timing, which two processes would do apart.
    On the CPU nothing changes. Untested on a GPU.
    """
    if device.type != "cuda":
        return
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def count_memory_anew(device: torch.device) -> None:
    """Forget the peak of earlier trainings of this process; a GPU that is not used yet has none.

    That of the process itself, which a training on the CPU tells, cannot be forgotten.
    """
    if device.type == "cuda" and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.reset_peak_memory_stats(device)


def hardware(device: torch.device) -> dict[str, Any]:
    """Fields of an Outcome: peak memory, and the GPU's model or cpu.

    On a GPU the peak since `count_memory_anew`; on the CPU that of the process so far.
    """
    if device.type == "cuda":
        peak, name = torch.cuda.max_memory_allocated(device), torch.cuda.get_device_name(device)
    else:
        peak, name = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "cpu"
    return {"peak_memory_bytes": int(peak), "device": name}
