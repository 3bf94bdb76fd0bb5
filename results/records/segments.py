"""How is one file of a run written so that it is never seen half-done, and read with suspicion?"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from results.records.redaction import redact, visible
from results.records.schema import LATER_COLUMNS, SCHEMA_VERSION, SCHEMAS, Row

TABLES = tuple(SCHEMAS)
MANIFEST_NAME = "manifest.json"
EVENTS_NAME = "events.jsonl"
FOLDERS = ("checkpoints", "logs")  # besides the tables, of a run
UNCHANGING = ("resume", "display", "max_concurrent", "report", "track")  # keys of a resume


class DamagedFile(Exception):
    """A file that cannot be trusted; the text is the reason."""


def segment_path(run_dir: Path, table: str, number: int) -> Path:
    """The file of this segment: <run>/epochs/00003.parquet."""
    return run_dir / table / f"{number:05d}.parquet"


def list_segments(run_dir: Path, table: str) -> list[Path]:
    """All visible segments of a table, oldest first (by number, also beyond 99999)."""
    paths = (run_dir / table).glob("[!.]*.parquet")
    return sorted(paths, key=lambda path: (len(path.stem), path.stem))


def segment_numbers(run_dir: Path, table: str) -> set[int]:
    """The numbers of a table's visible segments."""
    return {int(path.stem) for path in list_segments(run_dir, table) if path.stem.isdigit()}


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a hidden temporary file, then put it durably in the place of `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of an earlier process of this number
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace a small text file, atomically and durably."""
    write_atomically(path, lambda file: file.write(text.encode()))


def sync_directory(directory: Path) -> None:
    """Make the names in this directory durable."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sweep_temporary(run_dir: Path) -> None:
    """Remove what a killed writer left behind."""
    for directory in (run_dir, *(run_dir / table for table in TABLES)):
        for path in directory.glob(".*.tmp"):
            path.unlink(missing_ok=True)


def check_links(run_dir: Path) -> None:
    """Raise ValueError where a link would make a writer of this run write or delete elsewhere.

    Nothing of ours makes links; what trackers keep below tracking/ may hold some.
    """
    folders = (run_dir / name for name in (*TABLES, *FOLDERS))
    for folder in (run_dir, *(folder for folder in folders if folder.is_dir())):
        for path in folder.iterdir():
            if path.is_symlink():
                raise ValueError(
                    f"{path} is a symbolic link: a run goes on only in files of its own."
                )


def write_segment(path: Path, table: pa.Table) -> None:
    """Replace a segment by this table: zstd, page checksums, atomic and durable."""
    write_atomically(
        path,
        lambda file: pq.write_table(table, file, compression="zstd", write_page_checksum=True),
    )


def read_segment(path: Path, schema: pa.Schema) -> pa.Table:
    """One segment in the current schema: missing columns are null, unknown ones are dropped.

    Raises:
        DamagedFile: truncated, empty, foreign or altered content.
        ValueError: written by a newer GradTune.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            version = _version(file.schema_arrow)
            if version > SCHEMA_VERSION:
                raise _newer_version(path, version)
            table = file.read()
            table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise DamagedFile(_first_line(error)) from error
    return _conform(table, schema, version)


def read_manifest(run_dir: Path) -> dict[str, Any]:
    """What a run is: the content of its manifest.json.

    Raises:
        DamagedFile: missing, or no JSON object.
        ValueError: written by a newer GradTune.
    """
    path = run_dir / MANIFEST_NAME
    try:
        manifest = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DamagedFile(_first_line(error)) from error
    if not isinstance(manifest, dict):
        raise DamagedFile("no JSON object")
    version = manifest.get("schema_version", SCHEMA_VERSION)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise _newer_version(path, version)
    return manifest


def write_manifest(run_dir: Path, manifest: Mapping[str, Any]) -> None:
    """Replace a run's manifest.json, atomically and durably."""
    text = json.dumps(manifest, indent=2, sort_keys=True, default=str) + "\n"
    write_text(run_dir / MANIFEST_NAME, text)


def read_commands(run_dir: Path) -> list[str]:
    """What was typed to train a run: how it began, then what it went on with and changed.

    A resume that only finished what was begun is left out. Empty where it is not recorded.
    """
    try:
        lines = (run_dir / EVENTS_NAME).read_text().splitlines()
    except (OSError, UnicodeError):
        return []
    commands: list[str] = []
    for line in lines:
        try:
            event = json.loads(line)
            told = event.get("command") if event.get("kind") == "start" else None
        except (ValueError, AttributeError):  # half a line, of a crash
            continue
        if isinstance(told, str) and (not commands or _changes(told)):
            commands.append(visible(redact(told), in_a_line=True))
    return list(dict.fromkeys(commands))


def _changes(command: str) -> bool:
    """True of a resume that asks for something else; code is named again to allow its import."""
    try:
        words = shlex.split(command)
    except ValueError:
        return True
    pairs = [word.partition("=") for word in words if "=" in word and not word.startswith("--")]
    return any(key not in UNCHANGING and ":" not in value for key, _, value in pairs)


def _newer_version(path: Path, version: int) -> ValueError:
    return ValueError(
        f"{path} has schema version {version}, but this GradTune reads up to "
        f"{SCHEMA_VERSION}. Update GradTune."
    )


def to_batch(row: Row, schema: pa.Schema) -> pa.RecordBatch:
    """One row as Arrow.

    Raises:
        ValueError: a missing or unknown column, or a value of the wrong type.
    """
    if row.keys() != set(schema.names):
        odd = sorted(row.keys() ^ set(schema.names))
        raise ValueError(f"a row must hold every column, but got (differing: {', '.join(odd)}).")
    try:
        return pa.RecordBatch.from_pylist([row], schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeError) as error:
        raise ValueError(f"a row does not fit its table: {error}") from error


def _version(schema: pa.Schema) -> int:
    text = (schema.metadata or {}).get(b"schema_version", b"")
    if not text.isdigit():
        raise DamagedFile("no schema_version: not written by GradTune, or altered")
    return int(text)


def _conform(table: pa.Table, schema: pa.Schema, version: int) -> pa.Table:
    missing = [name for name in schema.names if name not in table.column_names]
    lost = [name for name in missing if name not in LATER_COLUMNS]
    if version == SCHEMA_VERSION and lost:
        raise DamagedFile(f"lacks columns {', '.join(lost)}")
    columns = [
        pa.nulls(table.num_rows, field.type)
        if field.name in missing
        else _cast(table.column(field.name), field)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _cast(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    texts = (pa.types.is_string(column.type), pa.types.is_string(field.type))
    if texts[0] != texts[1] and not pa.types.is_null(column.type):
        raise DamagedFile(f"column {field.name} is {column.type} instead of {field.type}")
    try:
        return column.cast(field.type)
    except pa.ArrowException as error:
        raise DamagedFile(f"column {field.name}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].strip()[:200]
