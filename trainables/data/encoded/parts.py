"""What is found where images lie, and which of it is trained on and tested on?

No torch here: the driver looks at the data before anything starts, in a time that a sample
bounds. Legend of shapes: N images of a part, K some of them.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainables.data.sources import (
    DEFAULT,
    HASH_BYTES,
    DataOptions,
    SourceInfo,
)
from trainables.data.splits import POOL_SEED, is_unbalanced, stratified_split

if TYPE_CHECKING:  # imports Pillow
    from trainables.data.encoded.pixels import Header

Rows = NDArray[np.int64]
# Where an image lies, and its bytes; or, in their place, why there are none.
Encoded = tuple[str, bytes | str]

PAD = 4  # pixels of the random crop, as for CIFAR; of another size in proportion
PAD_SIZE = 32
TEST_SHARE = 0.2  # of the images, where there is no test part
SAMPLE = 64  # images of a part whose headers are read
DECODED, SECONDS = 16, 2.0  # of them decoded, as long as that takes
MAX_BAD = 0.01  # of the images; of a sample SURE bad ones are more than that
SURE = 5
CONTENT_BYTES = 256 << 20  # of a part's images, that are read whole to tell its content
HASHED_FILES = 2_000  # of a larger part, to find images of both
LISTED = 10  # names in a note
MANY_CLASSES = 10_000


@dataclass(frozen=True, kw_only=True)
class Part:
    """Encoded images and what they are called.

    Attributes:
        labels_N: int64; None = it has none.
        read: the images of these rows (ascending), one after the other.
        identity: bytes that stand for its content, in the fingerprint.
        cheap: rows that can be read without reading many others, spread over the part.
        stamp: what besides the fingerprint says which pixels the rows have, on this disk.
        changed_ns: when one of its files last changed (see `SourceInfo`).
        sizes_N: of the files, where every image is one.
        digests: of all images in order, where that takes less than to read them.
    """

    labels_N: Rows | None
    read: Callable[[Rows], Iterator[Encoded]]
    identity: Callable[[], bytes]
    cheap: Rows
    stamp: bytes
    changed_ns: int = 0
    sizes_N: Rows | None = None
    digests: Callable[[], Iterator[bytes]] | None = None

    def __len__(self) -> int:
        return 0 if self.labels_N is None else len(self.labels_N)

    @property
    def labels(self) -> Rows:
        """Those of a part that has labels."""
        assert self.labels_N is not None, "choose_parts takes no part without"
        return self.labels_N

    def take(self, rows_K: Rows) -> Part:
        """These images (ascending) alone."""
        place = {int(row): number for number, row in enumerate(rows_K)}
        return replace(
            self,
            labels_N=self.labels[rows_K],
            read=functools.partial(_read_rows, self.read, rows_K),
            cheap=np.array([place[row] for row in self.cheap.tolist() if row in place] or [0]),
            stamp=self.stamp + rows_K.tobytes(),
            sizes_N=None if self.sizes_N is None else self.sizes_N[rows_K],
            digests=None,
        )

    @property
    def is_known_by_names(self) -> bool:
        """Of files that are too many bytes to be read."""
        return self.sizes_N is not None and int(self.sizes_N.sum()) > CONTENT_BYTES

    @functools.cached_property
    def digests_K(self) -> list[bytes]:
        """Of the first images, of CONTENT_BYTES in all; of files none where they have more."""
        if self.digests is not None:
            return [*self.digests()]
        if self.is_known_by_names:
            return []
        return [*_digests(self, np.arange(len(self)), CONTENT_BYTES)]


@dataclass(frozen=True, kw_only=True)
class EncodedData:
    """A data set of encoded images: what is trained on, and tested on.

    Attributes:
        class_names: by label; a name may have no images.
        is_split: the test part was taken out of the only one there is.
        notes: what a user should know of how it was taken.
    """

    train: Part
    test: Part
    class_names: tuple[str, ...]
    is_split: bool = False
    notes: tuple[str, ...] = ()
    options: DataOptions = field(default=DEFAULT)

    @property
    def num_classes(self) -> int:
        """Of which some may have no images."""
        return len(self.class_names)

    @functools.cached_property
    def content(self) -> str:
        """A fingerprint of labels and images in order, whatever files of which kind hold them.

        Of a part with more than CONTENT_BYTES it depends on the files, too: see `files`.
        """
        digest = hashlib.blake2b(digest_size=HASH_BYTES)
        for _, part in _parts(self):
            digest.update(f"{len(part)} {len(part.digests_K)};".encode() + part.labels.tobytes())
            digest.update(b"".join(part.digests_K))
            if len(part.digests_K) < len(part):
                digest.update(part.identity())
        return digest.hexdigest()

    @functools.cached_property
    def files(self) -> str:
        """A fingerprint of the files as they lie, which takes less: of the bytes of Parquet files,
        of names and sizes in folders."""
        digest = hashlib.blake2b(self.train.identity(), digest_size=HASH_BYTES)
        digest.update(b"split" if self.is_split else self.test.identity())
        return digest.hexdigest()

    @functools.cached_property
    def shape(self) -> tuple[int, int]:
        """Channels (1 or 3) and rows of the images, by the headers of a sample.

        Raises:
            ValueError: they differ in size and none is asked for, or none is an image.
        """
        sizes: dict[tuple[int, int], str] = {}
        is_gray, problem = True, ""
        for where, header in self._headers:
            if isinstance(header, str):  # told by `look`, or when it is decoded
                problem = problem or f"{where}: cannot decode the image ({header})."
                continue
            is_gray &= header.is_gray
            sizes.setdefault((header.height, header.width), where)
        if not sizes:
            raise ValueError(problem)
        if len(sizes) > 1 and self.options.image_size is None:
            (one, where), (other, there) = list(sizes.items())[:2]
            raise ValueError(
                f"all images must have one size, but {where} has {one} and {there} {other}. "
                "dataset.image_size=32, for example, resizes them."
            )
        channels = self.options.channels or (1 if is_gray else 3)
        return channels, self.options.image_size or next(iter(sizes))[0]

    def describe(self, name: str, path: str | None) -> SourceInfo:
        """The facts; reads CONTENT_BYTES of each part's images, and decodes a sample.

        Raises:
            ValueError: see `shape`, or an image of the sample cannot be decoded.
        """
        channels, image_size = self.shape
        notes = (*self.notes, *self.look(channels))
        if any(part.is_known_by_names for _, part in _parts(self)):
            size = f"{CONTENT_BYTES / 1e6:,.0f} MB"
            told = f"folders of more than {size} are known by the names and sizes of their files"
            notes = (*notes, told)
        return SourceInfo(
            name=name,
            path=path,
            num_train=len(self.train),
            num_test=len(self.test),
            num_classes=self.num_classes,
            fingerprint=self.content,
            files=self.files,
            channels=channels,
            image_size=image_size,
            notes=(*notes, *_look_for_leaks(self.train, self.test)),
            num_special=sum(not isinstance(h, str) and h.is_special for _, h in self._headers),
            changed_ns=max(p.changed_ns * (len(p.digests_K) < len(p)) for _, p in _parts(self)),
        )

    def look(self, channels: int | None) -> Iterator[str]:
        """What a sample of the images shows that a user should know.

        Raises:
            ValueError: one cannot be decoded, or with on_bad_image=skip too many.
        """
        yield from _look_at_classes(self)
        yield from _look_at_images(self, channels)

    @functools.cached_property
    def _headers(self) -> list[tuple[str, Header | str]]:
        """Where a sample's images lie, and what they say of themselves or why nothing."""
        from trainables.data.encoded.pixels import read_header

        headers: list[tuple[str, Header | str]] = []
        for part in (self.train, self.test):
            for where, encoded in part.read(_spread(part.cheap, SAMPLE)):
                try:
                    headers.append((where, read_header(bytes_of(encoded))))
                except ValueError as error:
                    headers.append((where, str(error)))
        return headers


SKIP = " With dataset.on_bad_image=skip another image of its class takes its place."


def choose_parts(
    found: Mapping[str, Part],
    class_names: tuple[str, ...],
    notes: Sequence[str],
    options: DataOptions,
) -> EncodedData:
    """Trains on `train`, tests on `test`, else on `validation`, else on a share of `train`.

    Raises:
        ValueError: training images of one class alone, or too few to test on some.
    """
    told = list(notes)
    train = found["train"]
    if len(class_names) < 2:
        raise ValueError(
            f"all images are of one class, {''.join(class_names) or 'without a name'}: nothing "
            "to tell apart."
        )
    labelled = [name for name in ("test", "validation") if len(found.get(name, ()))]
    if "test" in found and "test" not in labelled:
        where = "validation images" if labelled else "images taken out of train"
        is_empty = found["test"].labels_N is not None
        problem = "are none" if is_empty else "have no labels"
        told.append(f"the test images {problem}: {where} are tested on")
    if labelled:
        if len(labelled) == 2:
            told.append(
                f"the {len(found['validation']):,} images of validation are not used: those to "
                "validate are drawn from train for each seed (dataset.val_fraction)"
            )
        data = EncodedData(train=train, test=found[labelled[0]], class_names=class_names)
    else:
        rest, test_rows = _split(train.labels)
        if not len(test_rows):
            raise ValueError(
                f"{counted(len(train), 'image')} are too few to keep some to test on."
            )
        told.append(
            f"there is no test part: {len(test_rows):,} of {len(train):,} images, every class in "
            "proportion and always the same ones, are kept to test on"
        )
        data = EncodedData(
            train=train.take(rest),
            test=train.take(test_rows),
            class_names=class_names,
            is_split=True,
        )
    return replace(data, notes=tuple(told), options=options)


def name_labels(
    labels: Mapping[str, Rows | Sequence[str] | None], where: Path
) -> tuple[dict[str, Rows | None], tuple[str, ...]]:
    """Numbers for the labels of each part, and the classes' names.

    Words are numbered in the order of the sorted words of train; numbers are kept.

    Raises:
        ValueError: a part has a class that train does not have.
    """
    train = labels["train"]
    if train is None:
        raise ValueError(f"{where}: the training images have no labels.")
    if isinstance(train, np.ndarray):
        arrays = [part for part in labels.values() if isinstance(part, np.ndarray)]
        largest = int(np.concatenate(arrays).max())
        if largest >= MANY_CLASSES and len(np.unique(train)) <= largest / 2:
            raise ValueError(
                f"the labels in {where} go up to {largest:,}, but are of "
                f"{len(np.unique(train)):,} classes: number them from 0."
            )
        if odd := next((n for n, v in labels.items() if isinstance(v, list)), None):
            raise ValueError(f"{where}: the labels of train are numbers, those of {odd} words.")
        numbers = {n: v if isinstance(v, np.ndarray) else None for n, v in labels.items()}
        return numbers, tuple(str(label) for label in range(largest + 1))
    names = tuple(sorted({str(word) for word in train}))
    number = {name: label for label, name in enumerate(names)}
    numbered: dict[str, Rows | None] = {}
    for part, words in labels.items():
        if words is None:
            numbered[part] = None
            continue
        unknown = sorted({str(word) for word in words} - set(names))
        if unknown:
            raise ValueError(
                f"{where}: {unknown[0]!r} is a class of {part} that train/ does not have."
            )
        numbered[part] = np.array([number[str(word)] for word in words], dtype=np.int64)
    return numbered, names


def listed(names: Sequence[str]) -> str:
    """The first of them, and how many there are more."""
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def counted(number: int, noun: str, plural: str = "s") -> str:
    """'1 image', '2 images'."""
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def _read_rows(
    read: Callable[[Rows], Iterator[Encoded]], rows_K: Rows, rows: Rows
) -> Iterator[Encoded]:
    return read(rows_K[rows])


def _split(labels_N: Rows) -> tuple[Rows, Rows]:
    return stratified_split(labels_N, TEST_SHARE, POOL_SEED)


def _spread(rows: Rows, count: int) -> Rows:
    """At most `count` of them, evenly spaced, the first among them."""
    return np.unique(rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)])


def bytes_of(encoded: bytes | str) -> bytes:
    """The bytes of an image; raises ValueError with the reason where there are none."""
    if isinstance(encoded, str):
        raise ValueError(encoded)
    return encoded


def _look_at_classes(data: EncodedData) -> Iterator[str]:
    names = data.class_names
    sizes = {n: np.bincount(p.labels, minlength=len(names)) for n, p in _parts(data)}
    for name, sizes_K in sizes.items():
        empty = [names[label] for label in np.flatnonzero(sizes_K == 0)]
        if empty:
            yield f"no {name} images of {counted(len(empty), 'class', 'es')}: {listed(empty)}"
    present = sizes["train"][sizes["train"] > 0]
    if is_unbalanced(data.train.labels):
        yield (
            f"the classes have from {present.min():,} to {present.max():,} training images: "
            "accuracy counts images, balanced accuracy beside it classes"
        )


def _look_at_images(data: EncodedData, channels: int | None) -> Iterator[str]:
    from trainables.data.encoded.pixels import read_header, read_image

    deadline = time.monotonic() + SECONDS
    bad: list[str] = []
    kinds: Counter[str] = Counter()
    for _, part in _parts(data):
        rows = _spread(part.cheap, SAMPLE)
        for number, (where, encoded) in enumerate(part.read(rows)):
            try:
                header = read_header(bytes_of(encoded))
                kinds["gray"] += header.is_gray
                kinds["animated"] += header.num_frames > 1
                if number % max(1, len(rows) // DECODED) == 0 and time.monotonic() < deadline:
                    read_image(bytes_of(encoded), channels)
            except ValueError as error:
                bad.append(f"{where}: cannot decode the image ({error})")
            kinds["all"] += 1
    if bad:
        check_bad(bad, kinds["all"], len(data.train) + len(data.test), data.options)
        yield f"{counted(len(bad), 'image')} of a sample of {kinds['all']} replaced: {listed(bad)}"
    if kinds["animated"]:
        yield (
            f"{counted(kinds['animated'], 'image')} of a sample of {kinds['all']} have several "
            "frames: the first is taken"
        )
    if channels == 3 and 0 < kinds["gray"] < kinds["all"] - len(bad):
        yield (
            f"{kinds['gray']} images of a sample of {kinds['all']} are gray, the others coloured: "
            "all have 3 channels"
        )


def check_bad(bad: Sequence[str], looked: int, whole: int, options: DataOptions) -> None:
    """Raise ValueError where images that cannot be decoded are too many, by MAX_BAD.

    Args:
        looked: images that were looked at, of `whole`.
    """
    if options.on_bad_image == "error":
        raise ValueError(f"{bad[0]}.{SKIP}")
    if len(bad) > MAX_BAD * looked and (looked == whole or len(bad) >= SURE):
        raise ValueError(
            f"{len(bad):,} of {looked:,} images cannot be decoded, and dataset.on_bad_image=skip "
            f"allows {MAX_BAD:.0%}: {listed(bad)}."
        )


def _look_for_leaks(train: Part, test: Part) -> Iterator[str]:
    of_train, of_test = train.digests_K, test.digests_K
    if train.is_known_by_names or test.is_known_by_names:
        of_train, of_test = (
            [*_digests(part, _same_size(part, other), CONTENT_BYTES)]
            for part, other in ((train, test), (test, train))
        )
    there = {*of_train} - {NO_IMAGE}
    leaked = sum(digest in there for digest in of_test)
    if leaked:
        yield (
            f"at least {counted(leaked, 'test image')} also among the training images, byte for "
            "byte: the test accuracy is too good"
        )


def _same_size(part: Part, other: Part) -> Rows:
    """Files that may be in the other part too, as many as are looked at."""
    assert part.sizes_N is not None, "of files"
    assert other.sizes_N is not None, "of files"
    return np.flatnonzero(np.isin(part.sizes_N, other.sizes_N))[:HASHED_FILES]


def _digests(part: Part, rows: Rows, num_bytes: int) -> Iterator[bytes]:
    """Of these images, as far as they have so many bytes."""
    total = 0
    for _, encoded in part.read(rows):
        data = encoded if isinstance(encoded, bytes) else b""
        total += len(data)
        if total > num_bytes:
            return
        yield hashlib.blake2b(data, digest_size=HASH_BYTES).digest()


NO_IMAGE = hashlib.blake2b(digest_size=HASH_BYTES).digest()  # of no bytes


def _parts(data: EncodedData) -> tuple[tuple[str, Part], ...]:
    return ("train", data.train), ("test", data.test)
