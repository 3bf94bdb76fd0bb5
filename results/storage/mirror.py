"""How does a run get from its folder here into a bucket? Whole files, the newest state of each.

The driver works in its folder as in any other; a thread copies what changed, copies/ too. A row is
written after what it tells of (epochs, trials, the manifest last), so a reader never sees a trial
whose epochs are not there. While the storage does not answer the run goes on, and all is copied
later.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from results.records.events import EVENTS_NAME
from results.records.exclusions import EXCLUSIONS_NAME
from results.records.repair import QUARANTINE
from results.records.segments import CONFIG_NAME, COPIES, MANIFEST_NAME
from results.records.wall_time import ticks
from results.storage.lease import BEAT_SECONDS, LEASE_NAME, Lease, LeaseLostError
from results.storage.place import BucketError, Place, Stamp
from results.storage.twin import (
    EXCLUSIONS,
    SEGMENTS,
    forget,
    home_of,
    is_behind,
    is_outdated,
    is_segment,
    note_end,
    note_writer,
    noted_files,
    share_exclusions,
)

PUSH_SECONDS = 10.0  # what is durable here is there this much later; bounds the requests
APART_SECONDS = 1.1  # between two copies of a file: a storage's clock may tick in seconds
MAX_RETRY_SECONDS = 40.0  # so that a heartbeat comes in time where the storage answers again
NUM_REMOVERS = 8
LARGE_BYTES = 8_000_000  # what may take longer to write than heartbeats lie apart
PATIENCE_SECONDS = 60.0  # for a storage that does not answer, at the end; before a word is said
# Put there by the workers, or by trackers that write without end: at the end, or not by us.
NOT_OURS, AT_END = ("checkpoints", "logs"), ("tracking",)
LAST = (EVENTS_NAME, f"{COPIES}/{MANIFEST_NAME}", MANIFEST_NAME)
SEPARATE = (*LAST, LEASE_NAME, EXCLUSIONS[1])  # each is put in a way of its own


def mirror_of(run_dir: Path) -> Mirror | None:
    """What copies this run to its bucket, with the right to write there; None of a run here.

    Raises:
        ValueError: another driver writes there, or wrote what the folder here lacks.
        BucketError: the storage refused, or does not answer.
    """
    home = home_of(run_dir)
    if home is None:
        return None
    mirror = Mirror(run_dir, home)
    mirror.take()
    mirror.start()
    return mirror


def catch_up(run_dir: Path) -> None:
    """Put into its bucket what a driver could not, of a run in which nothing is left to do.

    Raises:
        ValueError: another driver writes there, or wrote what the folder here lacks.
        BucketError: the storage refused.
    """
    if is_behind(run_dir) and (mirror := mirror_of(run_dir)) is not None:
        mirror.close()


class Removable(Protocol):
    """A folder that can be removed."""

    def remove_all(self) -> None:
        """With everything in it."""
        ...


class Mirror:
    """Copies one run's folder into its bucket until it is closed.

    Attributes:
        error: of the last attempt; None when it succeeded.
        tell: called with a line for the person, once for each time the storage is silent.
    """

    def __init__(self, run_dir: Path, home: Place) -> None:
        self.run_dir, self.home, self.lease = run_dir, home, Lease(home=home)
        self.error: OSError | None = None
        self.tell: Callable[[str], None] = print
        self._pushed: dict[str, Stamp] = {}
        self._pushed_at = 0.0
        self._is_taken = False  # until then nothing may be put there
        self._is_looked_through = False  # for segments that are not of this run any more
        self._unneeded: deque[Removable] = deque()
        self._failing_since: float | None = None
        self._is_told = False
        self._guard, self._closing = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)

    def take(self) -> None:
        """Take the right to write there.

        Raises:
            ValueError: another driver has it, or wrote there what the folder here lacks.
            BucketError: the storage refused, or does not answer.
        """
        try:
            self.lease.take()
            self.lease.confirm()
            if is_outdated(self.home, self.run_dir, self.lease.wrote):
                raise ValueError(
                    f"{self.home} was written by another driver after it was copied here. Give "
                    "the command again: it goes on from what is there now."
                )
            note_writer(self.run_dir, self.lease.token)
            self.lease.begin()
            # A newer report may be there; what are records is put there again, and so mended.
            self._pushed = noted_files(self.run_dir)
            self._share_exclusions()
        except BaseException:
            self.abandon()
            raise
        self._is_taken = True

    def start(self) -> None:
        """Show from now on that this driver lives, and copy what changed, in a thread."""
        self._thread.start()

    @property
    def is_taken_over(self) -> bool:
        """True once another driver writes this run: this one has to stop."""
        return isinstance(self.error, LeaseLostError)

    @property
    def is_closed(self) -> bool:
        """True once it was closed; `error` then tells whether everything is there."""
        return self._closing.is_set()

    def forget(self, place: Removable) -> None:
        """Remove this folder there once all that is durable here by now has been copied."""
        self._unneeded.append(place)

    def push(self, *, is_end: bool = False) -> bool:
        """Copy what changed; True when everything is there, else see `error`."""
        with self._guard:
            try:
                self._beat()
                self._copy(is_end=is_end)
                if is_end:  # else nobody would hear that another has come
                    self.lease.affirm()
            except OSError as error:
                self.error = error
                return False
        self.error = None
        return True

    def close(self, patience: float = PATIENCE_SECONDS) -> None:
        """Copy the rest and give the run free. Closing twice is harmless.

        Args:
            patience: seconds to go on trying.

        Raises:
            OSError: not everything is there; it is all in `run_dir`.
        """
        if self._closing.is_set():
            return
        self._closing.set()
        try:
            self._bring_all(patience)
        finally:
            self.lease.drop()
        note_end(self.run_dir, {n: s for n, s in self._pushed.items() if not _is_record(n)})
        self.lease.release()

    def _bring_all(self, patience: float) -> None:
        until, pause = time.monotonic() + patience, 0.5
        if self._thread.is_alive():
            self._thread.join(patience)
            if self._thread.is_alive():
                self.error = self.error or BucketError(f"{self.home}: no answer")
                raise self.error
        while not self.push(is_end=True):
            assert self.error is not None, "a failed push leaves its error"
            if self.is_taken_over or time.monotonic() + pause > until:
                raise self.error
            time.sleep(pause)
            pause = min(2 * pause, 10.0)

    def abandon(self) -> None:
        """Give the run free whose start has failed; what was no run yet leaves nothing there.

        Of a run that was closed nothing is done.
        """
        if self._closing.is_set():
            return
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(PUSH_SECONDS)
        is_run = (self.run_dir / MANIFEST_NAME).is_file()
        is_run_there = is_run if self._is_taken else self.lease.wrote is not None
        with suppress(OSError):
            if self.lease.is_ours():
                if is_run and self._is_taken:
                    self.push()
                if is_run_there:
                    self.lease.release()
                else:
                    for name in (*self._pushed, LEASE_NAME):
                        self.home.remove(name)
        self.lease.drop()
        if not is_run:
            forget(self.run_dir)

    def _run(self) -> None:
        delay = PUSH_SECONDS
        while not self._closing.wait(delay):
            if self.push():
                delay, self._failing_since, self._is_told = PUSH_SECONDS, None, False
            elif self.is_taken_over:
                return
            else:
                delay = min(2 * delay, MAX_RETRY_SECONDS)
                self._complain()

    def _complain(self) -> None:
        """Once for each time that the storage is silent for long."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if self._is_told or now - self._failing_since < PATIENCE_SECONDS:
            return
        self._is_told = True
        self.tell(f"warning: {self.error}. The run goes on; everything is kept in {self.run_dir}")

    def _beat(self) -> None:
        """Where it is time; before every file, for they may be many, and the storage slow."""
        if ticks() - self.lease.taken_at >= BEAT_SECONDS:
            self.lease.beat()

    def _copy(self, *, is_end: bool) -> None:
        num_unneeded = len(self._unneeded)
        # Read from what is written last: a row that comes meanwhile is not told before its epochs.
        content = [
            (name, *self._read(name))
            for names in self._names(is_end=is_end)
            for name in sorted(filter(self._is_new, names), reverse=True)
        ]
        if content:
            time.sleep(max(0.0, self._pushed_at + APART_SECONDS - time.monotonic()))
        for name, stamp, data in reversed(content):
            self._beat()
            if name == EXCLUSIONS_NAME:
                self._share_exclusions()
            elif data is not None:
                self._write(name, data)
                self._pushed[name], self._pushed_at = stamp, time.monotonic()
        if not self._is_looked_through and MANIFEST_NAME in self._pushed:
            self._remove_strays()
            self._is_looked_through = True
        self._remove(num_unneeded)

    def _write(self, name: str, data: bytes) -> None:
        """Put a file there; while a large one travels heartbeats come all the same."""
        if len(data) < LARGE_BYTES:
            self.home.write(name, data)
            return
        is_there = threading.Event()

        def beat() -> None:
            while not is_there.wait(BEAT_SECONDS):
                with suppress(OSError):  # found by the next before a file
                    self._beat()

        heart = threading.Thread(target=beat, name="heart", daemon=True)
        heart.start()
        try:
            self.home.write(name, data)
        finally:
            is_there.set()
            heart.join(PATIENCE_SECONDS)

    def _share_exclusions(self) -> None:
        share_exclusions(self.home, self.run_dir)
        with suppress(FileNotFoundError):
            self._pushed[EXCLUSIONS_NAME] = self._stamp(EXCLUSIONS_NAME)

    def _remove_strays(self) -> None:
        """Remove segments there that were moved away here: repaired, and kept in quarantine/.

        Of what is neither here nor there nobody knows that it is bad.
        """
        for folder in SEGMENTS:
            put_away = self.run_dir / QUARANTINE / folder
            for name in filter(is_segment, (self.home / folder).names()):
                if not (self.run_dir / folder / name).exists() and (put_away / name).exists():
                    self._beat()
                    (self.home / folder).remove(name)

    def _remove(self, num_unneeded: int) -> None:
        """Remove the oldest of what is not needed; what could not be removed stays for later."""
        if not num_unneeded:
            return
        self._beat()
        unneeded = [self._unneeded[place] for place in range(num_unneeded)]
        with ThreadPoolExecutor(NUM_REMOVERS) as removers:
            for _ in removers.map(lambda place: place.remove_all(), unneeded):
                self._unneeded.popleft()
                self._beat()

    def _read(self, name: str) -> tuple[Stamp, bytes | None]:
        try:
            return self._stamp(name), (self.run_dir / name).read_bytes()
        except FileNotFoundError:  # removed meanwhile
            return (0, 0), None

    def _is_new(self, name: str) -> bool:
        try:
            return self._stamp(name) != self._pushed.get(name)
        except FileNotFoundError:
            return False

    def _stamp(self, name: str) -> Stamp:
        state = (self.run_dir / name).stat()
        return state.st_size, state.st_mtime_ns

    def _names(self, *, is_end: bool) -> Iterator[list[str]]:
        """What there is to copy, what is written last first; each listed when its turn comes."""
        for name in reversed(LAST):
            yield [name]
        yield [*self._other_names({*SEGMENTS, *NOT_OURS, *(() if is_end else AT_END)})]
        for folder in reversed(SEGMENTS):
            paths = (self.run_dir / folder).glob("[!.]*")
            yield [f"{folder}/{path.name}" for path in paths if _is_plain(path)]

    def _other_names(self, left_out: set[str]) -> Iterator[str]:
        for folder, folders, names in os.walk(self.run_dir):
            below = Path(folder).relative_to(self.run_dir)
            wanted = {str(below / name): name for name in folders if not name.startswith(".")}
            folders[:] = [wanted[inside] for inside in wanted.keys() - left_out]
            for name in names:
                inside = str(below / name)
                is_other = not name.startswith(".") and inside not in SEPARATE
                if is_other and _is_plain(Path(folder) / name):
                    yield inside


def _is_record(name: str) -> bool:
    records = (*LAST, EXCLUSIONS_NAME, CONFIG_NAME, f"{COPIES}/{CONFIG_NAME}")
    return name in records or str(Path(name).parent) in SEGMENTS


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
