"""Why has a training lost its worker? One line for the person, and what its row is called."""

from __future__ import annotations

import pickle
import re
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.exceptions import RayActorError

from search_spaces.records import plain_text
from trainables.failures import Lost, OutOfMemoryError

# Of what Ray tells of workers that it has ended: "Memory on the node (...) was 11.43GB used /
# 23.54GB limit (0.48)", pages about its own objects, and of each "actual memory used=0.05GB".
MEMORY_USED = re.compile(r"actual memory used=([\d.]+ ?\w*B)")
MEMORY_OF_NODE = re.compile(r" was ([\d.]+ ?\w*B) used / ([\d.]+ ?\w*B) limit")
PAGES = "\nObject store memory usage"
FAILURE = "Failure # "  # begins each in the file that Tune appends to
NODE_DIED = "node has died"


class WorkerLostError(RayActorError):  # type: ignore[misc]
    """A worker of Ray's that is gone, for a reason that Tune knows no word for.

    is_memory: Ray has ended it because its machine ran out of memory.
    """

    def __init__(self, text: str, is_memory: bool) -> None:
        super().__init__(error_msg=text)
        self.is_memory = is_memory

    def __reduce__(self) -> tuple[Any, ...]:
        """With both arguments: Tune pickles it."""
        return type(self), (self.error_msg, self.is_memory)


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """What became of a worker. status: of the row. line: for the person; text: all of it."""

    status: Lost
    line: str
    text: str


def loss_of(tune_trial: Any, cause: str | None = None) -> Loss:
    """Why Tune's trial was lost the last time.

    Args:
        cause: the line, where we have ended its worker ourselves.
    """
    if cause is not None:
        return Loss(status="failed", line=cause, text=cause)
    error = _error_of(tune_trial)
    raised = getattr(error, "cause", error)  # by the worker itself
    text = str(raised) if isinstance(raised, OutOfMemoryError) else _text_of(tune_trial)
    text = (text or str(raised or "")).strip()
    if isinstance(error, WorkerLostError) and error.is_memory:
        line = _memory_line(text.rpartition(FAILURE)[2])
        return Loss(status="oom", line=line, text=f"{str(error).partition(PAGES)[0]}\n{line}")
    line, last = _line_of(error, text), text.rpartition("\n")[2]
    return Loss(
        status="oom" if is_out_of_memory(error) else "failed",
        line=line,
        text=text if last == line else f"{text}\n{line}".strip(),
    )


def lost_memory(tune_trial: Any) -> bool:
    """True of a trial that did not fit into memory, the last time it was lost."""
    return is_out_of_memory(_error_of(tune_trial))


def is_out_of_memory(error: Exception | None) -> bool:
    """True of what Ray or a worker raises where memory was short."""
    if isinstance(error, WorkerLostError):
        return error.is_memory
    return isinstance(getattr(error, "cause", error), OutOfMemoryError)


def _line_of(error: Exception | None, text: str) -> str:
    if isinstance(error, RayActorError) and NODE_DIED in str(error):
        return "the node of its worker died"
    if isinstance(error, RayActorError) or not text:
        return "the process of its worker died (killed, out of memory, or crashed)"
    raised = getattr(error, "cause", error)
    if raised is None or isinstance(raised, OutOfMemoryError):
        return text.rpartition("\n")[2]
    return traceback.format_exception_only(raised)[-1].strip()


def _memory_line(text: str) -> str:
    """With the numbers that Ray told; which worker's is ours is known where it ended only one."""
    used, of_node = MEMORY_USED.findall(text), MEMORY_OF_NODE.search(text)
    took = f" used {used[0]} and" if len(used) == 1 else ""
    full = f" when {of_node[1]} of {of_node[2]} were in use on its node" if of_node else ""
    return f"out of memory: its worker{took} was ended by Ray{full}"


def _error_of(tune_trial: Any) -> Exception | None:
    """As Tune keeps it; None where it cannot be read (a class of the user's own)."""
    file = tune_trial.pickled_error_file
    try:
        error: Exception = pickle.loads(Path(file).read_bytes())
    except Exception:  # no file; or unpickling, which runs code of any class
        return None
    return error


def _text_of(tune_trial: Any) -> str:
    """The file that Tune appends every failure of a trial to."""
    file = tune_trial.error_file
    if not file or not Path(file).exists():
        return ""
    return plain_text(Path(file).read_text(errors="replace"))
