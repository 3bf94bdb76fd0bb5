"""How do encoded images become arrays, and only those that are used?

Legend of shapes: N images of a part or set, K of a subset, H rows, W columns, C channels.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainables.data.datasets import Arrays, cached, find_cached
from trainables.data.images import CPU, Augmentation, Batch, Normalization, TensorImages
from trainables.data.stream import Samples

RESIZE_RATIO = 256 / 224  # shorter side before the central crop, as for ImageNet
MAX_DEFAULT_WORKERS = 4
# That this process may use, where its system tells (Linux).
NUM_CPUS = len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0))


@dataclass(frozen=True, kw_only=True)
class EncodedImages:
    """Images of one size, decoded when they are moved to a device or first iterated.

    Attributes:
        read: where they lie and the bytes of these rows (ascending) of the part.
        part_labels: of all rows of the part, int64.
        part: train or test, of the data with this fingerprint.
        rows_N: of the part, which images the set holds.
        channels: 1 or 3; others are converted.
    """

    read: Callable[[NDArray[np.int64]], Iterator[tuple[str, bytes]]]
    part_labels: NDArray[np.int64]
    part: str
    fingerprint: str
    rows_N: NDArray[np.int64]
    channels: int
    normalization: Normalization
    augmentation: Augmentation

    @functools.cached_property
    def labels_N(self) -> Tensor:
        """int64, on the CPU."""
        return torch.from_numpy(self.part_labels[self.rows_N])

    def __len__(self) -> int:
        return len(self.rows_N)

    def subset(self, index_K: NDArray[np.int64]) -> EncodedImages:
        """These images alone, in this order; the others are not decoded."""
        return replace(self, rows_N=self.rows_N[index_K])

    def to(
        self, device: torch.device, memory_format: torch.memory_format | None = None
    ) -> TensorImages:
        """The images, decoded, resident on `device`.

        Raises:
            ValueError: an image cannot be decoded, or differs in size from the first.
        """
        return self._decoded.to(device, memory_format)

    def batches(self, plan: Iterable[Samples]) -> Iterator[Batch]:
        """As TensorImages, on the CPU."""
        return self._decoded.batches(plan)

    @functools.cached_property
    def _decoded(self) -> TensorImages:
        return TensorImages(
            images_NHWC=torch.from_numpy(self._pixels()),
            labels_N=self.labels_N,
            normalization=self.normalization,
            augmentation=self.augmentation,
        )

    def _pixels(self) -> NDArray[np.uint8]:
        """From the cache of the whole part if there is one, else of just these rows."""
        if np.array_equal(self.rows_N, np.arange(len(self.part_labels))):
            return cached(self.fingerprint, self.part, lambda: self._decode(self.rows_N))[0]
        whole = find_cached(self.fingerprint, self.part)
        if whole is not None:
            return whole[0][self.rows_N]
        rows, inverse_N = np.unique(self.rows_N, return_inverse=True)
        name = f"{self.part}-{hashlib.sha256(rows.tobytes()).hexdigest()[:16]}"
        return cached(self.fingerprint, name, lambda: self._decode(rows))[0][inverse_N]

    def _decode(self, rows_K: NDArray[np.int64]) -> Arrays:
        images_KHWC: NDArray[np.uint8] | None = None
        for number, (where, encoded) in enumerate(self.read(rows_K)):
            image_HWC = decode_image(encoded, self.channels, where)
            if images_KHWC is None:
                images_KHWC = np.empty((len(rows_K), *image_HWC.shape), dtype=np.uint8)
            if image_HWC.shape != images_KHWC.shape[1:]:
                raise ValueError(
                    f"all images must have the size of the first, {images_KHWC.shape[1:3]}, but "
                    f"{where} has {image_HWC.shape[:2]}. Resize them, or use imagefolder."
                )
            images_KHWC[number] = image_HWC
        assert images_KHWC is not None, "open_parquet refuses an empty part"
        return images_KHWC, self.part_labels[rows_K]


@dataclass(frozen=True, kw_only=True)
class FolderImages:
    """Image files, decoded on the fly by worker processes, normalised on the device.

    Training takes a random resized crop and flip, evaluation the centre. The crop is decided by
    the sample's draws alone: neither the batch size nor the number of workers matters.

    Attributes:
        paths_N: files (bytes or str); labels_N: int64, on the CPU.
        image_size: rows and columns of a batch's images.
        num_workers: decoding processes; 0 decodes in this one.
    """

    paths_N: NDArray[np.str_]
    labels_N: Tensor
    normalization: Normalization
    image_size: int = 224
    num_workers: int = min(MAX_DEFAULT_WORKERS, NUM_CPUS - 1)
    device: torch.device = CPU
    memory_format: torch.memory_format = torch.channels_last

    def __len__(self) -> int:
        return len(self.labels_N)

    def subset(self, index_K: NDArray[np.int64]) -> FolderImages:
        """These files alone, in this order."""
        labels_K = self.labels_N[torch.from_numpy(index_K)]
        return replace(self, paths_N=self.paths_N[index_K], labels_N=labels_K)

    def to(
        self, device: torch.device, memory_format: torch.memory_format | None = None
    ) -> FolderImages:
        """The same files, batches on `device`."""
        return replace(self, device=device, memory_format=memory_format or self.memory_format)

    def batches(self, plan: Iterable[Samples]) -> Iterator[Batch]:
        """Images (B, C, H, W) float32 and labels (B), both on the device.

        Raises:
            ValueError: a file cannot be decoded.
        """
        loader = DataLoader(
            _FileDataset(self.paths_N, self.labels_N.numpy(), self.image_size),
            sampler=plan,
            batch_size=None,  # an element of the plan is a whole batch
            num_workers=self.num_workers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # spares the global one, which the trial's state holds
        )
        for images_BHWC, labels_B in loader:
            images_BCHW = self.normalization.apply(images_BHWC.to(self.device, non_blocking=True))
            yield (
                images_BCHW.contiguous(memory_format=self.memory_format),
                labels_B.to(self.device, non_blocking=True),
            )


@dataclass(frozen=True, slots=True)
class _FileDataset(Dataset[Batch]):
    """What a worker process holds: decodes the images of a batch (uint8 NHWC)."""

    paths_N: NDArray[np.str_]
    labels_N: NDArray[np.int64]
    image_size: int

    def __getitem__(self, samples: Samples) -> Batch:
        draws_BD = samples.draws_BD
        images = [
            self._image(str(self.paths_N[index]), None if draws_BD is None else draws_BD[row])
            for row, index in enumerate(samples.index_B)
        ]
        images_BHWC = torch.from_numpy(np.stack(images))
        return images_BHWC, torch.from_numpy(self.labels_N[samples.index_B])

    def _image(self, path: str, draws_D: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        from torchvision.transforms import v2

        size = self.image_size
        image = _open_image(path, "RGB", f"cannot decode the image {path}.")
        if draws_D is None:
            centre = [v2.Resize(round(size * RESIZE_RATIO)), v2.CenterCrop(size)]
            return np.asarray(v2.Compose(centre)(image))
        random = [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip()]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(_seed(draws_D))
            return np.asarray(v2.Compose(random)(image))


def decode_image(encoded: bytes, channels: int, where: str) -> NDArray[np.uint8]:
    """Pixels (H, W, C) of an encoded image; `where` names it in the error.

    Raises:
        ValueError: it cannot be decoded.
    """
    # 0.09 ms for a CIFAR image; torchvision.io took 0.05, but goes away (deprecated in 0.29).
    mode = "L" if channels == 1 else "RGB"
    image = _open_image(io.BytesIO(encoded), mode, f"{where}: cannot decode the image.")
    return np.asarray(image).reshape(image.height, image.width, channels)


def _open_image(file: str | io.BytesIO, mode: str, complaint: str) -> Image.Image:
    try:
        return Image.open(file).convert(mode)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(complaint) from error


def _seed(draws_D: NDArray[np.float32]) -> int:
    """63 bits that depend on all draws of a sample."""
    words = np.ascontiguousarray(draws_D).view(np.uint32)
    return int(
        np.random.SeedSequence([int(w) for w in words]).generate_state(1, np.uint64)[0] >> 1
    )
