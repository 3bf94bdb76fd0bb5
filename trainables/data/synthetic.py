"""Noise images, 3x32x32, that a random teacher network labelled: any number, without download."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from trainables.data.sources import HASH_BYTES, Source, SourceInfo

if TYPE_CHECKING:  # imports torch
    from trainables.data.images import ImageData

VERSION = 1  # part of the fingerprint: raise it when the teacher changes
EXAMPLES = (10_000, 2_000)  # train, test
NUM_CLASSES = 10
SIZE = 32  # rows and columns


def describe(path: str | None) -> SourceInfo:
    """Their facts.

    Raises:
        ValueError: see `count_examples`.
    """
    num_train, num_test = count_examples(path)
    identity = f"synthetic {VERSION} {num_train} {num_test}"
    return SourceInfo(
        name="synthetic",
        path=path,
        num_train=num_train,
        num_test=num_test,
        num_classes=NUM_CLASSES,
        fingerprint=hashlib.blake2b(identity.encode(), digest_size=HASH_BYTES).hexdigest(),
        channels=3,
        image_size=SIZE,
    )


def load(path: str | None) -> ImageData:
    """The images, mirrored at random."""
    from trainables.data.datasets import cached, from_arrays
    from trainables.data.images import Augmentation
    from trainables.data.teacher import TEST, TRAIN, synthetic_images

    info = describe(path)
    return from_arrays(
        cached(
            info.fingerprint, "train", lambda _: synthetic_images(info.num_train, stream=TRAIN)
        ),
        cached(info.fingerprint, "test", lambda _: synthetic_images(info.num_test, stream=TEST)),
        num_classes=NUM_CLASSES,
        augmentation=Augmentation(flip=True),
    )


def count_examples(path: str | None) -> tuple[int, int]:
    """Train and test counts that "N" or "N:M" asks for; 10,000 and 2,000 by default.

    Raises:
        ValueError: not one or two whole numbers > 0.
    """
    if path is None:
        return EXAMPLES
    counts = [int(part) for part in path.split(":") if part.strip().isdecimal()]
    if len(counts) != path.count(":") + 1 or len(counts) > 2 or min(counts) < 1:
        raise ValueError(
            f"dataset.path of synthetic must be 'N' or 'N:M' (train and test images, > 0), "
            f"but got (path={path!r})."
        )
    return counts[0], (*counts, EXAMPLES[1])[1]


synthetic = Source(describe, load)
