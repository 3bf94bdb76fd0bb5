"""How are the books of a run opened? A new folder, or those of an earlier run, taken up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from results import load
from results.records.schema import trial_from_row
from results.records.store import RunStore
from tuner.campaign.campaign import Campaign
from tuner.config.schema import ConfigError, plain
from tuner.config.yamltext import write_yaml
from tuner.display.live import Display, make_display
from tuner.plan.plan import Plan
from tuner.recording.recorder import Recorder
from tuner.session.cluster import Slots
from tuner.session.manifest import make_manifest


def begin(plan: Plan, slots: Slots, command: str, run_dir: Path) -> tuple[Campaign, Recorder]:
    """A new run: who decides, and who records in `run_dir`.

    Raises:
        ConfigError: there can be no such folder.
    """
    manifest, config = make_manifest(plan, slots, command), write_yaml(plain(plan.config))
    try:
        store = RunStore.create(run_dir, manifest, config)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return Campaign(plan), _recorder(store, _display(plan))


def take_up(plan: Plan, run_dir: Path) -> tuple[Campaign, Recorder]:
    """An earlier run: the campaign as its records left it, and who records on.

    Raises:
        ConfigError: the records cannot be read or continued, or are not of this plan.
    """
    campaign, display = Campaign(plan), _display(plan)
    try:
        rows = load(run_dir).search_rows()
        store = RunStore.open(run_dir)
        campaign.replay(rows)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    for row in filter(campaign.counts, rows):
        num_rungs = campaign.num_rungs(row)
        display.resumed(trial_from_row(row), row["status"], row["objective"], num_rungs)
    before = store.manifest
    looked = has_looked(plan, before, rows)
    store.update_manifest(status="running", config=plain(plan.config), looked=looked)
    recorder = _recorder(store, display)
    recorder.remember(rows, before.get("shared_samples", 0))
    return campaign, recorder


def has_looked(plan: Plan, manifest: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> bool:
    """True when somebody may have looked at confirm trials before more seeds were asked for."""
    confirm, before = plan.config.confirm, manifest["config"]["confirm"]
    has_more = confirm.seeds > before["seeds"] and any(r["role"] == "confirm" for r in rows)
    untils = (confirm.until, before.get("until"))
    return bool(manifest.get("looked")) or has_more or "decided" in untils


def _display(plan: Plan) -> Display:
    return make_display(plan.config.display, plan.trials_by_arm(), plan.num_samples)


def _recorder(store: RunStore, display: Display) -> Recorder:
    return Recorder(store, display, store.run_dir / "checkpoints")
