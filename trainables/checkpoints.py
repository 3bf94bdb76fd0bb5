"""Where is the newest good state of a trial, and may this worker still write one?

checkpoints/<trial_key>/00007-a0002-3f9c01d2.pt: state after epoch 7, written by attempt 2; the
last part is the start of the file's sha256. A worker that takes up a trial first claims the next
attempt number with a file `attempt-0002`; a worker of an earlier attempt (a zombie that outlived
its driver: they train on for ~5 s) sees it and stops. The newest two states are kept, and the
file of the attempt names them, so that a missing one is noticed.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import Any

import torch

from trainables.files import write_atomically

NUM_KEPT = 2
DIGEST_LENGTH = 16
STATE_NAME = re.compile(rf"(\d{{5}})-a(\d{{4}})-([0-9a-f]{{{DIGEST_LENGTH}}})\.pt")


class SupersededError(RuntimeError):
    """A newer attempt has taken up this trial; this one must stop writing."""


class Checkpoints:
    """The states of one trial in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for folder in (directory.parent, directory):
            if folder.is_symlink():
                raise OSError(f"{folder} is a symbolic link: no state is written through it")
        directory.mkdir(parents=True, exist_ok=True)
        self.attempt = self._claim_attempt()

    def save(self, epoch: int, state: dict[str, Any]) -> None:
        """Write the state after `epoch` durably, then drop all but the newest two.

        Raises:
            SupersededError: a newer attempt exists.
            OSError: no space, no permission.
        """
        if self._newest_attempt() > self.attempt:
            raise SupersededError(
                f"attempt {self.attempt} of {self.directory.name} was superseded"
            )
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getvalue()
        name = f"{epoch:05d}-a{self.attempt:04d}-{_digest(data)}.pt"
        write_atomically(self.directory / name, lambda stream: stream.write(data))
        states = _states(self.directory)
        self._list(states[:NUM_KEPT])
        for old in states[NUM_KEPT:]:
            old.unlink(missing_ok=True)

    def _list(self, kept: list[Path]) -> None:
        """Say which states there are, before older ones are removed."""
        text = "".join(f"{path.name}\n" for path in kept).encode()
        marker = self.directory / f"attempt-{self.attempt:04d}"
        write_atomically(marker, lambda stream: stream.write(text), durably=False)

    def _newest_attempt(self) -> int:
        return max((int(p.name[-4:]) for p in self.directory.glob("attempt-*")), default=0)

    def _claim_attempt(self) -> int:
        attempt = self._newest_attempt() + 1
        while True:
            try:
                (self.directory / f"attempt-{attempt:04d}").touch(exist_ok=False)
                return attempt
            except FileExistsError:
                attempt += 1


def read_newest(directory: Path) -> dict[str, Any] | None:
    """The newest state whose checksum holds, or None; claims no attempt."""
    return read_good(directory)[0]


def read_good(directory: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest state whose checksum holds, and a word on each newer one that is lost."""
    lost: list[str] = []
    for path in _states(directory) if directory.is_dir() else []:
        try:
            data = path.read_bytes()
        except OSError:
            data = b""
        if _digest(data) in path.name:
            state: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)
            return state, lost + _missing(directory, since=_age(path.name))
        lost.append(f"the state after report {int(path.name[:5])} is damaged")
    return None, lost + _missing(directory)


def _missing(directory: Path, since: tuple[str, str] = ("", "")) -> list[str]:
    """A word on each state that was kept and is not there."""
    return [
        f"the state after report {int(name[:5])} is missing"
        for name in _listed(directory)
        if _age(name) > since and not (directory / name).exists()
    ]


def _listed(directory: Path) -> list[str]:
    """The states that the newest attempt which saved any says it kept."""
    for marker in sorted(directory.glob("attempt-*"), reverse=True):
        if names := marker.read_text(errors="replace").split():
            return [name for name in names if STATE_NAME.fullmatch(name)]
    return []


def _states(directory: Path) -> list[Path]:
    """State files, newest first."""
    names = (path.name for path in directory.iterdir())
    states = sorted(filter(STATE_NAME.fullmatch, names), key=_age, reverse=True)
    return [directory / name for name in states]


def _age(name: str) -> tuple[str, str]:
    """By attempt, then by epoch: a later attempt began from the newest state that was good."""
    epoch, attempt, _ = name.split("-")
    return attempt, epoch


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGEST_LENGTH]
