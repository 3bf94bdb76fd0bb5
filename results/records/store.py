"""How does a run get onto the disk? RunStore, the only writer of run records."""

from __future__ import annotations

import os
import re
import shlex
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from results.records.events import EVENTS_NAME
from results.records.lock import RunLock
from results.records.redaction import error_text, redact_all
from results.records.schema import KEYS, SCHEMA_VERSION, SCHEMAS, Row
from results.records.sealing import digest, sealed_line
from results.records.segments import (
    CONFIG_NAME,
    COPIES,
    MANIFEST_NAME,
    TABLES,
    DamagedFile,
    list_segments,
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

FLUSH_SECONDS = 0.5  # a finished epoch is durable within 1 s
MAX_RETRY_SECONDS = 30.0
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

    def __init__(self, run_dir: Path, manifest: dict[str, Any]) -> None:
        self.run_dir = run_dir
        self.error: OSError | None = None
        self._lock = RunLock(run_dir)
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
        self._thread = threading.Thread(target=self._run, name="run-store", daemon=True)
        self._thread.start()

    @classmethod
    def create(
        cls, run_dir: Path | str, manifest: Mapping[str, Any], config_yaml: str
    ) -> RunStore:
        """A new run; makes its folder, parents included.

        Args:
            run_dir: its last part is the run_id (see `check_run_name`).
            manifest: plain JSON; schema_version and run_id are added.
            config_yaml: without secrets.

        Raises:
            ValueError: bad name, or the folder exists.
        """
        run_dir = Path(run_dir)
        check_run_name(run_dir.name)
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        try:
            run_dir.mkdir()
        except FileExistsError:
            raise _exists(run_dir) from None
        for table in TABLES:
            (run_dir / table).mkdir()
        sync_directory(run_dir.parent)
        config = config_yaml.encode()
        known = {"schema_version": SCHEMA_VERSION, "run_id": run_dir.name}
        store = cls(run_dir, {**manifest, **known, "files": {CONFIG_NAME: digest(config)}})
        try:
            write_twice(run_dir, CONFIG_NAME, config)
            store._write_manifest()
        except OSError:
            store.close()
            raise
        return store

    @classmethod
    def open(cls, run_dir: Path | str) -> RunStore:
        """An existing run, to be continued in new segments.

        Raises:
            ValueError: no such run, unreadable or newer manifest, a symbolic link in the folder,
                or another process writes it.
        """
        run_dir = Path(run_dir)
        refuse_links(run_dir)
        path = run_dir / MANIFEST_NAME
        if not path.exists():
            raise ValueError(f"no run in {str(run_dir)!r}: {path.name} is missing.")
        try:
            manifest = read_manifest(run_dir)
        except DamagedFile as error:
            raise ValueError(f"cannot read {path}: {error}") from error
        for table in TABLES:
            (run_dir / table).mkdir(exist_ok=True)
        return cls(run_dir, manifest)

    @property
    def run_id(self) -> str:
        """As when the run began, also in a renamed or copied folder."""
        return str(self._manifest.get("run_id", self.run_dir.name))

    @property
    def manifest(self) -> dict[str, Any]:
        """A copy of manifest.json as it was last updated."""
        with self._writing:
            return dict(self._manifest)

    def add_epoch(self, row: Row) -> None:
        """Record one finished epoch (see records.epoch_row); ValueError if it does not fit."""
        self._add("epochs", [row])

    def add_epochs(self, rows: Sequence[Row]) -> None:
        """Record several at once; ValueError if one does not fit: those before it are kept."""
        self._add("epochs", rows)

    def add_trial(self, row: Row) -> None:
        """Record a trial's state in place of its earlier row; ValueError if it does not fit."""
        error = row.get("error")
        self._add("trials", [{**row, "error": error_text(error)} if error else row])

    def event(self, kind: str, **fields: object) -> None:
        """Append one line {time, kind, ...} to events.jsonl, at once."""
        line = {"time": datetime.now(UTC).isoformat(), "kind": kind, **fields}
        with self._telling:
            self._num_events += 1
            self._events += sealed_line(redact_all(line), self._num_events)
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
            if not self._try(self._write_all):
                return False
        self.error = None
        return True

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
            write()
            return True
        except OSError as error:
            self.error = error
            return False

    def _seal(self) -> bool:
        """What the manifest says of the segments is final; True when it is on disk."""
        with self._writing:
            for segment in self._segments.values():
                segment.seal()
            return self._try(self._write_manifest)

    def _write_all(self) -> None:
        with self._telling:
            self._write_events()
        # Epochs of a trial are added before its end, so they are taken after and written before.
        for table in reversed(TABLES):
            self._segments[table].collect()
        for table in TABLES:
            self._manifest_dirty |= self._segments[table].write()
        if self._manifest_dirty:
            self._write_manifest()

    def _write_events(self) -> None:
        if self._events:
            with open(
                os.open(self.run_dir / EVENTS_NAME, APPENDING, 0o666), "ab", buffering=0
            ) as file:
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
        self._rows = self._schema.empty_table()
        # key -> (row number, attempt), in order of first appearance
        self._index: dict[tuple[object, ...], tuple[int, int]] = {}
        self._dirty = False

    def add(self, rows: Sequence[Row]) -> None:
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

    def collect(self) -> None:
        """Take what is waiting to the rows of the next rewrite."""
        with self._guard:
            waiting, self._waiting = self._waiting, []
        if waiting:
            self._merge(waiting)

    def write(self) -> bool:
        """Bring the rows to the disk; True where the manifest has to tell of another segment."""
        if self._dirty:
            copy = segment_path(self._run_dir / COPIES, self._table, self._number)
            data = write_segment(self._path, self._rows, run_id=self._run_id, copy=copy)
            self._digest = digest(data)
            self._dirty = False
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
        rows = (row for some, _ in waiting for row in some)
        for number, row in enumerate(rows, start=self._rows.num_rows):
            key = tuple(row[name] for name in KEYS[self._table])
            if row["attempt"] >= self._index.get(key, (0, row["attempt"]))[1]:
                self._index[key] = (number, row["attempt"])
        table = pa.Table.from_batches(batches, schema=self._schema)
        self._rows = table.take([number for number, _ in self._index.values()]).combine_chunks()
        attempts = {key: attempt for key, (_, attempt) in self._index.items()}
        self._index = {key: (i, attempts[key]) for i, key in enumerate(attempts)}
        self._dirty = True


def _exists(run_dir: Path) -> ValueError:
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
    return max(there | {int(number) for number in known if number.isdigit()}, default=-1) + 1


def _end_of_events(run_dir: Path) -> tuple[bytes, int]:
    """What closes a torn last line, and the number of lines."""
    path = run_dir / EVENTS_NAME
    content = path.read_bytes() if path.exists() else b""
    is_torn = bool(content) and not content.endswith(b"\n")
    return (b"\n" if is_torn else b""), len(content.splitlines())
