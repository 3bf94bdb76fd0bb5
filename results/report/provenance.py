"""What does the report say in words and tables: arms, costs, failures, and where it came from?"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from results.arms.choice import short_ids
from results.records.redaction import redact, visible
from results.records.schema import Row
from results.run import Run
from results.statistics.wording import arm_label
from results.tables import Table
from search_spaces.noise_law import LAWS, NoiseLaw
from search_spaces.records import LOST

MAX_FAILURES = 20  # shown; the rest is counted
# Settings of which no number depends.
OF_NO_INTEREST = ("name", "runs_dir", "display", "report", "dry_run", "track", "max_failures")


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where a run's numbers come from: facts by name, and its exact settings (YAML)."""

    run_id: str
    facts: Mapping[str, str]
    config: str


def failures_table(trials: list[Row]) -> Table | None:
    """The trials that failed, with the last line of their errors; None without any."""
    lost = [row for row in trials if row["status"] in LOST]
    if not lost:
        return None
    rows = []
    for row in lost[:MAX_FAILURES]:
        error = ((row["error"] or "").strip().splitlines() or ["no error text"])[-1]
        rows.append([arm_label(row["space"]), row["trial_key"], row["status"], error])
    first = f"the first {MAX_FAILURES} of " if len(lost) > MAX_FAILURES else ""
    caption = f"Failed trials: {first}{len(lost)}"
    return Table(caption=caption, header=["arm", "trial", "status", "error"], rows=rows)


def provenance(run: Run) -> list[Provenance]:
    """Of every run: command, times, versions, hardware, data, seeds, key settings."""
    rows = run.trials.to_pylist()
    return [
        Provenance(
            run_id=run_id,
            facts=_facts(manifest, [row for row in rows if row["run_id"] == run_id]),
            config=_config(run_dir),
        )
        for (run_id, manifest), run_dir in zip(run.manifests.items(), run.dirs, strict=True)
    ]


def differences_table(run: Run) -> Table | None:
    """What is not the same in all of several runs: settings, versions, code, machines, dates.

    None of one run. What a run does not tell (an older one) is no difference.
    """
    if len(run.manifests) < 2:
        return None
    rows = run.trials.to_pylist()
    facts = {
        run_id: _settings(manifest, [row for row in rows if row["run_id"] == run_id])
        for run_id, manifest in run.manifests.items()
    }
    names = short_ids(facts)
    runs_by_value: dict[str, dict[str, list[str]]] = {}
    for run_id, facts_of_run in facts.items():
        for name, value in facts_of_run.items():
            runs_by_value.setdefault(name, {}).setdefault(value, []).append(names[run_id])
    differing = [
        [name, "; ".join(f"{value} ({', '.join(ids)})" for value, ids in values.items())]
        for name, values in runs_by_value.items()
        if len(values) > 1
    ]
    caption = "What differs between the runs" if differing else "The runs differ in nothing told"
    return Table(caption=caption, header=["what", "value (run)"], rows=differing)


def _settings(manifest: Mapping[str, Any], rows: list[Row]) -> dict[str, str]:
    """By name, as short text."""
    hosts, code = {row["host"] for row in rows if row["host"]}, _dict(manifest, "code")
    digest = _dict(manifest, "recipe").get("code_digest")
    config = dict(_flat(_dict(manifest, "config")))
    facts: dict[str, Any] = {
        "status": manifest.get("status"),
        "started": _time(manifest.get("started_at")),
        "host": ", ".join(sorted(hosts)),
        "trained on": ", ".join(sorted({row["device"] for row in rows if row["device"]})),
        **{f"hardware {name}": value for name, value in _dict(manifest, "hardware").items()},
        "GradTune": _git(_dict(manifest, "git")),
        "your code": " ".join(filter(None, (digest, _git(_dict(code, "git"))))),
        **{name: version for name, version in _dict(manifest, "versions").items()},
        **{name: value for name, value in config.items() if name not in OF_NO_INTEREST},
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "", [])}


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings by dotted names, as one types them."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _facts(manifest: Mapping[str, Any], rows: list[Row]) -> dict[str, str]:
    """By name, what is known; a damaged manifest leaves out the rest."""
    recipe, config = _dict(manifest, "recipe"), _dict(manifest, "config")
    code, hardware = _dict(manifest, "code"), _dict(manifest, "hardware")
    search, confirm = _dict(config, "search"), _dict(config, "confirm")
    slots, versions = _dict(manifest, "slots"), dict(_dict(manifest, "versions"))
    ours = " ".join(filter(None, (versions.pop("gradtune", ""), _git(_dict(manifest, "git")))))
    is_users = recipe.get("trainer") == "user"  # whose optimizer and test data only it knows
    seeds = sorted({(r["replicate"], r["seed"]) for r in rows if r["role"] == "confirm"})
    facts = {
        "command": manifest.get("command"),
        "status": manifest.get("status"),
        "started": _time(manifest.get("started_at")),
        "ended": _time(manifest.get("ended_at")),
        "trained": _known(recipe, "model", "width", "dataset", "epochs", "precision"),
        "optimizer": None
        if is_users
        else _known(recipe, "optimizer", "momentum", "nesterov", "weight_decay"),
        "data": _known(recipe, "data_fingerprint", "train_examples", "pool_examples"),
        "test images": None if is_users else manifest.get("num_test"),
        "noise law": _known(recipe, "noise_law", "c2", "c2_source"),
        "delta": _formula(recipe),
        "search": _known(search, *search),
        "confirm": _known(confirm, *confirm),
        "trials per space": config.get("trials"),
        "run seed": manifest.get("seed"),
        "confirm seeds": ", ".join(str(seed) for _, seed in seeds),
        "minimum effect": config.get("min_effect"),
        "scale": manifest.get("scale"),
        "your code": ", ".join(filter(None, (_git(_dict(code, "git")), *_dict(code, "files")))),
        "GradTune": ours,
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()),
        "hardware": _known(hardware, *hardware),
        "trained on": ", ".join(sorted({row["device"] for row in rows if row["device"]})),
        "trials at once": slots.get("max_concurrent"),
        "report made with": f"Python {platform.python_version()}",
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "", [])}


def _git(state: Mapping[str, Any]) -> str:
    changes = " with changes" if state.get("dirty") else ""
    return f"git {state['sha']}{changes}" if state.get("sha") else ""


def _dict(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    return value if isinstance(value, Mapping) else {}


def _formula(recipe: Mapping[str, Any]) -> str | None:
    """How delta follows from lr and batch; of a known function it is the smoothing's radius."""
    name, momentum = recipe.get("noise_law"), recipe.get("momentum", 0.0)
    if name not in LAWS or recipe.get("trainer") == "function":
        return None
    return NoiseLaw(name=name, momentum=momentum).formula


def _known(data: Mapping[str, Any], *names: str) -> str:
    known = {name: data.get(name) for name in names}
    return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in known.items() if v not in (None, []))


def _time(text: str | None) -> str | None:
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S UTC") if text else None
    except (TypeError, ValueError):
        return str(text)


def _config(run_dir: Path) -> str:
    try:
        return redact(visible((run_dir / "config.yaml").read_text(encoding="utf-8")))
    except (OSError, UnicodeError):
        return ""
