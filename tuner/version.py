"""Which version and revision of GradTune is this, and of what it stands on? And what a run had?

The revision is the checkout's, or as the build recorded it.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RECORDED = HERE / "revision.json"  # written into a wheel by setup.py
PACKAGES = (
    *("gradtune", "torch", "torchvision", "ray", "optuna", "pyarrow", "PyYAML", "numpy", "scipy"),
)


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


def versions() -> dict[str, str]:
    """Of Python and of each package, as a manifest keeps them."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def changed_versions(manifest: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """What is not as this run last had it: name -> (then, now), where both are known.

    `version_changes` of the manifest holds what had changed when the run went on before.
    """
    then = dict(manifest.get("versions") or {})
    then["GradTune"] = _git_text(manifest.get("git") or {})
    for change in manifest.get("version_changes") or []:
        then |= {name: now for name, (_, now) in change["versions"].items()}
    now = {name: _version(name) for name in then} | versions()
    now["GradTune"] = _git_text(revision())
    pairs = {name: (was, now[name]) for name, was in then.items()}
    return {name: pair for name, pair in pairs.items() if all(pair) and len({*pair}) == 2}


def describe_version() -> str:
    """One line: `gradtune 0.1.0 (git 28b0190, changed)`."""
    known = revision()
    changed = ", changed" if known.get("dirty") else ""
    suffix = f" (git {known['sha'][:7]}{changed})" if known.get("sha") else ""
    return f"gradtune {version('gradtune')}{suffix}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git_text(state: Mapping[str, Any]) -> str:
    """ "git 28b0190 changed", or "" where nobody knows."""
    return f"git {state['sha'][:7]}{' changed' * bool(state.get('dirty'))}" if state else ""


def _ask(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
