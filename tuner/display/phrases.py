"""How is it said on the terminal? Parameters, stages, seconds and paths in words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from results.storage.twin import describe
from search_spaces.schedule import Schedule
from search_spaces.space import SCHEDULE_PARAMS, param_text
from search_spaces.trial import Recipe

MAX_STAGES = 6


def describe_params(params: Mapping[str, float]) -> str:
    """'p=0.9 interval=2 delta0=0.31', without a split of 1."""
    varied = {k: v for k, v in params.items() if not (k == "split" and v == 1)}
    order = sorted(
        varied, key=lambda name: SCHEDULE_PARAMS.index(name) if name in SCHEDULE_PARAMS else -1
    )
    return " ".join(f"{name}={param_text(name, varied[name])}" for name in order)


def point(recipe: Recipe) -> str:
    """What is counted while a training goes on: its epochs, or its reports."""
    return "epoch" if recipe.reports is None else "report"


def describe_seconds(seconds: float) -> str:
    """'42 s', '3 min 05 s', '2 h 10 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def describe_path(path: Path) -> str:
    """Relative to the working directory where it lies below, and never what a command reads else.

    `-x` would be an option, `~x` a home folder, and `out=x` a key. Of a run in a bucket its URI.
    """
    if (there := describe(path)) is not None:
        return there
    try:
        here = Path.cwd()
    except FileNotFoundError:  # removed meanwhile: Ray unpacks a job's copy anew
        return str(path)
    text = str(path.relative_to(here) if path.is_relative_to(here) else path)
    return f"./{text}" if text.startswith(("-", "~")) or "=" in text.partition("/")[0] else text


def say_at_once(text: str) -> None:
    """Past all buffers and locks: out of a signal's handler. The terminal may be gone."""
    with suppress(OSError):
        os.write(2, f"\n{text}\n".encode())


def stage_lines(schedule: Schedule) -> list[str]:
    """A line per stage of a schedule; the middle of a long table is left out."""
    last = schedule.num_stages - 1
    stages = [stage for stage in range(last) if stage < MAX_STAGES - 1] + [last]
    lines = [_stage_line(schedule, stage) for stage in stages]
    if left_out := schedule.num_stages - len(stages):
        lines.insert(-1, f"... {left_out} more stages")
    return lines


def _stage_line(schedule: Schedule, stage: int) -> str:
    capped = " (capped)" if schedule.capped_S[stage] else ""
    floored = " (floored)" if schedule.floored_S[stage] else ""
    has_momentum = bool((schedule.momentum_S != schedule.momentum_S[0]).any())
    momentum = f"  momentum {schedule.momentum_S[stage]:.4g}{floored}" if has_momentum else ""
    return (
        f"epoch {schedule.start_S[stage] / schedule.epoch_samples:<5.4g} "
        f"lr {schedule.lr_S[stage]:<9.4g} batch {schedule.batch_size_S[stage]:<5}{capped} "
        f"delta {schedule.delta_S[stage]:<9.4g} decay rate "
        f"{schedule.decay_rate_S[stage]:.4g}{momentum}"
    )
