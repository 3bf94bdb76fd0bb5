"""Which images does a name stand for that lie elsewhere? Of the hub, or of torchvision.

`hf:owner/name` or `hf:owner/name@revision`: huggingface_hub downloads Parquet files, images and
their tables into its own cache (HF_HOME), and nothing else: no code of a repository is fetched,
let alone run. They are read by the readers of `parquet` and `imagefolder`.

`torchvision:MNIST`: torchvision downloads it into $GRADTUNE_DATA/torchvision, and checks it.

`resolve` downloads, and nothing else does: workers read what the driver downloaded.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import io
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from search_spaces.registry import unknown_name
from trainables.data.encoded.folders import IMAGE_SUFFIXES, METADATA, Folders
from trainables.data.encoded.parquet import own_augmentation, parquet, parquet_files
from trainables.data.encoded.parts import (
    Encoded,
    EncodedData,
    Part,
    Rows,
    choose_parts,
    listed,
)
from trainables.data.sources import (
    DEFAULT,
    HASH_BYTES,
    DataOptions,
    Place,
    SourceInfo,
    data_root,
    image_directory,
)

if TYPE_CHECKING:  # imports torch
    from trainables.data.images import ImageData

NAME = re.compile(r"hf:([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w-][\w./-]*))?", re.ASCII)
# Those of torchvision that lie in memory and hold numbers as labels -> how a part is asked for.
PARTS = ("train", "test")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
BY_FLAG, BY_SPLIT = ({"train": True}, {"train": False}), tuple({"split": part} for part in PARTS)
TORCHVISION: dict[str, tuple[dict[str, Any], ...]] = {
    **dict.fromkeys(("MNIST", "FashionMNIST", "KMNIST", "USPS", "CIFAR10", "CIFAR100"), BY_FLAG),
    **dict.fromkeys(("SVHN", "STL10"), BY_SPLIT),
}


def find_download(name: str) -> HubImages | TorchvisionImages:
    """The `Source` of this name; nothing is downloaded.

    Raises:
        ValueError: it has another form, or torchvision has none of it.
    """
    scheme, _, rest = name.partition(":")
    if scheme == "hf":
        split_name(name)
        return HubImages(name)
    if rest not in TORCHVISION:
        raise unknown_name("dataset", name, [f"{scheme}:{known}" for known in TORCHVISION])
    return TorchvisionImages(name)


@dataclass(frozen=True, slots=True)
class HubImages:
    """A `Source`: the images of a repository."""

    name: str
    takes_options: ClassVar[bool] = True

    def resolve(self) -> Place:
        """Its files, downloaded; the name has the commit in it.

        Raises:
            ValueError: no such name, no access, or no network.
        """
        repository, revision = split_name(self.name)
        folder = download(self.name)
        commit = folder.name
        told = () if revision == commit else (f"hf:{repository} is read at its commit {commit}",)
        return Place(name=f"hf:{repository}@{commit}", path=str(folder), notes=told)

    def describe(self, path: str | None, options: DataOptions = DEFAULT) -> SourceInfo:
        """Its facts; without a path of what was downloaded before.

        Raises:
            ValueError: it is not there, or files cannot be read.
        """
        folder, reader = self._open(path)
        info: SourceInfo = reader.describe(str(folder), options)
        return replace(info, name=self.name)

    def __call__(self, path: str | None, options: DataOptions = DEFAULT) -> ImageData:
        """The images, as `parquet` or `imagefolder` has them."""
        folder, reader = self._open(path)
        images: ImageData = reader(str(folder), options)
        return images

    def _open(self, path: str | None) -> tuple[Path, Any]:
        """The folder of the files, and the `Source` that reads it."""
        if path is None:
            folder = download(self.name, is_here=True)
            commit = folder.name
        else:
            folder = image_directory(self.name, path)
            commit = split_name(self.name)[1] or ""
        if parquet_files(folder):
            return folder, parquet
        # Names and sizes, which stand for folders, may be equal in two commits.
        return folder, Folders(name=self.name, version=commit)


@dataclass(frozen=True, slots=True)
class TorchvisionImages:
    """A `Source`: a data set of torchvision's, decoded and augmented as `parquet`."""

    name: str
    takes_options: ClassVar[bool] = True

    def resolve(self) -> Place:
        """The folder that torchvision calls root, with it in there.

        Raises:
            ValueError: no network, or it is damaged.
        """
        root = self._root(None)
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{root} cannot be written: {error.strerror}.") from error
        with (root / ".lock").open("w") as lock:  # one process downloads, others wait
            fcntl.flock(lock, fcntl.LOCK_EX)
            for part in self._asked:
                self._images(root, True, **part)
        return Place(name=self.name, path=str(root))

    def describe(self, path: str | None, options: DataOptions = DEFAULT) -> SourceInfo:
        """Its facts.

        Raises:
            ValueError: it is damaged, or not in the folder.
        """
        root = self._root(path)
        return self._open(root, options).describe(self.name, str(root))

    def __call__(self, path: str | None, options: DataOptions = DEFAULT) -> ImageData:
        """The images, cropped and mirrored at random, normalised by their own statistics."""
        from trainables.data.encoded.decoding import load_encoded

        data = self._open(self._root(path), options)
        return load_encoded(data, None, own_augmentation(options))

    def _root(self, path: str | None) -> Path:
        if path is not None:
            return image_directory(self.name, path)
        return (data_root() / self.name.replace(":", "/")).resolve()

    def _open(self, root: Path, options: DataOptions) -> EncodedData:
        images = [self._images(root, False, **part) for part in self._asked]
        parts = {
            part: _part(f"{self.name} {part}", held)
            for part, held in zip(PARTS, images, strict=True)
        }
        names = getattr(images[0], "classes", None)
        count = 1 + max(int(part.labels.max()) for part in parts.values())
        classes = tuple(names or (str(label) for label in range(count)))
        return choose_parts(parts, classes, (), options)

    @property
    def _asked(self) -> tuple[dict[str, Any], ...]:
        return TORCHVISION[self.name.partition(":")[2]]

    def _images(self, root: Path, download: bool, **part: Any) -> Any:
        from torchvision import datasets

        kind = getattr(datasets, self.name.partition(":")[2])
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what fails it prints
                return kind(str(root), download=download, **part)
        except Exception as error:  # of the network, the archive or the disk
            raise ValueError(
                f"dataset {self.name} is not in {root}, or damaged, and cannot be downloaded "
                f"({_line(error)})."
                if download
                else f"dataset {self.name} is not in {root}, or damaged ({_line(error)}). Without "
                "dataset.path it is downloaded."
            ) from error


def _part(where: str, images: Any) -> Part:
    """Of images that torchvision holds in memory; they come as PNG, which keeps every pixel."""
    labels = images.labels if hasattr(images, "labels") else images.targets
    labels_N = np.array([int(label) for label in labels], dtype=np.int64)
    return Part(
        labels_N=labels_N,
        read=functools.partial(_read, where, images),
        identity=functools.partial(_identity, images, labels_N),
        cheap=np.arange(len(labels_N)),
        stamp=b"",  # the identity is of all pixels
        digests=functools.partial(_digests, images),
    )


def _read(where: str, images: Any, rows: Rows) -> Iterator[Encoded]:
    for row in rows.tolist():
        stream = io.BytesIO()
        images[row][0].save(stream, "PNG", compress_level=1)
        yield f"{where}, image {row}", stream.getvalue()


def _digests(images: Any) -> Iterator[bytes]:
    pixels = np.ascontiguousarray(images.data)
    shape = str(pixels.shape[1:]).encode()
    return (
        hashlib.blake2b(shape + one.tobytes(), digest_size=HASH_BYTES).digest() for one in pixels
    )


def _identity(images: Any, labels_N: Rows) -> bytes:
    pixels = np.ascontiguousarray(images.data)
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=HASH_BYTES)
    digest.update(pixels.tobytes() + labels_N.tobytes())
    return digest.digest()


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def split_name(name: str) -> tuple[str, str | None]:
    """Repository and revision of `hf:owner/name@revision`; None = the newest.

    Raises:
        ValueError: it has another form.
    """
    match = NAME.fullmatch(name)
    if match is None or ".." in name or "--" in match[1]:
        raise ValueError(f"dataset {name} must be hf:owner/name or hf:owner/name@revision.")
    return match[1], match[2]


def download(name: str, *, is_here: bool = False) -> Path:
    """The folder of the files in the hub's cache; it is called like the commit.

    Args:
        is_here: it was downloaded before, and nobody is asked.

    Only what is not there yet is downloaded, and nothing where HF_HUB_OFFLINE=1. A name with a
    commit that is there in full needs no network.

    Raises:
        ValueError: no such name, no access, no network, or huggingface_hub is not installed.
    """
    repository, revision = split_name(name)
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ValueError(
            f"dataset {name} needs huggingface_hub: pip install 'gradtune[hub]'."
        ) from None
    endings = [end for low in (*IMAGE_SUFFIXES, ".parquet") for end in (low, low.upper())]
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # we say it in one line
    patterns = [*(f"*{end}" for end in endings), *METADATA, *(f"*/{file}" for file in METADATA)]
    try:
        folder = Path(
            snapshot_download(
                repository,
                repo_type="dataset",
                revision=revision,
                allow_patterns=patterns,
                local_files_only=is_here,
            )
        )
    except Exception as error:  # of the library, its HTTP client, or the disk
        reason = _reason(error, repository, revision, is_here=is_here)
        raise ValueError(f"dataset {name}: {reason}") from error
    if not folder.is_dir() or not any(folder.iterdir()):
        packed = () if is_here else _archives(repository, folder.name)
        code = "" if packed else ", and its code is not run"
        where = f", but {listed(packed)}, which is not unpacked" if packed else ""
        cure = " Or unpack it, and name the folder: dataset=imagefolder dataset.path=DIR."
        raise ValueError(
            f"dataset {name} holds neither Parquet files nor images{code}{where}. The hub may "
            f"have them as Parquet: dataset=hf:{repository}@refs/convert/parquet."
            f"{cure if packed else ''}"
        )
    return folder


def _archives(repository: str, commit: str) -> tuple[str, ...]:
    """Those in the repository; none where it cannot be asked."""
    from huggingface_hub import HfApi, constants

    with contextlib.suppress(Exception):
        hub = HfApi(endpoint=constants.ENDPOINT)
        files = hub.list_repo_files(repository, repo_type="dataset", revision=commit)
        return tuple(file for file in sorted(files) if file.lower().endswith(ARCHIVES))
    return ()


def _reason(error: Exception, repository: str, revision: str | None, *, is_here: bool) -> str:
    from huggingface_hub import constants, errors

    where = f"{constants.ENDPOINT}/datasets/{repository}"
    if isinstance(error, errors.GatedRepoError):
        return f"it is gated. Accept its terms at {where}, and set HF_TOKEN."
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no {where}, or it is private and HF_TOKEN has no access."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{where} has no revision {revision}."
    if isinstance(error, errors.LocalEntryNotFoundError):
        is_partial = isinstance(error, errors.IncompleteSnapshotError)
        if is_here:
            return f"it is {'not complete' if is_partial else 'not'} in {constants.HF_HUB_CACHE}."
        why = "HF_HUB_OFFLINE is set" if constants.is_offline_mode() else "no network"
        return (
            f"{constants.ENDPOINT} cannot be asked ({why}), and it is "
            f"{'not complete' if is_partial else 'not'} in {constants.HF_HUB_CACHE}."
        )
    return f"cannot be downloaded: {_line(error)}"
