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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from trainables.files import Folder, folder_at

NUM_KEPT = 2
DIGEST_LENGTH = 16
STATE_NAME = re.compile(rf"(\d{{5}})-a(\d{{4}})-([0-9a-f]{{{DIGEST_LENGTH}}})\.pt")


class SupersededError(RuntimeError):
    """A newer attempt has taken up this trial; this one must stop writing."""


class Checkpoints:
    """The states of one trial in one folder."""

    def __init__(self, folder: Folder | Path) -> None:
        self.folder = folder_at(folder)
        self.attempt = self._claim_attempt()

    def save(self, epoch: int, state: dict[str, Any]) -> None:
        """Write the state after `epoch` durably, then drop all but the newest two.

        Raises:
            SupersededError: a newer attempt exists.
            OSError: no space, no permission.
        """
        names = self.folder.names()
        if _newest_attempt(names) > self.attempt:
            raise SupersededError(f"attempt {self.attempt} of {self.folder.name} was superseded")
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getvalue()
        name = f"{epoch:05d}-a{self.attempt:04d}-{_digest(data)}.pt"
        self.folder.write(name, data)
        states = _states({*names, name})
        self._list(states[:NUM_KEPT])
        for old in states[NUM_KEPT:]:
            self.folder.remove(old)

    def _list(self, kept: list[str]) -> None:
        """Say which states there are, before older ones are removed."""
        text = "".join(f"{name}\n" for name in kept).encode()
        self.folder.write(f"attempt-{self.attempt:04d}", text, durably=False)

    def _claim_attempt(self) -> int:
        attempt = _newest_attempt(self.folder.names()) + 1
        while not self.folder.claim(f"attempt-{attempt:04d}"):
            attempt += 1
        return attempt


def read_newest(folder: Folder | Path) -> dict[str, Any] | None:
    """The newest state whose checksum holds, or None; claims no attempt."""
    return read_good(folder)[0]


def read_good(folder: Folder | Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest state whose checksum holds, on the CPU, and a word on each newer one lost."""
    folder = folder_at(folder)
    lost: list[str] = []
    names = folder.names()
    for name in _states(names):
        try:
            data = folder.read(name)
        except OSError:
            data = b""
        if _digest(data) in name:
            # Of a GPU too: it may be gone, and load_state_dict copies onto the device anyway.
            state: dict[str, Any] = torch.load(
                io.BytesIO(data), weights_only=True, map_location="cpu"
            )
            return state, lost + _missing(folder, names, since=_age(name))
        lost.append(f"the state after report {int(name[:5])} is damaged")
    return None, lost + _missing(folder, names)


def _missing(folder: Folder, names: list[str], since: tuple[str, str] = ("", "")) -> list[str]:
    """A word on each state that was kept and is not there."""
    return [
        f"the state after report {int(name[:5])} is missing"
        for name in _listed(folder, names)
        if _age(name) > since and name not in names
    ]


def _listed(folder: Folder, names: list[str]) -> list[str]:
    """The states that the newest attempt which saved any says it kept."""
    for marker in sorted(filter(_is_attempt, names), reverse=True):
        if listed := folder.read(marker).decode(errors="replace").split():
            return [name for name in listed if STATE_NAME.fullmatch(name)]
    return []


def _is_attempt(name: str) -> bool:
    return name.startswith("attempt-")


def _newest_attempt(names: Iterable[str]) -> int:
    return max((int(name[-4:]) for name in filter(_is_attempt, names)), default=0)


def _states(names: Iterable[str]) -> list[str]:
    """State files, newest first."""
    return sorted(filter(STATE_NAME.fullmatch, names), key=_age, reverse=True)


def _age(name: str) -> tuple[str, str]:
    """By attempt, then by epoch: a later attempt began from the newest state that was good."""
    epoch, attempt, _ = name.split("-")
    return attempt, epoch


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGEST_LENGTH]
