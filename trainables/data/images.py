"""What is a data set once loaded, and how do its images reach the device?

Augmented per sample, normalised, batch after batch.

Legend of shapes: N images of a set, B of a batch, K of a subset; H rows, W columns, C channels;
D draws of a sample (crop row, crop column, flip, rotation), uniform in [0, 1).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.data.stream import NUM_DRAWS, Samples

CPU = torch.device("cpu")

Batch = tuple[Tensor, Tensor]


class ImageSet(Protocol):
    """Labelled images that come in batches, on a device."""

    @property
    def labels_N(self) -> Tensor:
        """int64, on the CPU."""
        ...

    def __len__(self) -> int: ...

    def subset(self, index_K: NDArray[np.int64]) -> ImageSet:
        """These images alone, in this order."""
        ...

    def to(
        self, device: torch.device, memory_format: torch.memory_format | None = None
    ) -> ImageSet:
        """The same images, batches on `device`; memory_format None = unchanged."""
        ...

    def batches(self, plan: Iterable[Samples]) -> Iterator[tuple[Tensor, Tensor]]:
        """One batch for each element of the plan: images (B, C, H, W) float32, labels (B).

        Samples without draws are to be evaluated: they are not augmented.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """A data set: what a loader, or a user's `package.module:callable`, returns.

    Attributes:
        fingerprint: hex, identifies the content; a user's loader may give one, else `describe`
            derives it from the name and the labels.
        channels, image_size: of the images in a batch; image_size None = unknown.
    """

    train: ImageSet
    test: ImageSet
    num_classes: int
    fingerprint: str = ""
    channels: int = 3
    image_size: int | None = None

    def to(
        self, device: torch.device, memory_format: torch.memory_format | None = None
    ) -> ImageData:
        """The same data, both parts on `device`."""
        return replace(
            self,
            train=self.train.to(device, memory_format),
            test=self.test.to(device, memory_format),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalization:
    """Per channel, of pixels in [0, 1]: x -> (x - mean) / std."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, images_BHWC: Tensor) -> Tensor:
        """uint8 -> float32 BCHW in channels-last memory, on the same device."""
        B, H, W, C = images_BHWC.shape
        scale_WC, shift_WC = _scale_and_shift(
            tuple(self.mean), tuple(self.std), W, images_BHWC.device
        )
        # Whole rows at once: 0.08 ms for 128 images of 32x32x3, against 0.4 channel by channel.
        rows = images_BHWC.reshape(B, H, W * C).float().mul_(scale_WC).add_(shift_WC)
        return rows.view(B, H, W, C).permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=32)
def _scale_and_shift(
    mean_C: tuple[float, ...], std_C: tuple[float, ...], W: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Of a row of pixels (W * C each), on the device: the same for every batch."""
    with torch.inference_mode(False):  # to be used outside of it, too
        mean, std = torch.tensor(mean_C * W), torch.tensor(std_C * W)
        scale_WC = upload((1 / (255 * std)).numpy(), device)
        return scale_WC, upload((-mean / std).numpy(), device)


UNIT_RANGE = Normalization(mean=(0.0,), std=(1.0,))  # until the statistics are known


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """What training may do to an image: crop, then flip, then rotate. The default is nothing.

    Attributes:
        pad: black pixels around the image before a random crop of its own size.
        flip: mirror left-right with probability 1/2.
        max_degrees: rotate by an angle uniform in +-max_degrees; nearest pixel, black outside.
    """

    pad: int = 0
    flip: bool = False
    max_degrees: float = 0.0


def augment(
    images_NHWC: Tensor, index_B: Tensor, draws_BD: Tensor, augmentation: Augmentation
) -> Tensor:
    """The images index_B, each changed by its own draws (B, H, W, C), same dtype and device.

    An image depends on its index and its draws alone, not on the batch it is in.
    """
    # Per 128 images of 32x32x3, one thread: 1.1 ms crop + flip, 2.0 ms with rotation. Gathering
    # whole pixels by one flattened index_select took 0.4 ms of it; advanced indexing 1.5 (NHWC)
    # or 2.5 (NCHW), as_strided windows 0.7, two gathers 1.1.
    _, H, W, C = images_NHWC.shape
    y_BHW, x_BHW, inside_BHW = _source_pixels(draws_BD, H, W, augmentation)
    pixel_BHW = y_BHW.clamp(0, H - 1) * W + x_BHW.clamp(0, W - 1)
    flat_BHW = index_B.view(-1, 1, 1) * (H * W) + pixel_BHW
    pixels = images_NHWC.view(-1, C).index_select(0, flat_BHW.view(-1))
    return pixels.view(-1, H, W, C).mul_(inside_BHW.unsqueeze(-1))


def _source_pixels(
    draws_BD: Tensor, H: int, W: int, augmentation: Augmentation
) -> tuple[Tensor, Tensor, Tensor]:
    """Row and column in the raw image of each output pixel, and whether they lie inside it.

    Walks back from the output, so the steps come in reverse: rotation, flip, crop.
    """
    row, col, flip, rotation = draws_BD.view(-1, NUM_DRAWS, 1, 1).unbind(1)
    y = torch.arange(H, dtype=torch.int32, device=draws_BD.device).view(1, H, 1)
    x = torch.arange(W, dtype=torch.int32, device=draws_BD.device).view(1, 1, W)
    inside = torch.ones((1, 1, 1), dtype=torch.bool, device=draws_BD.device)
    if augmentation.max_degrees:
        angle = (2 * rotation - 1) * math.radians(augmentation.max_degrees)
        y, x = _rotate(y, x, angle, H, W)
        inside = _is_inside(y, x, H, W)
    if augmentation.flip:
        x = torch.where(flip < 0.5, W - 1 - x, x)
    if augmentation.pad:
        num_offsets = 2 * augmentation.pad + 1
        y = y + ((row * num_offsets).int() - augmentation.pad)
        x = x + ((col * num_offsets).int() - augmentation.pad)
        inside = inside & _is_inside(y, x, H, W)
    return y, x, inside


def _rotate(y: Tensor, x: Tensor, angle: Tensor, H: int, W: int) -> tuple[Tensor, Tensor]:
    """Nearest source pixels of a counter-clockwise rotation (radians) about the centre."""
    y_centre, x_centre = (H - 1) / 2, (W - 1) / 2
    cos, sin = angle.cos(), angle.sin()
    y, x = y - y_centre, x - x_centre
    source_y = sin * x + (cos * y + y_centre)
    source_x = cos * x - (sin * y - x_centre)
    return source_y.round_().int(), source_x.round_().int()


def _is_inside(y: Tensor, x: Tensor, H: int, W: int) -> Tensor:
    return (y >= 0) & (y < H) & (x >= 0) & (x < W)


@dataclass(frozen=True, kw_only=True)
class TensorImages:
    """Images that fit into memory: uint8, resident on the device, augmented there.

    Attributes:
        images_NHWC: uint8. Pixels of an image lie together, which makes crops cheapest and
            batches channels-last at no cost.
        labels_N: int64, on the CPU.
        rows_N: which of images_NHWC the set holds, so that subsets share them; None = all.
        lost: which of images_NHWC are none. The next image of its class in this set stands in for
            one: never one of another set.
        memory_format: of the batches; torch.contiguous_format costs one copy each.
    """

    images_NHWC: Tensor
    labels_N: Tensor
    normalization: Normalization
    rows_N: NDArray[np.int64] | None = None
    lost: frozenset[int] = frozenset()
    augmentation: Augmentation = Augmentation()
    memory_format: torch.memory_format = torch.channels_last

    def __len__(self) -> int:
        return len(self.labels_N)

    def subset(self, index_K: NDArray[np.int64]) -> TensorImages:
        """These images alone, in this order; no pixel is copied."""
        return replace(
            self,
            labels_N=self.labels_N[torch.from_numpy(index_K)],
            rows_N=index_K if self.rows_N is None else self.rows_N[index_K],
        )

    def to(
        self, device: torch.device, memory_format: torch.memory_format | None = None
    ) -> TensorImages:
        """The same images resident on `device`, those of a subset alone."""
        images_NHWC, lost = self.images_NHWC, self.lost
        if self.rows_N is not None:
            images_NHWC = images_NHWC.index_select(0, upload(self.rows_N, self._device))
            lost = frozenset(n for n, row in enumerate(self.rows_N.tolist()) if row in lost)
        return replace(
            self,
            images_NHWC=images_NHWC.to(device),
            rows_N=None,
            lost=lost,
            memory_format=memory_format or self.memory_format,
        )

    def batches(self, plan: Iterable[Samples]) -> Iterator[Batch]:
        """Images (B, C, H, W) float32 and labels (B), both on the device, without a host sync."""
        for samples in plan:
            draws_BD = None if self.augmentation == Augmentation() else samples.draws_BD
            yield self.batch(
                upload(samples.index_B, self._device),
                None if draws_BD is None else upload(draws_BD, self._device),
            )

    def batch(self, index_B: Tensor, draws_BD: Tensor | None) -> Batch:
        """One batch, of what is on the device already: its images (int64) and their draws.

        draws_BD: None = to be evaluated.
        """
        labels_N, rows_N = self._labels_and_rows
        rows_B = index_B if rows_N is None else rows_N.index_select(0, index_B)
        if draws_BD is None or self.augmentation == Augmentation():
            pixels = self.images_NHWC.index_select(0, rows_B)
        else:
            pixels = augment(self.images_NHWC, rows_B, draws_BD, self.augmentation)
        images_BCHW = self.normalization.apply(pixels)
        return (
            images_BCHW.contiguous(memory_format=self.memory_format),
            labels_N.index_select(0, index_B),
        )

    @functools.cached_property
    def _labels_and_rows(self) -> tuple[Tensor, Tensor | None]:
        """The labels and `shown_N`, on the device."""
        with torch.inference_mode(False):  # to be used outside of it, too
            labels_N = self.labels_N.to(self._device, non_blocking=True)
            shown_N = self.shown_N
            return labels_N, None if shown_N is None else upload(shown_N, self._device)

    @functools.cached_property
    def shown_N(self) -> NDArray[np.int64] | None:
        """Which of images_NHWC batches show: `rows_N`, with others in place of lost ones.

        Raises:
            ValueError: a class has no image that is not lost.
        """
        if not self.lost:
            return self.rows_N
        rows_N = np.arange(len(self)) if self.rows_N is None else self.rows_N
        shown_N, labels_N = rows_N.copy(), self.labels_N.numpy()
        for number in np.flatnonzero(np.isin(rows_N, [*self.lost])).tolist():
            others = (rows_N[other] for other in stand_ins(labels_N, number))
            found = next((row for row in others if row not in self.lost), None)
            if found is None:
                raise ValueError(f"no image of class {labels_N[number]} can be decoded.")
            shown_N[number] = found
        return shown_N

    @property
    def _device(self) -> torch.device:
        return self.images_NHWC.device


def stand_ins(labels_N: NDArray[np.int64], number: int) -> Iterator[int]:
    """The images of the same class after this one, round to it."""
    same = np.flatnonzero(labels_N == labels_N[number])
    place = int(np.searchsorted(same, number))
    yield from np.concatenate([same[place + 1 :], same[:place]]).tolist()


def upload(array: NDArray[np.int64] | NDArray[np.float32], device: torch.device) -> Tensor:
    """On the device; pinned on the way to a GPU, so that the copy does not block the host."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
