"""What do all loaded data sets have in common: how are they divided, and kept once decoded?

The cache has one folder per fingerprint below data_root()/cache/, two .npy files a part, which
the next process maps instead of decoding again; several processes may decode at once.

Legend of shapes: N images of a set, K of a subset, B of a batch, C channels, H rows, W columns.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.data.images import Augmentation, ImageData, Normalization, TensorImages
from trainables.data.sources import DEFAULT, DataOptions, call_source, data_root, find_dataset
from trainables.data.splits import stratified_pool
from trainables.files import write_atomically

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images_NHWC, labels_N
MakeArray = Callable[[tuple[int, ...]], NDArray[np.uint8]]  # of a shape, to be filled

COUNTED_IMAGES = 100  # at a time, of those
STATISTICS_IMAGES = 5_000  # evenly spaced; what normalises is within 1 % of the whole set's


def load_images(
    name: str, path: str | None, num_train: int | None = None, options: DataOptions = DEFAULT
) -> ImageData:
    """Data set `name`, with a stratified pool of `num_train` training images (None = all).

    Raises:
        ValueError: unknown name, unfit path, damaged data, or fewer images than asked for.
    """
    data: ImageData = call_source(find_dataset(name), name, path, options)
    if num_train is None or num_train == len(data.train):
        return data
    pool = stratified_pool(data.train.labels_N.numpy(), num_train)
    return replace(data, train=data.train.subset(pool))


def from_arrays(
    train: Arrays,
    test: Arrays,
    *,
    num_classes: int,
    augmentation: Augmentation,
    normalization: Normalization | None = None,
) -> ImageData:
    """Images in memory, uint8; normalization None = by the training images' statistics."""
    normalization = normalization or statistics(train[0], statistics_sample(len(train[0])))
    parts = [
        TensorImages(
            images_NHWC=torch.from_numpy(images_NHWC),
            labels_N=torch.from_numpy(labels_N),
            normalization=normalization,
            augmentation=augmentation,
        )
        for images_NHWC, labels_N in (train, test)
    ]
    return ImageData(
        train=parts[0],
        test=parts[1],
        num_classes=num_classes,
        channels=train[0].shape[3],
        image_size=train[0].shape[1],
    )


def statistics_sample(count: int) -> NDArray[np.int64]:
    """Which of `count` images the statistics are taken of."""
    return np.arange(0, count, -(-count // STATISTICS_IMAGES))


def statistics(images_NHWC: NDArray[np.uint8], rows_K: NDArray[np.int64]) -> Normalization:
    """Mean and standard deviation of each channel, of these images.

    By counts of the 256 values, of a few images at a time: they need no memory for floats.
    """
    counts_CV = np.zeros((images_NHWC.shape[3], 256))
    for rows_B in np.array_split(rows_K, -(-len(rows_K) // COUNTED_IMAGES)):
        for counts_V, values in zip(
            counts_CV, np.moveaxis(images_NHWC[rows_B], 3, 0), strict=True
        ):
            counts_V += np.bincount(values.ravel(), minlength=256)
    means, stds = zip(*map(_mean_and_std, counts_CV), strict=True)
    return Normalization(mean=means, std=stds)


def _mean_and_std(counts_V: NDArray[np.float64]) -> tuple[float, float]:
    """Of pixels in [0, 1] as float32 has them; where all are equal the std is 1."""
    values_V = (np.arange(256, dtype=np.float32) / np.float32(255)).astype(np.float64)
    mean = float(np.average(values_V, weights=counts_V))
    if np.count_nonzero(counts_V) == 1:
        return mean, 1.0
    return mean, math.sqrt(np.average((values_V - mean) ** 2, weights=counts_V))


def cached(fingerprint: str, part: str, make: Callable[[MakeArray], Arrays]) -> Arrays:
    """Part `part` of the data with this fingerprint, made at most once per disk.

    `make` fills an array that it is given: in the cache's file, so that a part may be larger than
    memory. A disk that is full or read-only is no error: then it lies in memory, and is made
    again next time.
    """
    kept = find_cached(fingerprint, part)
    if kept is not None:
        return kept
    folder = data_root() / "cache" / fingerprint
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        labels: list[NDArray[np.int64]] = []
        write_atomically(folder / f"{part}_images.npy", functools.partial(_write, make, labels))
        write_atomically(folder / f"{part}_labels.npy", lambda file: np.save(file, labels[0]))
        return _read(folder, part)
    return make(lambda shape: np.empty(shape, dtype=np.uint8))


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


def _write(
    make: Callable[[MakeArray], Arrays], labels: list[NDArray[np.int64]], stream: BinaryIO
) -> None:
    """Write the images that `make` gives, and append the labels to those of the caller."""
    images_NHWC, labels_N = make(functools.partial(_map, stream))
    if isinstance(images_NHWC, np.memmap):
        images_NHWC.flush()
    else:
        np.save(stream, images_NHWC)
    labels.append(labels_N)


def _map(stream: BinaryIO, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An array to be filled, in the .npy file that is written."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    stream.flush()
    start = stream.tell()
    if hasattr(os, "posix_fallocate"):  # so that a full disk is told now, and not by a signal
        os.posix_fallocate(stream.fileno(), start, max(1, math.prod(shape)))
    return np.memmap(stream.name, np.uint8, "r+", start, shape)
