"""Which images of a labelled set go where? Every class in proportion, by a seed alone.

Legend of shapes: N images of a set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNBALANCED = 1.5  # times as many images of the largest class as of the smallest
POOL_SEED = 0  # which images a smaller pool keeps; one constant, so that all runs agree


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


def is_unbalanced(labels_N: NDArray[np.int64]) -> bool:
    """Whether accuracy, which counts images, may say something else than one that counts classes.

    Classes without images do not count, nor does one image more or less.
    """
    _, sizes = np.unique(labels_N, return_counts=True)
    if not len(sizes):
        return False
    largest, smallest = int(sizes.max()), int(sizes.min())
    return largest > UNBALANCED * smallest and largest > smallest + 1


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
