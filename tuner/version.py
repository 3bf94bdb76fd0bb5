"""Which version and revision of GradTune is this? Of the checkout, or as the build recorded it."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RECORDED = HERE / "revision.json"  # written into a wheel by setup.py


def revision() -> dict[str, Any]:
    """Commit ("sha") and whether it was changed ("dirty"); empty where nobody knows."""
    if RECORDED.exists():
        recorded: dict[str, Any] = json.loads(RECORDED.read_text())
        return recorded
    # An installed copy may lie in a checkout of something else, which does not track it.
    return git_state(HERE) if _ask(HERE, "ls-files", Path(__file__).name) else {}


def git_state(folder: Path) -> dict[str, Any]:
    """Commit ("sha") of the checkout around a folder, and whether it was changed ("dirty")."""
    sha = _ask(folder, "rev-parse", "HEAD")
    return {"sha": sha, "dirty": bool(_ask(folder, "status", "--porcelain"))} if sha else {}


def describe_version() -> str:
    """One line: `gradtune 0.1.0 (git 28b0190, changed)`."""
    known = revision()
    changed = ", changed" if known.get("dirty") else ""
    suffix = f" (git {known['sha'][:7]}{changed})" if known.get("sha") else ""
    return f"gradtune {version('gradtune')}{suffix}"


def _ask(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
