"""Any images in a directory of Parquet files: the data set `parquet`.

The layouts of image data sets on the Hugging Face hub: files or folders named train*, test*,
validation*, an image column of struct{bytes, path} or of plain bytes, a label column of numbers
or words, and class names in the schema's `huggingface` metadata. Legend of shapes: N images of a
part.
"""

from __future__ import annotations

import functools
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from trainables.data.encoded.parts import (
    PAD,
    PAD_SIZE,
    SAMPLE,
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
    DataOptions,
    Source,
    SourceInfo,
    file_digest,
    image_directory,
    is_junk,
)

if TYPE_CHECKING:  # imports torch
    from trainables.data.images import Augmentation, ImageData

IMAGE_COLUMNS = ("img", "image", "jpg", "jpeg", "png", "webp", "bytes")
LABEL_COLUMNS = ("label", "labels", "fine_label", "coarse_label", "class", "cls")
PREFIXES = {"train": "train", "test": "test", "val": "validation", "dev": "validation"}
DEPTH = 4  # folders below the directory that are looked into
SHARD = re.compile(r"(.*)-(\d+)-of-(\d+)(.*)\.parquet")
READ_ROWS, READ_BYTES = 1024, 64 << 20  # images read at a time, at most one or so many bytes
BUFFER_BYTES = 1 << 20  # read ahead of a column
LOOKED_GROUPS = 16  # row groups of a part of which a sample is read

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ParquetFile:
    """One file, by its footer.

    Attributes:
        label_column: None = it has none.
        class_names: as stored, or () when the file does not name them.
        group_ends: rows up to the end of each row group.
        image_bytes: of an image of the row group whose images are largest.
    """

    path: Path
    image_column: str
    is_struct: bool
    label_column: str | None
    class_names: tuple[str, ...]
    group_ends: Rows
    image_bytes: int

    @property
    def num_rows(self) -> int:
        """Images in it."""
        return int(self.group_ends[-1]) if len(self.group_ends) else 0


def open_parquet(directory: Path, options: DataOptions) -> EncodedData:
    """The images below a directory; reads footers and labels, not the images.

    Raises:
        ValueError: a part, a shard or a column is missing, a file is damaged, a label is out of
            range.
    """
    by_part, notes = _find_parts(directory)
    if "train" not in by_part:
        raise ValueError(
            f"{directory} holds no Parquet file of the train part. Expected are names that "
            "begin with train, and with test or validation."
        )
    files = {
        part: [_open_file(path, options, needs_label=part == "train") for path in paths]
        for part, paths in by_part.items()
    }
    for opened in files.values():
        _check_doubles(opened)
    names = next((f.class_names for f in files["train"] if f.class_names), ())
    raw = {part: _labels(part, opened, names, notes) for part, opened in files.items()}
    if not sum(file.num_rows for file in files["train"]):
        raise ValueError(f"{by_part['train'][0]} holds no images.")
    labels, counted_names = name_labels(raw, directory)
    for part, labels_N in labels.items():
        _check_range(by_part[part], labels_N, len(names or counted_names))
    parts = {part: _part(files[part], labels_N) for part, labels_N in labels.items()}
    used = [f.label_column for f in files["train"]]
    if used[0] == "fine_label" and options.label_column is None:
        notes.append("the labels are those of fine_label (dataset.label_column)")
    return choose_parts(parts, names or counted_names, notes, options)


def parquet_files(directory: Path) -> tuple[Path, ...]:
    """The .parquet files in the directory and below it, by name; hidden ones are none."""
    patterns = ["*/" * depth + "*.parquet" for depth in range(DEPTH)]
    files = [
        file
        for pattern in patterns
        for file in directory.glob(pattern)
        if not any(is_junk(name) for name in file.relative_to(directory).parts)
    ]
    return tuple(sorted(files, key=lambda file: (file.name, file)))


def _find_parts(directory: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """The files of each part, in name order, and what there is to tell.

    Raises:
        ValueError: two configurations, or a missing or doubled shard.
    """
    by_part: dict[str, list[Path]] = defaultdict(list)
    configurations: dict[str, Path] = {}
    nameless = []
    for file in parquet_files(directory):
        folders = file.relative_to(directory).parent.parts
        part = next((p for name in (file.name, *reversed(folders)) if (p := _part_of(name))), None)
        if part is None:
            nameless.append(file)
            continue
        by_part[part].append(file)
        rest = [name for name in folders if name != "data" and not _part_of(name)]
        configurations.setdefault("/".join(rest), file)
    if not by_part and nameless:
        return {"train": nameless}, []
    if len(configurations) > 1:
        one, two = (name or "." for name in list(configurations)[:2])
        raise ValueError(
            f"{directory} holds {len(configurations)} configurations, {one} and {two}: name the "
            f"one that is meant, as dataset.path={directory / two}."
        )
    for files in by_part.values():
        _check_shards(files)
    notes = [
        f"the {part} files are numbered from 1: is 0 missing?"
        for part, files in by_part.items()
        if min(_plain_numbers(file.name for file in files), default=0)
    ]
    if nameless:
        names = [file.name for file in nameless]
        notes.append(f"left out {counted(len(names), 'file')} of no part: {listed(names)}")
    return by_part, notes


def _part_of(name: str) -> str | None:
    """train, test or validation, by how a file or folder is called."""
    for word in (name.lower(), *re.split(r"[^a-z0-9]+", name.lower())):
        for prefix, part in PREFIXES.items():
            if word.startswith(prefix):
                return part
    return None


def _check_shards(files: Sequence[Path]) -> None:
    """Raise ValueError where one of several shards is missing or there twice."""
    here: dict[str, Path] = {}
    for file in files:
        if file.name in here:
            raise ValueError(f"{file} and {here[file.name]} are the same shard; keep one.")
        here[file.name] = file
    shards: dict[tuple[str, str], set[tuple[int, int]]] = defaultdict(set)
    for shard in filter(None, map(SHARD.fullmatch, here)):
        shards[shard[1], shard[4]].add((int(shard[2]), int(shard[3])))
    for (stem, _), found in shards.items():
        totals, numbers = {total for _, total in found}, {number for number, _ in found}
        if len(totals) > 1:
            raise ValueError(f"{files[0].parent} holds shards of two versions of {stem or 'it'}.")
        (total,) = totals
        first = 1 if total in numbers else 0  # some number them 1-of-2, 2-of-2
        _check_numbers(files[0].parent, numbers, range(first, first + total), stem)
    if numbers := _plain_numbers(here):
        _check_numbers(files[0].parent, numbers, range(min(1, *numbers), max(numbers) + 1), "")


def _plain_numbers(names: Iterable[str]) -> set[int]:
    """Of 0000.parquet, 0001.parquet, ..."""
    stems = [name.removesuffix(".parquet") for name in names]
    return {int(stem) for stem in stems if stem.isdecimal()}


def _check_numbers(folder: Path, found: set[int], wanted: range, stem: str) -> None:
    if missing := sorted({*wanted} - found):
        raise ValueError(
            f"{folder}: shard {missing[0]:05} of {len(wanted)} {f'of {stem} ' if stem else ''}is "
            f"missing ({counted(len(missing), 'shard')} in all)."
        )


def _check_doubles(files: Sequence[ParquetFile]) -> None:
    """Raise ValueError where two files are equal: one is a copy under another name."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for file in files:
        if file.num_rows:
            by_size[file.path.stat().st_size].append(file.path)
    for paths in by_size.values():
        seen: dict[bytes, Path] = {}
        for path in paths if len(paths) > 1 else ():
            other = seen.setdefault(file_digest(path), path)
            if other is not path:
                raise ValueError(f"{path} and {other} are the same shard; keep one.")


def _open_file(path: Path, options: DataOptions, *, needs_label: bool) -> ParquetFile:
    import pyarrow.parquet as pq

    opened = _reading(path, functools.partial(pq.ParquetFile, path))
    schema, footer = opened.schema_arrow, opened.metadata
    kinds = {field.name: field.type for field in schema}
    images = [options.image_column] if options.image_column else IMAGE_COLUMNS
    labels = [options.label_column] if options.label_column else LABEL_COLUMNS
    image = next((name for name in images if _is_image(kinds.get(name))), None)
    label = next((name for name in labels if name in kinds and _is_label(kinds[name])), None)
    if image is None or (label is None and needs_label):
        raise ValueError(
            f"{path} must have an image column (struct{{bytes, path}} or bytes) named "
            f"{' or '.join(images)} and a column of numbers or words named "
            f"{' or '.join(labels)}, but has {listed(list(kinds)) or 'no columns'}. Name them: "
            "dataset.image_column=, dataset.label_column=."
        )
    sizes = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
    return ParquetFile(
        path=path,
        image_column=image,
        is_struct=hasattr(kinds[image], "num_fields") and kinds[image].num_fields > 0,
        label_column=label,
        class_names=_class_names(schema.metadata or {}, label),
        group_ends=np.cumsum(np.array(sizes, dtype=np.int64)),
        image_bytes=max(
            (_image_bytes(footer.row_group(group), image) for group in range(len(sizes))),
            default=0,
        ),
    )


def _image_bytes(group: Any, column: str) -> int:
    """Mean size of an image in this row group."""
    chunks = (group.column(number) for number in range(group.num_columns))
    sizes = [c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] == column]
    return int(sum(sizes) // max(1, group.num_rows))


def _is_image(kind: Any) -> bool:
    import pyarrow as pa

    if kind is not None and pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return kind is not None and "binary" in str(kind)


def _is_label(kind: Any) -> bool:
    import pyarrow as pa

    words = ("string", "large_string", "string_view", "bool")
    if pa.types.is_dictionary(kind):
        return _is_label(kind.value_type)
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or str(kind) in words


def _class_names(metadata: Mapping[bytes, bytes], label_column: str | None) -> tuple[str, ...]:
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return tuple(features[label_column]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _labels(
    part: str, files: Sequence[ParquetFile], names: tuple[str, ...], notes: list[str]
) -> Rows | list[str] | None:
    """All labels of a part, numbered by `names`; None = it has none."""
    labels = [_file_labels(file) for file in files]
    if any(one is None for one in labels):
        if part == "train" or not all(one is None for one in labels):
            file = next(f for f, one in zip(files, labels, strict=True) if one is None)
            raise ValueError(f"{file.path} has no labels.")
        return None
    if any(isinstance(one, list) for one in labels):
        return [str(label) for one in labels for label in one]  # type: ignore[union-attr]
    arrays = []
    for file, one in zip(files, labels, strict=True):
        labels_N = np.asarray(one)
        if file.class_names and file.class_names != names:
            unknown = sorted(set(file.class_names) - set(names))
            if unknown:
                raise ValueError(f"{file.path} has a class {unknown[0]!r} that train lacks.")
            _check_range([file.path], labels_N, len(file.class_names))
            labels_N = np.array([names.index(name) for name in file.class_names])[labels_N]
            notes.append(f"{file.path.name} names the classes in another order: mapped")
        arrays.append(labels_N)
    return np.concatenate(arrays)


def _file_labels(file: ParquetFile) -> Rows | list[str] | None:
    """Numbers, or words; None where all are missing (null, or -1 as the hub writes it)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, name = file.path, file.label_column
    if name is None:
        return None
    # read_table would import pyarrow.dataset: 0.9 s.
    column = _reading(path, lambda: pq.ParquetFile(path).read([name], use_threads=False)[name])
    if pa.types.is_dictionary(column.type):
        column = pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks])
    if pa.types.is_floating(column.type):
        import pyarrow.compute as pc  # 10 MB

        column = pc.if_else(pc.is_nan(column), None, column)
    if column.null_count and column.null_count == len(column):
        return None
    if column.null_count:
        raise ValueError(
            f"{path} has {counted(column.null_count, 'row')} without a label in {name}."
        )
    if "string" in str(column.type):
        return [str(word) for word in column.to_pylist()]
    values = np.array(column.to_pylist())  # to_numpy would import pandas: 0.6 s
    with np.errstate(invalid="ignore"):  # of an infinite label, refused below
        labels_N = values.astype(np.int64)
    if not np.array_equal(labels_N, values):
        raise ValueError(f"{path} has labels in {name} that are no whole numbers.")
    return None if len(labels_N) and np.all(labels_N == -1) else labels_N


def _check_range(files: Sequence[Path], labels_N: Rows | None, num_classes: int) -> None:
    if labels_N is None or not len(labels_N):
        return
    low, high = int(labels_N.min()), int(labels_N.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"labels must lie in [0, {num_classes}), but {files[0].parent} has "
            f"labels from {low} to {high} in {files[0].name}."
        )


def _part(files: Sequence[ParquetFile], labels_N: Rows | None) -> Part:
    return Part(
        labels_N=labels_N,
        read=functools.partial(_read, files),
        identity=functools.partial(_identity, [file.path for file in files]),
        cheap=_cheap_rows(files),
        stamp=",".join(file.image_column for file in files).encode(),
        changed_ns=max(file.path.stat().st_ctime_ns for file in files),
    )


def _identity(paths: Sequence[Path]) -> bytes:
    return f"{len(paths)};".encode() + b"".join(file_digest(path) for path in paths)


def _cheap_rows(files: Sequence[ParquetFile]) -> Rows:
    """The first rows of some row groups, evenly spaced; and the whole of one that is small."""
    firsts, rows, start = [], [], 0
    for file in files:
        ends = start + file.group_ends
        firsts += list(zip([start, *ends[:-1].tolist()], ends.tolist(), strict=False))
        start += file.num_rows
    firsts = [(first, end) for first, end in firsts if end > first]
    if not firsts:
        return np.zeros(0, dtype=np.int64)
    some = np.unique(np.linspace(0, len(firsts) - 1, min(LOOKED_GROUPS, len(firsts))).astype(int))
    for first, end in (firsts[group] for group in some):
        rows.append(np.arange(first, min(end, first + max(1, SAMPLE // len(some)))))
    return np.concatenate(rows)


def _read(files: Sequence[ParquetFile], rows: Rows) -> Iterator[Encoded]:
    """Where ("file, row r") and the bytes (JPEG, PNG, ...) of each of these images."""
    start = 0
    for file in files:
        wanted = rows[(rows >= start) & (rows < start + file.num_rows)] - start
        if len(wanted):
            yield from _file_images(file, wanted)
        start += file.num_rows


def _file_images(file: ParquetFile, rows: Rows) -> Iterator[Encoded]:
    import pyarrow.parquet as pq

    # By its defaults pyarrow holds whole row groups: 242 MB for one of 200 MB, against 70.
    opened = _reading(
        file.path,
        lambda: pq.ParquetFile(file.path, pre_buffer=False, buffer_size=BUFFER_BYTES),
    )
    groups, counts = np.unique(
        np.searchsorted(file.group_ends, rows, side="right"), return_counts=True
    )
    firsts = np.concatenate([[0], file.group_ends[:-1]])
    sizes = file.group_ends - firsts
    is_dense = 2 * counts.sum() >= sizes[groups].sum()
    for some in [groups] if is_dense else groups.reshape(-1, 1):
        numbers = np.concatenate([np.arange(firsts[g], file.group_ends[g]) for g in some])
        yield from _some_images(file, opened, some.tolist(), numbers, rows)


def _some_images(
    file: ParquetFile, opened: Any, groups: list[int], numbers: Rows, rows: Rows
) -> Iterator[Encoded]:
    """Those of `rows` that lie in these row groups, whose rows are `numbers`."""
    wanted = np.flatnonzero(np.isin(numbers, rows, assume_unique=True))
    column = f"{file.image_column}.bytes" if file.is_struct else file.image_column
    size = min(READ_ROWS, int(wanted[-1]) + 1, max(1, READ_BYTES // max(1, file.image_bytes)))
    batches = opened.iter_batches(
        batch_size=size, row_groups=groups, columns=[column], use_threads=False
    )
    start = 0
    while start <= wanted[-1]:
        batch = _reading(file.path, lambda: next(batches))
        images = batch.column(0).field("bytes") if file.is_struct else batch.column(0)
        for number in wanted[(wanted >= start) & (wanted < start + len(images))].tolist():
            encoded = images[number - start].as_py()
            yield f"{file.path}, row {numbers[number]}", encoded if encoded is not None else NULL
        start += len(images)


NULL = "it holds no image bytes"


def _reading(file: Path, read: Callable[[], T]) -> T:
    """What `read` returns; a damaged file is told by its name."""
    try:
        return read()
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        reason = str(error).splitlines()[0]
        raise ValueError(f"{file} cannot be read as Parquet: {reason}") from error


def own_augmentation(options: DataOptions) -> Augmentation:
    """As CIFAR-10's: a crop from PAD black pixels around, in proportion to the size, and flips."""
    from trainables.data.images import Augmentation

    pad = PAD if options.image_size is None else max(1, options.image_size * PAD // PAD_SIZE)
    return Augmentation(pad=pad, flip=True)


def _describe(path: str | None, options: DataOptions) -> SourceInfo:
    images = open_parquet(image_directory("parquet", path), options)
    return images.describe("parquet", path)


def _load(path: str | None, options: DataOptions) -> ImageData:
    """Augmented as CIFAR-10 is, normalised by their own statistics."""
    from trainables.data.encoded.decoding import load_encoded

    images = open_parquet(image_directory("parquet", path), options)
    return load_encoded(images, None, own_augmentation(options))


parquet = Source(_describe, _load, takes_options=True)
