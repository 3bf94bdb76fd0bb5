"""What did the run find? The last screen: best schedule, how sure, what to type next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from results import Run, load
from results.arms.choice import confirm_rows, is_full
from search_spaces.registry import is_import_path
from search_spaces.schedule import Schedule
from search_spaces.trial import TrialConfig
from tuner.config.compose import NAMED
from tuner.display.live import describe_params
from tuner.plan.usercode import MAIN

MAX_STAGES_SHOWN = 6


def print_summary(run_dir: Path) -> None:
    """Print what `results.load` has to say about the finished run."""
    console = Console(highlight=False, soft_wrap=True)
    run = load(run_dir)
    rows = run.rows()
    try:
        best = run.best()
    except ValueError as error:
        console.print(f"no schedule found: {error}", markup=False)
        return
    console.print()
    console.print(f"best schedule: {best.space} {describe_params(best.params)}", markup=False)
    for line in stage_lines(best.schedule):
        console.print(f"  {line}", markup=False)
    console.print(_accuracy_line(rows, best), markup=False)
    console.print(_search_line(run, rows), markup=False)
    (manifest,) = run.manifests.values()
    if shared := manifest.get("shared_samples"):
        console.print(f"{shared:,} samples were shared: trained once, used by several trainings")
    if any(row["role"] == "confirm" for row in rows):
        comparison = run.compare()
        console.print(comparison.verdict, markup=False, style="bold")
        for warning in comparison.warnings:
            console.print(f"note: {warning}", markup=False)
    console.print()
    has_search = any(row["role"] == "search" for row in rows)
    for command in next_commands(run_dir, manifest["config"], has_search=has_search):
        console.print(f"  {command}", markup=False)


def stage_lines(schedule: Schedule) -> list[str]:
    """lr, batch and delta by stage; the middle of a long table is left out."""
    lines = []
    last = schedule.num_stages - 1
    has_momentum = bool((schedule.momentum_S != schedule.momentum_S[0]).any())
    for stage in range(schedule.num_stages):
        if MAX_STAGES_SHOWN - 2 < stage < last:
            if stage == last - 1:
                lines.append(f"... {last - MAX_STAGES_SHOWN + 1} more stages")
            continue
        momentum = f"  momentum {schedule.momentum_S[stage]:.4g}" if has_momentum else ""
        lines.append(
            f"epoch {schedule.start_S[stage] / schedule.epoch_samples:<5.4g} "
            f"lr {schedule.lr_S[stage]:<9.4g} batch {schedule.batch_size_S[stage]:<5} "
            f"delta {schedule.delta_S[stage]:.4g}{momentum}"
        )
    return lines


def shown(path: Path) -> str:
    """Relative to the working directory where it lies below."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def next_commands(run_dir: Path, config: dict[str, Any], *, has_search: bool = True) -> list[str]:
    """What a person would type next."""
    where = shown(run_dir)
    commands = [
        f"python -m results compare {where}                  # table, verdict and plots",
        f"python -m results export {where} --schedule best   # CSV, JSON and a torch snippet",
    ]
    is_open = config["search"]["sampler"] != "grid" and config["search"]["budget"] is None
    if is_open and has_search:
        commands.append(_search_on(where, config))
    return commands


def _search_on(run_dir: str, config: dict[str, Any]) -> str:
    """The user's own code is named again, which allows its import."""
    names = {key: config[key]["name"] for key in NAMED} | {"trainable": config.get("trainable")}
    own = {key: name for key, name in names.items() if name and is_import_path(name)}
    if own.get("trainable", "").startswith(f"{MAIN}:"):
        return f"tuner.search(resume={run_dir!r}, trainable=..., trials='+10')   # search on"
    words = "".join(f" {key}={name}" for key, name in own.items())
    return f"python -m tuner.run resume={run_dir}{words} trials=+10      # search on"


def _accuracy_line(rows: list[dict[str, Any]], best: TrialConfig) -> str:
    own = [row for row in rows if row["config_key"] == best.config_key]
    searched = [r["objective"] for r in own if r["role"] == "search" and is_full(r)]
    tests = [r["test_accuracy"] for r in confirm_rows(own) if r["test_accuracy"] is not None]
    parts = [f"validation accuracy {100 * searched[0]:.2f} % in the search"] if searched else []
    if tests:
        seeds = f"mean of {len(tests)} fresh seed{'s' if len(tests) > 1 else ''}"
        parts.append(f"test accuracy {100 * np.mean(tests):.2f} % ({seeds})")
    return ", ".join(parts)


def _in_full(configs: int, num_full: int) -> str:
    """How many of the configs were trained in full, where that is not all."""
    return "" if configs == num_full else f" of which {num_full} in full"


def _search_line(run: Run, rows: list[dict[str, Any]]) -> str:
    """How many configs were searched, and how many of them a model suggested."""
    parts = []
    for name in run.spaces:
        searched = [r for r in rows if r["space"] == name and r["role"] == "search"]
        if searched:
            num_full = sum(is_full(row) for row in searched)
            configs = len({row["config_key"] for row in searched})
            parts.append(f"{name} {configs}" + _in_full(configs, num_full))
    if not parts:
        return "searched configs: none; every arm has one config"
    manifest = next(iter(run.manifests.values()))
    modelled = manifest.get("model_based", 0)
    return f"searched configs: {', '.join(parts)} ({modelled} suggested by the sampler's model)"
