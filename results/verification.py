"""Are the records of runs whole? What is damaged, what is lost with it, and what comes back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from results.reading import find_runs
from results.records import repair as mending
from results.records.audit import Audit, audit
from results.storage.mirror import mirror_of
from results.storage.place import Place
from results.storage.twin import by_place, fetch_again, home_of, take_up

Paths = str | Path | Iterable[str | Path]  # see `results.load`


def examine(path: Paths) -> list[Audit]:
    """What is wrong, run by run.

    Raises:
        ValueError: nothing there, or written by a newer GradTune.
    """
    return [_examine(run_dir) for run_dir in find_runs(path)]


def _examine(run_dir: Path) -> Audit:
    """What is wrong with a run; of one in a bucket, not with the copy here."""
    found = audit(run_dir)
    damaged = [problem.path for problem in found.problems if problem.path is not None]
    return audit(run_dir) if damaged and fetch_again(run_dir, damaged) else found


def sentences(found: Audit) -> list[str]:
    """Everything that is wrong, a sentence each; files of a bucket by their place there."""
    return [by_place(sentence, found.run_dir) for sentence in found.sentences()]


def verify(path: Paths) -> list[str]:
    """Every problem of these runs' records: damaged or missing files, lost trainings and epochs.

    Raises:
        ValueError: nothing there, or written by a newer GradTune.
    """
    return [sentence for found in examine(path) for sentence in sentences(found)]


def repair(path: Paths) -> list[str]:
    """Put what is damaged into quarantine/ and bring back what was written twice.

    Returns:
        A sentence for each thing done; `verify` tells what is still lost.

    Raises:
        ValueError: nothing there, written by a newer GradTune, or just being written.
        OSError: the storage refused.
    """
    lines = []
    for run_dir in find_runs(path):
        home = home_of(run_dir)
        lines += mending.repair(run_dir) if home is None else _repair_there(run_dir, home)
    return lines


def _repair_there(run_dir: Path, home: Place) -> list[str]:
    """Mend a run in a bucket by the folder that its last driver wrote, or by a copy of it."""
    if not _examine(run_dir).problems:
        return []
    folder = take_up(home)
    mirror = mirror_of(folder)
    assert mirror is not None, "what is taken up has a home"
    try:
        lines = mending.repair(folder)
        mirror.close()
    finally:
        mirror.abandon()
    lines = [by_place(line, folder) for line in lines]
    return lines or [f"{home} is whole again, from {folder}."]
