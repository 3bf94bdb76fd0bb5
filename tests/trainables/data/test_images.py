"""Images in memory: what a subset costs, and what moves to a device."""

from __future__ import annotations

import numpy as np
import torch

from tests.trainables.data.test_datasets import one_batch, tensor_images
from trainables.data.images import CPU
from trainables.data.stream import SampleStream


def test_a_subset_shares_the_pixels_and_gathers_them_when_it_moves():
    whole = tensor_images(20)
    part = whole.subset(np.arange(20)[::2]).subset(np.array([9, 0, 3]))
    assert part.images_NHWC is whole.images_NHWC
    moved = part.to(CPU)
    assert torch.equal(moved.images_NHWC, whole.images_NHWC[[18, 0, 6]])
    assert moved.labels_N.tolist() == part.labels_N.tolist() == [8, 0, 6]
    samples = SampleStream(1, 3).take(0, 7)
    for x, y in zip(one_batch(part, samples), one_batch(moved, samples), strict=True):
        assert torch.equal(x, y)
