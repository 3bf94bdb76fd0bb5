"""How does a function that cannot be imported reach its trainings, with gigabytes of data?

The driver pickles it with the bytes of arrays apart (pickle's protocol 5, PEP 574). A worker lays
all of it into one file in memory, once, and every training maps that file copy-on-write: trainings
share what they only read, and a page that one of them changes is its own from then on.
"""

from __future__ import annotations

import functools
import mmap
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64  # bytes: what vector instructions like
LARGE_BYTES = 2**20  # of a tensor; smaller ones are pickled as ever
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Handed:
    """Where a pickled function lies: its pickle, then the bytes of its arrays, from first to end.

    The file exists as long as the process that wrote it.
    """

    path: str
    spans: tuple[tuple[int, int], ...]


def lay_out(parts: Sequence[Bytes]) -> Handed:
    """A file of these parts, the pickle first."""
    starts, end = [], 0
    for part in parts:
        starts.append(end)
        end += -(-part.nbytes // ALIGNMENT) * ALIGNMENT
    number, path = _file_in_memory()
    os.truncate(number, max(end, 1))
    for start, part in zip(starts, parts, strict=True):
        os.lseek(number, start, os.SEEK_SET)
        left = memoryview(part)  # type: ignore[arg-type]
        while left:
            left = left[os.write(number, left) :]
    spans = ((start, start + part.nbytes) for start, part in zip(starts, parts, strict=True))
    return Handed(path, tuple(spans))


@functools.lru_cache(maxsize=1)
def load(handed: Handed) -> Callable[..., object]:
    """The function; once per process, so that what it keeps (its data) stays."""
    with open(handed.path, "rb") as file:
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    data, *buffers = (view[first:end] for first, end in handed.spans)
    function: Callable[..., object] = pickle.loads(data, buffers=buffers)
    return function


def tensor_apart(value: Any) -> tuple[Callable[..., Any], tuple[Any, ...]] | None:
    """How to pickle a large tensor so that its bytes stay apart; None of anything else.

    torch itself writes them into the pickle.
    """
    torch = sys.modules.get("torch")  # without it there are no tensors
    if torch is None or type(value) is not torch.Tensor:
        return None
    is_plain = (
        value.device.type == "cpu"
        and value.layout is torch.strided
        and value.is_contiguous()
        and not (value.requires_grad or value.is_quantized or value.is_conj() or value.is_neg())
    )
    if not is_plain or value.nbytes < LARGE_BYTES:
        return None
    array = value.reshape(-1).view(torch.uint8).numpy()
    return _as_tensor, (array, value.dtype, tuple(value.shape))


def _as_tensor(array: Bytes, dtype: Any, shape: tuple[int, ...]) -> Any:
    import torch

    return torch.from_numpy(array).view(dtype).view(shape)


def _file_in_memory() -> tuple[int, str]:
    """Its number and its path, also for other processes; on the disk where there is no other."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("gradtune")
        return number, f"/proc/{os.getpid()}/fd/{number}"
    file = tempfile.NamedTemporaryFile()
    _kept.append(file)
    return file.fileno(), file.name


_kept: list[Any] = []  # files go when nothing refers to them
