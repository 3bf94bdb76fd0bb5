"""Which trials does somebody want left out, and why? A line each in the run's exclusions.jsonl.

The records themselves stay as they are: a run that goes on counts what it trained. A line is never
removed; undoing is a line too, and of one trial the last line holds. The file is written twice, so
that lines which are gone are missed.
"""

from __future__ import annotations

import heapq
from pathlib import Path

from results.records.sealing import CHECKS, read_lines, sealed_line
from results.records.segments import COPIES, DamagedFile, refuse_links, write_twice
from results.records.wall_time import now

EXCLUSIONS_NAME = "exclusions.jsonl"
MAX_WHY = 300  # characters


def read_exclusions(run_dir: Path) -> dict[str, str]:
    """The trials that are left out, by trial_key: why.

    Raises:
        DamagedFile: the file is not as it was written, or lacks lines that its copy has.
    """
    excluded: dict[str, str] = {}
    try:
        # The copy first, which a writer brings last.
        copied, copy_problems = read_lines(_content(run_dir / COPIES))
        lines, problems = read_lines(_content(run_dir))
        if problems:
            raise DamagedFile(f"{EXCLUSIONS_NAME}: {problems[0]}")
        if not copy_problems and len(copied) > len(lines):
            lacking = f"{len(copied) - len(lines)} of its {len(copied)} lines are missing"
            raise DamagedFile(f"{EXCLUSIONS_NAME}: {lacking}")
        for line in lines:
            excluded.pop(line["trial_key"], None)
            if line["why"] is not None:
                excluded[line["trial_key"]] = str(line["why"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedFile(f"{EXCLUSIONS_NAME}: {type(error).__name__}: {error}") from error
    return excluded


def exclude(run_dir: Path, trial_key: str, why: str) -> None:
    """Leave this trial out of every comparison from now on.

    Raises:
        ValueError: no reason in one line, or the trial is left out already.
        DamagedFile: see `read_exclusions`.
    """
    why = why.strip()
    if not why or not why.isprintable() or len(why) > MAX_WHY:
        raise ValueError(f"why=: say in one line (up to {MAX_WHY} letters) why it is left out.")
    excluded = read_exclusions(run_dir)
    if trial_key in excluded:
        raise ValueError(f"trial {trial_key} is excluded already: {excluded[trial_key]}")
    _append(run_dir, trial_key, why)


def include(run_dir: Path, trial_key: str) -> None:
    """Take this trial back in.

    Raises:
        ValueError: it is not left out.
        DamagedFile: see `read_exclusions`.
    """
    if trial_key not in read_exclusions(run_dir):
        raise ValueError(f"undo=true: trial {trial_key} is not excluded.")
    _append(run_dir, trial_key, None)


def merge_lines(ours: bytes, theirs: bytes) -> bytes:
    """What two files of one run hold, each line once, by their times; damaged lines are dropped.

    Lines of one file stay in its order: who wrote the later one knew the earlier.
    """
    files, is_whole = [], []
    for data in (theirs, ours):
        lines, problems = read_lines(data)
        files.append([{name: line[name] for name in line if name not in CHECKS} for line in lines])
        is_whole.append(not problems)
    first, second = files
    news = [line for line in second if line not in first]
    if len(second) - len(news) == len(first):  # all of theirs is in ours
        first, news = second, []
    lines = [*heapq.merge(first, news, key=lambda line: str(line.get("time", "")))]
    for data, own, whole in zip((theirs, ours), files, is_whole, strict=True):
        if whole and own == lines:
            return data
    return b"".join(sealed_line(line, number) for number, line in enumerate(lines, start=1))


def _append(run_dir: Path, trial_key: str, why: str | None) -> None:
    refuse_links(run_dir)
    line = {"time": now().isoformat(), "trial_key": trial_key, "why": why}
    before = _content(run_dir)
    write_twice(run_dir, EXCLUSIONS_NAME, before + sealed_line(line, before.count(b"\n") + 1))


def _content(folder: Path) -> bytes:
    path = folder / EXCLUSIONS_NAME
    return path.read_bytes() if path.exists() else b""
