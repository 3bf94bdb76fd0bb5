"""Are the records of runs whole? What is damaged, what is lost with it, and what comes back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from results.reading import find_runs
from results.records import repair as mending
from results.records.audit import Audit, audit

Paths = str | Path | Iterable[str | Path]  # see `results.load`


def examine(path: Paths) -> list[Audit]:
    """What is wrong, run by run.

    Raises:
        ValueError: nothing there, or written by a newer GradTune.
    """
    return [audit(run_dir) for run_dir in find_runs(path)]


def verify(path: Paths) -> list[str]:
    """Every problem of these runs' records: damaged or missing files, lost trainings and epochs.

    Raises:
        ValueError: nothing there, or written by a newer GradTune.
    """
    return [sentence for found in examine(path) for sentence in found.sentences()]


def repair(path: Paths) -> list[str]:
    """Put what is damaged into quarantine/ and bring back what was written twice.

    Returns:
        A sentence for each thing done; `verify` tells what is still lost.

    Raises:
        ValueError: nothing there, written by a newer GradTune, or just being written.
        OSError: the storage refused.
    """
    return [line for run_dir in find_runs(path) for line in mending.repair(run_dir)]
