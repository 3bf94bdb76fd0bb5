"""Any images of one size in a directory of Parquet files: the data set `parquet`.

The layout of image data sets on the Hugging Face hub: files named train*, test* or validation*,
an image column of struct{bytes, path}, an integer label column, and class names in the schema's
`huggingface` metadata. Legend of shapes: N images of a split.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainables.data.sources import HASH_BYTES, Source, SourceInfo, file_digest, image_directory

if TYPE_CHECKING:  # imports torch
    from trainables.data.images import Augmentation, ImageData, Normalization

PAD = 4  # pixels of the random crop, as for CIFAR
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "labels", "fine_label")
TEST_PREFIXES = ("test", "val")  # the first that the directory has; val also means validation
READ_ROWS = 1024  # images read at a time

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ParquetSplit:
    """The train or the test part: its files, in name order, and all labels.

    Attributes:
        labels_N: int64, in [0, num_classes).
        class_names: as stored, or () when the files do not name them.
    """

    files: tuple[Path, ...]
    image_column: str
    labels_N: NDArray[np.int64]
    class_names: tuple[str, ...]

    def encoded_images(self, rows: NDArray[np.int64] | None = None) -> Iterator[tuple[str, bytes]]:
        """Where ("file, row r") and the bytes (JPEG, PNG, ...) of each image, in label order.

        `rows`: only these, ascending; None = all.

        Raises:
            ValueError: a file is damaged, or holds no bytes for an image.
        """
        wanted = np.ones(len(self.labels_N), dtype=bool)
        if rows is not None:
            wanted = np.isin(np.arange(len(self.labels_N)), rows)
        images = (image for file in self.files for image in _file_images(file, self.image_column))
        for (file, row, encoded), is_wanted in zip(images, wanted, strict=False):
            if not is_wanted:
                continue
            if encoded is None:
                raise ValueError(f"{file}, row {row}, holds no image bytes.")
            yield f"{file}, row {row}", encoded


@dataclass(frozen=True, kw_only=True)
class ParquetImages:
    """Both parts of a data set."""

    train: ParquetSplit
    test: ParquetSplit

    @property
    def num_classes(self) -> int:
        """Number of class names, or of the labels seen when the files do not name them."""
        largest = max(int(self.train.labels_N.max()), int(self.test.labels_N.max()))
        return len(self.train.class_names) or largest + 1

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the files' content and of the part each belongs to."""
        digest = hashlib.blake2b(digest_size=HASH_BYTES)
        for split in (self.train, self.test):
            digest.update(f"{len(split.files)};".encode())
            for file in split.files:
                digest.update(file_digest(file))
        return digest.hexdigest()

    @functools.cached_property
    def shape(self) -> tuple[int, int]:
        """Channels (1 or 3) and rows of the first training image; all others must agree.

        Raises:
            ValueError: it cannot be decoded.
        """
        from PIL import Image

        where, encoded = next(self.train.encoded_images())
        try:
            image = Image.open(io.BytesIO(encoded))
        except OSError as error:
            raise ValueError(f"{where}: cannot decode the image.") from error
        return 1 if len(image.getbands()) == 1 and image.mode != "P" else 3, image.height

    def describe(self, name: str, path: str | None) -> SourceInfo:
        """The facts; decodes one image."""
        channels, image_size = self.shape
        return SourceInfo(
            name=name,
            path=path,
            num_train=len(self.train.labels_N),
            num_test=len(self.test.labels_N),
            num_classes=self.num_classes,
            fingerprint=self.fingerprint,
            channels=channels,
            image_size=image_size,
        )

    def load(self, normalization: Normalization | None, augmentation: Augmentation) -> ImageData:
        """Not yet decoded; normalization None = by the training images' statistics."""
        from trainables.data.datasets import statistics, statistics_sample
        from trainables.data.decoding import EncodedImages
        from trainables.data.images import CPU, UNIT_RANGE, ImageData

        channels, image_size = self.shape
        train, test = (
            EncodedImages(
                read=split.encoded_images,
                part_labels=split.labels_N,
                part=part,
                fingerprint=self.fingerprint,
                rows_N=np.arange(len(split.labels_N)),
                channels=channels,
                normalization=normalization or UNIT_RANGE,
                augmentation=augmentation,
            )
            for part, split in (("train", self.train), ("test", self.test))
        )
        if normalization is None:
            sample = train.subset(statistics_sample(len(train))).to(CPU)
            normalization = statistics(sample.images_NHWC.numpy())
            train, test = (replace(part, normalization=normalization) for part in (train, test))
        return ImageData(
            train=train,
            test=test,
            num_classes=self.num_classes,
            channels=channels,
            image_size=image_size,
        )


def open_parquet(directory: Path) -> ParquetImages:
    """The images below a directory; reads footers and labels, not the images.

    Raises:
        ValueError: a part or a column is missing, a file is damaged, or a label is out of range.
    """
    files = parquet_files(directory)
    test_files = next((part for p in TEST_PREFIXES if (part := _named(files, p))), ())
    train = _open_split(directory, "train", _named(files, "train"))
    test = _open_split(directory, "test or validation", test_files)
    images = ParquetImages(train=train, test=test)
    for split in (train, test):
        low, high = int(split.labels_N.min()), int(split.labels_N.max())
        if low < 0 or high >= images.num_classes:
            raise ValueError(
                f"labels must lie in [0, {images.num_classes}), but {split.files[0].parent} has "
                f"labels from {low} to {high} in {split.files[0].name}."
            )
    return images


def parquet_files(directory: Path) -> tuple[Path, ...]:
    """The .parquet files in the directory and one level below it."""
    files = [*directory.glob("*.parquet"), *directory.glob("*/*.parquet")]
    return tuple(sorted(files, key=lambda file: (file.name, file)))


def _named(files: Sequence[Path], prefix: str) -> tuple[Path, ...]:
    return tuple(file for file in files if file.name.startswith(prefix))


def _open_split(directory: Path, part: str, files: tuple[Path, ...]) -> ParquetSplit:
    if not files:
        raise ValueError(
            f"{directory} holds no Parquet file of the {part} part. Expected are names that "
            "begin with train, and with test or validation."
        )
    opened = [_open_file(file) for file in files]
    image_column, _, class_names = opened[0]
    labels = [_file_labels(file, label) for file, (_, label, _) in zip(files, opened, strict=True)]
    split = ParquetSplit(
        files=files,
        image_column=image_column,
        labels_N=np.concatenate(labels),
        class_names=class_names,
    )
    if not len(split.labels_N):
        raise ValueError(f"{files[0]} holds no images.")
    return split


def _open_file(file: Path) -> tuple[str, str, tuple[str, ...]]:
    """Image column, label column and class names of a file, from its footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _reading(file, functools.partial(pq.read_schema, file))
    kinds = {field.name: field.type for field in schema}
    image_column = next((n for n in IMAGE_COLUMNS if _is_image(kinds.get(n))), None)
    label_column = next(
        (n for n in LABEL_COLUMNS if n in kinds and pa.types.is_integer(kinds[n])), None
    )
    if image_column is None or label_column is None:
        raise ValueError(
            f"{file} must have an image column struct{{bytes, path}} named "
            f"{' or '.join(IMAGE_COLUMNS)} and an integer column named "
            f"{' or '.join(LABEL_COLUMNS)}, but has {', '.join(kinds) or 'no columns'}."
        )
    return image_column, label_column, _class_names(schema.metadata or {}, label_column)


def _is_image(kind: Any) -> bool:
    import pyarrow as pa

    return (
        kind is not None
        and pa.types.is_struct(kind)
        and any(field.name == "bytes" for field in kind)
    )


def _class_names(metadata: dict[bytes, bytes], label_column: str) -> tuple[str, ...]:
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return tuple(features[label_column]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _file_labels(file: Path, label_column: str) -> NDArray[np.int64]:
    import pyarrow.parquet as pq

    column = _reading(file, lambda: pq.read_table(file, columns=[label_column])[label_column])
    if column.null_count:
        raise ValueError(f"{file} has {column.null_count} rows without a label in {label_column}.")
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _file_images(file: Path, image_column: str) -> Iterator[tuple[Path, int, bytes | None]]:
    import pyarrow.parquet as pq

    opened = _reading(file, functools.partial(pq.ParquetFile, file))
    rows = opened.iter_batches(batch_size=READ_ROWS, columns=[f"{image_column}.bytes"])
    row = 0
    while (batch := _reading(file, lambda: next(rows, None))) is not None:
        for encoded in batch.column(0).field("bytes").to_pylist():
            yield file, row, encoded
            row += 1


def _reading(file: Path, read: Callable[[], T]) -> T:
    """What `read` returns; a damaged file is told by its name."""
    try:
        return read()
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        reason = str(error).splitlines()[0]
        raise ValueError(f"{file} cannot be read as Parquet: {reason}") from error


def _describe(path: str | None) -> SourceInfo:
    return open_parquet(image_directory("parquet", path)).describe("parquet", path)


def _load(path: str | None) -> ImageData:
    """Augmented as CIFAR-10 is, normalised by their own statistics."""
    from trainables.data.images import Augmentation

    images = open_parquet(image_directory("parquet", path))
    return images.load(None, Augmentation(pad=PAD, flip=True))


parquet = Source(_describe, _load)
