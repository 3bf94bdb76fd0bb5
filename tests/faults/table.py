"""docs/faults.md from the counts of the suite: `make faults` (tests/faults/counts.py)."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Rows of the table: number -> what is done to a run, and what has to follow.
ROWS: dict[str, tuple[str, str]] = {
    "1": ("SIGKILL of the driver at any time", "resumed to the rows of an undisturbed run"),
    "2": ("SIGKILL of the driver in its first seconds", "no config under two trial keys"),
    "3": ("SIGKILL of the driver before anything is written", "one line; the name is free"),
    "4": ("SIGKILL of a trial's worker", "goes on from its last state; the others unaffected"),
    "5": ("os._exit, sys.exit, MemoryError, an exception in a training", "tried again, recorded"),
    "6": ("a node of the cluster dies", "its trainings go on elsewhere, 0 epochs lost or twice"),
    "7": ("Ray's raylet or control store dies", "the driver ends within 15 s, resume goes on"),
    "8": ("SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1", "everything kept, the resume command"),
    "9": ("SIGKILL while records are written", "0 unreadable files, 0 durable rows lost"),
    "10": ("records truncated, zeroed, flipped, missing, doubled", "found, told, mended"),
    "11": ("Tune's own state damaged", "no run reads it: resume has its records"),
    "12": ("a training's newest state damaged", "the one before it is taken, and it is said"),
    "13": ("disk full", "told at once, tried again; exit 4 at last, 0 rows lost"),
    "14": ("runs_dir missing, read-only, a file", "one line, exit 2, before Ray starts"),
    "15": ("the same name twice", "refused in one line, exit 2"),
    "16": ("two drivers on one run", "the second is refused within a second"),
    "17": ("resumed with another space, metric, seed", "refused, naming what differs"),
    "18": ("NaN, infinite or odd numbers reported", "a row that says so; the search goes on"),
    "19": ("a training hangs", "told, ended, tried again; the search goes on"),
    "20": ("wrong configurations", "one line, exit 2, before Ray starts; never a traceback"),
    "21": ("wrong run names", "refused; nothing is written outside runs_dir"),
    "22": ("points to evaluate out of range", "there is no such key: a space is ranges or values"),
    "23": ("Optuna's storage locked or torn", "there is none: studies come from records"),
    "24": ("records of earlier versions", "load, compare, resume, extend"),
    "25": ("a reader beside the writer", "every read sees whole generations"),
    "26": ("a data set's file damaged", "one line that names it; nothing is downloaded"),
    "27": ("out of memory, of a GPU or of the host", "marked oom, what fits is told, it goes on"),
    "28": ("the clock jumps by an hour", "no duration is negative or absurd"),
    "29": ("a wrong token, no cluster at the address", "one line within 25 s"),
    "30": ("a worker that has trained before", "trains as a fresh one, to the bit"),
    "31": ("the same seed again", "the same suggestions and metrics, to the bit"),
    "32": ("a job of a cluster fails or is stopped", "books are closed; the exit code is told"),
}  # fmt: skip
OTHERS = {
    "surroundings": "Surroundings",
    "storage": "Runs in a bucket",
    "security": "Security",
}
TITLES = {number: number for number in ROWS} | OTHERS
HEAD = """# Faults: what was done to runs, and what became of them

Written by the suite (`make faults`) on {date}: {python}, {versions}, {cpus}. Kill times and
mutations come from fixed seeds. "held" is how often it followed, of how often it was tried; "at
most" is the worst that was measured; "not tried": left out on that day, or the machine
lacks what it needs. `make test` runs the same tests with fewer repetitions, without real clusters.

| # | what is done | what has to follow | how it was tried | held |
|---|---|---|---|---|
"""
TESTS = """
## The tests of each row
"""
Counts = dict[str, dict[str, dict[str, Any]]]


def table(counts: Counts) -> str:
    """The page.

    Args:
        counts: by row and text, as tests/faults/counts.py collects them.

    Raises:
        ValueError: there is a row of which no test told anything, or one that the table lacks.
    """
    if missing := [row for row in ROWS if not counts.get(row)]:
        raise ValueError(f"no test tells anything of the rows {', '.join(missing)}")
    if unknown := sorted(counts.keys() - TITLES.keys()):
        raise ValueError(f"the table has no rows {', '.join(unknown)}")
    lines, tests = [], []
    for row, title in TITLES.items():
        entries = counts.get(row, {})
        told = {text: entry for text, entry in entries.items() if text} or {"": {"of": 0}}
        cells = (title, *ROWS.get(row, ("", "")))
        for text, entry in told.items():
            lines.append(f"| {' | '.join(cells)} | {text} | {held(entry)} |")
            cells = ("", "", "")
        if names := sorted({test for entry in entries.values() for test in entry["tests"]}):
            tests.append(f"- {title}: {', '.join(f'`{name}`' for name in names)}")
    head = HEAD.format(
        date=datetime.now(UTC).date(),
        python=f"Python {platform.python_version()}",
        versions=", ".join(f"{name} {version(name)}" for name in ("ray", "torch", "pyarrow")),
        cpus=f"{len(os.sched_getaffinity(0))} CPU cores, load {os.getloadavg()[2]:.1f}",
    )
    return head + "\n".join([*lines, TESTS, *tests]) + "\n"


def held(entry: dict[str, Any]) -> str:
    """The last cell of a line."""
    if "worst" in entry:
        return f"at most {entry['worst']:.3g} {entry['unit']}".rstrip()
    return f"{entry['passed']:,} / {entry['of']:,}" if entry["of"] else "not tried"


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(table(json.loads(source.read_text())))
