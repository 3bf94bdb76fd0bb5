"""Where are runs, and what do their files hold? Also of running, crashed or half-damaged ones."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from results.records.audit import skipped
from results.records.exclusions import EXCLUSIONS_NAME, read_exclusions
from results.records.redaction import TO_LOOK_AT, redact_all, visible, visible_all
from results.records.schema import SCHEMAS
from results.records.segments import (
    MANIFEST_NAME,
    TABLES,
    DamagedFile,
    list_segments,
    no_rows,
    read_manifest,
    read_segment,
)
from results.storage.place import is_remote
from results.storage.twin import by_place, reading_twins


def find_runs(path: str | Path | Iterable[str | Path]) -> list[Path]:
    """The run folders that `path` means, each once; of a URI their copies here, up to date.

    Raises:
        ValueError: one of the paths holds no run.
        BucketError: a bucket cannot be read.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    by_place: dict[Path, Path] = {}
    for run_dir in (run_dir for one in paths for run_dir in _runs_at(str(one))):
        by_place.setdefault(run_dir.resolve(), run_dir)
    if not by_place:
        raise ValueError("no runs were named.")
    return list(by_place.values())


@dataclass(kw_only=True)
class RunFiles:
    """The raw content of one run folder; damage: a sentence per skipped file."""

    run_dir: Path
    manifest: dict[str, Any]
    tables: dict[str, pa.Table]
    damage: list[str] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """As when the run began: of the manifest, else of the rows, else the folder's name."""
        manifest_id = self.manifest.get("run_id")
        if isinstance(manifest_id, str):
            return manifest_id
        recorded = (str(t["run_id"][0].as_py()) for t in self.tables.values() if t.num_rows)
        return next(recorded, visible(self.run_dir.resolve().name, in_a_line=True))


def read_run(run_dir: Path) -> RunFiles:
    """What is there; what cannot be read is named in `damage`.

    Names and errors may be a stranger's: what a terminal would obey is written out in them.

    Raises:
        ValueError: written by a newer GradTune.
    """
    files = RunFiles(run_dir=run_dir, manifest={}, tables={})
    _read_manifest(files)
    try:
        files.excluded = visible_all(read_exclusions(run_dir))
    except DamagedFile as error:
        files.damage.append(skipped(run_dir / EXCLUSIONS_NAME, error))
    for table in reversed(TABLES):  # trials first: a writer brings their epochs before them
        parts = [no_rows(SCHEMAS[table])]
        for path in list_segments(run_dir, table):
            try:
                parts.append(read_segment(path, SCHEMAS[table]))
            except DamagedFile as error:
                files.damage.append(skipped(path, error))
        files.tables[table] = _visible(pa.concat_tables(parts))
    files.damage = [by_place(sentence, run_dir) for sentence in files.damage]
    return files


def _visible(table: pa.Table) -> pa.Table:
    """The same rows, with visible texts; an error keeps its lines."""
    for place, about in enumerate(table.schema):
        column = table.column(place)
        if pa.types.is_map(about.type):
            if _is_odd(pa.chunked_array([part.keys for part in column.chunks], pa.string())):
                maps = (None if m is None else visible_all(dict(m)) for m in column.to_pylist())
                pairs = [None if m is None else [*m.items()] for m in maps]
                table = table.set_column(place, about, pa.array(pairs, about.type))
        elif pa.types.is_string(about.type) and _is_odd(column):
            texts, is_name = column.to_pylist(), about.name != "error"
            values = [None if t is None else visible(t, in_a_line=is_name) for t in texts]
            table = table.set_column(place, about, pa.array(values, about.type))
    return table


def _is_odd(texts: pa.ChunkedArray) -> bool:
    return bool(pc.any(pc.match_substring_regex(texts, TO_LOOK_AT)).as_py())


def _runs_at(path: str) -> list[Path]:
    if is_remote(path):
        return reading_twins(path)
    path = os.path.expanduser(path)  # no shell does, in a notebook or after an equals sign
    exists = Path(path).exists()
    candidates = [Path(path)] if exists else [Path(p) for p in sorted(glob.glob(_pattern(path)))]
    runs = [candidate for candidate in candidates if _is_run(candidate)]
    if not runs and Path(path).is_dir():
        runs = [child for child in sorted(Path(path).iterdir()) if _is_run(child)]
    if not runs:
        why = "holds no run" if exists else "does not exist"
        raise ValueError(f"{path!r} {why} (a run is a folder with manifest.json).")
    return runs


def _pattern(path: str) -> str:
    """A glob whose beginning is taken literally as far as it exists: `runs [1]/*`."""
    parts = Path(path).parts
    beginnings = (Path(*parts[:count]) for count in range(len(parts), 0, -1))
    literal = next((str(path) for path in beginnings if path.exists()), "")
    rest = parts[len(Path(literal).parts) :]
    return os.path.join(glob.escape(literal), *rest)


def _is_run(path: Path) -> bool:
    return (path / MANIFEST_NAME).is_file() or all((path / name).is_dir() for name in TABLES)


def _read_manifest(files: RunFiles) -> None:
    try:
        # Of runs written before secrets were left out, too.
        files.manifest = visible_all(redact_all(read_manifest(files.run_dir)))
    except DamagedFile as error:
        files.damage.append(skipped(files.run_dir / MANIFEST_NAME, error))
