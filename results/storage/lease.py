"""Who may write a run in a bucket? The driver whose token its lease.json holds, while it beats.

A bucket has no locks. A driver puts its token, waits longer than another's read and put may lie
apart, and reads it again: of two that come together the later one holds it, and the other sees
so. While it runs it looks before every heartbeat, which comes by a clock that goes on while the
machine sleeps, so a driver that slept, and was taken for dead, stops as soon as it wakes. All ages
are differences on the storage's own clock.

That a driver holds the run does not say that it knows what is there: lease.json also tells who
wrote last, which is another until `begin`.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from results.records.lock import about_us, parse_holder
from results.records.redaction import visible
from results.records.wall_time import ticks
from results.storage.place import Place

LEASE_NAME = "lease.json"
SETTLE_SECONDS = 2.0
BEAT_SECONDS = 30.0
STALE_SECONDS = 100.0  # three heartbeats did not come
HELD = set[str]()  # tokens of the runs that this process writes


class LeaseLostError(OSError):
    """Another driver writes this run now."""


@dataclass(kw_only=True)
class Lease:
    """The right to write one run in a bucket.

    Attributes:
        token: of this driver, new at each start. taken_at: its last sign, by `ticks`.
        wrote: the token of the driver that wrote there last; None where none is known.
    """

    home: Place
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    taken_at: float = 0.0
    wrote: str | None = None
    is_released: bool = False

    def check(self) -> None:
        """See whether a driver lives that writes this run, and whether we could; who wrote last.

        Raises:
            ValueError: one does.
            BucketError: the storage refused, or does not answer.
        """
        now = self.home.probe()
        content, stamp = read_lease(self.home), self.home.stamp(LEASE_NAME)
        age = (now - stamp[1]) / 1e9 if stamp else 0.0
        self.wrote = last_writer(content)
        if content and is_held(content, age):
            wait = max(1, round(STALE_SECONDS - age))
            raise ValueError(
                f"run {self.home.name!r} is being written by {holder_text(content)} "
                f"(last sign {max(0, round(age))} s ago). Stop it first; if it is gone, try again "
                f"in {wait} s."
            )

    def take(self) -> None:
        """Put our token; `confirm` must follow, and `begin`. Raises as `check`."""
        self.check()
        HELD.add(self.token)
        self._put(released=False)

    def confirm(self) -> None:
        """See that nobody came between.

        Raises:
            ValueError: somebody did.
        """
        time.sleep(SETTLE_SECONDS)
        if not self.is_ours():
            content = read_lease(self.home)
            raise ValueError(
                f"run {self.home.name!r} is being written by {holder_text(content)}, which came "
                "at the same moment. Stop one of them."
            )

    def begin(self) -> None:
        """Say that what comes there from now on is ours. Raises as `beat`."""
        self.wrote = self.token
        self.beat()

    def is_ours(self) -> bool:
        """True where this driver was the last to take the run. Raises BucketError."""
        return read_lease(self.home).get("token") == self.token

    def beat(self) -> None:
        """Say that this driver lives.

        Raises:
            LeaseLostError: another one writes this run now.
            BucketError: the storage refused.
        """
        self.affirm()
        self._put(released=False)

    def release(self) -> None:
        """Give the run free, if it is still ours; who wrote last stays told."""
        if self.is_released:
            return
        self.is_released = True
        self.drop()
        with suppress(OSError):
            self.affirm()
            self._put(released=True)

    def drop(self) -> None:
        """Write there no more, whether the storage hears of it or not."""
        HELD.discard(self.token)

    def affirm(self) -> None:
        """See that the run is still ours. Raises as `beat`."""
        content = read_lease(self.home)
        if content.get("token") != self.token:
            raise LeaseLostError(f"{self.home} is being written by {holder_text(content)} now")

    def _put(self, *, released: bool) -> None:
        content = about_us(False, self.token) | {"released": released, "wrote": self.wrote}
        begun = ticks()  # the machine may fall asleep before it hears the answer
        self.home.write(LEASE_NAME, json.dumps(content).encode())
        self.taken_at = begun


def read_lease(home: Place) -> dict[str, Any]:
    """What the run's lease.json holds; nothing where there is none that can be read."""
    try:
        return parse_lease(home.read(LEASE_NAME))
    except FileNotFoundError:
        return {}


def parse_lease(data: bytes) -> dict[str, Any]:
    """What it holds; nothing of a damaged one."""
    try:
        content = json.loads(data)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def last_writer(content: dict[str, Any]) -> str | None:
    """The token of the driver that wrote the run last, as its lease tells; None = not known."""
    token = content.get("wrote", content.get("token"))  # an older version's holder is who wrote
    return token if isinstance(token, str) else None


def is_held(content: dict[str, Any], age: float) -> bool:
    """True while the driver that wrote it may live.

    Args:
        age: of its last heartbeat, in seconds.
    """
    if content.get("released", False) or age > STALE_SECONDS:
        return False
    holder = parse_holder(json.dumps(content).encode())
    if holder is not None and holder.is_known and holder.pid == os.getpid():
        return holder.token in HELD  # not of a run whose bucket was silent at its end
    return holder is None or not holder.is_gone


def holder_text(content: dict[str, Any]) -> str:
    """ "process 12 on host since ...", on one line whatever a stranger's file holds."""
    holder = parse_holder(json.dumps(content).encode())
    return visible(str(holder)[:200], in_a_line=True) if holder else "another process"
