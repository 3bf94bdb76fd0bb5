"""Any images of one size in Parquet files: the data set `parquet`."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from trainables.data.parquet_images import ParquetImages, open_parquet
from trainables.data.sources import HASH_BYTES, Source, SourceInfo, file_digest, image_directory

if TYPE_CHECKING:  # imports torch
    from trainables.data.images import Augmentation, ImageData, Normalization

PAD = 4  # pixels of the random crop, as for CIFAR


def describe(path: str | None) -> SourceInfo:
    """Their facts; decodes one image.

    Raises:
        ValueError: see `open_parquet`; or the first image cannot be decoded.
    """
    return describe_images(open_parquet(image_directory("parquet", path)), "parquet", path)


def load(path: str | None) -> ImageData:
    """The images, augmented as CIFAR-10 is, normalised by their own statistics."""
    from trainables.data.images import Augmentation

    images = open_parquet(image_directory("parquet", path))
    return load_images(images, None, Augmentation(pad=PAD, flip=True))


def describe_images(images: ParquetImages, name: str, path: str | None) -> SourceInfo:
    """The facts of opened images."""
    channels, image_size = _shape(images)
    return SourceInfo(
        name=name,
        path=path,
        num_train=len(images.train.labels_N),
        num_test=len(images.test.labels_N),
        num_classes=images.num_classes,
        fingerprint=_fingerprint(images),
        channels=channels,
        image_size=image_size,
    )


def load_images(
    images: ParquetImages, normalization: Normalization | None, augmentation: Augmentation
) -> ImageData:
    """Not yet decoded; normalization None = by the training images' statistics."""
    from trainables.data.datasets import statistics, statistics_sample
    from trainables.data.decoding import EncodedImages
    from trainables.data.images import CPU, UNIT_RANGE, ImageData

    channels, image_size = _shape(images)
    fingerprint = _fingerprint(images)
    train, test = (
        EncodedImages(
            split=split,
            part=part,
            fingerprint=fingerprint,
            rows_N=np.arange(len(split.labels_N)),
            channels=channels,
            normalization=normalization or UNIT_RANGE,
            augmentation=augmentation,
        )
        for part, split in (("train", images.train), ("test", images.test))
    )
    if normalization is None:
        sample = train.subset(statistics_sample(len(train))).to(CPU)
        normalization = statistics(sample.images_NHWC.numpy())
        train, test = (replace(part, normalization=normalization) for part in (train, test))
    return ImageData(
        train=train,
        test=test,
        num_classes=images.num_classes,
        channels=channels,
        image_size=image_size,
    )


def _fingerprint(images: ParquetImages) -> str:
    """Of the files' content and of the part each belongs to."""
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    for split in (images.train, images.test):
        digest.update(f"{len(split.files)};".encode())
        for file in split.files:
            digest.update(file_digest(file))
    return digest.hexdigest()


def _shape(images: ParquetImages) -> tuple[int, int]:
    """Channels (1 or 3) and rows of the first training image; all others must agree."""
    from PIL import Image

    where, encoded = next(images.train.encoded_images())
    try:
        image = Image.open(io.BytesIO(encoded))
    except OSError as error:
        raise ValueError(f"{where}: cannot decode the image.") from error
    return 1 if len(image.getbands()) == 1 and image.mode != "P" else 3, image.height


parquet = Source(describe, load)
