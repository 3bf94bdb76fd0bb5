"""What if nothing can be shown? stdout and stderr whose failures end no run, and are told once."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO)  # nobody reads any more, for good


class Stream:
    """A stream that raises nothing when written to.

    What its encoding lacks is written as an escape. What cannot be written is dropped; `failed`
    hears the first time.
    """

    def __init__(self, stream: TextIO, failed: Callable[[Exception], None]) -> None:
        self.stream, self.failed = stream, failed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """As `TextIO.write`."""
        try:
            try:
                self.stream.write(text)
            except UnicodeEncodeError:
                encoding = self.stream.encoding or "ascii"
                self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError) as error:  # ValueError: closed
            self._fail(error)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """As `TextIO.writelines`."""
        self.write("".join(lines))

    def flush(self) -> None:
        """As `TextIO.flush`."""
        try:
            self.stream.flush()
        except (OSError, ValueError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno in GONE:
            drop(self.stream)
        failed, self.failed = self.failed, lambda error: None
        failed(error)


class Streams:
    """Makes sys.stdout and sys.stderr a `Stream` each, while it is entered.

    Attributes:
        failures: of either, in words: its name and what was raised.
    """

    def __init__(self) -> None:
        self.failures: list[str] = []
        self._tell: Callable[[str], None] | None = None

    def __enter__(self) -> Streams:
        self._before = (sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = map(self._sturdy, self._before, ("stdout", "stderr"))
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, Stream):
                stream.flush()
        sys.stdout, sys.stderr = self._before

    def tell(self, heard: Callable[[str], None]) -> None:
        """Whom to tell of failures, from now on and of those that have been."""
        self._tell = heard
        for failure in self.failures:
            heard(failure)

    def _sturdy(self, stream: TextIO | None, name: str) -> Any:
        """None, of a process without this stream, stays None: print knows it."""
        if stream is None:
            return None
        return Stream(stream, lambda error: self._failed(name, error))

    def _failed(self, name: str, error: Exception) -> None:
        failure = f"{name}: {type(error).__name__}: {error}"
        self.failures.append(failure)
        if name == "stdout":
            print(f"warning: nothing more is shown ({failure}); the run goes on", file=sys.stderr)
        if self._tell is not None:
            self._tell(failure)


def drop(stream: TextIO) -> None:
    """Let what is still to be written vanish, also what Python writes as it ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def settle() -> None:
    """At the end of a command: what stdout and stderr still hold is written or dropped.

    Python itself would fail on it, with exit code 120.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            drop(stream)
