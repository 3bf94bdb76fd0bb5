"""Which version and revision of GradTune is this, and of what it stands on? And what a run had?

The revision is the checkout's, or as the build recorded it. A job of a cluster runs in a copy
without .git: there counts what was noted at submission.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RECORDED = HERE / "revision.json"  # written into a wheel by setup.py
SUBMITTED = "GRADTUNE_SUBMITTED"  # variable of a job: JSON of `noted_for_job`
JOB_FOLDER = "/runtime_resources/working_dir_files/"  # of a session of Ray's, on each node
PACKAGES = (
    *("gradtune", "torch", "torchvision", "ray", "optuna", "pyarrow", "PyYAML", "numpy", "scipy"),
    "pillow",  # which decodes an image that another version may not
)


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


def versions() -> dict[str, str]:
    """Of Python and of each package, as a manifest keeps them."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def changed_versions(manifest: Mapping[str, Any], gpus: str = "") -> dict[str, tuple[str, str]]:
    """What is not as this run last had it: name -> (then, now), where both are known.

    `version_changes` of the manifest holds what had changed when the run went on before.

    Args:
        gpus: models of those that there are now (`gpu_text`), which compute other bits; '' = none,
            or not known.
    """
    then = dict(manifest.get("versions") or {})
    then["GradTune"] = _git_text(manifest.get("git") or {})
    then["GPU"] = gpu_text((manifest.get("hardware") or {}).get("gpu_kinds") or [])
    for change in manifest.get("version_changes") or []:
        then |= {name: now for name, (_, now) in change["versions"].items()}
    now = {name: _version(name) for name in then} | versions()
    now |= {"GradTune": _git_text(revision()), "GPU": gpus}
    pairs = {name: (was, now[name]) for name, was in then.items()}
    return {name: pair for name, pair in pairs.items() if all(pair) and len({*pair}) == 2}


def gpu_text(kinds: Iterable[str]) -> str:
    """The models in one word: "A100, H100"; '' of none."""
    return ", ".join(sorted({*kinds}))


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


def _version(package: str) -> str:
    if package == "gradtune":
        return gradtune_version()
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
