"""What do all loaded data sets have in common: how are they divided, and kept once decoded?

The cache has one folder per fingerprint below data_root()/cache/, two .npy files a part, which
the next process maps instead of decoding again; several processes may decode at once.

Legend of shapes: N images of a set, K of a subset, B of a batch, C channels, H rows, W columns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from search_spaces.registry import lookup
from trainables import DATASETS
from trainables.data.images import Augmentation, ImageData, Normalization, TensorImages
from trainables.data.sources import data_root
from trainables.files import write_atomically

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images_NHWC, labels_N

POOL_SEED = 0  # which images a smaller pool keeps; one constant, so that all runs agree
STATISTICS_IMAGES = 5_000  # evenly spaced; what normalises is within 1 % of the whole set's


def load_images(name: str, path: str | None, num_train: int | None = None) -> ImageData:
    """Data set `name`, with a stratified pool of `num_train` training images (None = all).

    Raises:
        ValueError: unknown name, unfit path, damaged data, or fewer images than asked for.
    """
    data: ImageData = lookup("dataset", name, DATASETS)(path)
    if num_train is None or num_train == len(data.train):
        return data
    pool = stratified_pool(data.train.labels_N.numpy(), num_train)
    return replace(data, train=data.train.subset(pool))


def stratified_pool(labels_N: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Indices (ascending) of `count` images, every class in proportion; always the same ones.

    Raises:
        ValueError: count is not in [1, N].
    """
    if not 1 <= count <= len(labels_N):
        raise ValueError(
            f"dataset.train_examples must lie in [1, {len(labels_N)}], but got ({count})."
        )
    return _stratified_sample(labels_N, count, POOL_SEED, at_least=0)


def stratified_split(
    labels_N: NDArray[np.int64], fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training and validation indices, both ascending; validation has round(fraction * N).

    Every class gives its share by largest remainder, and at least one image where there are
    enough validation images for that and the class has two.

    Raises:
        ValueError: fraction is not in [0, 1).
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"val_fraction must lie in [0, 1), but got ({fraction}).")
    val = _stratified_sample(labels_N, round(fraction * len(labels_N)), seed, at_least=1)
    return np.setdiff1d(np.arange(len(labels_N)), val, assume_unique=True), val


def _stratified_sample(
    labels_N: NDArray[np.int64], count: int, seed: int, *, at_least: int
) -> NDArray[np.int64]:
    classes, sizes = np.unique(labels_N, return_counts=True)
    quotas = _quotas(sizes, count, at_least)
    rng = np.random.default_rng(seed)
    chosen = [
        rng.permutation(np.flatnonzero(labels_N == label))[:quota]
        for label, quota in zip(classes, quotas, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def _quotas(sizes: NDArray[np.int64], count: int, at_least: int) -> NDArray[np.int64]:
    """Images to take of each class: in proportion to sizes, by largest remainder."""
    quotas, remainders = np.divmod(sizes * count, sizes.sum())
    order = np.argsort(-remainders, kind="stable")
    quotas[order[: count - quotas.sum()]] += 1
    poor = np.flatnonzero((quotas < at_least) & (sizes > at_least))
    for label in poor:  # an image of the class that has the most
        rich = int(np.argmax(quotas))
        if quotas[rich] > at_least:
            quotas[rich] -= 1
            quotas[label] += 1
    return quotas


def from_arrays(
    train: Arrays,
    test: Arrays,
    *,
    num_classes: int,
    augmentation: Augmentation,
    normalization: Normalization | None = None,
) -> ImageData:
    """Images in memory, uint8; normalization None = by the training images' statistics."""
    sample = train[0][statistics_sample(len(train[0]))]
    normalization = normalization or statistics(sample)
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


def statistics(images_NHWC: NDArray[np.uint8]) -> Normalization:
    """Mean and standard deviation of each channel."""
    values_C = [images_NHWC[..., c].ravel() / np.float32(255) for c in range(images_NHWC.shape[3])]
    return Normalization(
        mean=tuple(float(values.mean(dtype=np.float64)) for values in values_C),
        std=tuple(float(values.std(dtype=np.float64)) or 1.0 for values in values_C),
    )


def cached(fingerprint: str, part: str, make: Callable[[], Arrays]) -> Arrays:
    """Part `part` of the data with this fingerprint, made at most once per disk.

    A disk that is full or read-only is no error: the arrays are made again next time.
    """
    kept = find_cached(fingerprint, part)
    if kept is not None:
        return kept
    made = make()
    with contextlib.suppress(OSError):  # the arrays in memory are as good
        _write(data_root() / "cache" / fingerprint, part, made)
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
