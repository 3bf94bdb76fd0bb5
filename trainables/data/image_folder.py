"""Which image files and classes does a directory of train/ and val/ (or test/) hold? (No torch.)

Legend of shapes: N images of a part.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
TEST_FOLDERS = ("val", "validation", "test")  # the first that a directory has
HASH_BYTES = 16


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
    found = _subfolders(part)
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise ValueError(f"{part / unknown[0]} is a class that train/ does not have.")
    files = [_image_files(part / name) for name in found]
    sizes = [len(here) for here in files]
    if not sum(sizes):
        raise ValueError(
            f"{part} holds no images. Expected are {part.name}/<class>/ folders of "
            f"{', '.join(IMAGE_SUFFIXES)} files."
        )
    labels = [classes.index(name) for name in found]
    return FolderPart(
        files=tuple(file for here in files for file in here),
        labels_N=np.repeat(np.array(labels, dtype=np.int64), sizes),
    )


def _subfolders(directory: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in os.scandir(directory) if entry.is_dir()))


def _image_files(directory: Path) -> list[str]:
    names = (e.path for e in os.scandir(directory) if e.name.lower().endswith(IMAGE_SUFFIXES))
    return sorted(names)
