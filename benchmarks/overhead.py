"""Claim: around a training, a trial costs at most 0.05 s, against about 1.5 s the ordinary way.

Ours is the session's own fit (searcher, warm workers, recorder, states on disk) on trainings
that cost nothing. The ordinary way is a Tune function trainable that reports each epoch, chosen
by OptunaSearch, a fresh process per trial; it neither keeps states nor imports torch, though a
real one would. One trial at a time, one ray.init, fits of both arms alternate, Tune's own loggers
are off in both. Seconds per trial are between ends of trials, so a fit's start is apart.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import median_ratio, surroundings, table
from tuner.config.compose import compose
from tuner.config.schema import plain
from tuner.config.yamltext import write_yaml
from tuner.plan.plan import Plan, make_plan
from tuner.session import cluster
from tuner.session.interrupts import Interrupts

EPOCHS = 3
OURS, ORDINARY = "GradTune", "function trainable + OptunaSearch"


@dataclass
class Fit:
    """Clock times of one fit: its start, its first result, and the end of each trial."""

    start: float = field(default_factory=time.perf_counter)
    first_result: float | None = None
    ends: list[float] = field(default_factory=list)

    def note_result(self) -> None:
        self.first_result = self.first_result or time.perf_counter()

    def note_end(self) -> None:
        self.ends.append(time.perf_counter())

    @property
    def seconds_to_first_result(self) -> float:
        assert self.first_result is not None, "the fit reported nothing"
        return self.first_result - self.start

    @property
    def seconds_per_trial(self) -> list[float]:
        return list(np.diff(self.ends))


def main() -> None:
    options = _options()
    # Our runs start no worker before it is needed; Ray's default is kinder to fresh processes.
    for name in ("RAY_enable_worker_prestart", "RAY_prestart_worker_first_driver"):
        os.environ.setdefault(name, "1")
    print(surroundings("ray", "optuna"))
    print(f"fits of {options.trials} trials of {EPOCHS} empty epochs, {options.fits} of each way")
    cluster.start(os.environ.get("RAY_ADDRESS"))  # a Ray of its own where none is named
    silence()
    with tempfile.TemporaryDirectory(prefix="gradtune-") as folder:
        plan = _plan(options.trials, Path(folder))
        arms = {OURS: lambda: ours(plan), ORDINARY: lambda: ordinary(options.trials)}
        fits = _alternate(arms, options.fits, options.warm_ups)
    print(table(["way", "s per trial", "95% of trials below", "s to first result"], _rows(fits)))
    a, b = ([float(np.median(fit.seconds_per_trial)) for fit in fits[arm]] for arm in arms)
    print(f"ordinary / ours, medians of fits: {median_ratio(b, a)}")


def ours(plan: Plan) -> Fit:
    """One run of trainings that cost nothing."""
    from benchmarks.noop import NoopTrainable

    return fit_session(plan, NoopTrainable)


def fit_session(plan: Plan, kind: type[Any]) -> Fit:
    """One run into a fresh folder, through the same function as `python -m tuner.run`."""
    from results.records.store import RunStore
    from trainables import trainable

    # These import ray: after cluster.start has set its variables.
    from tuner.campaign.campaign import Campaign
    from tuner.session.books import make_manifest
    from tuner.session.session import Session

    usual, trainable.ScheduledTrainable = trainable.ScheduledTrainable, kind
    slots = cluster.lay_out(plan.config)
    run_dir = Path(plan.config.runs_dir) / f"run{time.time_ns()}"
    store = RunStore.create(
        run_dir, make_manifest(plan, slots, ""), write_yaml(plain(plan.config))
    )
    fit = Fit()
    recorder = _clocked_recorder(store, plan, fit)
    Session(
        plan=plan,
        slots=slots,
        campaign=Campaign(plan),
        recorder=recorder,
        interrupts=Interrupts(),
    ).train()
    trainable.ScheduledTrainable = usual
    store.close()
    assert not recorder.problems, recorder.problems
    return fit


def ordinary(num_trials: int) -> Fit:
    """One fit as Tune's documentation writes it."""
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    fit = Fit()
    with tempfile.TemporaryDirectory(prefix="gradtune-") as folder:
        tune.Tuner(
            tune.with_resources(_report_epochs, {"cpu": 1}),
            param_space={"p": tune.uniform(0.1, 5.0), "delta0": tune.loguniform(0.01, 1.0)},
            tune_config=tune.TuneConfig(
                metric="val_accuracy",
                mode="max",
                search_alg=OptunaSearch(),
                num_samples=num_trials,
                max_concurrent_trials=1,
            ),
            run_config=tune.RunConfig(
                storage_path=folder, verbose=0, callbacks=[_clock_callback(fit)]
            ),
        ).fit()
    return fit


def _report_epochs(config: dict[str, Any]) -> None:
    from ray import tune

    for _ in range(EPOCHS):
        tune.report({"val_accuracy": 0.5})


def _clocked_recorder(store: Any, plan: Plan, fit: Fit) -> Any:
    from tuner.display.live import Display
    from tuner.recording.recorder import Recorder

    class ClockedRecorder(Recorder):
        def on_trial_result(self, *args: Any, **info: Any) -> None:
            super().on_trial_result(*args, **info)
            fit.note_result()

        def on_trial_complete(self, *args: Any, **info: Any) -> None:
            super().on_trial_complete(*args, **info)
            fit.note_end()

    display = Display(plan.trials_by_arm(), plan.num_samples)
    return ClockedRecorder(store, display)


def _clock_callback(fit: Fit) -> Any:
    from ray import tune

    class Clock(tune.Callback):
        def on_trial_result(self, *args: Any, **info: Any) -> None:
            fit.note_result()

        def on_trial_complete(self, *args: Any, **info: Any) -> None:
            fit.note_end()

    return Clock()


def _plan(num_trials: int, runs_dir: Path) -> Plan:
    """Search and confirm together make `num_trials` trials of EPOCHS epochs."""
    words = [
        "workload=digits",
        "space=poly",
        f"epochs={EPOCHS}",
        f"trials={num_trials - 1}",
        "confirm.seeds=1",
        "baseline=false",
        "max_concurrent=1",
        "display=none",
        f"runs_dir={runs_dir}",
    ]
    return cluster.settle(make_plan(compose(words)), "cpu")


def _alternate(
    arms: dict[str, Callable[[], Fit]], num_fits: int, num_warm_ups: int
) -> dict[str, list[Fit]]:
    """ABAB...; the first fits of each arm warm up and are dropped."""
    fits: dict[str, list[Fit]] = {name: [] for name in arms}
    for _, (name, arm) in itertools.product(range(num_fits + num_warm_ups), arms.items()):
        fits[name].append(arm())
    return {name: repeats[num_warm_ups:] for name, repeats in fits.items()}


def _rows(fits: dict[str, list[Fit]]) -> list[list[str]]:
    rows = []
    for name, repeats in fits.items():
        seconds = [second for fit in repeats for second in fit.seconds_per_trial]
        first = [fit.seconds_to_first_result for fit in repeats]
        rows.append(
            [
                name,
                f"{np.median(seconds):.3f} (n={len(seconds)})",
                f"{np.percentile(seconds, 95):.3f}",
                f"{np.median(first):.2f} (n={len(first)})",
            ]
        )
    return rows


def silence() -> None:
    import optuna

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20, help="of one fit")
    parser.add_argument("--fits", type=int, default=5, help="of each way, after those to warm up")
    parser.add_argument("--warm-ups", type=int, default=1, help="fits that are not counted")
    return parser.parse_args()


if __name__ == "__main__":
    main()
