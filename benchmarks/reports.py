"""Claim: reports that come fast cost a fraction of what each costs as a result of Tune's.

The session's own fit (searcher, worker, the function's process, recorder) on a function that does
nothing but report; one training at a time. In one way the reports that come within 0.1 s travel
together, as in every run; in the other each is a result of Tune's. Fits of both alternate, in one
Ray. The function measures itself: how long it waits in `report`, a call after the first.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import interleave, median_ratio, surroundings, table
from benchmarks.overhead import fit_session, silence
from results import load
from tuner.config.compose import compose
from tuner.plan.plan import Plan, make_plan
from tuner.session import cluster

TOGETHER, ALONE = "together", "each a result"


def train(schedule: Any, seed: int, report: Any) -> None:
    """Reports, and trains nothing; `ms` is the mean time of a report so far, after the first."""
    begun = 0.0
    for number in range(schedule.num_reports):
        ms = 1000 * (time.perf_counter() - begun) / (number - 1) if number > 1 else 0.0
        report(val_loss=1.0, test_loss=1.0, ms=ms)
        begun = begun or time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=2000, help="of one training")
    parser.add_argument("--fits", type=int, default=5, help="of each way, after one to warm up")
    options = parser.parse_args()
    print(surroundings("torch", "ray"))
    print(f"trainings of {options.reports:,} reports, 3 in a fit, {options.fits} fits of each way")
    cluster.start(os.environ.get("RAY_ADDRESS"))  # a Ray of its own where none is named
    silence()
    from trainables import trainable

    class Alone(trainable.ScheduledTrainable):  # type: ignore[misc]
        report_seconds = 0.0

    with tempfile.TemporaryDirectory(prefix="gradtune-") as folder:
        plan = _plan(options.reports, Path(folder))
        kinds = {TOGETHER: trainable.ScheduledTrainable, ALONE: Alone}
        arms = {way: lambda kind=kind: _fit(plan, kind) for way, kind in kinds.items()}
        rounds = interleave(arms, options.fits + 1)
    times = {way: found[1:] for way, found in rounds.items()}
    rows = [
        [way, f"{np.median(found):.3f} (n={len(found)})", f"{max(found):.3f}"]
        for way, found in times.items()
    ]
    print(table(["reports travel", "ms per report (median of fits)", "largest"], rows))
    print(f"{ALONE} / {TOGETHER}: {median_ratio(times[ALONE], times[TOGETHER])}")


def _fit(plan: Plan, kind: Any) -> float:
    """Milliseconds of a report, the median of a fit's trainings."""
    fit_session(plan, kind)
    newest = max(Path(plan.config.runs_dir).glob("run*"), key=lambda path: path.name)
    rows = load(newest).trials.to_pylist()
    return float(np.median([dict(row["metrics"])["ms"] for row in rows]))


def _plan(num_reports: int, runs_dir: Path) -> Plan:
    words = [
        *("trainable=benchmarks.reports:train", f"dataset.train_examples={num_reports}"),
        *("objective=val_loss", "lr=0.1", "batch.initial=1", "epochs=1", f"reports={num_reports}"),
        *("space=linear", "trials=2", "confirm.seeds=1", "baseline=false", "max_concurrent=1"),
        *("display=none", f"runs_dir={runs_dir}"),
    ]
    return cluster.settle(make_plan(compose(words)), "cpu")


if __name__ == "__main__":
    main()
