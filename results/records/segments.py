"""How is one file of a run written so that it is never seen half-done, and read with suspicion?"""

from __future__ import annotations

import functools
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from results.records.manifest import odd_field
from results.records.schema import LATER_COLUMNS, SCHEMA_VERSION, SCHEMAS, Row
from results.records.sealing import BLANK, digest, is_as_sealed, seal

TABLES = tuple(SCHEMAS)
MANIFEST_NAME, CONFIG_NAME = "manifest.json", "config.yaml"
# The folder where manifest, configuration and segments are written a second time.
COPIES = "copies"
# Whatever of a run folder is written by us; of the folders all that lies in them.
OUR_FILES = (
    *(
        ".lock",
        ".lock.taking",
        MANIFEST_NAME,
        CONFIG_NAME,
        "events.jsonl",
        "exclusions.jsonl",
        "report.html",
    ),
)
LOGS = "logs"  # folder of what the users' functions print
OUR_FOLDERS = (*TABLES, COPIES, "checkpoints", LOGS, "plots", "export", "quarantine", "tracking")
# What lies in these, trackers write: also links, but none that leads out of their folder. wandb's
# client makes one to its log of all runs, through which it never writes.
FOREIGN_FOLDERS = ("tracking",)
FOREIGN_LINK = re.compile(r"tracking/wandb/[^/]*run-[^/]+/logs/debug-core\.log")
# Where a manifest holds its checksum: a line of its own, which no text inside can look like.
SEAL_LINE = re.compile(rb'^  "seal": "(sha256:[0-9a-f]{64})",?$', re.MULTILINE)
SMALL_BYTES = 1 << 20  # threads would take longer to agree than to read so little
DECIMAL = re.compile(r"[0-9]+")  # the name of a segment; str.isdigit takes more
# What files may tell of themselves; before there were checksums, the first two alone.
SEALED = {"segments", "seal"}  # a manifest with one of these has a checksum
ABOUT = {b"ARROW:schema", b"schema_version", b"seal", b"segment", b"run_id"}


class NewerVersion(ValueError):
    """A file that a newer GradTune has written: whole, and not to be touched by this one."""


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
    return {
        int(path.stem) for path in list_segments(run_dir, table) if DECIMAL.fullmatch(path.stem)
    }


def write_atomically(
    path: Path, write: Callable[[IO[bytes]], object], *, durably: bool = True
) -> None:
    """Let `write` fill a hidden temporary file, then put it durably in the place of `path`.

    durably: False leaves it to the system when it survives a loss of power.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a process that had this number before
        with open(temporary, "xb") as file:  # whatever link has taken its place, it is refused
            write(file)
            file.flush()
            if durably:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if durably:
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


def write_twice(run_dir: Path, name: str, data: bytes) -> None:
    """Replace this file of the run durably, and its copy."""
    write_atomically(run_dir / name, lambda file: file.write(data))
    copy = run_dir / COPIES / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(copy, lambda file: file.write(data), durably=False)


def links_in(run_dir: Path) -> Iterator[Path]:
    """The symbolic links that stand where something of ours is written."""
    for name in (*OUR_FILES, *OUR_FOLDERS):
        path = run_dir / name
        if path.is_symlink():
            yield path
        elif name in OUR_FOLDERS:
            for folder, folders, files in os.walk(path):
                inside = (Path(folder, entry) for entry in sorted((*folders, *files)))
                for link in filter(Path.is_symlink, inside):
                    if name not in FOREIGN_FOLDERS or not _is_trackers_own(link, path):
                        yield link


def _is_trackers_own(link: Path, folder: Path) -> bool:
    """True of a link that stays in the trackers' folder, as far as it is followed."""
    if FOREIGN_LINK.fullmatch(link.relative_to(folder.parent).as_posix()):
        return True
    try:
        return link.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # round and round
        return False


def refuse_links(run_dir: Path) -> None:
    """Raise ValueError where something would be written through a symbolic link."""
    if link := next(links_in(run_dir), None):
        raise ValueError(
            f"{link} is a symbolic link, and nothing in a run folder is written through one. "
            "Remove it."
        )


def sweep_temporary(run_dir: Path) -> None:
    """Remove what a killed writer left behind."""
    copies = run_dir / COPIES
    for directory in (f / table for f in (run_dir, copies) for table in ("", *TABLES)):
        for path in directory.glob(".*.tmp"):
            path.unlink(missing_ok=True)


def write_segment(
    path: Path, table: pa.Table, *, run_id: str = "", copy: Path | None = None
) -> bytes:
    """Replace a segment by this table: zstd, checksums of pages and file, atomic and durable.

    Args:
        run_id: of the run whose segment it is.
        copy: a second place for the same file.

    Returns:
        The content of the file.
    """
    buffer = io.BytesIO()
    options = {"compression": "zstd", "write_page_checksum": True}
    with pq.ParquetWriter(buffer, table.schema, **options) as writer:
        writer.write_table(table)
        about = {"run_id": run_id, "segment": name_of(path), "seal": BLANK.decode()}
        writer.add_key_value_metadata(about)
    data = buffer.getvalue()
    data = seal(data, data.rfind(BLANK))
    write_atomically(path, lambda file: file.write(data))
    if copy is not None:
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(copy, lambda file: file.write(data), durably=False)
    return data


def name_of(path: Path) -> str:
    """What a segment is called: epochs/00003."""
    return f"{path.parent.name}/{path.stem}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """The content of one segment.

    Attributes:
        table: its rows in the current schema.
        name, run_id: as they were when it was written; "" in files of before.
        digest: SHA-256 of the file.
    """

    table: pa.Table
    name: str
    run_id: str
    digest: str


def read_segment(path: Path, schema: pa.Schema) -> pa.Table:
    """One segment in the current schema: missing columns are null, unknown ones are dropped.

    Raises:
        DamagedFile: truncated, empty, foreign or altered content.
        ValueError: written by a newer GradTune.
    """
    return open_segment(path, schema).table


def open_segment(path: Path, schema: pa.Schema) -> Segment:
    """The same, with what the file tells of itself."""
    try:
        data = path.read_bytes()
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            about = file.metadata.metadata or {}
            _check_about(data, about)
            version = _version(file.schema_arrow)
            if version <= SCHEMA_VERSION:
                table = file.read(use_threads=len(data) > SMALL_BYTES)
                table.validate(full=True)
    except DamagedFile:
        raise
    except Exception as error:  # also of a column's type that another library has registered
        raise DamagedFile(_first_line(error)) from error
    if version > SCHEMA_VERSION:
        raise _newer_version(path, version)
    return Segment(
        table=_conform(table, schema, version),
        name=about.get(b"segment", b"").decode(),
        run_id=about.get(b"run_id", b"").decode(),
        digest=digest(data),
    )


def _check_about(data: bytes, about: Mapping[bytes, bytes]) -> None:
    """A file with a checksum must be as it was written, and one without must look like it."""
    if not about.keys() <= ABOUT or (b"seal" in about) != (b"segment" in about):
        raise DamagedFile("altered: it tells odd things of itself")
    if b"seal" in about and not is_as_sealed(data, data.rfind(about[b"seal"])):
        raise DamagedFile("altered since it was written: its checksum differs")


def read_manifest(run_dir: Path, name: str = MANIFEST_NAME) -> dict[str, Any]:
    """What a run is: the content of its manifest.json (or of a copy), without the checksum.

    Raises:
        DamagedFile: missing, no JSON object, altered, or a field is not what a run writes there.
        ValueError: written by a newer GradTune.
    """
    path = run_dir / name
    try:
        data = path.read_bytes()
        manifest = json.loads(data)
    except FileNotFoundError:
        raise DamagedFile("it is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFile(_first_line(error)) from error
    if not isinstance(manifest, dict):
        raise DamagedFile("no JSON object")
    match = SEAL_LINE.search(data)
    is_whole = is_as_sealed(data, match.start(1)) if match else not manifest.keys() & SEALED
    if not is_whole:
        raise DamagedFile("altered since it was written: its checksum differs")
    version = manifest.get("schema_version", SCHEMA_VERSION)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise _newer_version(path, version)
    if odd := odd_field(manifest):
        raise DamagedFile(odd)
    manifest.pop("seal", None)
    return manifest


def write_manifest(run_dir: Path, manifest: Mapping[str, Any]) -> None:
    """Replace a run's manifest.json and its copy, atomically and durably, with a checksum."""
    sealed = {"segments": {}} | dict(manifest) | {"seal": BLANK.decode()}
    data = (json.dumps(sealed, indent=2, sort_keys=True, default=str) + "\n").encode()
    match = SEAL_LINE.search(data)
    assert match is not None, "the seal has a line of its own"
    write_twice(run_dir, MANIFEST_NAME, seal(data, match.start(1)))


def read_config(run_dir: Path, manifest: Mapping[str, Any]) -> str:
    """The text of a run's config.yaml.

    Raises:
        DamagedFile: missing, or not as the manifest knows it.
    """
    try:
        data = (run_dir / CONFIG_NAME).read_bytes()
        text = data.decode()
    except FileNotFoundError:
        raise DamagedFile("it is missing") from None
    except (OSError, UnicodeError) as error:
        raise DamagedFile(_first_line(error)) from error
    known = manifest.get("files", {}).get(CONFIG_NAME)
    if known is not None and known != digest(data):
        raise DamagedFile("altered since it was written: its checksum differs")
    if known is None and ("\0" in text or not text.endswith("\n")):  # of a run of before
        raise DamagedFile("truncated or overwritten")
    return text


def _newer_version(path: Path, version: int) -> NewerVersion:
    return NewerVersion(
        f"{path} has schema version {version}, but this GradTune reads up to "
        f"{SCHEMA_VERSION}. Update GradTune."
    )


def to_batch(rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
    """These rows as Arrow, at once: one by one each would take half a millisecond.

    Raises:
        ValueError: a missing or unknown column, or a value of the wrong type.
    """
    names, layout = _layout(schema)
    for row in rows:
        if row.keys() != names:
            odd = ", ".join(sorted(row.keys() ^ names))
            raise ValueError(f"a row must hold every column, but got (differing: {odd}).")
    try:
        batch = pa.RecordBatch.from_struct_array(pa.array(rows, layout))
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeError) as error:
        raise ValueError(f"a row does not fit its table: {error}") from error
    return batch.replace_schema_metadata(schema.metadata)


@functools.cache
def _layout(schema: pa.Schema) -> tuple[frozenset[str], pa.DataType]:
    """Its names, and a row of it."""
    return frozenset(schema.names), pa.struct([*schema])


@functools.cache
def no_rows(schema: pa.Schema) -> pa.Table:
    """An empty table; made once, for it takes a millisecond."""
    return schema.empty_table()


def _version(schema: pa.Schema) -> int:
    text = (schema.metadata or {}).get(b"schema_version", b"")
    if not re.fullmatch(rb"[0-9]+", text):
        raise DamagedFile("no schema_version: not written by GradTune, or altered")
    return int(text)


def _conform(table: pa.Table, schema: pa.Schema, version: int) -> pa.Table:
    columns_read = {*table.column_names}
    missing = [name for name in schema.names if name not in columns_read]
    lost = [name for name in missing if name not in LATER_COLUMNS]
    if version == SCHEMA_VERSION and lost:
        raise DamagedFile(f"lacks columns {', '.join(lost)}")
    columns = [
        _cast(table.column(field.name), field)
        if field.name in columns_read
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _cast(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    if column.type == field.type:
        return column
    texts = (pa.types.is_string(column.type), pa.types.is_string(field.type))
    if texts[0] != texts[1] and not pa.types.is_null(column.type):
        raise DamagedFile(f"column {field.name} is {column.type} instead of {field.type}")
    try:
        return column.cast(field.type)
    except pa.ArrowException as error:
        raise DamagedFile(f"column {field.name}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].strip()[:200]
