"""How often did what is promised hold? Collected where GRADTUNE_FAULTS names a file."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path


def count(row: str, text: str, passed: int, of: int) -> None:
    """Add to the counts of a row of the fault table; the same text again adds up.

    Args:
        row: of the table, as "10". text: what was done and what has to follow.
        passed: how often it followed, `of` so many times.
    """
    name = os.environ.get("GRADTUNE_FAULTS")
    if not name:
        return
    path = Path(name)
    path.touch()
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        counts = json.loads(file.read() or "{}")
        entry = counts.setdefault(row, {}).setdefault(text, {"passed": 0, "of": 0})
        entry["passed"] += passed
        entry["of"] += of
        file.seek(0)
        file.truncate()
        json.dump(counts, file, indent=2, sort_keys=True)
