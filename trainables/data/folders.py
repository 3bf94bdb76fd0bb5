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

if TYPE_CHECKING:  # imports torch
    from trainables.data.images import ImageData

SIZE = 224  # rows and columns of what is trained on
IMAGENET_CLASSES = 1000
# ImageNet's.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
TEST_FOLDERS = ("val", "validation", "test")  # the first that a directory has


Part = tuple[list[str], NDArray[np.int64]]  # image files, class by class, and their labels_N


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
        directory, num_classes, (train, _), (test, _) = self._scan(path)
        return SourceInfo(
            name=self.name,
            path=path,
            num_train=len(train),
            num_test=len(test),
            num_classes=num_classes,
            fingerprint=_fingerprint(directory, [*train, *test]),
            channels=3,
            image_size=SIZE,
        )

    def __call__(self, path: str | None) -> ImageData:
        """The images, decoded as they are trained on."""
        import torch

        from trainables.data.decoding import FolderImages
        from trainables.data.images import ImageData, Normalization

        _, num_classes, *parts = self._scan(path)
        train, test = (
            FolderImages(
                paths_N=np.array(files),
                labels_N=torch.from_numpy(labels_N),
                normalization=Normalization(mean=MEAN, std=STD),
                image_size=SIZE,
            )
            for files, labels_N in parts
        )
        return ImageData(train=train, test=test, num_classes=num_classes, image_size=SIZE)

    def _scan(self, path: str | None) -> tuple[Path, int, Part, Part]:
        """The directory, the number of folders below train/, the training and the test images."""
        directory = image_directory(self.name, path)
        train = directory / "train"
        tests = [directory / name for name in TEST_FOLDERS if (directory / name).is_dir()]
        if not tests or not train.is_dir():
            raise ValueError(f"{directory} must hold the folders train/ and val/ (or test/).")
        classes = _subfolders(train)
        parts = _scan_part(train, classes), _scan_part(tests[0], classes)
        if self.num_classes not in (None, len(classes)):
            raise ValueError(
                f"{self.name} has {self.num_classes} classes, but {path} has "
                f"{len(classes)}. Use dataset.name=imagefolder."
            )
        return directory, len(classes), *parts


def _fingerprint(directory: Path, files: list[str]) -> str:
    """Of the files' names and sizes (hashing ImageNet's content would take minutes)."""
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    for file in files:
        name = os.path.relpath(file, directory)
        line = f"{name} {os.path.getsize(file)};"
        digest.update(line.encode(errors="surrogateescape"))  # a name in another encoding
    return digest.hexdigest()


def _scan_part(part: Path, classes: tuple[str, ...]) -> Part:
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
    labels = np.array([classes.index(name) for name in names], dtype=np.int64)
    return [file for here in files for file in here], np.repeat(labels, sizes)


def _subfolders(directory: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in os.scandir(directory) if entry.is_dir()))


def _image_files(directory: Path) -> list[str]:
    names = (e.path for e in os.scandir(directory) if e.name.lower().endswith(IMAGE_SUFFIXES))
    return sorted(names)


imagefolder = Folders(name="imagefolder")
imagenet = Folders(name="imagenet", num_classes=IMAGENET_CLASSES)
