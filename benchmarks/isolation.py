"""Claim: a fresh process for each training costs a fraction of a second.

The session's own fit on trainings of one's own that cost nothing, one at a time, with
isolate=true and isolate=false; fits alternate, in one Ray. A fresh process imports the modules of
its function anew (torch is there already): so the same with libraries that the function imports.
Both make one of torch's optimizers.
Seconds per training are between ends of trainings, so a fit's start is apart.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measure import interleave, median_ratio, surroundings, table
from benchmarks.overhead import fit_session, silence
from benchmarks.trainings import LIBRARIES
from tuner.config.compose import compose
from tuner.plan.plan import Plan, make_plan
from tuner.session import cluster

# What a function needs -> the function.
FUNCTIONS = {"an optimizer of torch's": "with_optimizer", ", ".join(LIBRARIES): "with_libraries"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10, help="of one fit")
    parser.add_argument("--fits", type=int, default=5, help="of each way, after those to warm up")
    parser.add_argument("--warm-ups", type=int, default=1, help="fits that are not counted")
    parser.add_argument("--functions", type=int, default=len(FUNCTIONS), help="the first so many")
    options = parser.parse_args()
    print(surroundings("torch", "ray"))
    print(f"fits of {options.trials} trainings of 3 reports, {options.fits} of each way")
    cluster.start(os.environ.get("RAY_ADDRESS"))  # a Ray of its own where none is named
    silence()
    rows, ratios = [], []
    with tempfile.TemporaryDirectory(prefix="gradtune-") as folder:
        for imports, name in [*FUNCTIONS.items()][: options.functions]:
            plans = {
                isolate: _plan(name, isolate, options.trials, Path(folder))
                for isolate in ("true", "false")
            }
            arms = {isolate: lambda plan=plan: _fit(plan) for isolate, plan in plans.items()}
            rounds = interleave(arms, options.fits + options.warm_ups)
            found = {isolate: seconds[options.warm_ups :] for isolate, seconds in rounds.items()}
            for isolate, seconds in found.items():
                median = f"{np.median(seconds):.3f} (n={len(seconds)})"
                rows.append([imports, f"isolate={isolate}", median, f"{max(seconds):.3f}"])
            more = np.median(np.subtract(found["true"], found["false"]))
            ratio = median_ratio(found["true"], found["false"])
            ratios.append(f"{imports}: {more:.3f} s more a training; true / false: {ratio}")
    print(
        table(
            ["the function needs", "process", "s per training (median of fits)", "largest"], rows
        )
    )
    print("\n".join(ratios))


def _fit(plan: Plan) -> float:
    """Seconds of a training, the median of a fit."""
    from trainables.trainable import ScheduledTrainable

    return float(np.median(fit_session(plan, ScheduledTrainable).seconds_per_trial))


def _plan(name: str, isolate: str, num_trials: int, runs_dir: Path) -> Plan:
    """Search and confirm together make `num_trials` trainings."""
    words = [
        *(f"trainable=benchmarks.trainings:{name}", f"isolate={isolate}"),
        *("dataset.train_examples=30", "objective=val_loss", "lr=0.1", "batch.initial=10"),
        *("epochs=1", "reports=3", "space=poly", f"trials={num_trials - 1}", "confirm.seeds=1"),
        *("baseline=false", "max_concurrent=1", "display=none", f"runs_dir={runs_dir}"),
    ]
    return cluster.settle(make_plan(compose(words)), "cpu")


if __name__ == "__main__":
    main()
