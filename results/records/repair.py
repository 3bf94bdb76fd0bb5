"""How does a damaged run folder become whole again, as far as it can? Nothing is made up.

What cannot be trusted is moved into quarantine/; what was written twice comes back from the copy
that is whole. The rest is lost, and said.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from results.records.audit import CHECKPOINTS, STATE_NAME, Audit, audit, listed_states
from results.records.events import EVENTS_NAME, read_events
from results.records.exclusions import EXCLUSIONS_NAME
from results.records.lock import LOCK_NAME, RunLock
from results.records.redaction import redact_all
from results.records.schema import SCHEMAS
from results.records.sealing import CHECKS, digest, read_lines, sealed_line
from results.records.segments import (
    CONFIG_NAME,
    COPIES,
    MANIFEST_NAME,
    TABLES,
    DamagedFile,
    links_in,
    name_of,
    open_segment,
    read_config,
    read_manifest,
    segment_numbers,
    segment_path,
    sync_directory,
    write_atomically,
    write_manifest,
    write_twice,
)
from results.records.wall_time import now

QUARANTINE = "quarantine"  # folder of a run


def repair(run_dir: Path, *, with_states: bool = True) -> list[str]:
    """Mend what can be mended; returns a sentence for each thing done.

    Args:
        with_states: see `audit`.

    Raises:
        ValueError: the run is being written, or was by a newer GradTune.
        OSError: the storage refused.
    """
    lines = _remove_links(link for link in [run_dir / LOCK_NAME] if link.is_symlink())
    lock = RunLock(run_dir)
    try:
        lines += _remove_links([*links_in(run_dir)])
        found = audit(run_dir, with_states=with_states)
        if found.newer:
            raise ValueError(found.newer[0])
        if found.problems:
            lines += _mend(run_dir, found, with_states=with_states)
        if lines:
            _note(run_dir, lines)
        return lines
    finally:
        lock.release()


def _remove_links(links: Iterable[Path]) -> list[str]:
    """What they name stays as it is."""
    lines = []
    for link in links:
        lines.append(f"{link} was a symbolic link to {os.readlink(link)}; removed.")
        link.unlink()
    return lines


def _mend(run_dir: Path, found: Audit, *, with_states: bool) -> Iterator[str]:
    by_line = {run_dir / name for name in (EVENTS_NAME, EXCLUSIONS_NAME)}
    bad = {problem.path: problem for problem in found.problems if problem.path is not None}
    for path, problem in bad.items():
        home, what = problem.home, problem.text.rstrip(".")
        if path in by_line:
            yield f"{what}; {_keep_good_lines(run_dir, path)}."
        elif home is not None and not home.exists():
            os.rename(path, home)
            yield f"{what}; it is {home} again."
        elif path.exists():
            yield f"{what}; moved to {_put_away(run_dir, path)}."
    yield from _mend_manifest(run_dir)
    yield from _mend_config(run_dir)
    for table in TABLES:
        yield from _mend_segments(run_dir, table)
    if with_states:
        yield from _tell_states(run_dir)
    yield from _tell_manifest(run_dir)


def _put_away(run_dir: Path, path: Path) -> str:
    """Move a file into quarantine/, under its own name or one beside it; returns where it is."""
    wanted = run_dir / QUARANTINE / path.relative_to(run_dir)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    place, number = wanted, 0
    while os.path.lexists(place):
        number += 1
        place = wanted.with_name(f"{wanted.name}.{number}")
    os.rename(path, place)
    sync_directory(path.parent)
    return str(place)


def _keep_good_lines(run_dir: Path, path: Path) -> str:
    """The lines that are as they were written stay, numbered anew; the whole file is put away."""
    lines = read_lines(path.read_bytes())[0] if path.exists() else []
    copy = run_dir / COPIES / path.name  # of the exclusions
    copied = read_lines(copy.read_bytes())[0] if copy.exists() else []
    lines = max(copied, lines, key=len)
    moved = f", the file is in {_put_away(run_dir, path)}" if path.exists() else ""
    bare = [{name: line[name] for name in line if name not in CHECKS} for line in lines]
    data = b"".join(sealed_line(line, number) for number, line in enumerate(bare, start=1))
    write_atomically(path, lambda file: file.write(data))
    if copy.exists():
        write_atomically(copy, lambda file: file.write(data))
    return f"{len(lines)} lines are kept{moved}"


def _mend_manifest(run_dir: Path) -> Iterator[str]:
    copy = f"{COPIES}/{MANIFEST_NAME}"
    for name, other in ((MANIFEST_NAME, copy), (copy, MANIFEST_NAME)):
        try:
            content = read_manifest(run_dir, other)
        except DamagedFile:
            continue
        if not (run_dir / name).exists() and "segments" in content:
            write_manifest(run_dir, redact_all(content))
            yield f"{run_dir / name} is back, from {other}."


def _mend_config(run_dir: Path) -> Iterator[str]:
    """From its copy, else from what the manifest holds of it."""
    try:
        manifest = read_manifest(run_dir)
    except DamagedFile:
        return
    texts = {}
    for folder in (run_dir, run_dir / COPIES):
        try:
            texts[folder] = read_config(folder, manifest)
        except DamagedFile:
            continue
    if run_dir in texts and (run_dir / COPIES in texts or "files" not in manifest):
        return
    if texts:
        write_twice(run_dir, CONFIG_NAME, next(iter(texts.values())).encode())
        yield f"{run_dir / CONFIG_NAME} is back, from its copy."
    elif manifest.get("config"):  # JSON is YAML
        config = redact_all(manifest["config"], by_name=True)
        data = (json.dumps(config, indent=2) + "\n").encode()
        write_twice(run_dir, CONFIG_NAME, data)
        if "files" in manifest:
            files = {CONFIG_NAME: digest(data)}
            write_manifest(run_dir, redact_all(manifest) | {"files": files})
        yield f"{run_dir / CONFIG_NAME} is back, from {MANIFEST_NAME}."


def _mend_segments(run_dir: Path, table: str) -> Iterator[str]:
    """Each from its copy, each copy from its segment."""
    copies = run_dir / COPIES
    for number in sorted(segment_numbers(run_dir, table) | segment_numbers(copies, table)):
        path, copy = (segment_path(folder, table, number) for folder in (run_dir, copies))
        for to, source in ((path, copy), (copy, path)):
            if not to.exists() and _is_whole(source):
                data = source.read_bytes()
                to.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(to, functools.partial(_write, data))
                yield f"{to} is back, from {source}."


def _write(data: bytes, file: IO[bytes]) -> None:
    file.write(data)


def _is_whole(path: Path) -> bool:
    """True of a segment, or copy of one, that is as it was written, in its place."""
    try:
        return open_segment(path, SCHEMAS[path.parent.name]).name in ("", name_of(path))
    except (DamagedFile, ValueError):
        return False


def _tell_states(run_dir: Path) -> Iterator[str]:
    """What a training kept is what is there; it goes on from an older state, or its start."""
    for folder in sorted(path for path in run_dir.glob(f"{CHECKPOINTS}/*") if path.is_dir()):
        marker, listed = listed_states(folder)
        gone = [name for name in listed if not (folder / name).exists()]
        if marker is not None and gone:
            left = "".join(f"{name}\n" for name in listed if name not in gone)
            write_atomically(marker, functools.partial(_write, left.encode()))
            known = [str(int(name[:5])) for name in gone if STATE_NAME.fullmatch(name)]
            yield f"{folder}: the state after report {', '.join(known) or '?'} is lost."


def _tell_manifest(run_dir: Path) -> Iterator[str]:
    """The manifest holds what is there now; a segment that is lost is not looked for again."""
    try:
        manifest = read_manifest(run_dir)
    except DamagedFile:
        return
    segments = {table: dict(manifest.get("segments", {}).get(table, {})) for table in TABLES}
    for table, known in segments.items():
        there = segment_numbers(run_dir, table)
        highest = max(there | {int(number) for number in known}, default=-1)
        for number in range(highest + 1):
            if number in there:
                segment = open_segment(segment_path(run_dir, table, number), SCHEMAS[table])
                about = {"rows": segment.table.num_rows, "sha256": segment.digest}
                known[str(number)] = about
            elif not known.get(str(number), {}).get("lost"):
                known[str(number)] = {"lost": True}
                yield f"{run_dir / table}: segment {number:05d} is lost."
    num_events = len(read_events(run_dir)[0])
    counted = {"segments": segments, "events": num_events}
    write_manifest(run_dir, redact_all(manifest) | counted)


def _note(run_dir: Path, lines: list[str]) -> None:
    """An event says what was done."""
    before = len(read_events(run_dir)[0])
    event = {"time": now().isoformat(), "kind": "repaired", "what": lines}
    with (run_dir / EVENTS_NAME).open("ab") as file:
        file.write(sealed_line(event, before + 1))
