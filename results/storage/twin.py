"""Where is a run of a bucket on this machine? Two twins: one to read by, one to write from.

<cache>/read/<digest of the bucket's folder>/NAME holds the record files as last fetched,
<cache>/write/<digest>/NAME is the folder that a driver works in. Both look like any run folder;
`.uri` beside them says whose twins they are, `.NAME.json` what they are copies of: of a twin that
is read, and of one that nobody has written yet, when each file there was written ("fetched"); of
one that a driver wrote, with which leases ("tokens").
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial, reduce
from pathlib import Path, PurePosixPath
from typing import IO, Any

from results.records.audit import audit
from results.records.events import EVENTS_NAME
from results.records.exclusions import EXCLUSIONS_NAME, merge_lines
from results.records.lock import LOCK_NAME
from results.records.segments import (
    CONFIG_NAME,
    COPIES,
    MANIFEST_NAME,
    TABLES,
    list_segments,
    write_atomically,
    write_text,
    write_twice,
)
from results.records.wall_time import now
from results.storage.lease import LEASE_NAME, is_held, last_writer, parse_lease, read_lease
from results.storage.place import BucketError, Place, Stamp

READ, WRITE = "read", "write"
NEVER: Stamp = (0, 0)
URI_NAME = ".uri"
NUM_READERS = 8  # runs fetched at once
GLOB_SIGNS = "*["
# Of the folder itself; the rest is for people and for workers. The manifest is read first, for
# what it tells of is written before it; and trials before the epochs that were written earlier.
RECORDS = (MANIFEST_NAME, CONFIG_NAME, EVENTS_NAME, LEASE_NAME)
COPIED = (MANIFEST_NAME, CONFIG_NAME, EXCLUSIONS_NAME)
EXCLUSIONS = (EXCLUSIONS_NAME, f"{COPIES}/{EXCLUSIONS_NAME}")  # as they are written
SEGMENTS = (*TABLES, *(f"{COPIES}/{table}" for table in TABLES))  # folders, in the writer's order


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/gradtune or ~/.cache/gradtune, else one below the temporary folder.

    Raises:
        BucketError: neither can be written, or the latter belongs to somebody else.
    """
    tried = []
    with suppress(RuntimeError):  # no HOME
        tried.append(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradtune")
    tried.append(Path(tempfile.gettempdir()) / f"gradtune-{os.getuid()}")
    for folder in tried:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK | os.X_OK):
                return folder
    where = " nor ".join(map(str, tried))
    raise BucketError(f"no folder for copies: neither {where} can be written; set XDG_CACHE_HOME")


def twin_of(home: Place, kind: str) -> Path:
    """The folder here of this run there; the folder around it is made, it is not.

    Args:
        kind: READ or WRITE.
    """
    around = _around(home, kind)
    around.mkdir(parents=True, exist_ok=True)
    if not (around / URI_NAME).exists():
        write_text(around / URI_NAME, str(home.parent))
    return around / home.name


def home_of(run_dir: Path, *kinds: str) -> Place | None:
    """The bucket's folder that this one is a twin of; None of any other folder.

    A folder says so only in the place that `twin_of` gave it: nobody's run is sent somewhere
    because of a file that came along with it.

    Args:
        kinds: of a twin; none = any.
    """
    run_dir = Path(os.path.abspath(run_dir))
    try:
        home = Place.parse((run_dir.parent / URI_NAME).read_text()) / run_dir.name
        places = [_around(home, kind).resolve() for kind in kinds or (READ, WRITE)]
    except (OSError, ValueError):
        return None
    return home if run_dir.parent.resolve() in places else None


def _around(home: Place, kind: str) -> Path:
    """The folder of the twins of all runs that lie beside this one."""
    digest = hashlib.sha256(str(home.parent).encode()).hexdigest()[:16]
    return cache_folder() / kind / digest


def fetch(home: Place, run_dir: Path) -> None:
    """Bring the twin's record files up to date; only what changed is read.

    What a writer puts last is read first: see RECORDS.

    Raises:
        ValueError: no run there.
        BucketError: the storage refused.
    """
    known: dict[str, list[int]] = _notes(run_dir).get("fetched", {})
    fetched: dict[str, Stamp] = {}
    files, folders = home.entries()
    if MANIFEST_NAME not in files and not {*TABLES} <= {*folders}:
        raise ValueError(f"'{home}' holds no run (a run is a folder with manifest.json).")
    for folder in ("", *SEGMENTS):
        if not folder.startswith(COPIES) or COPIES in folders:
            (run_dir / folder).mkdir(parents=True, exist_ok=True)
    files = {EVENTS_NAME: NEVER} | files  # it may come between this list and its reading
    for name, stamp in _records(home, files, folders):
        path = run_dir / name
        if known.get(name) == list(stamp) and path.is_file():
            fetched[name] = stamp
            continue
        with suppress(FileNotFoundError):  # moved there meanwhile
            data = home.read(name)
            write_atomically(path, partial(_write, data))
            fetched[name] = stamp
    for name in (known.keys() | {*EXCLUSIONS}) - fetched.keys():  # moved to quarantine there
        (run_dir / name).unlink(missing_ok=True)
    _note(run_dir, fetched=fetched)


def _records(
    home: Place, files: dict[str, Stamp], folders: list[str]
) -> Iterator[tuple[str, Stamp]]:
    """The record files there, what a writer puts last first; each folder is listed in its turn.

    Args:
        files, folders: of the run's folder itself.
    """
    own = files
    for folder in ("", COPIES, *reversed(SEGMENTS)):
        if folder.startswith(COPIES) and COPIES not in folders:  # of a version without
            continue
        if folder:
            files = (home / folder).entries()[0]
        names = {"": RECORDS, COPIES: COPIED}.get(folder) or filter(is_segment, files)
        for name in [name for name in names if name in files]:
            yield str(PurePosixPath(folder) / name), files[name]
        if folder == COPIES and EXCLUSIONS_NAME in files:
            own = {EXCLUSIONS_NAME: NEVER} | own  # the file itself may be newer than `own`
    if EXCLUSIONS_NAME in own:
        yield EXCLUSIONS_NAME, own[EXCLUSIONS_NAME]


def reading_twins(uri: str) -> list[Path]:
    """The twins of the runs that this URI means, up to date: a run, a folder of runs, or a glob.

    Raises:
        ValueError: no run there.
        BucketError: the storage refused.
    """
    twins = {home: twin_of(home, READ) for home in _homes(uri)}
    with ThreadPoolExecutor(NUM_READERS) as readers:
        holds_run = list(readers.map(_is_fetched, twins, twins.values()))
    found = [twin for twin, is_run in zip(twins.values(), holds_run, strict=True) if is_run]
    if not found:
        raise ValueError(f"{uri!r} holds no run (a run is a folder with manifest.json).")
    return found


def fetch_again(run_dir: Path, paths: Iterable[Path]) -> bool:
    """Bring these files of a copy that is read once more; False where this is none.

    Raises:
        BucketError: the storage refused.
    """
    home = home_of(run_dir, READ)
    if home is None:
        return False
    _fetch_next_time(run_dir, {str(path.relative_to(run_dir)) for path in paths})
    fetch(home, run_dir)
    return True


def _fetch_next_time(run_dir: Path, names: Set[str]) -> None:
    known = _notes(run_dir).get("fetched", {})
    _note(run_dir, fetched={name: known[name] for name in known.keys() - names})


def by_place(text: str, run_dir: Path) -> str:
    """A sentence on files of a run; those of a twin by where they are in its bucket."""
    home = home_of(run_dir)
    return text if home is None else text.replace(str(run_dir), str(home))


def bring(run_dir: Path, folder: str, names: Iterable[str] | None = None) -> Path:
    """The folder of this name in a run; of a copy that is read its files are fetched first.

    Args:
        names: of the files that are wanted; None = all.

    Raises:
        BucketError: the storage refused.
    """
    place, path = _place_of(run_dir / folder, READ), run_dir / folder
    if place is not None:
        path.mkdir(exist_ok=True)
        there = [name for name in place.names() if names is None or name in {*names}]
        with ThreadPoolExecutor(NUM_READERS) as readers:
            for name, data in zip(there, readers.map(place.read, there), strict=True):
                write_atomically(path / name, partial(_write, data), durably=False)
    return path


def describe(path: Path) -> str | None:
    """How a twin is told, and a path in one that is written from: its URI; None of others."""
    place = home_of(path) or _place_of(path, WRITE)
    return None if place is None else str(place)


def publish(path: Path) -> str:
    """Where a file that was written into a run is: one of a copy is put into its bucket first.

    Of trials that are left out the lines there stay.

    Raises:
        BucketError: the storage refused; the file is in the copy.
    """
    place = _place_of(path, READ)
    if place is None:
        return str(path)
    if path.name == EXCLUSIONS_NAME:
        _fetch_next_time(path.parent, {*EXCLUSIONS})  # also where this fails
        share_exclusions(place.parent, path.parent)
    else:
        place.parent.write(place.name, path.read_bytes())
    return str(place)


def share_exclusions(home: Place, run_dir: Path) -> None:
    """Let the run here and there hold the lines of both: anybody may add one at any time.

    Raises:
        BucketError: the storage refused.
    """
    ours, theirs = {}, {}
    for name in EXCLUSIONS:
        path = run_dir / name
        ours[name] = path.read_bytes() if path.is_file() else b""
        theirs[name] = b""
        with suppress(FileNotFoundError):
            theirs[name] = home.read(name)
    both = reduce(merge_lines, [*reversed(ours.values()), *reversed(theirs.values())])
    if {*ours.values()} != {both}:
        write_twice(run_dir, EXCLUSIONS_NAME, both)
    for name in EXCLUSIONS:  # the copy is never longer
        if both != theirs[name]:
            home.write(name, both)


def take_up(home: Place) -> Path:
    """The folder to go on with this run in, whatever of it is here or there.

    The one here is gone on with where it is the last that wrote there: it may hold what did not
    get there; what is damaged or gone here comes from there. Another driver's work is fetched, and
    what was here is set aside. It may grow until this driver holds the lease: see `is_outdated`.

    Raises:
        ValueError: no run.
        BucketError: the storage refused.
    """
    run_dir = twin_of(home, WRITE)
    last, is_there = last_writer(read_lease(home)), _is_there(home)
    if not is_there:
        if not (run_dir / MANIFEST_NAME).is_file():
            raise ValueError(f"{home}: no run there (manifest.json is missing)")
        return run_dir
    notes = _notes(run_dir)
    if last in notes.get("tokens", []):
        _bring_back(home, run_dir)
        return run_dir
    is_copy = bool(notes.get("fetched")) and not notes.get("tokens")
    holds_rows = any(list_segments(run_dir, table) for table in TABLES)
    if not is_copy and (holds_rows or (run_dir / MANIFEST_NAME).is_file()):
        aside = run_dir.with_name(f"{run_dir.name}.{time.time_ns()}")
        run_dir.rename(aside)
        print(f"note: {home} was gone on with elsewhere; what was here is in {aside}")
    if not is_copy:
        notes_path(run_dir).unlink(missing_ok=True)
    fetch(home, run_dir)
    (run_dir / LEASE_NAME).unlink(missing_ok=True)
    return run_dir


def _bring_back(home: Place, run_dir: Path) -> None:
    """Take from there what is gone or damaged here and in its copy here: caches are cleaned.

    What the folder here has itself stays: it may be newer than what is there.
    """
    run_dir.mkdir(exist_ok=True)
    damaged = _damaged(run_dir)
    replaced: dict[Path, bytes] = {}
    for name, _ in _records(home, *home.entries()):
        path, is_copy = run_dir / name, name.startswith(f"{COPIES}/")
        other = run_dir / (name.removeprefix(f"{COPIES}/") if is_copy else f"{COPIES}/{name}")
        usable = {one for one in (path, other) if one.is_file()} - damaged
        is_line_by_line = name == EVENTS_NAME and path.is_file()  # good as far as it goes
        if usable or is_line_by_line or name in (LEASE_NAME, *EXCLUSIONS):
            continue
        if path.is_file():
            replaced[path] = path.read_bytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # moved there meanwhile
            write_atomically(path, partial(_write, home.read(name)))
    for path in (_damaged(run_dir) if replaced else set()) & replaced.keys():  # there too
        write_atomically(path, partial(_write, replaced[path]))


def _damaged(run_dir: Path) -> set[Path]:
    found = audit(run_dir, with_states=False)
    return {problem.path for problem in found.problems if problem.path is not None}


def is_outdated(home: Place, run_dir: Path, last: str | None) -> bool:
    """True where the bucket holds records of this run that its folder here has not seen.

    Sure for who holds the lease: nobody else writes there.

    Args:
        last: the token of who wrote there last.

    Raises:
        BucketError: the storage refused.
    """
    if not _is_there(home):
        return False
    notes = _notes(run_dir)
    if notes.get("tokens"):
        return last not in notes["tokens"]
    there = {name: [*stamp] for name, stamp in _records(home, *home.entries())}
    here = dict(notes.get("fetched", {}))
    for name in (LEASE_NAME, *EXCLUSIONS):  # who holds it is us; everybody adds lines
        there.pop(name, None)
        here.pop(name, None)
    return there != here


def _is_there(home: Place) -> bool:
    names = (MANIFEST_NAME, f"{COPIES}/{MANIFEST_NAME}")
    return any(home.stamp(name) is not None for name in names)


def note_writer(run_dir: Path, token: str) -> None:
    """Remember, before anything is put there, that this folder writes with this lease's token."""
    tokens = [*_notes(run_dir).get("tokens", [])[-9:], token]
    _note(run_dir, tokens=tokens, is_behind=True, fetched={})


def note_end(run_dir: Path, put: Mapping[str, Stamp]) -> None:
    """Remember that all of this folder is there.

    Args:
        put: what of it are no records, as it was then.
    """
    _note(run_dir, is_behind=False, put=dict(put))


def noted_files(run_dir: Path) -> dict[str, Stamp]:
    """What of a run is no record, as this folder's last driver put it there."""
    put = _notes(run_dir).get("put", {})
    return {name: (size, when) for name, (size, when) in put.items()}


def is_behind(run_dir: Path) -> bool:
    """True where a run's folder may hold what is not in its bucket yet."""
    return bool(_notes(run_dir).get("is_behind", False))


def forget(run_dir: Path) -> None:
    """Remember nothing of a run that did not begin."""
    notes_path(run_dir).unlink(missing_ok=True)


def notes_path(run_dir: Path) -> Path:
    """The file of what a twin is a copy of."""
    return run_dir.with_name(f".{run_dir.name}.json")


def _is_fetched(home: Place, run_dir: Path) -> bool:
    """Bring the twin up to date; False where there is no run."""
    try:
        fetch(home, run_dir)
    except ValueError:
        return False
    _show_writer(run_dir)
    return True


def _show_writer(run_dir: Path) -> None:
    """A lock file where a driver is writing there, as in the folder that it writes."""
    lease, text = run_dir / LEASE_NAME, ""
    if lease.is_file():
        content = parse_lease(lease.read_bytes())
        stamp = _notes(run_dir)["fetched"].get(LEASE_NAME)
        age = now().timestamp() - stamp[1] / 1e9 if stamp else 0.0
        if content and is_held(content, age):
            told = {name: content.get(name) for name in ("pid", "host", "since", "token")}
            text = json.dumps({**told, "flock": False})
    (run_dir / LOCK_NAME).write_text(text)


def _place_of(path: Path, kind: str) -> Place | None:
    """The place of a file or folder in a twin of this kind."""
    for folder in (path, *path.parents):
        if (home := home_of(folder, kind)) is not None:
            return replace(home, path="/".join([home.path, *path.relative_to(folder).parts]))
    return None


def _homes(uri: str) -> list[Place]:
    """The folders that may be runs."""
    pattern = Place.parse(uri)
    bucket, *parts = pattern.path.split("/")
    places = [Place(pattern.scheme, bucket)]
    for part in parts:
        if any(sign in part for sign in GLOB_SIGNS):
            places = [
                place / name
                for place in places
                for name in _folders(place)
                if fnmatchcase(name, part)
            ]
        else:
            places = [place / part for place in places]
    if any(sign in uri for sign in GLOB_SIGNS):
        return places
    files, folders = pattern.entries()
    is_run = MANIFEST_NAME in files or {*TABLES} <= {*folders}
    return [pattern] if is_run else [pattern / name for name in _folders(pattern)]


def _folders(place: Place) -> list[str]:
    """As a glob finds them: no hidden ones, which beside a twin would be our own files."""
    return [name for name in place.entries()[1] if not name.startswith(".")]


def is_segment(name: str) -> bool:
    """A plain name, as our writers give them: nothing is ever written outside of the twin."""
    return name.endswith(".parquet") and not name.startswith(".") and "/" not in name


def _write(data: bytes, file: IO[bytes]) -> None:
    file.write(data)


def _notes(run_dir: Path) -> dict[str, Any]:
    try:
        notes = json.loads(notes_path(run_dir).read_text())
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _note(run_dir: Path, **fields: object) -> None:
    write_text(notes_path(run_dir), json.dumps({**_notes(run_dir), **fields}))
