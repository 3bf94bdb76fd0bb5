"""Which data sets can be trained on, and how is each loaded and divided?

Legend of shapes: N images of a set, K of a subset, B of a batch, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.registry import lookup
from trainables import DATASETS
from trainables.data.decoding import EncodedImages, download_cifar, load_cifar
from trainables.data.image_cache import Arrays, cached
from trainables.data.image_folder import FolderPart
from trainables.data.images import CPU, Augmentation, FolderImages, Normalization, TensorImages
from trainables.data.parquet_images import ParquetImages, open_parquet
from trainables.data.sources import (
    CIFAR,
    DIGITS_TEST_IMAGES,
    FOLDER_IMAGE_SIZE,
    describe,
    digits_file,
    image_directory,
    open_cifar,
    open_image_folder,
    parquet_fingerprint,
    parquet_shape,
    synthetic_examples,
)
from trainables.data.stream import Samples

# PAPERS.md 1.3: the values of the papers' code.
CIFAR10_NORMALIZATION = Normalization(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))
CIFAR100_NORMALIZATION = Normalization(
    mean=(0.5070751592371323, 0.48654887331495095, 0.4409178433670343),
    std=(0.2673342858792401, 0.2564384629170883, 0.27615047132568404),
)
IMAGENET_NORMALIZATION = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
UNIT_RANGE = Normalization(mean=(0.0,), std=(1.0,))  # until the statistics are known

CIFAR10_AUGMENTATION = Augmentation(pad=4, flip=True)
CIFAR100_AUGMENTATION = Augmentation(pad=4, flip=True, max_degrees=15.0)
DIGITS_AUGMENTATION = Augmentation(pad=1)
DIGITS_MAX_VALUE = 16

POOL_SEED = 0  # which images a smaller pool keeps; one constant, so that all runs agree
STATISTICS_IMAGES = 5_000  # evenly spaced; what normalises is within 1 % of the whole set's


class ImageSet(Protocol):
    """Labelled images that come in batches, on a device."""

    @property
    def labels_N(self) -> Tensor:
        """int64, on the CPU."""
        ...

    def __len__(self) -> int: ...

    def subset(self, index_K: NDArray[np.int64]) -> ImageSet:
        """These images alone, in this order."""
        ...

    def to(
        self, device: torch.device, memory_format: torch.memory_format | None = None
    ) -> ImageSet:
        """The same images, batches on `device`; memory_format None = unchanged."""
        ...

    def batches(self, plan: Iterable[Samples]) -> Iterator[tuple[Tensor, Tensor]]:
        """One batch for each element of the plan: images (B, C, H, W) float32, labels (B).

        Samples without draws are to be evaluated: they are not augmented.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """A data set: what a loader, or a user's `package.module:callable`, returns.

    Attributes:
        fingerprint: hex, identifies the content; a user's loader may give one, else `describe`
            derives it from the name and the labels.
        channels, image_size: of the images in a batch; image_size None = unknown.
    """

    train: ImageSet
    test: ImageSet
    num_classes: int
    fingerprint: str = ""
    channels: int = 3
    image_size: int | None = None

    def to(
        self, device: torch.device, memory_format: torch.memory_format | None = None
    ) -> ImageData:
        """The same data, both parts on `device`."""
        return replace(
            self,
            train=self.train.to(device, memory_format),
            test=self.test.to(device, memory_format),
        )


class Loader(Protocol):
    """Loads a data set."""

    def __call__(self, path: str | None) -> ImageData:
        """The data at `path`; None where it needs none.

        Raises:
            ValueError: a path that does not fit, or damaged data.
        """
        ...


def load_images(name: str, path: str | None, num_train: int | None = None) -> ImageData:
    """Data set `name`, with a stratified pool of `num_train` training images (None = all).

    Raises:
        ValueError: unknown name, unfit path, damaged data, or fewer images than asked for.
    """
    loader: Loader = lookup("dataset", name, DATASETS)
    data = loader(path)
    if num_train is None or num_train == len(data.train):
        return data
    pool = stratified_pool(data.train.labels_N.numpy(), num_train)
    return replace(data, train=data.train.subset(pool))


def stratified_pool(labels_N: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Indices (ascending) of `count` images, every class in proportion; always the same ones.

    Raises:
        ValueError: count is not in [1, N].
    """
    if not 1 <= count <= len(labels_N):
        raise ValueError(
            f"dataset.train_examples must lie in [1, {len(labels_N)}], but got ({count})."
        )
    return _stratified_sample(labels_N, count, POOL_SEED, at_least=0)


def stratified_split(
    labels_N: NDArray[np.int64], fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training and validation indices, both ascending; validation has round(fraction * N).

    Every class gives its share by largest remainder, and at least one image where there are
    enough validation images for that and the class has two.

    Raises:
        ValueError: fraction is not in [0, 1).
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"val_fraction must lie in [0, 1), but got ({fraction}).")
    val = _stratified_sample(labels_N, round(fraction * len(labels_N)), seed, at_least=1)
    return np.setdiff1d(np.arange(len(labels_N)), val, assume_unique=True), val


def _stratified_sample(
    labels_N: NDArray[np.int64], count: int, seed: int, *, at_least: int
) -> NDArray[np.int64]:
    classes, sizes = np.unique(labels_N, return_counts=True)
    quotas = _quotas(sizes, count, at_least)
    rng = np.random.default_rng(seed)
    chosen = [
        rng.permutation(np.flatnonzero(labels_N == label))[:quota]
        for label, quota in zip(classes, quotas, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def _quotas(sizes: NDArray[np.int64], count: int, at_least: int) -> NDArray[np.int64]:
    """Images to take of each class: in proportion to sizes, by largest remainder."""
    quotas, remainders = np.divmod(sizes * count, sizes.sum())
    order = np.argsort(-remainders, kind="stable")
    quotas[order[: count - quotas.sum()]] += 1
    poor = np.flatnonzero((quotas < at_least) & (sizes > at_least))
    for label in poor:  # an image of the class that has the most
        rich = int(np.argmax(quotas))
        if quotas[rich] > at_least:
            quotas[rich] -= 1
            quotas[label] += 1
    return quotas


def digits(path: str | None) -> ImageData:
    """scikit-learn's 1,797 handwritten digits, 1x8x8; 360 of them, always the same, for test."""
    info = describe("digits", path)
    rows = np.loadtxt(digits_file(), delimiter=",", dtype=np.int64)
    pixels_NHWC = (rows[:, :-1] * 255 // DIGITS_MAX_VALUE).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels_N = rows[:, -1]
    test = stratified_pool(labels_N, DIGITS_TEST_IMAGES)
    train = np.setdiff1d(np.arange(len(rows)), test)
    return _image_data(
        (pixels_NHWC[train], labels_N[train]),
        (pixels_NHWC[test], labels_N[test]),
        num_classes=info.num_classes,
        augmentation=DIGITS_AUGMENTATION,
    )


def synthetic(path: str | None) -> ImageData:
    """Noise images, 3x32x32, that a random teacher network labelled; path = "N" or "N:M"."""
    from trainables.data.synthetic import TEST, TRAIN, synthetic_images

    info = describe("synthetic", path)
    num_train, num_test = synthetic_examples(path)
    return _image_data(
        cached(info.fingerprint, "train", lambda: synthetic_images(num_train, stream=TRAIN)),
        cached(info.fingerprint, "test", lambda: synthetic_images(num_test, stream=TEST)),
        num_classes=info.num_classes,
        augmentation=Augmentation(flip=True),
    )


def cifar10(path: str | None) -> ImageData:
    """CIFAR-10 with the papers' crop and flip; downloaded when no path is given."""
    return _cifar("cifar10", path, CIFAR10_NORMALIZATION, CIFAR10_AUGMENTATION)


def cifar100(path: str | None) -> ImageData:
    """CIFAR-100 with the papers' crop, flip and rotation; downloaded when no path is given."""
    return _cifar("cifar100", path, CIFAR100_NORMALIZATION, CIFAR100_AUGMENTATION)


def parquet(path: str | None) -> ImageData:
    """Any images of one size in Parquet files, augmented as CIFAR-10 is."""
    images = open_parquet(image_directory("parquet", path))
    return _parquet_data(images, None, CIFAR10_AUGMENTATION)


def imagefolder(path: str | None) -> ImageData:
    """Image files below train/<class>/ and val/<class>/, 3x224x224, ImageNet's statistics."""
    return _folder_data("imagefolder", path)


def imagenet(path: str | None) -> ImageData:
    """ImageNet's 1,000 classes in the folders of an imagefolder."""
    return _folder_data("imagenet", path)


def _image_data(
    train: Arrays,
    test: Arrays,
    *,
    num_classes: int,
    augmentation: Augmentation,
    normalization: Normalization | None = None,
) -> ImageData:
    sample = train[0][_statistics_sample(len(train[0]))]
    normalization = normalization or _statistics(sample)
    parts = [
        TensorImages(
            images_NHWC=torch.from_numpy(images_NHWC),
            labels_N=torch.from_numpy(labels_N),
            normalization=normalization,
            augmentation=augmentation,
        )
        for images_NHWC, labels_N in (train, test)
    ]
    return ImageData(
        train=parts[0],
        test=parts[1],
        num_classes=num_classes,
        channels=train[0].shape[3],
        image_size=train[0].shape[1],
    )


def _statistics_sample(count: int) -> NDArray[np.int64]:
    return np.arange(0, count, -(-count // STATISTICS_IMAGES))


def _statistics(images_NHWC: NDArray[np.uint8]) -> Normalization:
    """Mean and standard deviation of each channel."""
    values_C = [images_NHWC[..., c].ravel() / np.float32(255) for c in range(images_NHWC.shape[3])]
    return Normalization(
        mean=tuple(float(values.mean(dtype=np.float64)) for values in values_C),
        std=tuple(float(values.std(dtype=np.float64)) or 1.0 for values in values_C),
    )


def _cifar(
    name: str, path: str | None, normalization: Normalization, augmentation: Augmentation
) -> ImageData:
    source = download_cifar(name) if path is None else open_cifar(name, path)
    if isinstance(source, ParquetImages):
        return _parquet_data(source, normalization, augmentation)
    return _image_data(
        *load_cifar(name, source),
        num_classes=CIFAR[name].num_classes,
        augmentation=augmentation,
        normalization=normalization,
    )


def _parquet_data(
    images: ParquetImages, normalization: Normalization | None, augmentation: Augmentation
) -> ImageData:
    """Not yet decoded; normalization None = by the training images' statistics."""
    channels, image_size = parquet_shape(images)
    fingerprint = parquet_fingerprint(images)
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
        sample = train.subset(_statistics_sample(len(train))).to(CPU)
        normalization = _statistics(sample.images_NHWC.numpy())
        train, test = (replace(part, normalization=normalization) for part in (train, test))
    return ImageData(
        train=train,
        test=test,
        num_classes=images.num_classes,
        channels=channels,
        image_size=image_size,
    )


def _folder_data(name: str, path: str | None) -> ImageData:
    folder = open_image_folder(name, path)
    return ImageData(
        train=_folder_images(folder.train),
        test=_folder_images(folder.test),
        num_classes=len(folder.classes),
        image_size=FOLDER_IMAGE_SIZE,
    )


def _folder_images(part: FolderPart) -> FolderImages:
    return FolderImages(
        paths_N=np.array(part.files),
        labels_N=torch.from_numpy(part.labels_N),
        normalization=IMAGENET_NORMALIZATION,
        image_size=FOLDER_IMAGE_SIZE,
    )
