"""Where do images come from, and what can be said of them before anything heavy is imported?

No torch, torchvision or scikit-learn here: the driver describes the data of a run with this
module before it imports them.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces.registry import import_callable, is_import_path, lookup
from trainables import NUM_STARTS
from trainables.data.image_folder import ImageFolder, open_folder
from trainables.data.parquet_images import ParquetImages, has_parquet, open_parquet
from trainables.functions.benchmark import parse_dimension

FOLDER_IMAGE_SIZE = 224
IMAGENET_CLASSES = 1000

DIGITS_TEST_IMAGES = 360
DIGITS_IMAGES = 1797
SYNTHETIC_VERSION = 1  # part of the fingerprint: raise it when the generator changes
SYNTHETIC_CLASSES = 10
SYNTHETIC_EXAMPLES = (10_000, 2_000)  # train, test
SMALL_IMAGE_SIZE = 32  # rows and columns of CIFAR and synthetic images
CIFAR_EXAMPLES = (50_000, 10_000)

FUNCTION_SAMPLES = 2000  # 20 steps of 100 directions, as in the authors' code

HASH_BYTES = 16
HASH_CHUNK = 1 << 20
HASH_WHOLE_BELOW = 256 << 20  # bytes; of a larger file HASH_NUM_CHUNKS chunks are read
HASH_NUM_CHUNKS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceInfo:
    """What is known of a data set without decoding it.

    Attributes:
        fingerprint: hex; equal for equal content, wherever it lies.
        image_size: rows (= columns) of an image; None when unknown.
    """

    name: str
    path: str | None
    num_train: int
    num_test: int
    num_classes: int
    fingerprint: str
    channels: int
    image_size: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CifarFacts:
    """How torchvision stores a CIFAR data set, and the checksums it expects."""

    folder: str
    num_classes: int
    archive_md5: str
    file_md5: dict[str, str]


CIFAR: dict[str, CifarFacts] = {
    "cifar10": CifarFacts(
        folder="cifar-10-batches-py",
        num_classes=10,
        archive_md5="c58f30108f718f92721af3b95e74349a",
        file_md5={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
    ),
    "cifar100": CifarFacts(
        folder="cifar-100-python",
        num_classes=100,
        archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
        file_md5={
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        },
    ),
}


def describe(name: str, path: str | None) -> SourceInfo:
    """The facts of a data set: counts, classes, image shape and the content's fingerprint.

    Downloads nothing and decodes at most one image; `package.module:callable` is called.

    Raises:
        ValueError: unknown name, missing or needless path, or data that cannot be read.
    """
    if is_import_path(name):
        return _describe_callable(name, path)
    describer: Callable[[str | None], SourceInfo] = lookup("dataset", name, SOURCES)
    return describer(path)


def describe_function(name: str, path: str | None) -> SourceInfo:
    """The facts of a benchmark function; `path` is its dimension.

    An "image" is one direction of smoothing: an epoch is FUNCTION_SAMPLES of them unless the
    recipe says otherwise. The test set are the starts of a trial.

    Raises:
        ValueError: not a whole number in the range of dimensions.
    """
    dimension = parse_dimension(path)
    return SourceInfo(
        name=name,
        path=str(dimension),
        num_train=FUNCTION_SAMPLES,
        num_test=NUM_STARTS,
        num_classes=0,
        fingerprint=f"{name}-{dimension}",
        channels=0,
        image_size=None,
    )


def data_root() -> Path:
    """Where downloads and decoded images are kept: $GRADTUNE_DATA, by default ./data."""
    return Path(os.environ.get("GRADTUNE_DATA", "data"))


def digits_file() -> Path:
    """scikit-learn's digits.csv.gz, found without importing scikit-learn.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ValueError("dataset digits needs scikit-learn, which is not installed.")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


def synthetic_examples(path: str | None) -> tuple[int, int]:
    """Train and test counts that "N" or "N:M" asks for; 10,000 and 2,000 by default.

    Raises:
        ValueError: not one or two whole numbers > 0.
    """
    if path is None:
        return SYNTHETIC_EXAMPLES
    counts = [int(part) for part in path.split(":") if part.strip().isdecimal()]
    if len(counts) != path.count(":") + 1 or len(counts) > 2 or min(counts) < 1:
        raise ValueError(
            f"dataset.path of synthetic must be 'N' or 'N:M' (train and test images, > 0), "
            f"but got (path={path!r})."
        )
    return counts[0], (*counts, SYNTHETIC_EXAMPLES[1])[1]


def image_directory(name: str, path: str | None) -> Path:
    """The directory that holds data set `name`.

    Raises:
        ValueError: no path is given, or it is no directory.
    """
    if path is None:
        raise ValueError(f"dataset {name} needs dataset.path, the directory of its images.")
    directory = Path(path).expanduser()
    if not directory.is_dir():
        problem = "is a file" if directory.exists() else "does not exist"
        raise ValueError(f"dataset.path must be a directory, but {path} {problem}.")
    return directory


def open_cifar(name: str, path: str) -> ParquetImages | Path:
    """What the directory holds: Parquet files, or the (verified) root for torchvision.

    Raises:
        ValueError: neither is there, a file is damaged, or it is another data set.
    """
    directory, facts = image_directory(name, path), CIFAR[name]
    if (directory / facts.folder).is_dir():
        _verify_cifar(directory / facts.folder, facts)
        return directory
    if not has_parquet(directory):
        raise ValueError(f"{path} holds neither {facts.folder}/ nor train*.parquet files.")
    images = open_parquet(directory)
    if images.num_classes != facts.num_classes:
        raise ValueError(
            f"{name} has {facts.num_classes} classes, but {path} has {images.num_classes}. "
            "Use dataset.name=parquet."
        )
    return images


def open_image_folder(name: str, path: str | None) -> ImageFolder:
    """The classes and image files of imagefolder or imagenet.

    Raises:
        ValueError: a part, its classes or its images are missing, or it is not ImageNet.
    """
    folder = open_folder(image_directory(name, path))
    if name == "imagenet" and len(folder.classes) != IMAGENET_CLASSES:
        raise ValueError(
            f"imagenet has {IMAGENET_CLASSES} classes, but {path} has {len(folder.classes)}. "
            "Use dataset.name=imagefolder."
        )
    return folder


def parquet_fingerprint(images: ParquetImages) -> str:
    """Of the files' content and of the part each belongs to."""
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    for split in (images.train, images.test):
        digest.update(f"{len(split.files)};".encode())
        for file in split.files:
            digest.update(_file_digest(file))
    return digest.hexdigest()


def _describe_digits(path: str | None) -> SourceInfo:
    _refuse_path("digits", path)
    return SourceInfo(
        name="digits",
        path=None,
        num_train=DIGITS_IMAGES - DIGITS_TEST_IMAGES,
        num_test=DIGITS_TEST_IMAGES,
        num_classes=10,
        fingerprint=_file_digest(digits_file()).hex(),
        channels=1,
        image_size=8,
    )


def _describe_synthetic(path: str | None) -> SourceInfo:
    num_train, num_test = synthetic_examples(path)
    identity = f"synthetic {SYNTHETIC_VERSION} {num_train} {num_test}"
    return SourceInfo(
        name="synthetic",
        path=path,
        num_train=num_train,
        num_test=num_test,
        num_classes=SYNTHETIC_CLASSES,
        fingerprint=hashlib.blake2b(identity.encode(), digest_size=HASH_BYTES).hexdigest(),
        channels=3,
        image_size=SMALL_IMAGE_SIZE,
    )


def _describe_cifar(path: str | None, name: str) -> SourceInfo:
    images = None if path is None else open_cifar(name, path)
    if isinstance(images, ParquetImages):
        return replace(_describe_images(images, name, path), channels=3)
    return SourceInfo(
        name=name,
        path=path,
        num_train=CIFAR_EXAMPLES[0],
        num_test=CIFAR_EXAMPLES[1],
        num_classes=CIFAR[name].num_classes,
        fingerprint=CIFAR[name].archive_md5,
        channels=3,
        image_size=SMALL_IMAGE_SIZE,
    )


def _describe_parquet(path: str | None) -> SourceInfo:
    directory = image_directory("parquet", path)
    return _describe_images(open_parquet(directory), "parquet", path)


def _describe_images(images: ParquetImages, name: str, path: str | None) -> SourceInfo:
    channels, image_size = parquet_shape(images)
    return SourceInfo(
        name=name,
        path=path,
        num_train=len(images.train.labels_N),
        num_test=len(images.test.labels_N),
        num_classes=images.num_classes,
        fingerprint=parquet_fingerprint(images),
        channels=channels,
        image_size=image_size,
    )


def parquet_shape(images: ParquetImages) -> tuple[int, int]:
    """Channels (1 or 3) and rows of the first training image; all others must agree.

    Raises:
        ValueError: it cannot be decoded.
    """
    from PIL import Image

    where, encoded = next(images.train.encoded_images())
    try:
        image = Image.open(io.BytesIO(encoded))
    except OSError as error:
        raise ValueError(f"{where}: cannot decode the image.") from error
    return 1 if len(image.getbands()) == 1 and image.mode != "P" else 3, image.height


def _describe_folder(path: str | None, name: str) -> SourceInfo:
    folder = open_image_folder(name, path)
    return SourceInfo(
        name=name,
        path=path,
        num_train=len(folder.train.files),
        num_test=len(folder.test.files),
        num_classes=len(folder.classes),
        fingerprint=folder.fingerprint(),
        channels=3,
        image_size=FOLDER_IMAGE_SIZE,
    )


def _describe_callable(name: str, path: str | None) -> SourceInfo:
    try:
        data: Any = import_callable(name)(path)
    except TypeError as error:
        raise ValueError(f"{name} must take a path and return an ImageData: {error}") from None
    missing = [a for a in ("train", "test", "num_classes", "channels") if not hasattr(data, a)]
    if missing:
        raise ValueError(f"{name} must return ImageData, but its result lacks {missing[0]}.")
    labels = [np.asarray(split.labels_N, dtype=np.int64) for split in (data.train, data.test)]
    digest = hashlib.blake2b(name.encode(), digest_size=HASH_BYTES)
    for labels_N in labels:
        digest.update(labels_N.tobytes())
    return SourceInfo(
        name=name,
        path=path,
        num_train=len(labels[0]),
        num_test=len(labels[1]),
        num_classes=int(data.num_classes),
        fingerprint=data.fingerprint or digest.hexdigest(),
        channels=int(data.channels),
        image_size=data.image_size,
    )


SOURCES: dict[str, Callable[[str | None], SourceInfo]] = {
    "digits": _describe_digits,
    "synthetic": _describe_synthetic,
    "cifar10": functools.partial(_describe_cifar, name="cifar10"),
    "cifar100": functools.partial(_describe_cifar, name="cifar100"),
    "parquet": _describe_parquet,
    "imagefolder": functools.partial(_describe_folder, name="imagefolder"),
    "imagenet": functools.partial(_describe_folder, name="imagenet"),
}


def _refuse_path(name: str, path: str | None) -> None:
    if path is not None:
        raise ValueError(f"dataset {name} takes no dataset.path, but got (path={path!r}).")


def _verify_cifar(folder: Path, facts: CifarFacts) -> None:
    for name, expected in facts.file_md5.items():
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{file} is missing.")
        if _md5(file) != expected:
            raise ValueError(f"{file} is damaged: its MD5 is not {expected}. Download it again.")


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(
            stream, functools.partial(hashlib.md5, usedforsecurity=False)
        ).hexdigest()


def _file_digest(file: Path) -> bytes:
    """Of size and content; of a large file, evenly spaced chunks and its end (the footer)."""
    size = file.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=HASH_BYTES)
    with file.open("rb") as stream:
        for offset in _chunk_offsets(size):
            stream.seek(offset)
            digest.update(stream.read(HASH_CHUNK))
    return digest.digest()


def _chunk_offsets(size: int) -> Iterable[int]:
    if size < HASH_WHOLE_BELOW:
        return range(0, size, HASH_CHUNK)
    return (int(o) for o in np.linspace(0, size - HASH_CHUNK, HASH_NUM_CHUNKS))
