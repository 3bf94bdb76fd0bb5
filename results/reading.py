"""Where are runs, and what do their files hold? Also of running, crashed or half-damaged ones."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from results.records.audit import skipped
from results.records.exclusions import EXCLUSIONS_NAME, read_exclusions
from results.records.schema import SCHEMAS
from results.records.segments import (
    MANIFEST_NAME,
    TABLES,
    DamagedFile,
    list_segments,
    read_manifest,
    read_segment,
)
from results.storage.place import is_remote
from results.storage.twin import reading_twins


def find_runs(path: str | Path | Iterable[str | Path]) -> list[Path]:
    """The run folders that `path` means, each once; of a URI their copies here, up to date.

    Raises:
        ValueError: one of the paths holds no run.
        StorageError: a bucket cannot be read.
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
        return next(recorded, self.run_dir.resolve().name)


def read_run(run_dir: Path) -> RunFiles:
    """What is there; what cannot be read is named in `damage`.

    Raises:
        ValueError: written by a newer GradTune.
    """
    files = RunFiles(run_dir=run_dir, manifest={}, tables={})
    _read_manifest(files)
    try:
        files.excluded = read_exclusions(run_dir)
    except DamagedFile as error:
        files.damage.append(skipped(run_dir / EXCLUSIONS_NAME, error))
    for table in reversed(TABLES):  # trials first: a writer brings their epochs before them
        parts = [SCHEMAS[table].empty_table()]
        for path in list_segments(run_dir, table):
            try:
                parts.append(read_segment(path, SCHEMAS[table]))
            except DamagedFile as error:
                files.damage.append(skipped(path, error))
        files.tables[table] = pa.concat_tables(parts)
    return files


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
        files.manifest = read_manifest(files.run_dir)
    except DamagedFile as error:
        files.damage.append(skipped(files.run_dir / MANIFEST_NAME, error))
