"""Who makes the images and labels of `synthetic`? Smooth noise and a fixed random network.

Everything follows from constant seeds and exact arithmetic, so all machines and thread counts
see the same data, and a larger set begins with the smaller one. Legend of shapes: N images,
H rows, W columns, C channels, K classes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

SIZE = 32  # rows and columns
COARSE = 8  # the smooth noise has COARSE x COARSE independent blobs per channel
GRAIN = 16  # fine noise per pixel, in grey levels
NUM_CLASSES = 10
CHUNK = 500  # images made at once
TEACHER_CHANNELS = 16
SEED = 20231103
TRAIN, TEST, CALIBRATION, TEACHER = range(4)  # streams of the seed


def synthetic_images(count: int, *, stream: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`count` images (N, H, W, C) uint8 and labels (N), mirror images labelled alike.

    `stream`: TRAIN or TEST.
    """
    teacher = _teacher()
    images_NHWC = np.empty((count, SIZE, SIZE, 3), dtype=np.uint8)
    labels_N = np.empty(count, dtype=np.int64)
    for first in range(0, count, CHUNK):
        size = min(CHUNK, count - first)
        images_NCHW = _noise(stream, first // CHUNK)[:size]
        images_NHWC[first : first + size] = images_NCHW.permute(0, 2, 3, 1).numpy()
        labels_N[first : first + size] = teacher.label(images_NCHW).numpy()
    return images_NHWC, labels_N


@dataclass(frozen=True)
class _Teacher:
    """Two convolutions, average pool, linear; logits standardised so that classes balance.

    In float64: a tie that rounding could turn has probability 1e-13, not 1e-5.
    """

    conv1: Tensor
    conv2: Tensor
    linear: Tensor
    mean_K: Tensor
    std_K: Tensor

    def logits(self, images_NCHW: Tensor) -> Tensor:
        x = F.avg_pool2d(images_NCHW.double(), 2) / 127.5 - 1
        both = torch.cat([x, x.flip(3)])  # summed below: flipping an image keeps its label
        features = F.relu(F.conv2d(both, self.conv1, stride=2))
        features = F.relu(F.conv2d(features, self.conv2)).mean(dim=(2, 3))
        plain, mirrored = features.chunk(2)
        return (plain + mirrored) @ self.linear

    def label(self, images_NCHW: Tensor) -> Tensor:
        return ((self.logits(images_NCHW) - self.mean_K) / self.std_K).argmax(1)


@functools.cache
def _teacher() -> _Teacher:
    rng = np.random.default_rng([SEED, TEACHER])
    shapes = [
        (TEACHER_CHANNELS, 3, 3, 3),
        (TEACHER_CHANNELS, TEACHER_CHANNELS, 3, 3),
        (TEACHER_CHANNELS, NUM_CLASSES),
    ]
    conv1, conv2, linear = (torch.from_numpy(rng.standard_normal(shape)) for shape in shapes)
    unscaled = _Teacher(conv1, conv2, linear, torch.zeros(1), torch.ones(1))
    logits_NK = unscaled.logits(_noise(CALIBRATION, 0))
    return _Teacher(conv1, conv2, linear, logits_NK.mean(0), logits_NK.std(0))


def _noise(stream: int, chunk: int) -> Tensor:
    """CHUNK images (N, C, H, W) uint8; sums of few-bit fractions, hence exact in float32."""
    rng = np.random.default_rng([SEED, stream, chunk])
    coarse = rng.integers(0, 256, (CHUNK, 3, COARSE, COARSE)).astype(np.float32)
    grain = rng.integers(-GRAIN, GRAIN + 1, (CHUNK, 3, SIZE, SIZE), dtype=np.int16)
    smooth = F.interpolate(torch.from_numpy(coarse), size=SIZE, mode="bilinear")
    return (smooth + torch.from_numpy(grain)).clamp_(0, 255).to(torch.uint8)
