"""Image files below train/<class>/ and val/<class>/: the data sets `imagefolder`, `imagenet`.

Legend of shapes: N images of a part.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainables.data.sources import HASH_BYTES, SourceInfo, image_directory

if TYPE_CHECKING:  # import torch
    from trainables.data.decoding import FolderImages
    from trainables.data.images import ImageData

SIZE = 224  # rows and columns of what is trained on
IMAGENET_CLASSES = 1000
# ImageNet's.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
TEST_FOLDERS = ("val", "validation", "test")  # the first that a directory has


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderPart:
    """The image files of train/ or val/, class by class, and their labels (int64)."""

    files: tuple[str, ...]
    labels_N: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFolder:
    """Both parts; `classes` are the sorted folder names below train/."""

    directory: Path
    classes: tuple[str, ...]
    train: FolderPart
    test: FolderPart

    def fingerprint(self) -> str:
        """Of the files' names and sizes (hashing ImageNet's content would take minutes)."""
        digest = hashlib.blake2b(digest_size=HASH_BYTES)
        for part in (self.train, self.test):
            for file in part.files:
                name = os.path.relpath(file, self.directory)
                digest.update(f"{name} {os.path.getsize(file)};".encode())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Folders:
    """A `Source`: folders of images, 3x224x224, normalised by ImageNet's statistics.

    Attributes:
        num_classes: that it must have; None = as many as there are.
    """

    name: str
    num_classes: int | None = None

    def describe(self, path: str | None) -> SourceInfo:
        """Its facts.

        Raises:
            ValueError: a part, its classes or its images are missing, or too many.
        """
        folder = self._open(path)
        return SourceInfo(
            name=self.name,
            path=path,
            num_train=len(folder.train.files),
            num_test=len(folder.test.files),
            num_classes=len(folder.classes),
            fingerprint=folder.fingerprint(),
            channels=3,
            image_size=SIZE,
        )

    def __call__(self, path: str | None) -> ImageData:
        """The images, decoded as they are trained on."""
        from trainables.data.images import ImageData

        folder = self._open(path)
        return ImageData(
            train=_images(folder.train),
            test=_images(folder.test),
            num_classes=len(folder.classes),
            image_size=SIZE,
        )

    def _open(self, path: str | None) -> ImageFolder:
        folder = open_folder(image_directory(self.name, path))
        if self.num_classes not in (None, len(folder.classes)):
            raise ValueError(
                f"{self.name} has {self.num_classes} classes, but {path} has "
                f"{len(folder.classes)}. Use dataset.name=imagefolder."
            )
        return folder


def open_folder(directory: Path) -> ImageFolder:
    """Files and labels below train/<class>/ and val/<class>/ (or test/<class>/).

    Raises:
        ValueError: a part or its images are missing, or a class is not in train/.
    """
    train = directory / "train"
    test = next((directory / name for name in TEST_FOLDERS if (directory / name).is_dir()), None)
    if test is None or not train.is_dir():
        raise ValueError(f"{directory} must hold the folders train/ and val/ (or test/).")
    classes = _subfolders(train)
    return ImageFolder(
        directory=directory,
        classes=classes,
        train=_scan(train, classes),
        test=_scan(test, classes),
    )


def _scan(part: Path, classes: tuple[str, ...]) -> FolderPart:
    names = _subfolders(part)
    unknown = sorted(set(names) - set(classes))
    if unknown:
        raise ValueError(f"{part / unknown[0]} is a class that train/ does not have.")
    files = [_image_files(part / name) for name in names]
    sizes = [len(here) for here in files]
    if not sum(sizes):
        raise ValueError(
            f"{part} holds no images. Expected are {part.name}/<class>/ folders of "
            f"{', '.join(IMAGE_SUFFIXES)} files."
        )
    labels = [classes.index(name) for name in names]
    return FolderPart(
        files=tuple(file for here in files for file in here),
        labels_N=np.repeat(np.array(labels, dtype=np.int64), sizes),
    )


def _subfolders(directory: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in os.scandir(directory) if entry.is_dir()))


def _image_files(directory: Path) -> list[str]:
    names = (e.path for e in os.scandir(directory) if e.name.lower().endswith(IMAGE_SUFFIXES))
    return sorted(names)


def _images(part: FolderPart) -> FolderImages:
    import torch

    from trainables.data.decoding import FolderImages
    from trainables.data.images import Normalization

    return FolderImages(
        paths_N=np.array(part.files),
        labels_N=torch.from_numpy(part.labels_N),
        normalization=Normalization(mean=MEAN, std=STD),
        image_size=SIZE,
    )


imagefolder = Folders(name="imagefolder")
imagenet = Folders(name="imagenet", num_classes=IMAGENET_CLASSES)
