"""How does a run stand? The screen that its own terminal shows, drawn from the records alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from results import Run
from results.records.events import EVENTS_NAME
from results.records.lock import lock_holder
from results.records.schema import trial_from_row
from results.records.segments import MANIFEST_NAME, TABLES, list_segments
from results.statistics.cost import devices_of, seconds_of
from search_spaces.records import OPEN, EpochRecord
from tuner.display.live import RichDisplay, Running
from tuner.display.outlook import Bound
from tuner.display.phrases import describe_path, describe_seconds
from tuner.display.summary import describe_cost, resume_command

# A run writes at least the manifest, a row or an event this often; a long epoch may take longer.
QUIET_SECONDS = 600.0
FIELDS = set(EpochRecord.__dataclass_fields__)


def describe_run(run: Run, now: float | None = None) -> Group:
    """One run: whether it goes on, its arms and the best of each, what is left in time and cost.

    Args:
        run: of one folder. now: seconds since the epoch; None = now.
    """
    (run_dir,), (manifest,) = run.dirs, run.manifests.values()
    now = time.time() if now is None else now
    state, is_going = _state(run_dir, manifest, now)
    display = _replay(run, manifest, now, is_going=is_going)
    lines: list[RenderableType] = [Text(state, style="bold"), display.arm_table()]
    if is_going:
        lines += [display.trial_table(), display.time_line()]
    else:
        lines.append(Text(describe_cost(run.trials.to_pylist(), manifest), style="dim"))
        if manifest.get("status") != "completed":
            lines.append(Text(f"go on with: {resume_command(run_dir, manifest)}"))
    notes = [note for note in run.notes if "is still running" not in note]
    return Group(*lines, *(Text(f"note: {note}") for note in notes))


def _state(run_dir: Path, manifest: Mapping[str, Any], now: float) -> tuple[str, bool]:
    """ "run x: running (process 12 on node-3), last record 2 s ago", and whether it goes on."""
    name, status = describe_path(run_dir), str(manifest.get("status", "unknown"))
    if status != "running":
        ended = _seconds_since(manifest.get("ended_at"), now)
        ago = "" if ended is None else f" {describe_seconds(ended)} ago"
        problem = f": {manifest['problem']}" if manifest.get("problem") else ""
        return f"run {name}: {status}{ago}{problem}", False
    quiet = max(0.0, now - _written_at(run_dir))
    holder = lock_holder(run_dir)
    if holder is None or not holder.alive:
        return f"run {name}: ended without a word, {describe_seconds(quiet)} ago", False
    who = f"process {holder.pid} on {holder.host}"
    doubt = ": is it still alive?" if quiet > QUIET_SECONDS else ""
    last = f"last record {describe_seconds(quiet)} ago{doubt}"
    return f"run {name}: running ({who}), {last}", True


def _written_at(run_dir: Path) -> float:
    """When the newest of its records was written, in seconds since the epoch."""
    segments = [path for table in TABLES for path in list_segments(run_dir, table)[-1:]]
    files = [run_dir / MANIFEST_NAME, run_dir / EVENTS_NAME, *segments]
    return max((path.stat().st_mtime for path in files if path.exists()), default=0.0)


def _replay(run: Run, manifest: Mapping[str, Any], now: float, *, is_going: bool) -> RichDisplay:
    """A display that has seen what the records hold."""
    planned = manifest.get("planned") or {}
    devices = devices_of(manifest.get("slots") or {})
    bounds = {
        role: Bound(samples=samples, seconds=3600 * hours / devices.count)
        for role, samples in (planned.get("samples_by_role") or {}).items()
        if (hours := (manifest["config"].get(role) or {}).get("hours")) is not None
    }
    arms = planned.get("arms") or {}  # JSON keeps no order: the spaces have it
    searched = [space["name"] for space in manifest.get("spaces") or ()]
    display = RichDisplay(
        {name: arms[name] for name in (*searched, *arms) if name in arms},
        sum((planned.get("samples_by_role") or {}).values()),
        devices=devices,
        bounds=bounds,
    )
    display.most_live = max(1, int((manifest.get("slots") or {}).get("max_concurrent") or 1))
    since = _seconds_since(manifest.get("started_at"), now) or 0.0
    display.begun = time.monotonic() - since
    epochs = run.epochs_by_trial()
    for row in run.trials.to_pylist():
        trial = trial_from_row(row)
        is_live = is_going and row["status"] == "running"
        records = epochs.get((row["run_id"], row["trial_key"]), [])
        begun = _seconds_since(row["started_at"], now) or 0.0
        display.live[trial.trial_key] = Running(trial=trial, started=time.monotonic() - begun)
        for record in sorted(records, key=lambda record: int(record["epoch"])):
            display.epoch_ended(trial, _record(record))
        display.metric = trial.recipe.metric
        if not is_live:
            del display.live[trial.trial_key]
        if row["status"] not in OPEN:
            rest = seconds_of(row) - display.outlook.seconds.get(trial.trial_key, 0.0)
            display.resumed(trial, row["status"], row["objective"], seconds=max(0.0, rest))
    return display


def _record(row: Mapping[str, Any]) -> EpochRecord:
    """The record that a row of `epochs` was made from."""
    fields = {name: value for name, value in row.items() if name in FIELDS}
    return EpochRecord(**(fields | {"metrics": dict(row.get("metrics") or ())}))


def _seconds_since(moment: Any, now: float) -> float | None:
    """Of a time as a row holds it, or as ISO text."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if not isinstance(moment, datetime):
        return None
    at = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, now - float(at.timestamp()))
