"""What of a run's records is damaged or missing, and what is lost with it?"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from results.records.events import EVENTS_NAME, read_events
from results.records.exclusions import EXCLUSIONS_NAME, read_exclusions
from results.records.redaction import visible
from results.records.schema import SCHEMAS
from results.records.sealing import digest
from results.records.segments import (
    CONFIG_NAME,
    COPIES,
    DECIMAL,
    MANIFEST_NAME,
    TABLES,
    DamagedFile,
    NewerVersion,
    Segment,
    links_in,
    list_segments,
    name_of,
    no_rows,
    open_segment,
    read_config,
    read_manifest,
    segment_numbers,
    segment_path,
)

NEEDED = ("recipe", "spaces", "config")  # of a manifest, where no checksum vouches
CHECKPOINTS = "checkpoints"  # folder of a run
# As trainables names the states of its trainings: epoch, attempt, beginning of the SHA-256.
STATE_NAME = re.compile(r"\d{5}-a(\d{4})-([0-9a-f]{16})\.pt")
SEGMENT_NAME = re.compile(rf"({'|'.join(TABLES)})/(\d{{5,}})")
ATTEMPT_NAME = re.compile(r"attempt-(\d{4})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        text: a sentence.
        path: the file that cannot be trusted; None where something is missing.
        home: where a file belongs that can be trusted.
    """

    text: str
    path: Path | None = None
    home: Path | None = None


@dataclass(kw_only=True)
class Audit:
    """What is wrong in one run folder.

    Attributes:
        manifest: as far as it can be trusted, else its copy's, else {}.
        problems: with files, in the order of the folder.
        tables: the rows of the segments that can be trusted.
        newer: what a newer GradTune has written, a sentence each; not to be mended here.
        has_gap: rows of trials are gone.
        lost_trainings: keys of trials with epochs but no row.
        lost_epochs: by trial_key, of trials with rows: how many are missing; how many it had.
    """

    run_dir: Path
    manifest: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    tables: dict[str, pa.Table] = field(default_factory=dict)
    newer: list[str] = field(default_factory=list)
    has_gap: bool = False
    lost_trainings: list[str] = field(default_factory=list)
    lost_epochs: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """As when the run began, else the folder's name."""
        return str(self.manifest.get("run_id", self.run_dir.resolve().name))

    def sentences(self) -> list[str]:
        """Everything that is wrong, a sentence each."""
        run = f"run {self.run_id}: trial"
        return [
            *(problem.text for problem in self.problems),
            *(f"{run} {key} has epochs, but its row is lost." for key in self.lost_trainings),
            *(
                f"{run} {key} has {had - lost} of its {had} epochs."
                for key, (lost, had) in self.lost_epochs.items()
            ),
        ]

    @property
    def lost(self) -> str:
        """In one line what is lost; "" where nothing is."""
        epochs = sum(lost for lost, _ in self.lost_epochs.values())
        parts = [
            f"the rows of {len(self.lost_trainings)} trainings, which a resume trains again"
            * bool(self.lost_trainings),
            f"{epochs} epochs of {len(self.lost_epochs)} trainings" * bool(epochs),
        ]
        text = " and ".join(filter(None, parts))
        return f"run {self.run_id} has lost {text}." if text else ""

    def add(self, text: str, path: Path | None = None, home: Path | None = None) -> None:
        """Note a problem."""
        self.problems.append(Problem(text=text, path=path, home=home))


def audit(run_dir: Path, *, with_states: bool = True) -> Audit:
    """Look at every file of the records, also while they are written.

    Args:
        with_states: the states of trainings too, which may be large.

    Raises:
        ValueError: written by a newer GradTune.
    """
    found = Audit(run_dir=run_dir)
    for link in links_in(run_dir):
        found.add(f"{link} is a symbolic link: nothing is written through it.", link)
    _check_manifest(found)
    _check_config(found)
    for table in reversed(TABLES):  # trials first: a writer brings their epochs before them
        _check_segments(found, table)
    _check_lines(found)
    if with_states:
        for folder in sorted(p for p in run_dir.glob(f"{CHECKPOINTS}/*") if p.is_dir()):
            _check_states(found, folder)
    _count_losses(found)
    return found


def skipped(path: Path, error: Exception) -> str:
    """The sentence on a file that cannot be trusted."""
    return visible(f"{path} was skipped: {str(error).rstrip('.')}.", in_a_line=True)


def lost_epochs(trials: pa.Table, epochs: pa.Table) -> dict[tuple[str, str], tuple[int, int]]:
    """Of trials that lack epochs: how many, and how many they had; by run_id and trial_key."""
    names = ["run_id", "trial_key"]
    counts = epochs.group_by([*names, "epoch"]).aggregate([]).group_by(names)
    recorded = {
        (row["run_id"], row["trial_key"]): row["epoch_count"]
        for row in counts.aggregate([("epoch", "count")]).to_pylist()
    }
    had = {
        (row["run_id"], row["trial_key"]): row["epochs_done"]
        for row in trials.select([*names, "epochs_done"]).to_pylist()
    }
    return {
        key: (done - recorded.get(key, 0), done)
        for key, done in had.items()
        if done > recorded.get(key, 0)
    }


def _check_manifest(found: Audit) -> None:
    copy = f"{COPIES}/{MANIFEST_NAME}"
    try:
        found.manifest = read_manifest(found.run_dir)
        is_read = True
    except DamagedFile as error:
        is_read = False
        path = found.run_dir / MANIFEST_NAME
        found.add(skipped(path, error), path)
    is_copied = not is_read or "segments" in found.manifest
    if not is_copied and (lacking := [n for n in NEEDED if n not in found.manifest]):
        found.add(f"{found.run_dir / MANIFEST_NAME} lacks {', '.join(lacking)}.")
    try:
        content = read_manifest(found.run_dir, copy)
        found.manifest = found.manifest or content
    except DamagedFile as error:
        path = found.run_dir / copy
        if is_copied and (path.exists() or found.manifest):
            found.add(skipped(path, error), path)


def _check_config(found: Audit) -> None:
    copied = found.run_dir / COPIES if "files" in found.manifest else None
    for folder in filter(None, (found.run_dir, copied)):
        try:
            read_config(folder, found.manifest)
        except DamagedFile as error:
            path = folder / CONFIG_NAME
            found.add(skipped(path, error), path)


def _check_segments(found: Audit, table: str) -> None:
    run_dir, schema, before = found.run_dir, SCHEMAS[table], len(found.problems)
    known = found.manifest.get("segments", {}).get(table, {})
    parts, seen, numbers, unreadable = [no_rows(schema)], set[str](), set[int](), set[int]()
    segments = _readable_segments(found, table, numbers, unreadable)
    # Of two that are the same, the one in its place comes first.
    for path, segment in sorted(segments, key=lambda pair: not _is_home(*pair)):
        if segment.digest in seen:
            found.add(f"{path} is a copy of another segment.", path)
            continue
        seen.add(segment.digest)
        if odd := _odd_segment(found, path, segment, known):
            found.add(f"{path} {odd}.", path)
            continue
        if _is_home(path, segment):
            numbers |= {int(path.stem)} if DECIMAL.fullmatch(path.stem) else set()
        else:
            found.add(f"{path} was written as {segment.name}.", path, _home(run_dir, segment))
        parts.append(segment.table)
    found.tables[table] = pa.concat_tables(parts)
    written = {int(number) for number, about in known.items() if not about.get("lost")}
    # Numbers are given one after the other, so every one below the highest was written.
    # A file that nobody can read, and no manifest knows, may be called by any number.
    certain = numbers | written if "segments" in found.manifest else numbers | unreadable
    lost = {int(number) for number, about in known.items() if about.get("lost")}
    for number in sorted({*range(max(certain, default=-1) + 1)} - numbers - unreadable - lost):
        rows = known.get(str(number), {}).get("rows")
        of_rows = f" ({rows} rows)" if rows else ""
        found.add(f"{run_dir / table}: segment {number:05d} is missing{of_rows}.")
    if table == "trials":
        found.has_gap = len(found.problems) > before or bool(lost)
    _check_copies(found, table, written)


def _readable_segments(
    found: Audit, table: str, numbers: set[int], unreadable: set[int]
) -> list[tuple[Path, Segment]]:
    """Those of a table; of what is not readable its number is noted, for it is not missing."""
    segments = []
    for path in list_segments(found.run_dir, table):
        try:
            segments.append((path, open_segment(path, SCHEMAS[table])))
        except NewerVersion as error:
            found.newer.append(str(error))
            found.add(skipped(path, error))
            numbers |= {int(path.stem)} if DECIMAL.fullmatch(path.stem) else set()
        except (DamagedFile, ValueError) as error:
            found.add(skipped(path, error), path)
            unreadable |= {int(path.stem)} if DECIMAL.fullmatch(path.stem) else set()
    return segments


def _is_home(path: Path, segment: Segment) -> bool:
    return segment.name in ("", name_of(path))


def _odd_segment(found: Audit, path: Path, segment: Segment, known: dict[str, Any]) -> str | None:
    """Why the rows of a readable segment are not those of this place; None where they are."""
    if segment.name.partition("/")[0] not in ("", path.parent.name):
        return f"was written as {segment.name}"
    owners = {segment.run_id} - {""} or set(segment.table["run_id"].unique().to_pylist())
    if "run_id" in found.manifest and owners - {found.run_id}:
        return f"belongs to run {', '.join(sorted(map(str, owners - {found.run_id})))}"
    sealed = known.get(_number(segment.name or name_of(path)), {}).get("sha256")
    if sealed not in (None, segment.digest):
        return "is not the segment that the run wrote last"
    return None


def _number(name: str) -> str:
    """Of epochs/00003 its 3, as a manifest writes it."""
    return name.partition("/")[2].lstrip("0") or "0"


def _home(run_dir: Path, segment: Segment) -> Path | None:
    """Where a segment belongs, if it tells."""
    match = SEGMENT_NAME.fullmatch(segment.name)
    return segment_path(run_dir, match[1], int(match[2])) if match else None


def _check_copies(found: Audit, table: str, written: set[int]) -> None:
    """Every segment has a copy, which is as it was written and of no older state than told."""
    folder, known = found.run_dir / COPIES, found.manifest.get("segments", {}).get(table, {})
    for number in sorted(written | segment_numbers(folder, table)):
        path = segment_path(folder, table, number)
        try:
            if not path.exists():
                raise DamagedFile("it is missing")
            segment = open_segment(path, SCHEMAS[table])
            if not _is_home(path, segment):
                raise DamagedFile(f"it was written as {segment.name}")
            if known.get(str(number), {}).get("sha256", segment.digest) != segment.digest:
                raise DamagedFile("it is not what the run wrote last")
        except NewerVersion as error:
            found.newer.append(str(error))
        except (DamagedFile, ValueError) as error:
            found.add(skipped(path, error), path)


def _check_lines(found: Audit) -> None:
    path = found.run_dir / EVENTS_NAME
    events, problems = read_events(found.run_dir)
    for problem in problems:
        found.add(f"{path}: {problem}.", path)
    known = found.manifest.get("events", 0)
    if len(events) + len(problems) < known:
        found.add(f"{path}: {known - len(events)} of its {known} lines are missing.", path)
    try:
        read_exclusions(found.run_dir)
    except DamagedFile as error:
        path = found.run_dir / EXCLUSIONS_NAME
        found.add(skipped(path, error), path)


def _check_states(found: Audit, folder: Path) -> None:
    """The states of one training: as they were written, of different epochs, and all there."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    digests = Counter[str]()
    for name in filter(STATE_NAME.fullmatch, names):
        path = folder / name
        attempt, begin = STATE_NAME.fullmatch(name).groups()  # type: ignore[union-attr]
        try:
            is_good = digest(path.read_bytes()).startswith(begin)
        except OSError:  # removed by its training meanwhile
            continue
        digests[begin] += is_good
        if not is_good:
            found.add(f"{path} was skipped: its checksum differs.", path)
        elif digests[begin] > 1:
            found.add(f"{path} is a copy of the state of another epoch.", path)
        elif f"attempt-{attempt}" not in names:
            found.add(f"{folder}: attempt-{attempt} is missing.")
    for name in listed_states(folder)[1]:
        if STATE_NAME.fullmatch(name) is None:
            found.add(f"{folder}: what its newest attempt tells is not as it was written.")
        elif not (folder / name).exists() and name in listed_states(folder)[1]:
            found.add(f"{folder}: the state after report {int(name[:5])} is missing.")


def listed_states(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest attempt at a training that saved a state, and the states it says it keeps."""
    names = filter(ATTEMPT_NAME.fullmatch, (path.name for path in folder.glob("attempt-*")))
    for name in sorted(names, reverse=True):
        try:
            listed = (folder / name).read_text(errors="replace").split()
        except OSError:  # removed by its training meanwhile
            break
        if listed:
            return folder / name, listed
    return None, []


def _count_losses(found: Audit) -> None:
    trials, epochs = found.tables["trials"], found.tables["epochs"]
    lost: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for (_, key), count in lost_epochs(trials, epochs).items():
        lost[key] = max(lost[key], count)
    found.lost_epochs = dict(lost)
    # Without a gap, epochs that have no row are what a killed writer left.
    if found.has_gap or "segments" not in found.manifest:
        known = set(trials["trial_key"].to_pylist())
        keys = pc.unique(epochs["trial_key"]).to_pylist()
        found.lost_trainings = [key for key in keys if key not in known]
