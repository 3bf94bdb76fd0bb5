"""A bucket in memory that speaks as S3 does: whole files, folders only where files are."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import fs

from results.storage import place


class Bucket(fs.FileSystemHandler):  # type: ignore[misc]
    """Stands for the filesystem of every bucket.

    Attributes:
        files: what is there, by bucket and name. asked: how often, by kind.
        fails: called before each request with its kind and path; raises what the storage does.
    """

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, int]] = {}
        self.asked: Counter[str] = Counter()
        self.written: list[str] = []
        self.fails: Callable[[str, str], None] = lambda kind, path: None
        self.clock: Callable[[], int] = time.time_ns

    def names(self, under: str) -> list[str]:
        """Names below a folder."""
        return sorted(n.removeprefix(f"{under}/") for n in self.files if n.startswith(f"{under}/"))

    def upload(self, folder: Path, place: str) -> None:
        """A whole folder, as `aws s3 cp --recursive` does."""
        for path in folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                self.files[f"{place}/{path.relative_to(folder)}"] = (data, self.clock())

    def ask(self, kind: str, path: str) -> None:
        """Count a request, and refuse it where it is to fail."""
        self.asked[kind] += 1
        self.fails(kind, path)

    def get_type_name(self) -> str:
        return "bucket"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        for path in paths:
            self.ask("head", path)
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        self.ask("list", selector.base_dir)
        below = self.names(selector.base_dir)
        inside = {name.partition("/")[0] for name in below}
        return [self._info(f"{selector.base_dir}/{name}") for name in sorted(inside)]

    def delete_file(self, path: str) -> None:
        self.ask("delete", path)
        if self.files.pop(path, None) is None:
            raise FileNotFoundError(path)

    def delete_dir(self, path: str) -> None:
        self.ask("delete", path)
        for name in self.names(path):
            del self.files[f"{path}/{name}"]

    def open_input_stream(self, path: str) -> pa.NativeFile:
        self.ask("get", path)
        if path not in self.files:
            raise FileNotFoundError(path)
        return pa.PythonFile(io.BytesIO(self.files[path][0]), mode="r")

    def open_output_stream(self, path: str, metadata: object) -> pa.NativeFile:
        self.ask("put", path)
        return pa.PythonFile(_Upload(self, path), mode="w")

    def _info(self, path: str) -> fs.FileInfo:
        if path in self.files:
            data, when = self.files[path]
            return fs.FileInfo(path, fs.FileType.File, size=len(data), mtime_ns=when)
        kind = fs.FileType.Directory if self.names(path) else fs.FileType.NotFound
        return fs.FileInfo(path, kind)

    def _unused(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("no bucket is used like this")

    create_dir = delete_dir_contents = delete_root_dir_contents = move = copy_file = _unused
    open_input_file = open_append_stream = _unused


class _Upload(io.BytesIO):
    """Is there only once it is closed."""

    def __init__(self, bucket: Bucket, path: str) -> None:
        super().__init__()
        self.bucket, self.path = bucket, path

    def close(self) -> None:
        if not self.closed:
            self.bucket.files[self.path] = (self.getvalue(), self.bucket.clock())
            self.bucket.written.append(self.path)
        super().close()


def use_bucket(
    monkeypatch: pytest.MonkeyPatch, cache: Path, bucket: Bucket | None = None
) -> Bucket:
    """Every bucket is this one, every copy in this folder, and nobody waits for a clock."""
    bucket = bucket or Bucket()
    filesystem = fs.PyFileSystem(bucket)
    monkeypatch.setattr(place, "open_filesystem", lambda *which: filesystem)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr("results.storage.lease.SETTLE_SECONDS", 0.0)
    monkeypatch.setattr("results.storage.mirror.APART_SECONDS", 0.0)
    return bucket
