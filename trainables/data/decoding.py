"""How do downloaded or encoded images become arrays, and only those that are used?

Legend of shapes: N images of a part or set, K of a subset, H rows, W columns, C channels.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from trainables.data.image_cache import Arrays, cached, find_cached
from trainables.data.images import Augmentation, Batch, Normalization, TensorImages
from trainables.data.parquet_images import ParquetSplit
from trainables.data.sources import CIFAR, data_root
from trainables.data.stream import Samples


@dataclass(frozen=True, kw_only=True)
class EncodedImages:
    """Images in Parquet files, decoded when they are moved to a device or first iterated.

    Attributes:
        part: train or test, of the data with this fingerprint.
        rows_N: of the part, which images the set holds.
        channels: 1 or 3; others are converted.
    """

    split: ParquetSplit
    part: str
    fingerprint: str
    rows_N: NDArray[np.int64]
    channels: int
    normalization: Normalization
    augmentation: Augmentation

    @functools.cached_property
    def labels_N(self) -> Tensor:
        """int64, on the CPU."""
        return torch.from_numpy(self.split.labels_N[self.rows_N])

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
        if np.array_equal(self.rows_N, np.arange(len(self.split.labels_N))):
            return cached(self.fingerprint, self.part, lambda: self._decode(self.rows_N))[0]
        whole = find_cached(self.fingerprint, self.part)
        if whole is not None:
            return whole[0][self.rows_N]
        rows, inverse_N = np.unique(self.rows_N, return_inverse=True)
        name = f"{self.part}-{hashlib.sha256(rows.tobytes()).hexdigest()[:16]}"
        return cached(self.fingerprint, name, lambda: self._decode(rows))[0][inverse_N]

    def _decode(self, rows_K: NDArray[np.int64]) -> Arrays:
        images_KHWC: NDArray[np.uint8] | None = None
        for number, (where, encoded) in enumerate(self.split.encoded_images(rows_K)):
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
        return images_KHWC, self.split.labels_N[rows_K]


def decode_image(encoded: bytes, channels: int, where: str) -> NDArray[np.uint8]:
    """Pixels (H, W, C) of an encoded image; `where` names it in the error.

    Raises:
        ValueError: it cannot be decoded.
    """
    # 0.09 ms for a CIFAR image; torchvision.io took 0.05, but goes away (deprecated in 0.29).
    try:
        image = Image.open(io.BytesIO(encoded)).convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{where}: cannot decode the image.") from error
    return np.asarray(image).reshape(image.height, image.width, channels)


def load_cifar(name: str, root: Path) -> tuple[Arrays, Arrays]:
    """Train and test arrays of the files that torchvision keeps below `root`."""
    md5 = CIFAR[name].archive_md5
    return (
        cached(md5, "train", lambda: _read_cifar(name, root, train=True)),
        cached(md5, "test", lambda: _read_cifar(name, root, train=False)),
    )


def download_cifar(name: str) -> Path:
    """The root below which torchvision put the data; one process downloads, others wait."""
    root = data_root() / name
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _torchvision_cifar(name, root, train=True, download=True)
    return root


def _read_cifar(name: str, root: Path, *, train: bool) -> Arrays:
    cifar = _torchvision_cifar(name, root, train=train, download=False)
    return np.ascontiguousarray(cifar.data), np.array(cifar.targets, dtype=np.int64)


def _torchvision_cifar(name: str, root: Path, *, train: bool, download: bool) -> Any:
    from torchvision.datasets import CIFAR10, CIFAR100

    kind = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    return kind(str(root), train=train, download=download)
