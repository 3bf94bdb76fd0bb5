"""scikit-learn's 1,797 handwritten digits, 1x8x8: the data set that needs no download."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainables.data.sources import Source, SourceInfo, file_digest, refuse_path

if TYPE_CHECKING:  # imports torch
    from trainables.data.images import ImageData

NUM_IMAGES = 1797
NUM_TEST = 360  # always the same
NUM_CLASSES = 10
SIZE = 8
MAX_VALUE = 16  # of a pixel
PAD = 1


def describe(path: str | None) -> SourceInfo:
    """Their facts.

    Raises:
        ValueError: a path is given, or scikit-learn is not installed.
    """
    refuse_path("digits", path)
    return SourceInfo(
        name="digits",
        path=None,
        num_train=NUM_IMAGES - NUM_TEST,
        num_test=NUM_TEST,
        num_classes=NUM_CLASSES,
        fingerprint=file_digest(_file()).hex(),
        channels=1,
        image_size=SIZE,
    )


def load(path: str | None) -> ImageData:
    """The images, cropped at random by one pixel."""
    from trainables.data.datasets import from_arrays
    from trainables.data.images import Augmentation
    from trainables.data.splits import stratified_pool

    refuse_path("digits", path)
    rows = np.loadtxt(_file(), delimiter=",", dtype=np.int64)
    pixels = (rows[:, :-1] * 255 // MAX_VALUE).astype(np.uint8)
    images_NHWC, labels_N = pixels.reshape(-1, SIZE, SIZE, 1), rows[:, -1]
    test = stratified_pool(labels_N, NUM_TEST)
    train = np.setdiff1d(np.arange(len(rows)), test)
    return from_arrays(
        (images_NHWC[train], labels_N[train]),
        (images_NHWC[test], labels_N[test]),
        num_classes=NUM_CLASSES,
        augmentation=Augmentation(pad=PAD),
    )


def _file() -> Path:
    """Its digits.csv.gz, found without importing scikit-learn."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ValueError("dataset digits needs scikit-learn, which is not installed.")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


digits = Source(describe, load)
