"""How is a file written so that a reader sees the whole of it or none? And where: `Folder`."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol


class Folder(Protocol):
    """A folder that states are kept in; where it is, and how it is reached, is its own affair."""

    @property
    def name(self) -> str:
        """The last part."""
        ...

    def folder(self, name: str) -> Folder:
        """The folder of this name in it; need not be there."""
        ...

    def names(self) -> list[str]:
        """The names of its files; none where it is not there."""
        ...

    def folders(self) -> list[str]:
        """The names of the folders in it; none where it is not there."""
        ...

    def read(self, name: str) -> bytes:
        """What this file holds; OSError where that cannot be told."""
        ...

    def write(self, name: str, data: bytes, *, durably: bool = True) -> None:
        """Put a whole file in its place; OSError: nothing has changed."""
        ...

    def claim(self, name: str) -> bool:
        """Make an empty file; False where there is one."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; none there is as good."""
        ...

    def remove_all(self) -> None:
        """Remove the folder with everything in it; none there is as good."""
        ...


class LocalFolder:
    """A folder that this machine can reach by a path."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.name

    def folder(self, name: str) -> LocalFolder:
        """The folder of this name in it."""
        return LocalFolder(self.path / name)

    def names(self) -> list[str]:
        """The names of its files."""
        return [path.name for path in self._inside() if path.is_file()]

    def folders(self) -> list[str]:
        """The names of the folders in it."""
        return [path.name for path in self._inside() if path.is_dir()]

    def read(self, name: str) -> bytes:
        """What this file holds."""
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes, *, durably: bool = True) -> None:
        """Put a file in its place."""
        self._make()
        write_atomically(self.path / name, lambda file: file.write(data), durably=durably)

    def claim(self, name: str) -> bool:
        """Make an empty file; of two who ask at the same moment one is told False."""
        self._make()
        try:
            (self.path / name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self.path / name).unlink(missing_ok=True)

    def remove_all(self) -> None:
        """Remove it with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _make(self) -> None:
        for folder in (self.path.parent, self.path):
            if folder.is_symlink():
                raise OSError(f"{folder} is a symbolic link: no state is written through it")
        self.path.mkdir(parents=True, exist_ok=True)

    def _inside(self) -> list[Path]:
        return [*self.path.iterdir()] if self.path.is_dir() else []


def folder_at(place: Folder | Path | str) -> Folder:
    """The folder at a path of this machine, or the one given."""
    return LocalFolder(place) if isinstance(place, str | Path) else place


def write_atomically(
    file: Path, write: Callable[[BinaryIO], object], *, durably: bool = True
) -> None:
    """What `write` writes, under its name only once it is complete.

    durably: False leaves it to the system when it survives a loss of power.

    Raises:
        OSError: no space, no permission. Nothing is left behind, whatever `write` raises.
    """
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("xb") as stream:
            write(stream)
            stream.flush()
            if durably:
                os.fsync(stream.fileno())
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
