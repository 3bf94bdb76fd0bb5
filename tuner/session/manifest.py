"""What was this run, with which code, and where did it run? The content of manifest.json."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tuner.config.presets import scale_of
from tuner.config.schema import plain
from tuner.plan.plan import Plan
from tuner.session import cluster

PACKAGES = ("torch", "torchvision", "ray", "optuna", "pyarrow", "PyYAML", "numpy", "scipy")


def make_manifest(plan: Plan, slots: cluster.Slots, command: str) -> dict[str, Any]:
    """What the run was and where it ran."""
    return {
        "command": command,
        "status": "running",
        "started_at": datetime.now(UTC).isoformat(),
        "seed": plan.config.seed,
        "scale": scale_of(plan.config),
        "recipe": asdict(plan.recipe),
        "spaces": [space.to_dict() for space in plan.spaces],
        "baseline": plan.baseline.to_dict() if plan.baseline else None,
        "delta_ref": plan.delta_ref,
        "num_test": plan.source.num_test,
        "config": plain(plan.config),
        "looked": plan.config.confirm.until == "decided",
        "slots": asdict(slots),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "git": _git(),
        "hardware": {"machine": platform.machine(), "cpus": os.cpu_count(), **_gpus()},
    }


def _gpus() -> dict[str, Any]:
    import ray

    total = ray.cluster_resources()
    kinds = [k.partition(":")[2] for k in total if k.startswith("accelerator_type:")]
    return {"gpus": total.get("GPU", 0.0), "gpu_kinds": kinds}


def _git() -> dict[str, Any]:
    """Commit of the code and whether it was changed; empty outside a checkout."""

    def ask(*words: str) -> str:
        root = Path(__file__).parent
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        return {"sha": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except OSError:
        return {}


def read_manifest(run_dir: Path) -> dict[str, Any]:
    """The manifest of a run folder."""
    manifest: dict[str, Any] = json.loads((run_dir / "manifest.json").read_text())
    return manifest
