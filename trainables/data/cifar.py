"""CIFAR-10 and CIFAR-100 as the papers' code has them; downloaded when no path is given."""

from __future__ import annotations

import fcntl
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainables.data.encoded.parquet import open_parquet, own_augmentation, parquet_files
from trainables.data.encoded.parts import PAD, EncodedData
from trainables.data.sources import (
    DEFAULT,
    DataOptions,
    SourceInfo,
    data_root,
    image_directory,
    refuse_options,
)

if TYPE_CHECKING:  # imports torch
    from trainables.data.datasets import Arrays
    from trainables.data.images import ImageData

NUM_TRAIN, NUM_TEST = 50_000, 10_000
SIZE = 32  # rows and columns


@dataclass(frozen=True, kw_only=True)
class Cifar:
    """One of the two: a `Source`, from torchvision's files or from Parquet.

    Attributes:
        mean, std: per channel, of pixels in [0, 1]; max_degrees: of the rotation. Crop by PAD and
            flip are common. Source: the code of arXiv 2311.08745.
        folder, archive_md5, file_md5: how torchvision stores it, and the checksums it expects.
    """

    name: str
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    max_degrees: float = 0.0
    folder: str
    archive_md5: str
    file_md5: dict[str, str]
    takes_options: ClassVar[bool] = True

    def describe(self, path: str | None, options: DataOptions = DEFAULT) -> SourceInfo:
        """Its facts; downloads nothing.

        Raises:
            ValueError: the directory holds no CIFAR, a damaged one, or another data set.
        """
        images = self._open(path, options)
        if isinstance(images, EncodedData):
            return images.describe(self.name, path)
        return SourceInfo(
            name=self.name,
            path=path,
            num_train=NUM_TRAIN,
            num_test=NUM_TEST,
            num_classes=self.num_classes,
            fingerprint=self.archive_md5,
            channels=3,
            image_size=SIZE,
        )

    def __call__(self, path: str | None, options: DataOptions = DEFAULT) -> ImageData:
        """The images, cropped, mirrored and (CIFAR-100) rotated at random."""
        from trainables.data.datasets import cached, from_arrays
        from trainables.data.encoded.decoding import load_encoded
        from trainables.data.images import Augmentation, Normalization

        normalization = Normalization(mean=self.mean, std=self.std)
        augmentation = Augmentation(pad=PAD, flip=True, max_degrees=self.max_degrees)
        source = self._open(path, options) or self._download()
        if isinstance(source, EncodedData):
            augmentation = replace(augmentation, pad=own_augmentation(options).pad)
            return load_encoded(source, normalization, augmentation)
        return from_arrays(
            cached(self.archive_md5, "train", lambda _: self._read(source, train=True)),
            cached(self.archive_md5, "test", lambda _: self._read(source, train=False)),
            num_classes=self.num_classes,
            augmentation=augmentation,
            normalization=normalization,
        )

    def _open(self, path: str | None, options: DataOptions) -> EncodedData | Path | None:
        """What the directory holds: Parquet files, or the (verified) root for torchvision."""
        refuse_options(self.name, DataOptions(channels=options.channels))
        if path is None:
            refuse_options(self.name, options)
            return None
        directory = image_directory(self.name, path)
        if (directory / self.folder).is_dir():
            refuse_options(self.name, options)
            self._verify(directory / self.folder)
            return directory
        if not parquet_files(directory):
            raise ValueError(f"{path} holds neither {self.folder}/ nor train*.parquet files.")
        images = open_parquet(directory, replace(options, channels=3))
        if images.num_classes != self.num_classes:
            raise ValueError(
                f"{self.name} has {self.num_classes} classes, but {path} has "
                f"{images.num_classes}. Use dataset.name=parquet."
            )
        return images

    def _verify(self, folder: Path) -> None:
        for name, expected in self.file_md5.items():
            file = folder / name
            if not file.is_file():
                raise ValueError(f"{file} is missing.")
            if hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() != expected:
                raise ValueError(
                    f"{file} is damaged: its MD5 is not {expected}. Download it again."
                )

    def _download(self) -> Path:
        """The root below which torchvision put the data; one process downloads, others wait."""
        root = data_root() / self.name
        root.mkdir(parents=True, exist_ok=True)
        with (root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._torchvision(root, train=True, download=True)
        return root

    def _read(self, root: Path, *, train: bool) -> Arrays:
        kept = self._torchvision(root, train=train, download=False)
        return np.ascontiguousarray(kept.data), np.array(kept.targets, dtype=np.int64)

    def _torchvision(self, root: Path, *, train: bool, download: bool) -> Any:
        from torchvision import datasets

        kind = getattr(datasets, self.name.upper())
        return kind(str(root), train=train, download=download)


cifar10 = Cifar(
    name="cifar10",
    num_classes=10,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
    folder="cifar-10-batches-py",
    archive_md5="c58f30108f718f92721af3b95e74349a",
    file_md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
)
cifar100 = Cifar(
    name="cifar100",
    num_classes=100,
    mean=(0.5070751592371323, 0.48654887331495095, 0.4409178433670343),
    std=(0.2673342858792401, 0.2564384629170883, 0.27615047132568404),
    max_degrees=15.0,
    folder="cifar-100-python",
    archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
    file_md5={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    },
)
