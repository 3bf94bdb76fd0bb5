"""How do downloaded or encoded images become arrays?

Legend of shapes: N images of a part, H rows, W columns, C channels.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.image_cache import Arrays, cached
from trainables.parquet_images import ParquetImages, ParquetSplit
from trainables.sources import CIFAR, data_root, open_cifar, parquet_fingerprint, parquet_shape


def load_parquet(images: ParquetImages) -> tuple[Arrays, Arrays]:
    """Train and test arrays, decoded at most once per disk.

    Raises:
        ValueError: an image cannot be decoded, or differs in size from the first.
    """
    channels, _ = parquet_shape(images)
    return cached(
        parquet_fingerprint(images),
        lambda: (_decode(images.train, channels), _decode(images.test, channels)),
    )


def load_cifar(name: str, path: str | None) -> tuple[Arrays, Arrays]:
    """Train and test arrays of cifar10 or cifar100; downloaded when no path is given.

    Raises:
        ValueError: the path holds something else, or damaged files.
    """
    source = _download(name) if path is None else open_cifar(name, path)
    if isinstance(source, ParquetImages):
        return load_parquet(source)
    return cached(
        CIFAR[name].archive_md5,
        lambda: (_read_cifar(name, source, train=True), _read_cifar(name, source, train=False)),
    )


def _decode(split: ParquetSplit, channels: int) -> Arrays:
    # One thread: 50,000 CIFAR images in 2.7 s by torchvision, 4.9 s by PIL (equal pixels).
    from torchvision.io import ImageReadMode, decode_image

    mode = ImageReadMode.GRAY if channels == 1 else ImageReadMode.RGB
    images_NHWC: NDArray[np.uint8] | None = None
    for number, (where, encoded) in enumerate(split.encoded_images()):
        try:
            image = decode_image(torch.frombuffer(bytearray(encoded), dtype=torch.uint8), mode)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"{where}: cannot decode the image ({error}).") from error
        image_HWC = image.permute(1, 2, 0).numpy()
        if images_NHWC is None:
            images_NHWC = np.empty((len(split.labels_N), *image_HWC.shape), dtype=np.uint8)
        if image_HWC.shape != images_NHWC.shape[1:]:
            raise ValueError(
                f"all images must have the size of the first, {images_NHWC.shape[1:3]}, but "
                f"{where} has {image_HWC.shape[:2]}. Resize them, or use dataset.name=imagefolder."
            )
        images_NHWC[number] = image_HWC
    assert images_NHWC is not None, "open_parquet refuses an empty part"
    return images_NHWC, split.labels_N


def _download(name: str) -> Path:
    """Where torchvision keeps the data; one process downloads, the others wait for it."""
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
