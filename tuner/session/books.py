"""How are the books of a run opened? A new folder, or those of an earlier run, taken up."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray

from results import load
from results.records.schema import trial_from_row
from results.records.store import RunStore
from results.statistics.cost import devices_of, seconds_of
from results.storage.mirror import Mirror
from results.storage.place import StorageError
from results.storage.twin import home_of
from tuner.campaign.campaign import Campaign
from tuner.config.presets import scale_of
from tuner.config.schema import Config, plain, refusing
from tuner.config.yamltext import write_yaml
from tuner.display.live import Display, make_display
from tuner.display.outlook import Bound
from tuner.plan.plan import Plan
from tuner.plan.usercode import changed_parts, code_folder, code_parts
from tuner.recording.recorder import LOGS, Recorder
from tuner.session.cluster import Slots
from tuner.version import changed_versions, git_state, revision, versions


def begin(plan: Plan, slots: Slots, command: str, run_dir: Path) -> tuple[Campaign, Recorder]:
    """A new run: who decides, and who records in `run_dir`.

    Raises:
        ConfigError: there can be no such folder.
    """
    manifest, config = make_manifest(plan, slots, command), write_yaml(plain(plan.config))
    with refusing(kinds=(ValueError, StorageError)), ExitStack() as undone:
        mirror = _mirror(run_dir, undone)
        store = RunStore.create(run_dir, manifest, config)
        _begin_copying(mirror, store, undone)
    campaign = Campaign(plan, devices_of(asdict(slots)))
    return campaign, Recorder(store, _display(plan, slots, run_dir), mirror)


def take_up(plan: Plan, slots: Slots, run_dir: Path) -> tuple[Campaign, Recorder]:
    """An earlier run: the campaign as its records left it, and who records on.

    Raises:
        ConfigError: the records cannot be read or continued, or are not of this plan.
    """
    campaign, display = Campaign(plan, devices_of(asdict(slots))), _display(plan, slots, run_dir)
    with refusing(kinds=(ValueError, StorageError)), ExitStack() as undone:
        mirror = _mirror(run_dir, undone)
        rows = load(run_dir).search_rows()
        store = RunStore.open(run_dir)
        campaign.replay(rows)
        _begin_copying(mirror, store, undone)
    for row in filter(campaign.counts, rows):
        num_rungs = campaign.num_rungs(row)
        trial, ending = trial_from_row(row), (row["status"], row["objective"])
        display.resumed(trial, *ending, num_rungs=num_rungs, seconds=seconds_of(row))
    before = store.manifest
    looked = has_looked(plan, before, rows)
    store.update_manifest(
        status="running",
        config=plain(plan.config),
        looked=looked,
        code_changes=_code_changes(plan.config, before),
        version_changes=_version_changes(before),
    )
    recorder = Recorder(store, display, mirror)
    recorder.remember(rows, before.get("shared_samples", 0))
    campaign.sharing.states |= recorder.kept_for_others()
    return campaign, recorder


def _mirror(run_dir: Path, undone: ExitStack) -> Mirror | None:
    """What copies a run to its bucket, where it is to begin; None of a run here.

    Args:
        undone: what is to be undone where the run cannot begin.

    Raises:
        ValueError: another driver writes there.
        StorageError: the bucket cannot be written.
    """
    home = home_of(run_dir)
    if home is None:
        return None
    mirror = Mirror(run_dir, home)
    mirror.take()
    undone.callback(mirror.lease.release)
    return mirror


def _begin_copying(mirror: Mirror | None, store: RunStore, undone: ExitStack) -> None:
    """The run has begun: nothing is undone any more. Raises StorageError, see `Mirror.start`."""
    undone.callback(store.close)
    if mirror is not None:
        mirror.start()
    undone.pop_all()


def _code_changes(config: Config, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every time that the run went on with other code: when, and which files had changed."""
    before = list(manifest.get("code_changes", []))
    files = changed_parts(config, manifest)
    is_known = bool(before) and before[-1]["code"] == code_parts(config)
    if not files or is_known:
        return before
    now = {"at": datetime.now(UTC).isoformat(), "files": files, "code": code_parts(config)}
    return [*before, now]


def _version_changes(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every time that the run went on with other versions; what is new is told."""
    before = list(manifest.get("version_changes") or [])
    changes = changed_versions(manifest)
    if not changes:
        return before
    listed = ", ".join(f"{name} {then} -> {now}" for name, (then, now) in changes.items())
    print(f"note: not as when the run began or last went on: {listed}", file=sys.stderr)
    return [*before, {"at": datetime.now(UTC).isoformat(), "versions": changes}]


def has_looked(plan: Plan, manifest: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> bool:
    """True when somebody may have looked at confirm trials before more seeds were asked for."""
    confirm, before = plan.config.confirm, manifest["config"]["confirm"]
    is_longer = confirm.seeds > before["seeds"] or confirm.hours != before.get("hours")
    has_more = is_longer and any(r["role"] == "confirm" for r in rows)
    untils = (confirm.until, before.get("until"))
    return bool(manifest.get("looked")) or has_more or "decided" in untils


def make_manifest(plan: Plan, slots: Slots, command: str) -> dict[str, Any]:
    """What the run was, with which code, and where it ran: the content of manifest.json."""
    there = ray.cluster_resources()
    kinds = [key.partition(":")[2] for key in there if key.startswith("accelerator_type:")]
    gpus = {"gpus": there.get("GPU", 0.0), "gpu_kinds": kinds}
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
        "versions": versions(),
        "git": revision(),
        "code": describe_code(plan.config),
        "hardware": {"machine": platform.machine(), "cpus": os.cpu_count(), **gpus},
    }


def describe_code(config: Config) -> dict[str, Any]:
    """The user's own code: digest of each of its `files`, and the state of its checkout."""
    folder = code_folder(config)
    return {"files": code_parts(config), "git": git_state(folder) if folder else {}}


def _display(plan: Plan, slots: Slots, run_dir: Path) -> Display:
    devices, samples = devices_of(asdict(slots)), plan.samples_by_role()
    limits = {role: hours for role in samples if (hours := plan.hours(role)) is not None}
    display = make_display(
        plan.config.display,
        plan.trials_by_arm(),
        plan.num_samples,
        devices=devices,
        bounds={
            role: Bound(samples=samples[role], seconds=3600 * hours / devices.count)
            for role, hours in limits.items()
        },
    )
    display.logs = run_dir / LOGS if plan.config.display_log else None
    return display
