"""Image files in folders: the data sets `imagefolder` and `imagenet`.

train/<class>/ and test/<class>/ or val/<class>/, <class>/ alone, or files that a metadata.csv (or
.jsonl) labels. Legend of shapes: N images of a part.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainables.data.encoded.parquet import DEPTH, own_augmentation
from trainables.data.encoded.parts import (
    Encoded,
    EncodedData,
    Part,
    Rows,
    choose_parts,
    counted,
    listed,
    name_labels,
)
from trainables.data.sources import (
    DEFAULT,
    DataOptions,
    SourceInfo,
    image_directory,
    is_junk,
)

if TYPE_CHECKING:  # imports torch
    from trainables.data.images import ImageData

SIZE = 224  # rows and columns of what is trained on, where dataset.image_size does not say
IMAGENET_CLASSES = 1000
# ImageNet's.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".apng", ".webp", ".avif", ".gif"),
    *(".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".pcx"),
)
# What the folder of a part may be called.
PARTS = {
    "train": ("train", "training"),
    "validation": ("val", "validation", "valid", "dev"),
    "test": ("test", "testing"),
}
METADATA = ("metadata.csv", "metadata.jsonl")
FILE_COLUMN = "file_name"
DIGITS = 18  # of an int64
LABEL_COLUMNS = ("label", "labels", "class")


@dataclass(frozen=True, kw_only=True, slots=True)
class Folders:
    """A `Source`: folders of images.

    Without image_size: 3x224x224, a random piece of each, decoded for every batch and normalised
    by ImageNet's statistics. With it: decoded once, as the data set `parquet`.

    Attributes:
        num_classes: that it must have; None = as many as there are.
        version: of the content, beside names and sizes in the fingerprint; '' = none is known.
    """

    name: str
    num_classes: int | None = None
    version: str = ""
    takes_options: ClassVar[bool] = True

    def describe(self, path: str | None, options: DataOptions = DEFAULT) -> SourceInfo:
        """Its facts.

        Raises:
            ValueError: a part, its classes or its images are missing, too many, or no images.
        """
        return self._find(path, options).describe(self.name, path)

    def __call__(self, path: str | None, options: DataOptions = DEFAULT) -> ImageData:
        """The images, decoded as they are trained on."""
        from trainables.data.encoded.decoding import FolderImages, load_encoded
        from trainables.data.images import ImageData, Normalization

        data = self._find(path, options)
        if options.image_size is not None:
            return load_encoded(data, None, own_augmentation(options))
        train, test = (
            FolderImages(
                read=part.read,
                part_labels=part.labels,
                rows_N=np.arange(len(part)),
                normalization=Normalization(mean=MEAN, std=STD),
                image_size=SIZE,
                options=data.options,
            )
            for part in (data.train, data.test)
        )
        return ImageData(train=train, test=test, num_classes=data.num_classes, image_size=SIZE)

    def _find(self, path: str | None, options: DataOptions) -> EncodedData:
        directory = image_directory(self.name, path)
        if options.image_size is None:
            refuse_without_size(options)
            options = replace(options, image_size=SIZE, channels=3)
        data = open_folders(directory, options)
        if self.version:
            identity = functools.partial(_versioned, self.version, data.train.identity)
            data = replace(data, train=replace(data.train, identity=identity))
        if self.num_classes not in (None, data.num_classes):
            raise ValueError(
                f"{self.name} has {self.num_classes} classes, but {path} has "
                f"{data.num_classes}. Use dataset.name=imagefolder."
            )
        return data


def refuse_without_size(options: DataOptions) -> None:
    """Raise ValueError where channels are asked for and images are decoded batch by batch."""
    if options.channels is not None:
        raise ValueError("folders take dataset.channels with dataset.image_size only.")


def open_folders(directory: Path, options: DataOptions) -> EncodedData:
    """The images below a directory; reads names and sizes of files, none of them.

    Raises:
        ValueError: a part, its classes or its images are missing.
    """
    within = _innermost(directory)
    notes = [] if within == directory else [f"the images are those of {within.name}/"]
    directory = within
    folders = _by_name(directory)
    part_folders = _part_folders(folders)
    left_out: Counter[str] = Counter()
    others = sorted(folder.name for folder in {*folders.values()} - {*part_folders.values()})
    part_folders = part_folders or {"train": directory}
    if "train" not in part_folders:
        raise ValueError(f"{directory} must hold the folders train/ and val/ (or test/).")
    classes = _subfolders(part_folders["train"])
    listed_parts = {
        part: _list_part(part, folder, classes, options, left_out)
        for part, folder in part_folders.items()
    }
    train_files, _ = listed_parts["train"]
    if not train_files:
        raise ValueError(
            f"{part_folders['train']} holds no images. Expected are train/<class>/ and "
            f"val/<class>/ folders of {', '.join(IMAGE_SUFFIXES)} files, or <class>/ alone."
        )
    for part, (files, _) in listed_parts.items():
        if not files:
            raise ValueError(f"{part_folders[part]} holds no images.")
    words = {part: labels for part, (_, labels) in listed_parts.items()}
    if classes and not any((part_folders["train"] / name).is_file() for name in METADATA):
        labels = {part: _numbered(of_part, classes) for part, of_part in words.items()}
        names: tuple[str, ...] = classes
    else:
        labels, names = name_labels(
            {part: _numbers(of_part) for part, of_part in words.items()}, directory
        )
    parts = {
        part: _part(directory, files, labels[part], has_classes=names is classes)
        for part, (files, _) in listed_parts.items()
    }
    notes += [f"left out {listed(_told(left_out))}"] if left_out else []
    if others and part_folders["train"] != directory:
        notes.append(f"left out folders of no part: {listed(others)}")
    return choose_parts(parts, names, notes, options)


def _innermost(directory: Path) -> Path:
    """The first of folders that hold one folder alone (data/train/CLASS/) in which there is more.

    It has the folders of parts, or of several classes; else it is the directory.
    """
    inner = directory
    for _ in range(DEPTH):
        folders, files = _entries(inner, Counter())
        if _part_folders(_by_name(inner)) or len(folders) > 1:
            return inner
        if len(folders) != 1 or any(_is_image(e.name) or e.name in METADATA for e in files):
            break
        inner = Path(folders[0].path)
    return directory


def _by_name(directory: Path) -> dict[str, Path]:
    """Its folders, by their name in lower case."""
    return {entry.name.lower(): Path(entry.path) for entry in _entries(directory, Counter())[0]}


def _part_folders(folders: Mapping[str, Path]) -> dict[str, Path]:
    """The folder of each part that there is; raises ValueError where a part has two."""
    found = {part: [folders[n] for n in names if n in folders] for part, names in PARTS.items()}
    for paths in found.values():
        if len(paths) > 1:
            raise ValueError(f"{paths[0]} and {paths[1]} are both of one part; keep one.")
    return {part: paths[0] for part, paths in found.items() if paths}


# The files of a part, and what each is called; None = they have no labels.
Listing = tuple[list[str], list[str] | None]


def _list_part(
    part: str,
    folder: Path,
    classes: Sequence[str],
    options: DataOptions,
    left_out: Counter[str],
) -> Listing:
    for name in METADATA:
        if (folder / name).is_file():
            return _list_metadata(folder, folder / name, options, left_out)
    names = _subfolders(folder)
    unknown = sorted(set(names) - set(classes))
    if part != "train" and unknown and len(names) == 1:  # test/unknown/, test/images/
        return list(_image_files(folder, left_out)), None
    if unknown:
        raise ValueError(f"{folder / unknown[0]} is a class that train/ does not have.")
    _, loose = _entries(folder, left_out)
    images = [entry.path for entry in loose if _is_image(entry.name)]
    if images and not names and part != "train":
        return sorted(images), None
    if images and not names:
        raise ValueError(
            f"{folder} holds {counted(len(images), 'image')}, but neither a folder for each class "
            "nor a metadata.csv (file_name,label)."
        )
    if images:
        left_out["images in no class folder"] += len(images)
    for entry in loose:
        if not _is_image(entry.name):
            _leave_out(entry.name, left_out)
    files, words = [], []
    for name in names:
        here = sorted(_image_files(folder / name, left_out))
        files += here
        words += [name] * len(here)
    return files, words


def _list_metadata(
    folder: Path, table: Path, options: DataOptions, left_out: Counter[str]
) -> Listing:
    """The files that a table names, in its order.

    Raises:
        ValueError: a column or a file is missing.
    """
    try:
        rows = _read_table(table)
        keys = set().union(*(row.keys() for row in rows))
    except (ValueError, csv.Error, AttributeError, TypeError) as error:
        raise ValueError(f"{table} cannot be read: {error}") from error
    wanted = [options.label_column] if options.label_column else LABEL_COLUMNS
    label = next((name for name in wanted if name in keys), None)
    if FILE_COLUMN not in keys or (label is None and options.label_column):
        raise ValueError(
            f"{table} must have the columns {FILE_COLUMN} and {' or '.join(wanted)}, but has "
            f"{listed(sorted(str(key) for key in keys)) or 'none'}."
        )
    for number, row in enumerate(rows, 1):
        for column in filter(None, (FILE_COLUMN, label)):
            if row.get(column) in (None, ""):
                raise ValueError(f"{table}: entry {number} has no {column}.")
    files = [_within(folder, str(row[FILE_COLUMN]), table) for row in rows]
    missing = [
        str(row[FILE_COLUMN]) for row, f in zip(rows, files, strict=True) if not os.path.isfile(f)
    ]
    if missing:
        raise ValueError(
            f"{table} names {counted(len(missing), 'file')} that it lacks: {listed(missing)}."
        )
    known = {os.path.realpath(file) for file in files}
    others = [f for f in _image_files(folder, Counter()) if os.path.realpath(f) not in known]
    if others:
        left_out[f"images that {table.name} does not name"] += len(others)
    if label is None:
        return files, None
    return files, [str(row[label]) for row in rows]


def _within(folder: Path, name: str, table: Path) -> str:
    """The file of this name in the folder.

    Raises:
        ValueError: it lies elsewhere; the table may be a stranger's.
    """
    if os.path.isabs(name) or ".." in Path(name).parts:
        raise ValueError(f"{table} names a file outside of its folder: {name}.")
    return os.path.join(folder, name)


def _read_table(table: Path) -> list[dict[str, Any]]:
    text = table.read_text(encoding="utf-8-sig")
    if table.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(text, newline="")))
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _numbered(words: list[str] | None, classes: Sequence[str]) -> Rows | None:
    number = {name: label for label, name in enumerate(classes)}
    if unknown := sorted({*(words or ())} - {*classes}):  # of a metadata.csv
        raise ValueError(f"{unknown[0]!r} is a class that train/ does not have.")
    return None if words is None else np.array([number[word] for word in words], dtype=np.int64)


def _numbers(words: list[str] | None) -> Rows | list[str] | None:
    """Numbers where all are written so, in at most DIGITS digits."""
    if words is None or not all(word.isdecimal() and len(word) <= DIGITS for word in words):
        return words
    return np.array([int(word) for word in words], dtype=np.int64)


def _part(directory: Path, files: list[str], labels_N: Rows | None, *, has_classes: bool) -> Part:
    statuses = [os.stat(file) for file in files]
    sizes_N = np.array([status.st_size for status in statuses], dtype=np.int64)
    times_N = np.array([status.st_ctime_ns for status in statuses], dtype=np.int64)
    own = None if has_classes else labels_N
    return Part(
        labels_N=labels_N,
        read=functools.partial(_read_files, _Names(files)),
        identity=functools.partial(_identity, directory, files, sizes_N, own),
        cheap=np.arange(len(files)),
        # A file may change and keep its size, and by `cp -p` or `tar` the time of its content.
        stamp=times_N.tobytes(),
        changed_ns=int(times_N.max(initial=0)),
        sizes_N=sizes_N,
    )


def _identity(directory: Path, files: list[str], sizes_N: Rows, labels_N: Rows | None) -> bytes:
    """Of the files' names and sizes (hashing ImageNet's content would take minutes)."""
    names = (os.path.relpath(file, directory) for file in files)
    text = "".join(f"{name} {size};" for name, size in zip(names, sizes_N.tolist(), strict=True))
    # A name in another encoding; labels that are in no name.
    return text.encode(errors="surrogateescape") + (
        b"" if labels_N is None else labels_N.tobytes()
    )


def _versioned(version: str, identity: Callable[[], bytes]) -> bytes:
    return f"{version};".encode() + identity()


class _Names:
    """Names of files in one piece: an array of them holds four bytes a letter of the longest."""

    def __init__(self, files: list[str]) -> None:
        encoded = [os.fsencode(file) for file in files]
        self.text = b"".join(encoded)
        self.ends = np.cumsum([0, *map(len, encoded)])

    def __getitem__(self, row: int) -> str:
        return os.fsdecode(self.text[self.ends[row] : self.ends[row + 1]])


def _read_files(names: _Names, rows: Rows) -> Iterator[Encoded]:
    for row in rows.tolist():
        file = names[row]
        try:
            yield file, Path(file).read_bytes()
        except OSError as error:
            yield file, str(error.strerror)


def _entries(
    folder: Path, left_out: Counter[str]
) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
    """Folders and files, without those of systems and editors."""
    folders, files = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_junk(entry.name):
                left_out[f"hidden {'folders' if entry.is_dir() else 'files'}"] += 1
            elif entry.is_dir():
                folders.append(entry)
            elif entry.is_file():
                files.append(entry)
            else:
                left_out["broken links"] += 1
    return folders, files


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in _entries(folder, Counter())[0]))


def _image_files(
    folder: Path, left_out: Counter[str], above: tuple[tuple[int, int], ...] = ()
) -> Iterator[str]:
    """At any depth; a link that leads back is not followed."""
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in above:
        left_out["links that lead back"] += 1
        return
    folders, files = _entries(folder, left_out)
    for entry in files:
        if _is_image(entry.name):
            yield entry.path
        else:
            _leave_out(entry.name, left_out)
    for entry in folders:
        here = (*above, (status.st_dev, status.st_ino))
        yield from _image_files(Path(entry.path), left_out, here)


def _leave_out(name: str, left_out: Counter[str]) -> None:
    suffix = os.path.splitext(name)[1].lower()
    left_out[f"{suffix} files" if suffix else "files without a suffix"] += 1


def _told(left_out: Counter[str]) -> list[str]:
    return [f"{what} ({count:,})" for what, count in sorted(left_out.items())]


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


imagefolder = Folders(name="imagefolder")
imagenet = Folders(name="imagenet", num_classes=IMAGENET_CLASSES)
