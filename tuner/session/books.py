"""How are the books of a run opened? A new folder, or those of an earlier run, taken up."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray

from results import load
from results.records.lock import RunLock
from results.records.redaction import redact_all
from results.records.schema import trial_from_row
from results.records.segments import LOGS
from results.records.store import RunStore
from results.records.wall_time import now
from results.statistics.cost import devices_of, seconds_of
from results.storage.mirror import Mirror
from trainables.data.sources import READING
from tuner.campaign.campaign import Campaign
from tuner.config.presets import scale_of
from tuner.config.schema import Config, ConfigError, plain
from tuner.config.yamltext import write_yaml
from tuner.display.live import Display, make_display
from tuner.display.outlook import Bound
from tuner.plan.plan import Plan
from tuner.plan.usercode import changed_parts, code_folder, code_parts
from tuner.recording.recorder import Recorder
from tuner.session.cluster import Slots
from tuner.version import changed_versions, git_state, gpu_text, revision, versions


def begin(
    plan: Plan, slots: Slots, command: str, lock: RunLock, mirror: Mirror | None = None
) -> tuple[Campaign, Recorder]:
    """A new run: who decides, and who records in the folder of the lock.

    Args:
        mirror: of a run in a bucket: what the person finds there from now on.

    Raises:
        OSError: the storage refused.
    """
    manifest = make_manifest(plan, slots, command)
    config = write_yaml(redact_all(plain(plan.config), by_name=True))
    store = RunStore.create(lock.run_dir, manifest, config, lock)
    if mirror is not None:
        mirror.push()
    campaign = Campaign(plan, devices_of(asdict(slots)))
    return campaign, Recorder(store, _display(plan, slots, lock.run_dir), mirror)


def take_up(
    plan: Plan, slots: Slots, lock: RunLock, mirror: Mirror | None = None
) -> tuple[Campaign, Recorder]:
    """An earlier run: the campaign as its records left it, and who records on.

    Raises:
        ConfigError: the records cannot be read or continued, or are not of this plan.
        OSError: the storage refused.
    """
    run_dir = lock.run_dir
    campaign, display = Campaign(plan, devices_of(asdict(slots))), _display(plan, slots, run_dir)
    try:
        rows = load(run_dir).search_rows()
        store = RunStore.open(run_dir, lock)
        campaign.replay(rows)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    recorder = Recorder(store, display, mirror)
    for row in filter(campaign.counts, rows):
        num_rungs = campaign.num_rungs(row)
        trial, ending = trial_from_row(row), (row["status"], row["objective"])
        recorder.show("resumed", trial, *ending, num_rungs, seconds_of(row))
    before = store.manifest
    looked = has_looked(plan, before, rows)
    store.update_manifest(
        status="running",
        config=plain(plan.config),
        planned=planned(plan),
        looked=looked,
        code_changes=_code_changes(plan.config, before),
        version_changes=_version_changes(before),
    )
    if mirror is not None:
        mirror.push()
    recorder.remember(rows, before.get("shared_samples", 0))
    campaign.sharing.states |= recorder.kept_for_others()
    return campaign, recorder


def _code_changes(config: Config, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every time that the run went on with other code: when, and which files had changed."""
    before = list(manifest.get("code_changes", []))
    files = changed_parts(config, manifest)
    is_known = bool(before) and before[-1]["code"] == code_parts(config)
    if not files or is_known:
        return before
    change = {"at": now().isoformat(), "files": files, "code": code_parts(config)}
    return [*before, change]


def _version_changes(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every time that the run went on with other versions; what is new is told."""
    before = list(manifest.get("version_changes") or [])
    changes = changed_versions(manifest, gpu_text(_gpus()["gpu_kinds"]))
    if not changes:
        return before
    listed = ", ".join(f"{name} {then} -> {here}" for name, (then, here) in changes.items())
    print(f"note: not as when the run began or last went on: {listed}", file=sys.stderr)
    return [*before, {"at": now().isoformat(), "versions": changes}]


def has_looked(plan: Plan, manifest: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> bool:
    """True when somebody may have looked at confirm trials before more seeds were asked for."""
    confirm, before = plan.config.confirm, manifest["config"]["confirm"]
    is_longer = confirm.seeds > before["seeds"] or confirm.hours != before.get("hours")
    has_more = is_longer and any(r["role"] == "confirm" for r in rows)
    untils = (confirm.until, before.get("until"))
    return bool(manifest.get("looked")) or has_more or "decided" in untils


def make_manifest(plan: Plan, slots: Slots, command: str) -> dict[str, Any]:
    """What the run was, with which code, and where it ran: the content of manifest.json."""
    return {
        "command": command,
        "status": "running",
        "started_at": now().isoformat(),
        "seed": plan.config.seed,
        "scale": scale_of(plan.config, plan.recipe.precision),
        "recipe": asdict(plan.recipe),
        "spaces": [space.to_dict() for space in plan.spaces],
        "baseline": plan.baseline.to_dict() if plan.baseline else None,
        "delta_ref": plan.delta_ref,
        "num_test": plan.source.num_test,
        "reading": READING,
        "planned": planned(plan),
        "config": plain(plan.config),
        "looked": plan.config.confirm.until == "decided",
        "slots": asdict(slots),
        "versions": versions(),
        "git": revision(),
        "code": describe_code(plan.config),
        "hardware": {"machine": platform.machine(), "cpus": os.cpu_count(), **_gpus()},
    }


def _gpus() -> dict[str, Any]:
    """How many the cluster holds, and their models as Ray calls them."""
    there = ray.cluster_resources()
    kinds = [key.partition(":")[2] for key in there if key.startswith("accelerator_type:")]
    return {"gpus": there.get("GPU", 0.0), "gpu_kinds": kinds}


def planned(plan: Plan) -> dict[str, Any]:
    """How much is to be trained: trainings by arm, samples by role; for who reads meanwhile."""
    return {"arms": plan.trials_by_arm(), "samples_by_role": plan.samples_by_role()}


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
