"""Which images, in which order and with which augmentation, does each step of a training see?

One endless stream of samples: permutation after permutation of the N training images, each
drawn from (seed, its number) alone. A batch is any contiguous piece of it, so batches of any
size may follow each other, no image is lost or repeated within a permutation, all arms with
the same seed see the same stream, and a training resumes from its sample count alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_DRAWS = 4  # uniforms per sample: crop row, crop column, flip, rotation


@dataclass(frozen=True, slots=True)
class Samples:
    """A piece of the stream, or images to evaluate.

    Attributes:
        index_B: which image, in [0, N) (int64).
        draws_BD: uniforms in [0, 1) that decide its augmentation (float32); None = evaluate.
        position_B: where in the stream, from 0 (int64); None = evaluate.
    """

    index_B: NDArray[np.int64]
    draws_BD: NDArray[np.float32] | None = None
    position_B: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class SampleStream:
    """The endless stream of `num_examples` images under `seed`."""

    seed: int
    num_examples: int

    def take(self, first: int, count: int) -> Samples:
        """Samples first ... first+count-1 of the stream."""
        position_B = np.arange(first, first + count, dtype=np.int64)
        epoch_B, offset_B = np.divmod(position_B, self.num_examples)
        pieces = [
            (order[offset], draws[offset])
            for epoch in range(int(epoch_B[0]), int(epoch_B[-1]) + 1)
            for order, draws in [_permutation(self.seed, self.num_examples, epoch)]
            for offset in [offset_B[epoch_B == epoch]]
        ]
        return Samples(
            index_B=np.concatenate([order for order, _ in pieces]),
            draws_BD=np.concatenate([draws for _, draws in pieces]),
            position_B=position_B,
        )


def in_order(num_images: int, batch: int) -> Iterator[Samples]:
    """The first images, to evaluate, in batches of `batch`; the last may be smaller."""
    for first in range(0, num_images, batch):
        yield Samples(np.arange(first, min(first + batch, num_images), dtype=np.int64))


@functools.lru_cache(maxsize=2)
def _permutation(
    seed: int, num_examples: int, epoch: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(num_examples)
    return order, rng.random((num_examples, NUM_DRAWS), dtype=np.float32)
