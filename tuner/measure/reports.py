"""What did a measurement find? One report a measurement, from the run's records alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import results
from results.records.schema import Row, trial_from_row
from results.run import Run
from search_spaces.registry import is_import_path
from search_spaces.space import BASELINE
from search_spaces.trial import Recipe
from tuner.config.presets import merged
from tuner.config.schema import ConfigError
from tuner.config.yamltext import write_yaml

# What decides a training; without the run's own seeds, arms and measurements.
WORKLOAD_KEYS = (
    *("trainer", "dataset", "model", "optimizer", "lr", "batch", "recipe", "epochs"),
    *("warmup_epochs", "label_smoothing", "smoothing", "precision"),
)
NOTHING = "nothing was measured"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measurement: the preset that runs it, and what to print when it has run."""

    preset: str
    report: Callable[[Path], None]


def report_noise(run_dir: Path) -> None:
    """C^2 and K of each arm, averaged over the training."""
    from results.measurements.noise import noise_constant
    from results.statistics.compare import arm_label

    run = _opened(run_dir)
    constants = noise_constant(run)
    for arm, found in constants.items():
        interval = "" if found.low is None else f" [{found.low:.4g}, {found.high:.4g}]"
        print(
            f"{arm_label(arm)}: C^2 = {found.c2:.4g}{interval}, from {found.first:.4g} at first "
            f"to {found.last:.4g} at last; K = {found.k:.4g}\n  (geometric mean over "
            f"{found.num_epochs} epochs, n={found.num_seeds} seeds, 95% t-interval of the "
            "logarithm over seeds)"
        )
    if constants:
        options = _recipe(run).measurements["noise"]
        print(
            f"estimator {options['estimator']}, BatchNorm in {options['batch_norm']} mode, "
            "augmented batches drawn with replacement; K is the largest gradient norm of a "
            "measuring batch"
        )
    else:
        print(NOTHING)
    _figures(run, run_dir)


def report_critical(run_dir: Path) -> None:
    """b*, how flat its minimum is, and the bound of C^2, for every epsilon."""
    from results.measurements.critical import critical_batches

    run = _opened(run_dir)
    batches = critical_batches(run)
    if not batches:
        print(NOTHING)
    for found in batches:
        if found.b_star is None:
            print(f"epsilon {found.epsilon:g}: no batch got there; train longer or raise it")
            continue
        flat = ", ".join(map(str, found.flat_S.tolist()))
        bound = "no bound follows" if found.c2_bound is None else f"C^2 < {found.c2_bound:.4g}"
        print(
            f"epsilon {found.epsilon:g}: b* = {found.b_star} (n={found.num_seeds} seeds), "
            f"{bound}; batches within 10% of its cost: {flat}"
        )
        if found.b_star in found.floored_S:
            print("  b* stopped at the first step looked at: lower epsilon or critical.min_epochs")
        for batch, num in found.left_out.items():
            print(f"  batch {batch}: only {num} seeds got there")
    _figures(run, run_dir)


def report_sampling(run_dir: Path) -> None:
    """Norm and shape of the gradient noise by batch size, at the last measured epoch."""
    from results.plots.papers.sampling import noise_sample_info

    run = _opened(run_dir)
    arms = noise_sample_info(run).arms
    if not arms:
        print(NOTHING)
    for arm in arms:
        size = ", ".join(f"epoch {epoch}: {mean}" for epoch, mean in arm.scaled_norm.items())
        print(f"batch {arm.batch_size}: sqrt(b)*|noise| (an estimate of C) {size}")
        print(
            f"  at epoch {arm.epoch}: {arm.verdict}; skewness {arm.skewness}; excess kurtosis "
            f"{arm.excess_kurtosis}; KS distance {arm.ks} (a normal's: {arm.ks_of_normal:.2g})"
        )
    _figures(run, run_dir)


def report_sharpness(run_dir: Path) -> None:
    """Spearman correlations of sharpness, noise level and accuracy over the configs."""
    from results.plots.papers.sharpness import LABELS, sharpness_info

    run = _opened(run_dir)
    info = sharpness_info(run)
    if info.arms:
        print(f"{info.num_trainings} trainings; Spearman's rho between configs, 95% interval:")
        for panel, correlation in info.correlations.items():
            print(f"  {LABELS[panel.y]} against {LABELS[panel.x]}: {correlation}")
        print(f"  highest mean test accuracy at delta = {info.best_delta:.4g}")
    else:
        print(NOTHING)
    _figures(run, run_dir)


def report_exchange(run_dir: Path) -> None:
    """The exchange rate between batch and lr, of all growths and of each."""
    from results.measurements.exchange import exchange

    run = _opened(run_dir)
    try:
        found = exchange(run)
    except ValueError as error:
        print(f"no exchange rate: {error}")
        return
    print(found.sentence)
    for rate in found.by_growth:
        batch = round(found.batch0 * 2.0 ** rate.growths[0])
        print(f"  batch {found.batch0} -> {batch} alone: {rate.text}")
    print("  (a = 1/2: lr/sqrt(batch) decides; a = 1: lr/batch)")
    _figures(run, run_dir)


MEASURES: dict[str, Measure] = {
    "noise": Measure(preset="measure_noise", report=report_noise),
    "critical": Measure(preset="measure_critical", report=report_critical),
    "sampling": Measure(preset="measure_sampling", report=report_sampling),
    "exchange": Measure(preset="measure_exchange", report=report_exchange),
    "sharpness": Measure(preset="measure_sharpness", report=report_sharpness),
}


def write_workload(run_dir: Path, directory: Path) -> Path:
    """The run's workload with the measured constants, as a file for --config-dir.

    Args:
        directory: gets workload/<workload>_measured.yaml.

    Raises:
        ConfigError: nothing was measured, or the file cannot be written.
    """
    from results.measurements.noise import noise_constant

    run = _opened(run_dir)
    found = noise_constant(run)
    (manifest,) = run.manifests.values()
    name = manifest["config"]["workload"]
    constant = found.get(BASELINE) or next(iter(found.values()), None)
    if constant is None or not math.isfinite(constant.c2) or not math.isfinite(constant.k):
        raise ConfigError(f"{run_dir}: {NOTHING}, so nothing is written")
    noise = {
        "c2": float(f"{constant.c2:.6g}"),
        "k": float(f"{constant.k:.6g}"),
        "source": "measured",
    }
    settings = merged(_settings(manifest["config"]), {"noise": noise})
    interval = "" if constant.low is None else f" [{constant.low:.4g}, {constant.high:.4g}]"
    head = (
        f"# C^2 = {constant.c2:.4g}{interval}, measured by run {run_dir.name} "
        f"on {datetime.now(UTC):%Y-%m-%d}, {constant.num_seeds} seeds, "
        f"{constant.num_epochs} epochs.\n"
    )
    path = directory / "workload" / f"{name.removesuffix('_measured')}_measured.yaml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(head + write_yaml(settings))
    except OSError as error:
        raise ConfigError(f"--write {directory}: {error.strerror}") from None
    return path


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """The recipe as it was trained; names of the user's code stay on the command line."""
    settings = {key: config[key] for key in WORKLOAD_KEYS}
    for key in ("dataset", "model", "optimizer"):
        if is_import_path(settings[key]["name"]):
            settings[key] = {k: v for k, v in settings[key].items() if k != "name"}
    return settings


def _opened(run_dir: Path) -> Run:
    run = results.load(run_dir)
    trials = _trials(run)
    diverged = sum(row["status"] == "diverged" for row in trials)
    recipe = _recipe(run)
    print(
        f"\n{recipe.model} on {recipe.dataset}, {recipe.epochs} epochs, "
        f"{len({row['replicate'] for row in trials})} seeds, {len(trials)} trainings"
        + (f", {diverged} of them diverged" if diverged else "")
    )
    return run


def _recipe(run: Run) -> Recipe:
    return trial_from_row(_trials(run)[0]).recipe


def _trials(run: Run) -> list[Row]:
    """Those that count: to confirm, and all without any such.

    Raises:
        ConfigError: no trial at all.
    """
    rows = run.rows()
    trials = [row for row in rows if row["role"] == "confirm"] or rows
    if not trials:
        raise ConfigError(f"{run.dirs[0]}: no trial has begun")
    return trials


def _figures(run: Run, run_dir: Path) -> None:
    from results.plots import save_plots

    for path in save_plots(run, run_dir / "plots"):
        print(f"figure: {path}")
