"""A disk that fills up: what is written below a folder fails with "no space left on device"."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class Disk:
    """Counts what makes or writes a file below `folder`, and lets some of it fail.

    Attributes:
        count: of attempts so far. fails: of which number; all after it while the disk is full.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = str(folder)
        self.count = 0
        self.fails: Callable[[int], bool] = lambda number: False
        for name in ("mkdir", "replace", "write"):
            monkeypatch.setattr(os, name, self._guarded(getattr(os, name)))
        monkeypatch.setattr(os, "fsync", self._guarded(lambda fd: None))  # no real disk is asked
        opened = self._guarded(builtins.open, self._writes)
        monkeypatch.setattr(builtins, "open", opened)
        monkeypatch.setattr(io, "open", opened)
        monkeypatch.setattr(os, "open", self._guarded(os.open, self._makes))

    def fill(self) -> None:
        """Full from now on."""
        self.fails = lambda number: True

    def empty(self) -> None:
        """Space again."""
        self.fails = lambda number: False

    def _guarded(
        self, real: Callable[..., Any], concerns: Callable[..., bool] = lambda *args, **keys: True
    ) -> Callable[..., Any]:
        def call(target: Any, *args: Any, **keys: Any) -> Any:
            if self._is_below(target) and concerns(*args, **keys):
                self.count += 1
                if self.fails(self.count):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
            return real(target, *args, **keys)

        return call

    def _is_below(self, target: Any) -> bool:
        if isinstance(target, int):
            try:
                target = os.readlink(f"/proc/self/fd/{target}")
            except OSError:
                return False
        return isinstance(target, str | Path) and str(target).startswith(self.folder)

    @staticmethod
    def _writes(mode: str = "r", *args: Any, **keys: Any) -> bool:
        return bool(set(mode) & set("wax+"))

    @staticmethod
    def _makes(flags: int, *args: Any, **keys: Any) -> bool:
        return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
