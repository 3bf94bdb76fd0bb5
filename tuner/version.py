"""Which version and revision of GradTune is this? Of the checkout, or as the build recorded it.

A job of a cluster runs in a copy without .git: there counts what was noted at submission.
"""

from __future__ import annotations

import json
import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RECORDED = HERE / "revision.json"  # written into a wheel by setup.py
SUBMITTED = "GRADTUNE_SUBMITTED"  # variable of a job: JSON of `noted_for_job`
JOB_FOLDER = "/runtime_resources/working_dir_files/"  # of a session of Ray's, on each node


def gradtune_version() -> str:
    """As installed; of a copy that is not, as submitted, else "unknown"."""
    try:
        return version("gradtune")
    except PackageNotFoundError:
        return str(_submitted().get("version", "unknown"))


def revision() -> dict[str, Any]:
    """Commit ("sha") and whether it was changed ("dirty"); empty where nobody knows."""
    if RECORDED.exists():
        recorded: dict[str, Any] = json.loads(RECORDED.read_text())
        return recorded
    # An installed copy may lie in a checkout of something else, which does not track it.
    if _ask(HERE, "ls-files", Path(__file__).name):
        return git_state(HERE)
    return dict(_submitted().get("gradtune", {})) if is_of_job(HERE) else {}


def git_state(folder: Path) -> dict[str, Any]:
    """Commit ("sha") of the checkout around a folder, and whether it was changed ("dirty")."""
    sha = _ask(folder, "rev-parse", "HEAD")
    if not sha:
        return dict(_submitted().get("folder", {})) if is_of_job(folder) else {}
    return {"sha": sha, "dirty": bool(_ask(folder, "status", "--porcelain"))}


def noted_for_job(folder: Path) -> str:
    """What a job cannot find out from its copy of `folder`: versions and commits, as JSON."""
    is_sent = HERE.resolve().is_relative_to(folder.resolve())
    noted = {"version": gradtune_version(), "folder": git_state(folder)}
    return json.dumps(noted | ({"gradtune": revision()} if is_sent else {}))


def describe_version() -> str:
    """One line: `gradtune 0.1.0 (git 28b0190, changed)`."""
    known = revision()
    changed = ", changed" if known.get("dirty") else ""
    suffix = f" (git {known['sha'][:7]}{changed})" if known.get("sha") else ""
    return f"gradtune {gradtune_version()}{suffix}"


def _submitted() -> dict[str, Any]:
    """What was noted when this job was submitted; nothing elsewhere."""
    try:
        noted = json.loads(os.environ.get(SUBMITTED, "{}"))
    except ValueError:
        return {}
    return noted if isinstance(noted, dict) else {}


def is_of_job(folder: Path) -> bool:
    """True inside the folder that Ray unpacked for a job, on each node, and removes with it."""
    return JOB_FOLDER in str(folder.resolve())


def _ask(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
