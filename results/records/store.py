"""How does a run get onto the disk? RunStore, the only writer of run records."""

from __future__ import annotations

import errno
import itertools
import operator
import os
import re
import shlex
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from results.records.events import EVENTS_NAME
from results.records.lock import LOCK_NAME, TAKING_NAME, RunLock, check_free
from results.records.redaction import redact_all, redacted_error
from results.records.schema import KEYS, SCHEMA_VERSION, SCHEMAS, Row
from results.records.sealing import digest, sealed_line
from results.records.segments import (
    CONFIG_NAME,
    COPIES,
    DECIMAL,
    MANIFEST_NAME,
    TABLES,
    DamagedFile,
    list_segments,
    no_rows,
    read_manifest,
    read_segment,
    refuse_links,
    segment_numbers,
    segment_path,
    sweep_temporary,
    sync_directory,
    to_batch,
    write_manifest,
    write_segment,
    write_twice,
)
from results.records.wall_time import now

FLUSH_SECONDS = 0.5  # a finished epoch is durable within 1 s
MAX_RETRY_SECONDS = 5.0
SEGMENT_ROWS = 5000  # one rewrite then takes about 10 ms
APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_run_name(name: str) -> None:
    """Raise ValueError unless `name` is safe as a folder name everywhere."""
    if not RUN_NAME.fullmatch(name):
        raise ValueError(
            f"a run name must be 1 to 64 letters, digits, '.', '_' or '-' and begin with a "
            f"letter or digit, but got {name[:80]!r}."
        )


def describe_failure(error: OSError, path: Path) -> str:
    """What a storage that fails is told as: "no space left on /data/runs/x"."""
    if is_full(error):
        return f"no space left on {path}"
    return f"cannot write {path}: {error.strerror or error}"


def is_full(error: OSError) -> bool:
    """True where space, or the right to more of it, has run out."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def reserve(run_dir: Path) -> RunLock:
    """The lock of a new run: its folder is made, parents included, and nobody else's.

    A folder that a start left behind, which failed before it was a run, is taken as it is.

    Raises:
        ValueError: bad name, the run exists, or another process begins it (RunBusy).
        OSError: the storage refused; nothing is left behind.
    """
    check_run_name(run_dir.name)
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        run_dir.mkdir()
    check_free(run_dir)  # whoever is just beginning it is told by name
    if not is_unused(run_dir):
        raise _exists(run_dir)
    try:
        lock = RunLock(run_dir)
    except OSError:
        with suppress(OSError):
            run_dir.rmdir()
        raise
    if not is_unused(run_dir):  # another process has begun it just now
        lock.release()
        raise _exists(run_dir)
    return lock


def abandon(lock: RunLock) -> None:
    """Give a run free whose start has failed: its name too, unless it has become a run."""
    run_dir = lock.run_dir
    with suppress(OSError):
        if is_unused(run_dir):
            sweep_temporary(run_dir)
            for folder in (run_dir, run_dir / COPIES):
                (folder / CONFIG_NAME).unlink(missing_ok=True)
            for name in _visible(run_dir) & {*TABLES, COPIES}:
                (run_dir / name).rmdir()
    lock.release()
    with suppress(OSError):  # it is a run, or another start holds it
        run_dir.rmdir()


def is_unused(run_dir: Path) -> bool:
    """True of a folder that can become a run: there is none, it is empty, or was left by a start
    that failed before the run had a manifest.
    """
    if not run_dir.is_dir():
        return not os.path.lexists(run_dir)
    names = _visible(run_dir) - {LOCK_NAME, TAKING_NAME}
    tables = names & {*TABLES}
    copies = _visible(run_dir / COPIES) if COPIES in names else set()
    others = names - tables - {COPIES}
    is_begun = tables == {*TABLES} and others == {CONFIG_NAME}  # no file of somebody else's
    is_known = (not others and not copies) or (is_begun and copies <= {CONFIG_NAME})
    return is_known and not any(_visible(run_dir / name) for name in tables)


def _visible(folder: Path) -> set[str]:
    """What is in it, but for files that a killed writer left behind."""
    names = (path.name for path in folder.iterdir())  # once: a writer at work renames its own
    return {name for name in names if not (name.startswith(".") and name.endswith(".tmp"))}


class RunStore:
    """One run's folder, open for writing by this process alone.

    What it is given loses its secrets (see redaction.py) before it is written; config.yaml is
    redacted by whoever makes it.
    Rows are buffered and written by a background thread within a second. When the storage
    fails, rows stay in memory, the thread tries again, and `error` says why until it succeeds.
    Safe to call from several threads, but not from a signal handler (it takes locks).

    Attributes:
        error: the OSError of the last attempt to write; None when it succeeded.
    """

    def __init__(self, run_dir: Path, manifest: dict[str, Any], lock: RunLock) -> None:
        self.run_dir = run_dir
        self.error: OSError | None = None
        self._lock = lock
        sweep_temporary(run_dir)
        self._manifest = redact_all(manifest)
        self._manifest_dirty = False
        known = self._manifest.setdefault("segments", {})
        self._segments = {
            table: _Segment(run_dir, table, self.run_id, known.setdefault(table, {}))
            for table in TABLES
        }
        self._events, self._num_events = _end_of_events(run_dir)
        self._writing, self._telling = threading.Lock(), threading.Lock()
        self._closing = threading.Event()
        self._closed = False
        self._num_begun = self._num_written = 0  # flushes
        self._thread = threading.Thread(target=self._run, name="run-store", daemon=True)
        self._thread.start()

    @classmethod
    def create(
        cls,
        run_dir: Path | str,
        manifest: Mapping[str, Any],
        config_yaml: str,
        lock: RunLock | None = None,
    ) -> RunStore:
        """A new run; makes its folder, parents included.

        Args:
            run_dir: its last part is the run_id (see `check_run_name`).
            manifest: plain JSON; schema_version and run_id are added.
            config_yaml: without secrets.
            lock: of the folder, where it is reserved already.

        Raises:
            ValueError: see `reserve`.
            OSError: the storage refused; the name is free again.
        """
        run_dir = Path(run_dir)
        lock = lock or reserve(run_dir)
        config = config_yaml.encode()
        known = {"schema_version": SCHEMA_VERSION, "run_id": run_dir.name}
        known |= {"files": {CONFIG_NAME: digest(config)}, "segments": {t: {} for t in TABLES}}
        manifest = {**manifest, **known}
        try:
            sync_directory(run_dir.parent)
            for table in TABLES:
                (run_dir / table).mkdir(exist_ok=True)
            write_twice(run_dir, CONFIG_NAME, config)
            # Last: with it the folder is a run.
            write_manifest(run_dir, manifest | {"events": 0})
            return cls(run_dir, manifest, lock)
        except OSError:
            with suppress(OSError):  # its copy may be what failed
                (run_dir / MANIFEST_NAME).unlink(missing_ok=True)
            abandon(lock)
            raise

    @classmethod
    def open(cls, run_dir: Path | str, lock: RunLock | None = None) -> RunStore:
        """An existing run, to be continued in new segments.

        Args:
            lock: of the run, where it is held already; released where this fails.

        Raises:
            ValueError: no such run, unreadable or newer manifest, a symbolic link in the folder,
                or another process writes it.
            OSError: the storage refused.
        """
        run_dir = Path(run_dir)
        path = run_dir / MANIFEST_NAME
        if lock is None:
            _check_run(run_dir)
            lock = RunLock(run_dir)
        try:
            _check_run(run_dir)
            # What is written from now on an older version must not take for damage.
            manifest = read_manifest(run_dir) | {"schema_version": SCHEMA_VERSION}
            for table in TABLES:
                (run_dir / table).mkdir(exist_ok=True)
            return cls(run_dir, manifest, lock)
        except DamagedFile as error:
            lock.release()
            raise ValueError(f"cannot read {path}: {error}") from error
        except (OSError, ValueError):
            lock.release()
            raise

    @property
    def run_id(self) -> str:
        """As when the run began, also in a renamed or copied folder."""
        return str(self._manifest.get("run_id", self.run_dir.name))

    @property
    def manifest(self) -> dict[str, Any]:
        """A copy of manifest.json as it was last updated."""
        with self._writing:
            return dict(self._manifest)

    def add_epochs(self, rows: Sequence[Row]) -> None:
        """Record finished epochs (see records.epoch_row).

        Raises:
            ValueError: one does not fit; those before it are kept.
        """
        self._add("epochs", rows)

    def add_trial(self, row: Row) -> None:
        """Record a trial's state in place of its earlier row; ValueError if it does not fit."""
        error = row.get("error")
        self._add("trials", [{**row, "error": redacted_error(error)} if error else row])

    def event(self, kind: str, **fields: object) -> None:
        """Append one line {time, kind, ...} to events.jsonl, at once."""
        line = {"time": now().isoformat(), "kind": kind, **fields}
        with self._telling:
            self._events += sealed_line(redact_all(line), self._num_events + 1)
            self._num_events += 1
            self._try(self._write_events)

    def update_manifest(self, **fields: object) -> None:
        """Set these top-level fields of manifest.json, atomically, at once."""
        with self._writing:
            self._manifest |= redact_all(fields)
            self._manifest_dirty = True
            self._try(self._write_manifest)

    def flush(self) -> bool:
        """Write what is buffered now; True when everything is on disk, else see `error`."""
        with self._writing:
            self._num_begun = number = self._num_begun + 1
            if not self._try(self._write_all):
                return False
            self._num_written = number
        self.error = None
        return True

    def ticket(self) -> int:
        """For `is_durable`: of all rows given so far."""
        return self._num_begun + 1  # one under way may have missed the last of them

    def is_durable(self, ticket: int) -> bool:
        """True once the rows given before this ticket are on disk."""
        return self._num_written >= ticket

    def rescue(self, folder: Path) -> int:
        """Write what the storage has not taken to another folder.

        Its files can be copied into the run's own at any time: they replace none.

        Returns:
            How many rows were saved that are nowhere else.

        Raises:
            OSError: there is no space either.
        """
        with self._writing:
            return sum(segment.rescue(folder) for segment in self._segments.values())

    def close(self) -> None:
        """Write what is buffered and let the run go. Closing twice is harmless.

        Raises:
            OSError: the storage failed; what was not yet written is lost.
        """
        if self._closed:
            return
        self._closed = True
        self._closing.set()
        self._thread.join()
        try:
            if not (self.flush() and self._seal()):
                assert self.error is not None, "a failed flush leaves its error"
                raise self.error
        finally:
            self._lock.release()

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add(self, table: str, rows: Sequence[Row]) -> None:
        assert not self._closed, "a closed store takes no rows"
        self._segments[table].add(rows)

    def _run(self) -> None:
        delay = FLUSH_SECONDS
        while not self._closing.wait(delay):
            delay = FLUSH_SECONDS if self.flush() else min(2 * delay, MAX_RETRY_SECONDS)

    def _try(self, write: Callable[[], None]) -> bool:
        try:
            self._lock.check()
            write()
            return True
        except OSError as error:
            self.error = error
        except (MemoryError, pa.ArrowException) as error:  # all waits where it is, as on a disk
            self.error = OSError(errno.ENOMEM, f"{type(error).__name__}: {error}")
        return False

    def _seal(self) -> bool:
        """What the manifest says of the segments is final; True when it is on disk."""
        with self._writing:
            for segment in self._segments.values():
                segment.seal()
            return self._try(self._write_manifest)

    def _write_all(self) -> None:
        """Rows first: where they do not fit, no manifest tells that they are there."""
        # Epochs of a trial are added before its end, so they are taken after and written before.
        for table in reversed(TABLES):
            self._segments[table].collect()
        for table in TABLES:
            self._manifest_dirty |= self._segments[table].write()
        if self._manifest_dirty:
            self._write_manifest()
        with self._telling:
            self._write_events()

    def _write_events(self) -> None:
        if self._events:
            fd = os.open(self.run_dir / EVENTS_NAME, APPENDING, 0o666)
            with open(fd, "ab", buffering=0) as file:
                while self._events:
                    self._events = self._events[file.write(self._events) :]

    def _write_manifest(self) -> None:
        on_disk = self._num_events - self._events.count(b"\n")
        write_manifest(self.run_dir, self._manifest | {"events": max(0, on_disk)})
        self._manifest_dirty = False


class _Segment:
    """The open segment of one table: rows on disk, and rows waiting for the next rewrite.

    Attributes:
        known: what the manifest says of the table's segments, by number: nothing of the open
            one, of the others their rows and checksum.
    """

    def __init__(self, run_dir: Path, table: str, run_id: str, known: dict[str, Any]) -> None:
        self._run_dir, self._table, self._run_id = run_dir, table, run_id
        self._schema = SCHEMAS[table]
        self.known = known
        self._begin(next_number(run_dir, table, known))
        self._waiting: list[tuple[Sequence[Row], pa.RecordBatch]] = []
        self._guard = threading.Lock()

    def _begin(self, number: int) -> None:
        self._path = segment_path(self._run_dir, self._table, number)
        self._number = number
        self._digest = ""
        self._rows = no_rows(self._schema)
        self._num_fresh = 0  # rows that are not on disk
        # key -> (row number, attempt), in order of first appearance
        self._index: dict[object, tuple[int, int]] = {}
        self._dirty = False

    def add(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        try:
            batch = to_batch(rows, self._schema)
        except ValueError:
            if len(rows) == 1:
                raise
            for row in rows:
                self.add([row])
            return
        with self._guard:
            self._waiting.append((rows, batch))

    def rescue(self, folder: Path) -> int:
        self.collect()
        if self._dirty:
            path = folder / self._table / f"{self._path.stem}-rescued.parquet"
            path.parent.mkdir(exist_ok=True)
            write_segment(path, self._rows, run_id=self._run_id)
        return self._num_fresh

    def collect(self) -> None:
        """Take what is waiting to the rows of the next rewrite."""
        with self._guard:
            waiting = [*self._waiting]
        if waiting:
            self._merge(waiting)
            self._num_fresh += sum(len(rows) for rows, _ in waiting)
            with self._guard:  # not before: what could not be merged waits on
                del self._waiting[: len(waiting)]

    def write(self) -> bool:
        """Bring the rows to the disk; True where the manifest has to tell of another segment."""
        if self._dirty:
            copy = segment_path(self._run_dir / COPIES, self._table, self._number)
            data = write_segment(self._path, self._rows, run_id=self._run_id, copy=copy)
            self._digest = digest(data)
            self._dirty, self._num_fresh = False, 0
        is_full = self._rows.num_rows >= SEGMENT_ROWS
        is_news = bool(self._digest) and (is_full or str(self._number) not in self.known)
        if is_news:
            self.known[str(self._number)] = {}
        if is_full:
            self.seal()
            self._begin(self._number + 1)
        return is_news

    def seal(self) -> None:
        """Tell the manifest what the segment holds; no row comes to it any more."""
        if self._digest:
            sealed = {"rows": self._rows.num_rows, "sha256": self._digest}
            self.known[str(self._number)] = sealed

    def _merge(self, waiting: list[tuple[Sequence[Row], pa.RecordBatch]]) -> None:
        """Append; a newer row of the same key takes the older one's place."""
        batches = [*self._rows.to_batches(), *(batch for _, batch in waiting)]
        rows = itertools.chain.from_iterable(rows for rows, _ in waiting)
        key_of = operator.itemgetter(*KEYS[self._table])
        index = {**self._index}
        for number, row in enumerate(rows, start=self._rows.num_rows):
            key, attempt = key_of(row), row["attempt"]
            if attempt >= index.get(key, (0, attempt))[1]:
                index[key] = (number, attempt)
        table = pa.Table.from_batches(batches, schema=self._schema)
        if len(index) < table.num_rows:  # some have a newer version
            table = table.take([number for number, _ in index.values()])
            index = {key: (i, attempt) for i, (key, (_, attempt)) in enumerate(index.items())}
        self._rows, self._index = table.combine_chunks(), index
        self._dirty = True


def _check_run(run_dir: Path) -> None:
    refuse_links(run_dir)
    if not (run_dir / MANIFEST_NAME).exists():
        raise ValueError(f"no run in {str(run_dir)!r}: {MANIFEST_NAME} is missing.")


def _exists(run_dir: Path) -> ValueError:
    if not (run_dir / MANIFEST_NAME).exists():
        return ValueError(f"{str(run_dir)!r} is there and holds no run; use another name.")
    keys = set()
    for path in list_segments(run_dir, "trials"):
        try:
            keys |= set(read_segment(path, SCHEMAS["trials"])["trial_key"].to_pylist())
        except (DamagedFile, ValueError):
            continue
    return ValueError(
        f"run {run_dir.name!r} exists ({len(keys)} trials); use "
        f"{shlex.quote(f'resume={run_dir}')} or another name."
    )


def next_number(run_dir: Path, table: str, known: Mapping[str, Any]) -> int:
    """The number of a new segment: above all that are there or once were."""
    there = segment_numbers(run_dir, table) | segment_numbers(run_dir / COPIES, table)
    told = {int(number) for number in known if DECIMAL.fullmatch(number)}
    return max(there | told, default=-1) + 1


def _end_of_events(run_dir: Path) -> tuple[bytes, int]:
    """What closes a torn last line, and the number of lines."""
    path = run_dir / EVENTS_NAME
    content = path.read_bytes() if path.exists() else b""
    is_torn = bool(content) and not content.endswith(b"\n")
    return (b"\n" if is_torn else b""), len(content.splitlines())
