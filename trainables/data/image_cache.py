"""How are decoded images kept, so that the next process maps them instead of decoding again?

One folder per fingerprint below data_root()/cache/, two .npy files a part. Each is written to a
temporary name and renamed, so several processes may decode at once, and a reader sees whole
files or none. Legend of shapes: N images, H rows, W columns, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.data.sources import data_root
from trainables.files import write_atomically

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images_NHWC, labels_N


def cached(fingerprint: str, part: str, make: Callable[[], Arrays]) -> Arrays:
    """Part `part` of the data with this fingerprint, made at most once per disk.

    A disk that is full or read-only is no error: the arrays are made again next time.
    """
    kept = find_cached(fingerprint, part)
    if kept is not None:
        return kept
    made = make()
    try:
        _write(data_root() / "cache" / fingerprint, part, made)
    except OSError:
        pass  # the arrays in memory are as good; only the next process pays
    return made


def find_cached(fingerprint: str, part: str) -> Arrays | None:
    """The part as an earlier call of `cached` kept it, or None."""
    try:
        return _read(data_root() / "cache" / fingerprint, part)
    except (OSError, ValueError):  # absent, or cut off by a crash of the machine
        return None


def _read(folder: Path, part: str) -> Arrays:
    # Copy-on-write maps: read lazily, shared between processes, and writable as torch wants.
    images = np.load(folder / f"{part}_images.npy", mmap_mode="c")
    labels = np.load(folder / f"{part}_labels.npy")
    if len(images) != len(labels):
        raise ValueError(f"{folder} holds {len(images)} images but {len(labels)} labels.")
    return images, labels


def _write(folder: Path, part: str, arrays: Arrays) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = arrays
    write_atomically(folder / f"{part}_images.npy", lambda stream: np.save(stream, images))
    write_atomically(folder / f"{part}_labels.npy", lambda stream: np.save(stream, labels))
