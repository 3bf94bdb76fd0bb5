"""Which errors end a training, and which are worth another try? Without torch, for the driver."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from typing import Literal

# Errors that every process would raise again.
MISTAKES = (ValueError, TypeError, AttributeError, ImportError)
USUAL_TIMES, MIN_SECONDS = 20.0, 600.0  # of a report, before its training counts as hanging
FIRST_SECONDS = 4 * 3600.0  # the same, while no usual time of a report is known
NUM_REMEMBERED = 100  # reports
Lost = Literal["failed", "oom"]


class FunctionError(Exception):
    """The user's function has raised; its text is the traceback of its process.

    Attributes:
        line: the exception's last line, "ValueError: no such file". place: file and line of the
            user's own code that it came from.
        status: failed | oom of what another process would not cure; None of what it may.
        log: the file that holds what the function has printed.
    """

    def __init__(
        self, text: str, *, line: str, place: str, status: Lost | None, log: str | None
    ) -> None:
        super().__init__(text)
        self.line, self.place, self.status, self.log = line, place, status, log


class ProcessError(Exception):
    """The process of a training has died, or was ended because it told nothing any more.

    log: as of a FunctionError.
    """

    def __init__(self, text: str, *, log: str | None) -> None:
        super().__init__(text)
        self.log = log


class OutOfMemoryError(RuntimeError):
    """A training did not fit into memory: another process may have room, and tries once more."""


def lasting(error: BaseException, *, is_users: bool = False) -> Lost | None:
    """What to call a training that ended so; None where a new process may do better.

    Args:
        is_users: the user's own code raised it, whose RuntimeError is torch's for wrong shapes;
            but an error of CUDA leaves a process that can use its GPU no more.
    """
    if isinstance(error, MISTAKES):
        return "failed"
    if isinstance(error, RuntimeError | MemoryError):
        if _is_out_of_memory(error):
            return "oom"
        return "failed" if is_users and not _is_of_cuda(error) else None
    return None


def _is_of_cuda(error: Exception) -> bool:
    """A failed assertion on the device, an illegal access: the process has lost its context."""
    is_named = any(kind.__name__ == "AcceleratorError" for kind in type(error).__mro__)
    return is_named or "CUDA error" in str(error)


def _is_out_of_memory(error: Exception) -> bool:
    """torch has a class of its own for GPUs, its libraries and the CPU's a RuntimeError."""
    texts = (
        *("not enough memory", "can't allocate memory", "out of memory"),
        *("ALLOC_FAILED", "ALLOCATION_FAILED"),  # cuBLAS; cuDNN 9, of host or device
    )
    is_named = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    return is_named or isinstance(error, MemoryError) or any(t in str(error) for t in texts)


class Patience:
    """How long a training may take to its next report.

    Args:
        seconds: the limit; None = USUAL_TIMES the usual time of a report, at least MIN_SECONDS:
            the median of this training's, or else the longest of those before it.
            FIRST_SECONDS before any report.
        before: how long reports took, in seconds, of all trainings of the run that are known
            here; the newest are added.
    """

    def __init__(self, seconds: float | None = None, before: deque[float] | None = None) -> None:
        self.seconds = seconds
        self.before = deque(maxlen=NUM_REMEMBERED) if before is None else before

    def note(self, seconds: float) -> None:
        """A report took this long."""
        self.before.append(seconds)

    def limit(self, own: Sequence[float] = ()) -> float | None:
        """Seconds; None = no limit, which only an infinite one asks for.

        Args:
            own: how long the newest reports of this training took, in seconds.
        """
        if self.seconds is not None:
            return self.seconds if math.isfinite(self.seconds) else None
        known = own or self.before
        if not known:
            return FIRST_SECONDS
        if USUAL_TIMES * max(known) <= MIN_SECONDS:  # asked at each report: no median then
            return MIN_SECONDS
        usual = statistics.median(own) if own else max(self.before)
        return max(MIN_SECONDS, USUAL_TIMES * usual)


def hang_text(seconds: float) -> str:
    """What is said of a training that was ended for its silence."""
    return f"no report for {seconds:.0f} s (max_report_seconds): the training was ended"
