"""Claim: a report costs the training that makes it less than a millisecond.

The session's own fit (searcher, worker, the function's process, recorder) on a function that does
nothing but report: the hardest case, for nothing else passes the time. As every run does it the
function runs ahead, and the reports that come within 0.1 s travel together; the other way it waits
until each has been a result of Tune's. One training at a time, fits of both alternate, in one Ray.
"In report": measured by the function, after its first. "In all": from the first report that the
worker hears to the last, so with everything that a worker does for it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import interleave, median_ratio, surroundings, table
from benchmarks.overhead import fit_session, silence
from results import load
from tuner.config.compose import compose
from tuner.plan.plan import Plan, make_plan
from tuner.session import cluster

TOGETHER, ALONE = "together, the function ahead", "each a result, the function waits"
MEASURED = ("in report", "in all")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=2000, help="of one training")
    parser.add_argument("--fits", type=int, default=5, help="of each way, after those to warm up")
    parser.add_argument("--warm-ups", type=int, default=1, help="fits that are not counted")
    options = parser.parse_args()
    print(surroundings("torch", "ray"))
    print(f"trainings of {options.reports:,} reports, 3 in a fit, {options.fits} fits of each way")
    cluster.start(os.environ.get("RAY_ADDRESS"))  # a Ray of its own where none is named
    silence()
    from benchmarks.noop import Alone
    from trainables import trainable

    with tempfile.TemporaryDirectory(prefix="gradtune-") as folder:
        plan = _plan(options.reports, Path(folder))
        kinds = {TOGETHER: trainable.ScheduledTrainable, ALONE: Alone}
        arms = {way: lambda kind=kind: _fit(plan, kind) for way, kind in kinds.items()}
        rounds = interleave(arms, options.fits + options.warm_ups)
    for place, name in enumerate(MEASURED):
        times = {
            way: [fit[place] for fit in found[options.warm_ups :]] for way, found in rounds.items()
        }
        rows = [
            [way, f"{np.median(found):.3f} (n={len(found)})", f"{max(found):.3f}"]
            for way, found in times.items()
        ]
        print(table(["reports travel", f"ms {name} (median of fits)", "largest"], rows))
        print(f"{ALONE} / {TOGETHER}: {median_ratio(times[ALONE], times[TOGETHER])}")


def _fit(plan: Plan, kind: Any) -> tuple[float, float]:
    """Milliseconds of a report as in MEASURED, each the median of a fit's trainings."""
    fit_session(plan, kind)
    newest = max(Path(plan.config.runs_dir).glob("run*"), key=lambda path: path.name)
    run = load(newest)
    inside = [dict(row["metrics"])["ms"] for row in run.trials.to_pylist()]
    whole = []
    for epochs in run.epochs_by_trial().values():
        later = [epoch["wall_seconds"] for epoch in epochs if epoch["epoch"] > 1]
        whole.append(1000 * float(np.mean(later)))
    return float(np.median(inside)), float(np.median(whole))


def _plan(num_reports: int, runs_dir: Path) -> Plan:
    words = [
        *("trainable=benchmarks.trainings:report_only", f"dataset.train_examples={num_reports}"),
        *("objective=val_loss", "lr=0.1", "batch.initial=1", "epochs=1", f"reports={num_reports}"),
        *("space=linear", "trials=2", "confirm.seeds=1", "baseline=false", "max_concurrent=1"),
        *("display=none", f"runs_dir={runs_dir}"),
    ]
    return cluster.settle(make_plan(compose(words)), "cpu")


if __name__ == "__main__":
    main()
