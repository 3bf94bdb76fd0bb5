"""A disk that refuses the n-th thing asked of it: to open to write, to sync, to rename."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_DISK: list[FailingDisk] = []  # the one in use; a hook of the interpreter cannot be taken back


class FailingDisk:
    """Counts what is asked of the disk under a folder, and refuses one of it.

    Attributes:
        refuse: the number (from 1) of what is refused; 0 = nothing.
        for_good: all that follows is refused too.
        asked: so many times something was asked; refused: how many were.
    """

    def __init__(self, folder: os.PathLike[str], refuse: int, *, for_good: bool) -> None:
        self.folder, self.refuse, self.for_good = os.fspath(folder), refuse, for_good
        self.asked = self.refused = 0

    def ask(self, path: object) -> None:
        """Raises OSError (no space) where it is the n-th time."""
        if not str(path).startswith(self.folder):
            return
        self.asked += 1
        if self.refuse and (
            self.asked == self.refuse or (self.for_good and self.asked > self.refuse)
        ):
            self.refused += 1
            raise OSError(errno.ENOSPC, "No space left on device", str(path))


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _DISK:
        return
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        _DISK[0].ask(arguments[0])
    elif event == "os.rename":
        _DISK[0].ask(arguments[1])


sys.addaudithook(_hook)
_fsync = os.fsync


def _checked_fsync(file: int) -> None:
    if _DISK:
        _DISK[0].ask(os.readlink(f"/proc/self/fd/{file}"))
    _fsync(file)


@contextmanager
def failing_disk(
    folder: os.PathLike[str], refuse: int, *, for_good: bool = False
) -> Iterator[FailingDisk]:
    """Inside, the disk under `folder` refuses the n-th thing asked of it."""
    disk = FailingDisk(folder, refuse, for_good=for_good)
    _DISK.append(disk)
    os.fsync = _checked_fsync
    try:
        yield disk
    finally:
        _DISK.clear()
        os.fsync = _fsync
