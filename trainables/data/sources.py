"""What is a data set, and what can be said of it before anything heavy is imported?

No torch, torchvision, scikit-learn or pyarrow here: the driver describes the data of a run with
this module before it imports them. A data set is a `Source` in a file of its own, named in
`trainables.DATASETS`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from search_spaces.registry import lookup
from trainables import DATASETS, HUBS, NUM_STARTS
from trainables.functions.benchmark import parse_dimension

if TYPE_CHECKING:  # imports torch
    from trainables.data.images import ImageData

FUNCTION_SAMPLES = 2000  # 20 steps of 100 directions, as in the authors' code

JUNK = ("__MACOSX", "lost+found", "@eaDir", "$RECYCLE.BIN", "System Volume Information")

# How pixels are read; raise it when `read_image` or `fit` changes what they give. By 1, images
# were not turned, transparency was dropped and 16 bits were cut off.
READING = 2
HASH_BYTES = 16
HASH_CHUNK = 1 << 20
HASH_WHOLE_BELOW = 256 << 20  # bytes; of a larger file HASH_NUM_CHUNKS chunks are read
HASH_NUM_CHUNKS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceInfo:
    """What is known of a data set without decoding it.

    Attributes:
        fingerprint: hex; equal for equal content, wherever and however it lies.
        files: hex, of the files as they lie, which stood for the content before; '' = none.
        image_size: rows (= columns) of an image; None when unknown.
        notes: what a user should know of how the data were taken; a line each.
        num_special: images of a sample which not every version of READING reads alike.
        changed_ns: when one of the files whose content is too long to read last changed, in
            nanoseconds since 1970 by the clock of their disk; 0 = all was read.
    """

    name: str
    path: str | None
    num_train: int
    num_test: int
    num_classes: int
    fingerprint: str
    channels: int
    image_size: int | None
    notes: tuple[str, ...] = ()
    num_special: int = 0
    files: str = ""
    changed_ns: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a data set lies, under a name that stands for the same bytes later, too."""

    name: str
    path: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DataOptions:
    """How images are taken; what a data set of encoded images allows, others none of it.

    Attributes:
        image_size: rows and columns, to which the central square is resized; None = as they are.
        channels: 1 or 3; None = 1 where all images are gray.
        on_bad_image: error | skip (another image of its class in its place, at most 1 %).
        image_column, label_column: of Parquet and metadata files; None = by the usual names.
    """

    image_size: int | None = None
    channels: int | None = None
    on_bad_image: str = "error"
    image_column: str | None = None
    label_column: str | None = None

    def given(self) -> dict[str, Any]:
        """Those that are not as by default."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value != getattr(DEFAULT, name)}


DEFAULT = DataOptions()


@dataclass(frozen=True, slots=True)
class Source:
    """A data set: called with `dataset.path` it loads, and can be described before that.

    A user's own `package.module:callable` may be a plain function: it is called to be described.

    Attributes:
        describe: its facts, without torch, download or decoding more than a sample; one that is
            downloaded has a `resolve`, too: its `Place`, once it is there.
        load: the images; raises ValueError for a path that does not fit, or damaged data.
        takes_options: both are called with the `DataOptions` too.
    """

    describe: Callable[..., SourceInfo]
    load: Callable[..., ImageData]
    takes_options: bool = False

    def __call__(self, path: str | None, *options: DataOptions) -> ImageData:
        """The images at `path`; None where it needs none."""
        return self.load(path, *options)


def describe(name: str, path: str | None, options: DataOptions = DEFAULT) -> SourceInfo:
    """The facts of a data set: counts, classes, image shape and the content's fingerprint.

    Raises:
        ValueError: unknown name, missing or needless path, an option that it does not have, or
            data that cannot be read.
    """
    source: Any = find_dataset(name)
    if hasattr(source, "describe"):
        info: SourceInfo = call_source(source, name, path, options, source.describe)
        return info
    refuse_options(name, options)
    return _describe_loaded(source, name, path)


def resolve(name: str, path: str | None) -> Place:
    """Where the data set lies; it is downloaded where its name says so and no path is given.

    Raises:
        ValueError: unknown name, no access, or no network.
    """
    source: Any = find_dataset(name)
    if path is not None or not hasattr(source, "resolve"):
        return Place(name=name, path=path)
    place: Place = source.resolve()
    return place


def find_dataset(name: str) -> Callable[..., Any]:
    """The `Source` of this name, or the user's own callable; nothing is downloaded.

    Raises:
        ValueError: unknown name, or of a wrong form.
    """
    prefix = f"{name.partition(':')[0]}:"
    if prefix in HUBS:
        found: Callable[..., Any] = lookup("dataset", prefix, HUBS)(name)
        return found
    return lookup("dataset", name, DATASETS)


def call_source(
    source: Any,
    name: str,
    path: str | None,
    options: DataOptions,
    call: Callable[..., Any] | None = None,
) -> Any:
    """What the source (or this method of it) returns; `options` only where it takes them.

    Raises:
        ValueError: an option is given and it takes none.
    """
    call = call or source
    if getattr(source, "takes_options", False):
        return call(path, options)
    refuse_options(name, options)
    return call(path)


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


def image_directory(name: str, path: str | None) -> Path:
    """The directory that holds data set `name`.

    Raises:
        ValueError: no path is given, or it is no directory.
    """
    if path is None:
        raise ValueError(f"dataset {name} needs dataset.path, the directory of its images.")
    directory = Path(os.path.expanduser(path))
    if not directory.is_dir():
        problem = "is a file" if directory.exists() else "does not exist"
        raise ValueError(f"dataset.path must be a directory, but {path} {problem}.")
    return directory


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is a system's or an editor's, and no one's data."""
    return name.startswith(".") or name in JUNK


def refuse_path(name: str, path: str | None) -> None:
    """Raise ValueError where a path is given to a data set that needs none."""
    if path is not None:
        raise ValueError(f"dataset {name} takes no dataset.path, but got (path={path!r}).")


def refuse_options(name: str, options: DataOptions) -> None:
    """Raise ValueError where an option is given to a data set that has none."""
    for key, value in options.given().items():
        raise ValueError(f"dataset {name} takes no dataset.{key}, but got ({key}={value!r}).")


def file_digest(file: Path) -> bytes:
    """Of size and content; of a large file, evenly spaced chunks and its end (the footer)."""
    size = file.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=HASH_BYTES)
    with file.open("rb") as stream:
        for offset in _chunk_offsets(size):
            stream.seek(offset)
            digest.update(stream.read(HASH_CHUNK))
    return digest.digest()


def _describe_loaded(load: Callable[[str | None], Any], name: str, path: str | None) -> SourceInfo:
    try:
        data = load(path)
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


def _chunk_offsets(size: int) -> Iterable[int]:
    if size < HASH_WHOLE_BELOW:
        return range(0, size, HASH_CHUNK)
    return (int(o) for o in np.linspace(0, size - HASH_CHUNK, HASH_NUM_CHUNKS))
