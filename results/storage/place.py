"""Where is a run that is not on this machine? A folder of a bucket, by its URI: s3://bucket/runs.

Credentials come from the environment or the machine's role, never from a URI. Every error is one
line, and nothing waits longer than ANSWER_SECONDS for a storage that does not answer.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from search_spaces.registry import nearest

if TYPE_CHECKING:  # a driver without a bucket need not wait for it
    from pyarrow import fs

SCHEMES = ("s3", "gs")  # where a file that is written is whole or not there
URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")  # of a server that speaks S3
EMULATOR = "CLOUD_STORAGE_EMULATOR_ENDPOINT"  # Google's own library goes there instead
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
CONNECT_SECONDS, REQUEST_SECONDS, NUM_ATTEMPTS = 2.0, 4.0, 3
ANSWER_SECONDS = 7.5
MAX_PAUSE_SECONDS = 15.0
MAX_CAUSE = 160  # characters of a cause that we do not know
# What a storage's error says -> what it means, and what to do.
CAUSES = (
    (r"NO_SUCH_BUCKET|NoSuchBucket|[Bb]ucket '[^']*' not found|bucket does not exist",
     "no such bucket"),
    (r"ACCESS_DENIED|AccessDenied|HTTP status 40[13]|InvalidAccessKeyId|SignatureDoesNotMatch"
     r"|INVALID_ACCESS_KEY_ID|INVALID_SIGNATURE|[Ff]orbidden|Permission denied",
     "no right to it; {credentials}"),
    (r"NETWORK_CONNECTION|curlCode|[Cc]onnection (refused|reset|timed out)|resolve host"
     r"|REQUEST_TIMEOUT|Timeout was reached|retry policy exhausted",
     "cannot be reached; look at the network, {place}"),
    (r"RESOURCE_NOT_FOUND|No response body",
     "what answers there is no such storage; look {place}"),
    (r"SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|HTTP status 5\d\d",
     "the storage is not well"),
)  # fmt: skip

# What else these causes say, by scheme.
HINTS = {
    "s3": {
        "credentials": "credentials come from the environment (AWS_ACCESS_KEY_ID, ~/.aws) or the "
        "machine's role",
        "place": "at AWS_ENDPOINT_URL and the region (AWS_REGION)",
    },
    "gs": {
        "credentials": "credentials come from the environment (GOOGLE_APPLICATION_CREDENTIALS, "
        "~/.config/gcloud) or the machine's role",
        "place": f"at the credentials and at {EMULATOR}",
    },
}

Stamp = tuple[int, int]  # of a file: bytes, and when it was written (ns since 1970, its server's)
T = TypeVar("T")


class BucketError(OSError):
    """What the storage refused, in one line without anything secret."""


def is_remote(path: object) -> bool:
    """True of a URI, like s3://bucket/runs, and not of a path on this machine."""
    return isinstance(path, str) and URI.match(path) is not None


@dataclass(frozen=True)
class Place:
    """A folder on another filesystem; also what a trial's states are kept in (`Folder`).

    Attributes:
        scheme: one of SCHEMES. path: the bucket and the folder's name in it.
        patience: seconds to go on asking a storage that does not answer; a write is not tried
            again, for who writes knows what else there is to do.
        num_attempts: of each request, within seconds.
    """

    scheme: str
    path: str
    patience: float = field(default=0.0, compare=False)
    num_attempts: int = field(default=NUM_ATTEMPTS, compare=False)

    @classmethod
    def parse(cls, uri: str) -> Place:
        """The folder of this URI; nothing is asked of the storage.

        Raises:
            ValueError: unknown scheme, no bucket, or more than a folder's name in it; the
                message never repeats what may be secret.
        """
        match = URI.fullmatch(uri)
        scheme = match[1].lower() if match else ""
        if match is None or scheme not in SCHEMES:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            here = "; of a folder here write the path itself" if scheme == "file" else ""
            raise ValueError(
                f"{scheme}://...: unknown storage{nearest(scheme, SCHEMES)} (known: {known}{here})"
            )
        bucket, _, rest = match[2].partition("/")
        if "@" in bucket or any(sign in match[2] for sign in "?#"):
            raise ValueError(
                f"{scheme}://...: no user, password, '?' or '#' in it; credentials come from the "
                "environment or the machine's role, another server's address from AWS_ENDPOINT_URL"
            )
        parts = [part for part in rest.split("/") if part]
        if not BUCKET.fullmatch(bucket) or {".", ".."} & {*parts} or not rest.isprintable():
            raise ValueError(f"{uri!a}: write {scheme}://BUCKET/FOLDER")
        return cls(scheme, "/".join([bucket, *parts]))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    def __truediv__(self, name: str) -> Place:
        return replace(self, path=f"{self.path}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.path).name

    @property
    def parent(self) -> Place:
        """The folder around it; of a bucket itself."""
        head, slash, _ = self.path.rpartition("/")
        return replace(self, path=head) if slash else self

    def folder(self, name: str) -> Place:
        """The folder of this name in it."""
        return self / name

    def entries(self) -> tuple[dict[str, Stamp], list[str]]:
        """The files in it by their name below it, and the names of its folders.

        Both empty where there is no such folder, which a bucket cannot tell from an empty one.
        """
        from pyarrow import fs

        # Of Google's, pyarrow names no folder that only its files' names make; it reads all of
        # these names in either case.
        selector = fs.FileSelector(self.path, allow_not_found=True, recursive=self.scheme == "gs")
        infos = self._ask(lambda: self._filesystem.get_file_info(selector))
        files, folders = {}, set()
        for info in infos:
            name, slash, _ = info.path.removeprefix(f"{self.path}/").partition("/")
            if not name.isprintable() or name in ("", ".", ".."):
                continue  # of a stranger: it would be another place on this machine
            if slash or info.type == fs.FileType.Directory:
                folders.add(name)
            elif info.type == fs.FileType.File:
                files[name] = (info.size or 0, info.mtime_ns or 0)
        return files, sorted(folders)

    def names(self) -> list[str]:
        """The names of the files in it; none where it is not there."""
        return [*self.entries()[0]]

    def folders(self) -> list[str]:
        """The names of the folders in it."""
        return self.entries()[1]

    def stamp(self, name: str) -> Stamp | None:
        """Size and time of this file in it; None where there is none."""
        from pyarrow import fs

        info = self._ask(lambda: self._filesystem.get_file_info(f"{self.path}/{name}"))
        is_file = info.type == fs.FileType.File
        return (info.size or 0, info.mtime_ns or 0) if is_file else None

    def read(self, name: str) -> bytes:
        """What this file in it holds.

        Raises:
            FileNotFoundError: no such file. BucketError: the storage refused.
        """

        def work() -> bytes:
            with self._filesystem.open_input_stream(f"{self.path}/{name}") as file:
                data: bytes = file.read()
            return data

        return self._ask(work)

    def write(self, name: str, data: bytes, *, durably: bool = True) -> None:
        """Put the whole file in its place, or nothing; always durable.

        Raises:
            BucketError: the storage refused.
        """
        try:
            with told(self), self._filesystem.open_output_stream(f"{self.path}/{name}") as file:
                file.write(data)
        except FileNotFoundError:  # a file needs no folder to be there
            raise BucketError(f"{self}: {CAUSES[0][1]}") from None

    def claim(self, name: str) -> bool:
        """Make an empty file of this name; False where there is one.

        No storage that pyarrow knows decides between two who ask at the same moment: the run's
        lease lets one driver at a time start workers, long after those of another.
        """
        if self.stamp(name) is not None:
            return False
        self.write(name, b"")
        return True

    def remove(self, name: str) -> None:
        """Remove this file; none there is as good."""
        with told(self), contextlib.suppress(FileNotFoundError):
            self._filesystem.delete_file(f"{self.path}/{name}")

    def remove_all(self) -> None:
        """Remove the folder with everything in it; none there is as good."""
        with told(self), contextlib.suppress(FileNotFoundError):
            self._filesystem.delete_dir(self.path)

    def probe(self) -> int:
        """Write and remove a small file; what its server's clock said then (ns since 1970).

        Raises:
            BucketError: the storage refused, or did not answer within ANSWER_SECONDS.
        """

        hurried = replace(self, num_attempts=1)

        def work() -> int:
            name = f".probe-{secrets.token_hex(4)}"
            hurried.stamp(name)  # a read gives up sooner than a write where nobody answers
            hurried.write(name, b"probe")
            stamp = hurried.stamp(name)
            hurried.remove(name)
            return stamp[1] if stamp else 0

        return within(ANSWER_SECONDS, work, self)

    def _ask(self, work: Callable[[], T]) -> T:
        """What the storage says, after a while."""
        until, pause = time.monotonic() + self.patience, 1.0
        while True:
            try:
                with told(self):
                    return work()
            except BucketError:
                if time.monotonic() + pause > until:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    @property
    def _filesystem(self) -> fs.FileSystem:
        return open_filesystem(self.scheme, self.path.partition("/")[0], self.num_attempts)


@functools.cache
def open_filesystem(scheme: str, bucket: str, num_attempts: int) -> fs.FileSystem:
    """The filesystem of a bucket, one in each process; it gives up within seconds."""
    from pyarrow import fs

    if scheme == "gs":
        return fs.GcsFileSystem(
            anonymous=EMULATOR in os.environ,  # it asks nobody who they are
            retry_time_limit=timedelta(seconds=ANSWER_SECONDS),
        )
    endpoint = urlsplit(next(filter(None, map(os.environ.get, ENDPOINTS)), ""))
    region = next(filter(None, map(os.environ.get, REGIONS)), None)
    if region is None and not endpoint.netloc:
        region = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        region=region,
        scheme=endpoint.scheme or None,
        endpoint_override=endpoint.netloc or None,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=num_attempts),
        allow_delayed_open=True,  # a file of up to some MB is one request
    )


def within(seconds: float, work: Callable[[], T], place: Place) -> T:
    """What `work` returns.

    Raises:
        BucketError: it takes longer; the thread is left behind.
    """
    ended: list[T | BaseException] = []

    def run() -> None:
        try:
            ended.append(work())
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run, name="storage", daemon=True)
    thread.start()
    thread.join(seconds)
    if not ended:
        hint = HINTS[place.scheme]["credentials"]  # they are asked for, over a network too
        raise BucketError(f"{place}: no answer within {seconds:g} s; {hint}")
    if isinstance(ended[0], BaseException):
        raise ended[0]
    return ended[0]


@contextlib.contextmanager
def told(place: Place) -> Iterator[None]:
    """Errors of the storage become one line; that a file is not there stays as it is."""
    try:
        yield
    except BucketError:
        raise
    except OSError as error:  # pyarrow's own are OSErrors, but for a few
        text = " ".join(str(error).split())
        if isinstance(error, FileNotFoundError) and not re.search(CAUSES[0][0], text):
            raise
        raise BucketError(f"{place}: {_cause(place.scheme, text)}") from None
    except Exception as error:
        raise BucketError(
            f"{place}: {_cause(place.scheme, ' '.join(str(error).split()))}"
        ) from None


def _cause(scheme: str, text: str) -> str:
    """What a storage's error means; of an unknown one its beginning."""
    for pattern, meaning in CAUSES:
        if re.search(pattern, text):
            return meaning.format_map(HINTS[scheme])
    return text[:MAX_CAUSE] or "it failed without a word"
