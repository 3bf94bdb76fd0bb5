"""What does a training tell? An EpochRecord an epoch, and one Outcome; its status in one word."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from search_spaces.metric import Metric

Status = Literal["running", "completed", "diverged", "failed", "oom", "interrupted", "paused"]
OPEN = ("running", "interrupted")  # not ended: a resume goes on with them
LOST = ("failed", "oom")  # the machinery's fault, not the schedule's
MEASURED = ("completed", "diverged")  # to the end of their schedule, or of sense
ENDED_WELL = (*MEASURED, "paused")  # paused: on a rung, until it is promoted

MAX_ERROR_BYTES = 2048  # of an error's text, where it is kept
MAX_LINE = 300  # characters of a line of it, where it is shown
# Escapes of a terminal, and what is no letter but acts on one; line ends and tabs are text.
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """What one epoch used and measured; schedule values are those of its last step.

    Attributes:
        epoch: completed epochs, from 1.
        num_steps: optimizer steps of this epoch; samples_seen: since the training's start.
        train_loss, train_accuracy: mean over the epoch's samples, in train mode as they passed.
        val_loss, val_accuracy: eval mode, at the epoch's end. Accuracies in [0, 1]; nan where
            a training of the user's own does not report it.
        seconds: training only; eval_seconds: validation. wall_seconds: all that passed since the
            report before, or the training's start, while a worker was held; 0 where another
            training's state was taken instead, None before it is known.
        noise_c2 ... noise_sample, max_step_norm: as the probes of trainables/measurements tell;
            None unless measured. measured: JSON, of measurements without columns of their own.
        metrics: numbers by name that a training of the user's own reports besides; no test_*.
        val_balanced_accuracy: mean over the classes of the share correct; None where they have
            about equally many images.
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
    metrics: Mapping[str, float] | None = None
    wall_seconds: float | None = None
    max_step_norm: float | None = None
    val_balanced_accuracy: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Its fields by name; as `dataclasses.asdict`, which copies deeply (15 times slower)."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def value(self, name: str) -> float:
        """The metric of this name; nan where it was not reported."""
        value = getattr(self, name, None)
        number = value if isinstance(value, float) else (self.metrics or {}).get(name)
        return math.nan if number is None else number


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a whole training came to.

    Attributes:
        status: completed | diverged (| failed | oom | interrupted when told by the driver).
        objective: the metric asked for, at the end. When diverged 1/num_classes for an accuracy,
            None for any other. Finite.
        best_val_accuracy: None where no accuracy was reported.
        final_train_loss, final_train_accuracy: eval mode over the whole training set; of a
            network's None unless role=confirm or something was measured.
        test_*: None unless role=confirm; test_correct: one bit per test image, in order;
            test_balanced_accuracy as of an EpochRecord.
        train_seconds: epochs without evaluation; wall_seconds: the whole training, from its start
            on a worker to its end, None where nobody took the time.
        peak_memory_bytes: of the training on a GPU, or of its process so far.
        sharpness_loss ... measured: as in an EpochRecord. metrics: of the last report; test_*
            only where role=confirm.
    """

    status: Status
    objective: float | None
    best_val_accuracy: float | None
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
    metrics: Mapping[str, float] | None = None
    wall_seconds: float | None = None
    test_balanced_accuracy: float | None = None


# What a training reports of its own, and all names that the records have columns for.
REPORTED = ("val_accuracy", "val_loss", "train_accuracy", "train_loss")
# Columns that only our training of a network fills: one's own may report a metric of their name.
OF_CLASSES = ("val_balanced_accuracy", "test_balanced_accuracy")
RECORDED = frozenset(
    item.name for kind in (EpochRecord, Outcome) for item in fields(kind)
).difference(OF_CLASSES)


def named_value(row: Mapping[str, Any], name: str) -> float | None:
    """A number by name of what was recorded (a row, a record's fields): None if not there."""
    value = row.get(name)
    if value is None and (name not in row or name in OF_CLASSES):
        value = dict(row.get("metrics") or ()).get(name)
    return None if value is None else float(value)


def score_on_test(row: Mapping[str, Any], metric: Metric) -> float | None:
    """The metric on test data of a training that has ended.

    None where there is none; of a diverged training too, unless chance stands for it.
    """
    value = named_value(row, metric.test_name)
    has_diverged = row["status"] == "diverged" and not metric.is_accuracy
    return None if value is None or has_diverged or not math.isfinite(value) else value


def wall_seconds(records: Sequence[EpochRecord]) -> float | None:
    """What these epochs took by the clock; None where nobody took the time."""
    known = [r.wall_seconds for r in records if r.wall_seconds is not None]
    return sum(known) if known else None


def so_far(records: Sequence[EpochRecord], metric: Metric) -> dict[str, Any]:
    """What these epochs of a training came to, judged by this metric; fields of an Outcome."""
    last = records[-1]
    accuracies = [r.val_accuracy for r in records if math.isfinite(r.val_accuracy)]
    value = last.value(metric.name)
    return {
        "objective": value if math.isfinite(value) else None,
        "best_val_accuracy": max(accuracies, default=None),
        "metrics": last.metrics,
        "val_loss": last.val_loss,
        "samples_seen": last.samples_seen,
        "optimizer_steps": sum(record.num_steps for record in records),
        "train_seconds": sum(record.seconds for record in records),
        "wall_seconds": wall_seconds(records),
    }


def plain_text(text: str) -> str:
    """A text of somebody else's, harmless to show and to store.

    Line ends and tabs stay; escapes of a terminal and other control characters go, and half of a
    character outside the 16-bit range (a lone surrogate), which no file takes, becomes "?".

    Example:
        >>> plain_text("\\x1b[31mred\\x1b[0m\\x00\\r\\nand \\ud800")
        'red\\nand ?'
    """
    text = ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return CONTROLS.sub("", text).encode("utf-8", "replace").decode("utf-8")


def error_text(text: str) -> str:
    """An error as it is recorded: plain, no line longer than MAX_LINE, and in MAX_ERROR_BYTES.

    What is too long keeps its first line and its end.
    """
    data = "\n".join(map(_shortened, plain_text(text).rstrip().splitlines())).encode()
    if len(data) <= MAX_ERROR_BYTES:
        return data.decode()
    head = data.partition(b"\n")[0] + b"\n[...]\n"
    end = data[-max(0, MAX_ERROR_BYTES - len(head)) :]
    return (head + end).decode("utf-8", "ignore")


def error_line(text: str) -> str:
    """An error in one line, of at most MAX_LINE characters: its last that is not empty.

    Example:
        >>> error_line("Traceback\\n  deep inside\\nValueError: no such file\\n")
        'ValueError: no such file'
    """
    lines = (line.strip() for line in reversed(plain_text(text).splitlines()))
    return _shortened(next(filter(None, lines), ""))


def _shortened(line: str) -> str:
    """Its beginning and its end, where it is too long."""
    if len(line) <= MAX_LINE:
        return line
    gap, end = " [...] ", MAX_LINE // 3
    return line[: MAX_LINE - end - len(gap)] + gap + line[-end:]
