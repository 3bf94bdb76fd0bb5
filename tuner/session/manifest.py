"""What was this run, with which code, and where did it run? The content of manifest.json."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from tuner.config.presets import scale_of
from tuner.config.schema import plain
from tuner.plan.plan import Plan
from tuner.session import cluster
from tuner.version import revision

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
        "git": revision(),
        "hardware": {"machine": platform.machine(), "cpus": os.cpu_count(), **_gpus()},
    }


def _gpus() -> dict[str, Any]:
    import ray

    total = ray.cluster_resources()
    kinds = [k.partition(":")[2] for k in total if k.startswith("accelerator_type:")]
    return {"gpus": total.get("GPU", 0.0), "gpu_kinds": kinds}
