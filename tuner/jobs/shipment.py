"""What is sent to a cluster with a job? A folder without secrets and outputs, and a command."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from tuner.config.schema import ConfigError
from tuner.version import SUBMITTED, noted_for_job

# Patterns as in a .gitignore, whose own Ray also follows. Anchored: results/data is code.
EXCLUDES = (
    *(".git", ".venv", "venv", "__pycache__", ".env", ".env.*", "*.pem", "*.key", ".netrc"),
    *(".ssh", ".aws", ".mypy_cache", ".ruff_cache", ".pytest_cache", "/data/", "/runs/"),
)
ENVIRONMENTS = ("cluster", "pip", "uv")
CONSTRAINTS = "constraints.txt"
OF_CLUSTER = ("ray",)  # must be the cluster's own
# After `stop`, before Ray kills: the books are closed in 6 s at most.
STOP_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Shipment:
    """A job as Ray's JobSubmissionClient and `ray job submit` take it."""

    folder: Path
    words: tuple[str, ...]
    job: str
    runtime_env: Mapping[str, Any]
    metadata: Mapping[str, str]

    @property
    def entrypoint(self) -> str:
        """The command that the head runs in its copy of the folder."""
        return shlex.join(["python", "-m", "tuner.run", *self.words])

    def as_ray_command(self, address: str) -> str:
        """The `ray job submit` line that does the same, to be typed in the folder."""
        environment = {k: v for k, v in self.runtime_env.items() if k != "working_dir"}
        options = {
            "--address": address,
            "--working-dir": ".",
            "--submission-id": self.job,
            "--runtime-env-json": json.dumps(environment),
            "--metadata-json": json.dumps(dict(self.metadata)),
        }
        words = [word for option in options.items() for word in option]
        return f"{shlex.join(['ray', 'job', 'submit', *words])} -- {self.entrypoint}"


def pack(
    folder: Path,
    words: Sequence[str],
    *,
    job: str,
    run: str,
    again: Sequence[str] = (),
    environment: str = "cluster",
    exclude: Sequence[str] = (),
) -> Shipment:
    """The job that runs these words of `python -m tuner.run` in a copy of `folder`.

    Args:
        job: its id. run: the run's folder, as all nodes name it. again: words of a submission
            that goes on with it.
        environment: cluster = what is installed there; pip, uv = the packages of GradTune in the
            versions of the folder's constraints.txt, installed on each node.
        exclude: patterns of files that stay here, besides EXCLUDES.

    Raises:
        ConfigError: no constraints.txt, or it lacks a package.
    """
    runtime_env: dict[str, Any] = {
        "working_dir": str(folder),
        "excludes": [*EXCLUDES, *exclude],
        "env_vars": {
            SUBMITTED: noted_for_job(folder),
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS),
        },
    }
    if environment != "cluster":
        runtime_env[environment] = {"packages": pinned_packages(folder / CONSTRAINTS)}
    return Shipment(
        folder=folder,
        words=tuple(words),
        job=job,
        runtime_env=runtime_env,
        metadata={
            "run": run,
            "command": shlex.join(["gradtune", "run", *words]),
            "again": shlex.join(again),
        },
    )


def pinned_packages(constraints: Path) -> list[str]:
    """What GradTune needs, each as `name==version`; without what the cluster must have itself."""
    try:
        lines = constraints.read_text().splitlines()
    except OSError as error:
        raise ConfigError(f"env=pip|uv: {constraints}: {error.strerror}") from None
    pins = {_name(line): line.strip() for line in lines if "==" in line}
    needed = [line for line in requires("gradtune") or () if "extra ==" not in line]
    names = [name for name in map(_name, needed) if name not in OF_CLUSTER]
    if missing := [name for name in names if name not in pins]:
        raise ConfigError(f"env=pip|uv: {constraints} pins no {', '.join(missing)}")
    return [pins[name] for name in names]


def largest_parts(folder: Path, excludes: Sequence[str] = EXCLUDES) -> str:
    """The largest files and folders that are sent, for the message that all is too much.

    excludes: patterns of what is not, of those directly in the folder.
    """
    sizes = {
        path.name: _size(path)
        for path in folder.iterdir()
        if not any(_matches(path.name, pattern) for pattern in excludes)
    }
    top = sorted(sizes, key=lambda name: -sizes[name])[:3]
    return ", ".join(f"{name} {sizes[name] / 2**20:,.0f} MB" for name in top)


def _name(line: str) -> str:
    """The package of a requirement, as indexes compare names."""
    match = re.match(r"[A-Za-z0-9._-]+", line.strip())
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatch(name, pattern.strip("/"))


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    return sum(
        Path(root, name).lstat().st_size for root, _, names in os.walk(path) for name in names
    )
