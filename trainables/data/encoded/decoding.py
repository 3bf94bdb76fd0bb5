"""How do encoded images become arrays, and only those that are used?

Legend of shapes: N images of a part or set, K of a subset, H rows, W columns, C channels.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainables.data.datasets import (
    Arrays,
    MakeArray,
    cached,
    find_cached,
    statistics,
    statistics_sample,
)
from trainables.data.encoded.parts import Encoded, EncodedData, bytes_of, check_bad, listed
from trainables.data.encoded.pixels import fit, read_header, read_image, to_array
from trainables.data.images import (
    CPU,
    UNIT_RANGE,
    Augmentation,
    Batch,
    ImageData,
    Normalization,
    TensorImages,
    stand_ins,
)
from trainables.data.sources import DEFAULT, READING, DataOptions
from trainables.data.stream import Samples

RESIZE_RATIO = 256 / 224  # shorter side before the central crop, as for ImageNet
MAX_WORKERS = 4
CHUNK, CHUNK_BYTES = 256, 64 << 20  # images read before they are decoded, or one that is larger
LOST = -1  # in place of the label of an image that cannot be decoded


@dataclass(frozen=True, kw_only=True)
class EncodedImages:
    """Images of one size, decoded when they are moved to a device or first iterated.

    As many threads decode as torch may use: the trial's CPUs.

    Attributes:
        read: where they lie and the bytes of these rows (ascending) of the part.
        part_labels: of all rows of the part, int64.
        part, stamp: train or test, of the data with this fingerprint; see `Part`.
        rows_N: of the part, which images the set holds.
        channels: 1 or 3; others are converted.
    """

    read: Callable[[NDArray[np.int64]], Iterator[Encoded]]
    part_labels: NDArray[np.int64]
    part: str
    stamp: bytes
    fingerprint: str
    rows_N: NDArray[np.int64]
    channels: int
    normalization: Normalization
    augmentation: Augmentation
    options: DataOptions = DEFAULT

    @functools.cached_property
    def labels_N(self) -> Tensor:
        """int64, on the CPU."""
        return torch.from_numpy(self.part_labels[self.rows_N])

    def __len__(self) -> int:
        return len(self.rows_N)

    def subset(self, index_K: NDArray[np.int64]) -> EncodedImages:
        """These images alone, in this order; the others are not decoded."""
        return replace(self, rows_N=self.rows_N[index_K])

    def to(
        self, device: torch.device, memory_format: torch.memory_format | None = None
    ) -> TensorImages:
        """The images, decoded, resident on `device`.

        Raises:
            ValueError: an image cannot be decoded, or differs in size from the first.
        """
        return self.decoded.to(device, memory_format)

    def batches(self, plan: Iterable[Samples]) -> Iterator[Batch]:
        """As TensorImages, on the CPU."""
        return self.decoded.batches(plan)

    @functools.cached_property
    def decoded(self) -> TensorImages:
        """The images where they are kept; raises as `to`."""
        images_NHWC, labels_M, rows_N = self._pixels()
        return TensorImages(
            images_NHWC=torch.from_numpy(images_NHWC),
            labels_N=self.labels_N,
            rows_N=rows_N,
            lost=frozenset(np.flatnonzero(labels_M == LOST).tolist()),
            normalization=self.normalization,
            augmentation=self.augmentation,
        )

    def _pixels(self) -> tuple[*Arrays, NDArray[np.int64] | None]:
        """From the cache of the whole part if there is one, else of just these rows.

        And their labels or LOST, and which of them the set holds; None = all.
        """
        stamp = hashlib.sha256(self.stamp)
        if self.options.on_bad_image == "skip":
            stamp.update(b"lost")
        rules = f"{READING}-{self.channels}-{self.options.image_size or 'whole'}"
        name = f"{self.part}-{rules}-{stamp.hexdigest()[:16]}"
        if np.array_equal(self.rows_N, np.arange(len(self.part_labels))):
            whole = cached(self.fingerprint, name, functools.partial(self._decode, self.rows_N))
            return (*whole, None)
        if (found := find_cached(self.fingerprint, name)) is not None:
            return (*found, self.rows_N)
        rows, inverse_N = np.unique(self.rows_N, return_inverse=True)
        name += f"-{hashlib.sha256(rows.tobytes()).hexdigest()[:16]}"
        made = cached(self.fingerprint, name, functools.partial(self._decode, rows))
        return (*made, inverse_N)

    def _decode(self, rows_K: NDArray[np.int64], make: MakeArray) -> Arrays:
        """Into an array of `make`, a chunk after the other, so that a part may exceed memory.

        With the labels, or LOST where an image cannot be decoded.
        """
        images_KHWC: NDArray[np.uint8] | None = None
        labels_K = self.part_labels[rows_K]
        bad: dict[int, str] = {}
        start = 0
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for chunk in _chunks(self.read(rows_K)):
                decoded = pool.map(self._decode_one, chunk)
                for number, image in enumerate(decoded, start):
                    where = chunk[number - start][0]
                    if isinstance(image, str):
                        bad[number] = f"{where}: cannot decode the image ({image})"
                        told, whole = list(bad.values()), len(self.part_labels)
                        check_bad(told, len(rows_K), whole, self.options)
                        labels_K[number] = LOST
                        continue
                    if images_KHWC is None:
                        images_KHWC = make((len(rows_K), *image.shape))
                    if image.shape != images_KHWC.shape[1:]:
                        raise ValueError(
                            f"all images must have one size, {images_KHWC.shape[1:3]}, but "
                            f"{where} has {image.shape[:2]}. dataset.image_size=32, for example, "
                            "resizes them."
                        )
                    images_KHWC[number] = image
                start += len(chunk)
        if bad:
            tell_skipped(self.part, list(bad.values()), len(rows_K))
        if images_KHWC is None:
            raise ValueError(f"{next(iter(bad.values()))}, nor any other that is used.")
        return images_KHWC, labels_K

    def _decode_one(self, one: Encoded) -> NDArray[np.uint8] | str:
        """Pixels, or why there are none.

        Raises:
            ValueError: it is coloured, and the others are gray.
        """
        where, encoded = one
        try:
            pixels = decode(bytes_of(encoded), self.channels, self.options.image_size)
            is_gray = self.channels == 3 or read_header(bytes_of(encoded)).is_gray
        except ValueError as error:
            return str(error)
        if not is_gray and self.options.channels is None:
            raise ValueError(
                f"{where} is coloured, but the images looked at before are gray: say which by "
                "dataset.channels=1 or 3."
            )
        return pixels


@dataclass(frozen=True, kw_only=True)
class FolderImages:
    """Image files, decoded on the fly by worker processes, normalised on the device.

    Training takes a random resized crop and flip, evaluation the centre. The crop is decided by
    the sample's draws alone: neither the batch size nor the number of workers matters.

    Attributes:
        read, part_labels, rows_N: as of EncodedImages.
        image_size: rows and columns of a batch's images.
        num_workers: decoding processes, which need no shared memory; 0 decodes in this one, None
            keeps the CPUs of the trial busy.
    """

    read: Callable[[NDArray[np.int64]], Iterator[Encoded]]
    part_labels: NDArray[np.int64]
    rows_N: NDArray[np.int64]
    normalization: Normalization
    image_size: int = 224
    num_workers: int | None = None
    options: DataOptions = DEFAULT
    device: torch.device = CPU
    memory_format: torch.memory_format = torch.channels_last

    @functools.cached_property
    def labels_N(self) -> Tensor:
        """int64, on the CPU."""
        return torch.from_numpy(self.part_labels[self.rows_N])

    def __len__(self) -> int:
        return len(self.rows_N)

    def subset(self, index_K: NDArray[np.int64]) -> FolderImages:
        """These files alone, in this order."""
        return replace(self, rows_N=self.rows_N[index_K])

    def to(
        self, device: torch.device, memory_format: torch.memory_format | None = None
    ) -> FolderImages:
        """The same files, batches on `device`."""
        return replace(self, device=device, memory_format=memory_format or self.memory_format)

    def batches(self, plan: Iterable[Samples]) -> Iterator[Batch]:
        """Images (B, C, H, W) float32 and labels (B), both on the device.

        Raises:
            ValueError: a file cannot be decoded.
        """
        loader = DataLoader(
            _FileDataset(self.read, self.part_labels, self.rows_N, self.image_size, self.options),
            sampler=plan,
            batch_size=None,  # an element of the plan is a whole batch
            collate_fn=_as_it_is,  # torch's would look at every byte
            num_workers=self.workers,
            generator=torch.Generator(),  # spares the global one, which the trial's state holds
        )
        bad: dict[int, str] = {}
        for pixels, shape, labels_B, problems in loader:
            if isinstance(problems, str):
                raise ValueError(problems)
            if not problems.keys() <= bad.keys():
                bad |= problems
                whole = len(self.part_labels)
                check_bad(list(bad.values()), len(self), whole, self.options)
                tell_skipped("a", list(problems.values()), len(self))
            images_BHWC = torch.frombuffer(pixels, dtype=torch.uint8).view(shape)
            if self.device.type == "cuda":
                images_BHWC = images_BHWC.pin_memory()
            images_BCHW = self.normalization.apply(images_BHWC.to(self.device, non_blocking=True))
            yield (
                images_BCHW.contiguous(memory_format=self.memory_format),
                torch.tensor(labels_B).to(self.device, non_blocking=True),
            )

    @property
    def workers(self) -> int:
        """Decoding processes: with a GPU all of the trial's CPUs, else all but this one's."""
        if self.num_workers is not None:
            return self.num_workers
        return min(MAX_WORKERS, torch.get_num_threads() - (self.device.type == "cpu"))


@dataclass(frozen=True, slots=True)
class _FileDataset(Dataset[tuple[bytearray, tuple[int, ...], list[int], dict[int, str] | str]]):
    """What a worker process holds: decodes the images of a batch (uint8 NHWC).

    A batch comes back as bytes, through a pipe: tensors would lie in /dev/shm, of which a
    container has 64 MB. Beside it the images that stand for others, and why; or one problem.
    """

    read: Callable[[NDArray[np.int64]], Iterator[Encoded]]
    part_labels: NDArray[np.int64]
    rows_N: NDArray[np.int64]
    image_size: int
    options: DataOptions

    def __getitem__(
        self, samples: Samples
    ) -> tuple[bytearray, tuple[int, ...], list[int], dict[int, str] | str]:
        draws_BD, problems, images = samples.draws_BD, dict[int, str](), []
        labels_N = self.part_labels[self.rows_N]
        for number, index in enumerate(samples.index_B.tolist()):
            draws_D = None if draws_BD is None else draws_BD[number]
            for other in chain([index], stand_ins(labels_N, index)):
                image = self._image(int(self.rows_N[other]), draws_D)
                if not isinstance(image, str):
                    break
                problems[other] = image
                if self.options.on_bad_image == "error":
                    break
            if isinstance(image, str):
                return bytearray(), (0,), [], f"{image}."
            images.append(image)
        images_BHWC = np.stack(images)
        labels = labels_N[samples.index_B].tolist()
        return bytearray(images_BHWC.data), images_BHWC.shape, labels, problems

    def _image(self, row: int, draws_D: NDArray[np.float32] | None) -> NDArray[np.uint8] | str:
        """Pixels, or why there are none."""
        from torchvision.transforms import v2

        size = self.image_size
        ((where, encoded),) = self.read(np.array([row]))
        try:
            image = read_image(bytes_of(encoded), 3)
        except ValueError as error:
            return f"{where}: cannot decode the image ({error})"
        if draws_D is None:
            centre = [v2.Resize(round(size * RESIZE_RATIO)), v2.CenterCrop(size)]
            return to_array(v2.Compose(centre)(image))
        random = [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip()]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(_seed(draws_D))
            return to_array(v2.Compose(random)(image))


def _chunks(images: Iterator[Encoded]) -> Iterator[list[Encoded]]:
    """Of CHUNK images, fewer where they have CHUNK_BYTES before."""
    chunk: list[Encoded] = []
    num_bytes = 0
    for image in images:
        chunk.append(image)
        num_bytes += len(image[1])
        if len(chunk) == CHUNK or num_bytes >= CHUNK_BYTES:
            yield chunk
            chunk, num_bytes = [], 0
    if chunk:
        yield chunk


def _as_it_is(batch: Any) -> Any:
    return batch


def load_encoded(
    data: EncodedData, normalization: Normalization | None, augmentation: Augmentation
) -> ImageData:
    """Not yet decoded; normalization None = by the training images' statistics."""
    channels, image_size = data.shape
    train, test = (
        EncodedImages(
            read=part.read,
            part_labels=part.labels,
            part=name,
            stamp=part.stamp,
            fingerprint=data.files,
            rows_N=np.arange(len(part)),
            channels=channels,
            options=data.options,
            normalization=normalization or UNIT_RANGE,
            augmentation=augmentation,
        )
        for name, part in (("train", data.train), ("test", data.test))
    )
    if normalization is None:
        sample = train.subset(statistics_sample(len(train))).decoded
        shown_N = np.arange(len(sample)) if sample.shown_N is None else sample.shown_N
        normalization = statistics(sample.images_NHWC.numpy(), shown_N)
        train, test = (replace(part, normalization=normalization) for part in (train, test))
    return ImageData(
        train=train,
        test=test,
        num_classes=data.num_classes,
        channels=channels,
        image_size=image_size,
    )


def decode(encoded: bytes, channels: int, size: int | None) -> NDArray[np.uint8]:
    """Pixels (H, W, C); size None = as many as it has.

    Raises:
        ValueError: see `read_image`.
    """
    # 0.09 ms for a CIFAR image; torchvision.io took 0.05, but goes away (deprecated in 0.29).
    image: Image.Image = read_image(encoded, channels)
    return to_array(image if size is None else fit(image, size))


def tell_skipped(part: str, bad: list[str], count: int) -> None:
    """On stderr, which is the training's log."""
    print(
        f"{len(bad):,} of {count:,} {part} images cannot be decoded; others of their class take "
        f"their places: {listed(bad)}",
        file=sys.stderr,
    )


def _seed(draws_D: NDArray[np.float32]) -> int:
    """63 bits that depend on all draws of a sample."""
    words = np.ascontiguousarray(draws_D).view(np.uint32)
    return int(
        np.random.SeedSequence([int(w) for w in words]).generate_state(1, np.uint64)[0] >> 1
    )
