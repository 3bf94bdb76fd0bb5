"""What does the report say in words and tables: arms, costs, failures, and where it came from?"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from results.exports.snippet import format_params
from results.records.schema import Row
from results.report.cells import Table, duration, number, p_value, percent
from results.run import Run
from results.statistics.compare import (
    Claim,
    Comparison,
    Difference,
    arm_label,
    interval_text,
    points,
)
from search_spaces.records import LOST

MAX_PAIRS = 100  # shown; of more, those with the smallest p
MAX_FAILURES = 20  # shown; the rest is counted


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where a run's numbers come from: facts by name, and its exact settings (YAML)."""

    run_id: str
    facts: Mapping[str, str]
    config: str


def scores_table(comparison: Comparison) -> Table:
    """What each arm scored on its confirm seeds, and against the user's default."""
    rows = []
    for arm in comparison.arms:
        vs = arm.difference
        has = vs is not None and vs.n > 0
        rows.append(
            [
                arm_label(arm.name),
                str(arm.n),
                percent(arm.mean),
                percent(arm.sd),
                f"{points(vs.mean)[0]} {interval_text(vs)}" if has and vs else "-",
            ]
        )
    kinds = {a.difference.interval_kind for a in comparison.arms if a.difference}
    kind = " or ".join(sorted(kinds)) or "95% t-interval"
    metric = comparison.metric.replace("_", " ")
    return Table(
        caption=f"{metric.capitalize()} on the confirm seeds (n); differences are paired by seed, "
        f"in points, with {kind}",
        header=["arm", "n", f"mean {metric} %", "sd", f"minus {arm_label(comparison.reference)}"],
        rows=rows,
    )


def pairs_table(comparison: Comparison) -> Table | None:
    """Every pair of arms: what may be claimed, and how sure that is; None without any pair."""
    compared = [claim for claim in comparison.claims if claim.difference.n]
    if not compared:
        return None
    claims = compared
    if len(compared) > MAX_PAIRS:
        claims = sorted(compared, key=lambda c: 2.0 if c.p_holm is None else c.p_holm)[:MAX_PAIRS]
    left_out = len(compared) - len(claims)
    more = f"; {left_out} more pairs with larger p are left out" if left_out else ""
    rows = [
        [
            minus_label(claim),
            str(claim.difference.n),
            f"{points(claim.difference.mean)[0]} {interval_text(claim.difference)}",
            p_value(claim.difference.p_value),
            p_value(claim.p_holm),
            p_value(claim.difference.permutation_p),
            _share_better(claim.difference),
            claim.outcome,
        ]
        for claim in claims
    ]
    kind = " or ".join(sorted({claim.difference.interval_kind for claim in claims}))
    header = ["pair", "n", "points", "p", "adjusted p", "sign-flip p", "seeds won %", "outcome"]
    return Table(
        caption=f"Every pair of arms: mean difference in points by paired seed (n) with {kind}; "
        "p of no difference, then adjusted for all pairs; share of seeds on which the first is "
        f"better with 95% Wilson interval{more}",
        header=header,
        rows=rows,
    )


def minus_label(claim: Claim) -> str:
    """ "poly minus cosine"."""
    return f"{arm_label(claim.a)} minus {arm_label(claim.b)}"


def _share_better(difference: Difference) -> str:
    if difference.prob_better is None:
        return "-"
    low, high = percent(difference.prob_low, 0), percent(difference.prob_high, 0)
    return f"{percent(difference.prob_better, 0)} [{low}, {high}]"


def costs_table(comparison: Comparison) -> Table:
    """What each arm chose and took."""
    rows = []
    for name, arm in comparison.details.items():
        edge = f" (at an end of its range: {', '.join(arm.on_edge)})" if arm.on_edge else ""
        rows.append(
            [
                arm_label(name),
                (format_params(arm.params) if arm.params else "-") + edge,
                number(arm.search.samples_seen),
                number(arm.confirm.samples_seen),
                number(arm.confirm.optimizer_steps),
                duration(arm.search.train_seconds + arm.confirm.train_seconds),
                ", ".join(f"{count} {status}" for status, count in arm.num_trials.items()),
            ]
        )
    header = ["arm", "chosen config", "search samples", "confirm samples", "confirm steps"]
    return Table(
        caption="What each arm chose, and what it took (all trials of the arm together)",
        header=[*header, "training time", "trials"],
        rows=rows,
    )


def failures_table(rows: list[Row]) -> Table | None:
    """The trials that failed, with the last line of their errors; None without any."""
    lost = [row for row in rows if row["status"] in LOST]
    if not lost:
        return None
    shown = [
        [
            arm_label(row["space"]),
            row["trial_key"],
            row["status"],
            ((row["error"] or "").strip().splitlines() or ["no error text"])[-1],
        ]
        for row in lost[:MAX_FAILURES]
    ]
    first = f"the first {MAX_FAILURES} of " if len(lost) > MAX_FAILURES else ""
    return Table(
        caption=f"Failed trials: {first}{len(lost)}",
        header=["arm", "trial", "status", "error"],
        rows=shown,
    )


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


def _facts(manifest: Mapping[str, Any], rows: list[Row]) -> dict[str, str]:
    """By name, what is known; a damaged manifest leaves out the rest."""
    recipe, config = _dict(manifest, "recipe"), _dict(manifest, "config")
    git, hardware = _dict(manifest, "git"), _dict(manifest, "hardware")
    search, confirm = _dict(config, "search"), _dict(config, "confirm")
    slots, seeds = _dict(manifest, "slots"), _confirm_seeds(rows)
    facts = {
        "command": manifest.get("command"),
        "status": manifest.get("status"),
        "started": _time(manifest.get("started_at")),
        "ended": _time(manifest.get("ended_at")),
        "trained": _told(recipe, "model", "width", "dataset", "epochs", "precision"),
        "optimizer": _told(recipe, "optimizer", "momentum", "nesterov", "weight_decay"),
        "data": _told(recipe, "data_fingerprint", "train_examples", "pool_examples"),
        "test images": manifest.get("num_test"),
        "noise law": _told(recipe, "noise_law", "c2", "c2_source"),
        "search": _told(search, *search),
        "confirm": _told(confirm, *confirm),
        "trials per space": config.get("trials"),
        "run seed": manifest.get("seed"),
        "confirm seeds": ", ".join(map(str, seeds)),
        "minimum effect": config.get("min_effect"),
        "scale": manifest.get("scale"),
        "code": f"git {git['sha']}{' with changes' if git.get('dirty') else ''}"
        if git.get("sha")
        else None,
        "versions": ", ".join(f"{k} {v}" for k, v in _dict(manifest, "versions").items()),
        "hardware": _told(hardware, *hardware),
        "trained on": ", ".join(sorted({row["device"] for row in rows if row["device"]})),
        "trials at once": slots.get("max_concurrent"),
        "report made with": f"Python {platform.python_version()}",
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "", [])}


def _confirm_seeds(rows: list[Row]) -> list[int]:
    pairs = {(row["replicate"], row["seed"]) for row in rows if row["role"] == "confirm"}
    return [seed for _, seed in sorted(pairs)]


def _dict(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    return value if isinstance(value, Mapping) else {}


def _told(data: Mapping[str, Any], *names: str) -> str:
    known = {name: data.get(name) for name in names}
    return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in known.items() if v not in (None, []))


def _time(text: str | None) -> str | None:
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S UTC") if text else None
    except (TypeError, ValueError):
        return str(text)


def _config(run_dir: Path) -> str:
    try:
        return (run_dir / "config.yaml").read_text()
    except (OSError, UnicodeError):
        return ""
