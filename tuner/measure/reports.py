"""What did a measurement find? One report a measurement, from the run's records alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import results
from results.records.schema import trial_from_row
from results.records.wall_time import now
from results.run import Run
from search_spaces.registry import is_import_path
from search_spaces.space import is_baseline
from tuner.config.presets import merged
from tuner.config.schema import ConfigError
from tuner.config.yamltext import write_yaml

# What decides a training; without the run's own seeds, arms and measurements.
WORKLOAD_KEYS = (
    *("trainer", "dataset", "model", "optimizer", "lr", "batch", "recipe", "epochs"),
    *("warmup_epochs", "label_smoothing", "smoothing", "precision"),
)
NOTHING = "nothing was measured"


def report(what: str, run_dir: Path) -> None:
    """Print what was trained and what the measurement found; draw its figures."""
    from results.measurements import MEASUREMENTS
    from results.plots import save_plots

    run = _opened(run_dir)
    for line in MEASUREMENTS[what].describe(run) or [NOTHING]:
        print(line)
    for path in save_plots(run, run_dir / "plots"):
        print(f"figure: {path}")


def write_workload(run_dir: Path, directory: Path) -> Path:
    """The run's workload with the measured constants: workload/<workload>_measured.yaml there.

    Raises:
        ConfigError: nothing was measured, or the file cannot be written.
    """
    from results.measurements.noise import batch_norm_text, read_noise, steps_text

    run = _opened(run_dir)
    constants = read_noise(run)
    (manifest,) = run.manifests.values()
    name = manifest["config"]["workload"]
    default = next((c for name, c in constants.items() if is_baseline(name)), None)
    row = run.rows()[0]
    constant = default or next(iter(constants.values()), None)
    if constant is None or not math.isfinite(constant.c2) or not math.isfinite(constant.k):
        raise ConfigError(f"{run_dir}: {NOTHING}, so nothing is written")
    numbers = {"c2": float(f"{constant.c2:.6g}"), "k": float(f"{constant.k:.6g}")}
    settings = merged(_settings(manifest["config"]), {"noise": {**numbers, "source": "measured"}})
    interval = "" if constant.low is None else f" [{constant.low:.4g}, {constant.high:.4g}]"
    head = (
        f"# C^2 = {constant.c2:.4g}{interval}, measured by run {run_dir.name} "
        f"on {now():%Y-%m-%d}, {constant.num_seeds} seeds, "
        f"{constant.num_measurements} measurements each; {batch_norm_text(row, 'noise')}.\n"
        f"# K is the largest gradient norm of {steps_text([constant])}.\n"
    )
    path = directory / "workload" / f"{name.removesuffix('_measured')}_measured.yaml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(head + write_yaml(settings), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--write {directory}: {error.strerror}") from None
    return path


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """The recipe as it was trained; names of the user's code stay on the command line."""
    settings = {key: config[key] for key in WORKLOAD_KEYS}
    for key in ("dataset", "model", "optimizer"):
        if is_import_path(settings[key]["name"]):
            settings[key] = {k: v for k, v in settings[key].items() if k != "name"}
    schedule = dict(settings["recipe"])
    params = schedule.pop("params", {})
    if is_import_path(schedule.get("family", "")):
        del schedule["family"]  # and its parameters, which no other curve knows
        params = {}
    settings["recipe"] = schedule | params
    return settings


def _opened(run_dir: Path) -> Run:
    """The run; what was trained is printed: to confirm, or all where there is nothing such.

    Raises:
        ConfigError: no trial at all.
    """
    run = results.load(run_dir)
    rows = run.rows()
    trials = [row for row in rows if row["role"] == "confirm"] or rows
    if not trials:
        raise ConfigError(f"{run_dir}: no trial has begun")
    diverged = sum(row["status"] == "diverged" for row in trials)
    recipe = trial_from_row(trials[0]).recipe
    print(
        f"\n{recipe.model} on {recipe.dataset}, {recipe.epochs} epochs, "
        f"{len({row['replicate'] for row in trials})} seeds, {len(trials)} trainings"
        + (f", {diverged} of them diverged" if diverged else "")
    )
    return run
