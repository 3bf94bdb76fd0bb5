"""Claim: the thousandth trial costs what the first costs, in time and in the driver's memory.

The session's own fit (searcher with TPE, warm workers, recorder, states on disk) on trainings that
cost nothing, many in one run. Wall seconds of a trial are between ends of trials; the driver's are
those of its CPU, which other processes of the machine disturb less; an ask is the searcher's.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import tuner.run  # noqa: F401  # before pyarrow, whose variable it sets
from benchmarks.measure import keep, surroundings, table
from benchmarks.overhead import EPOCHS, fit_session, silence
from tuner.config.compose import compose
from tuner.plan.plan import Plan, make_plan
from tuner.session import cluster

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
NUM_PARTS = 5


def main() -> None:
    """Print cost per trial along the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--concurrent", type=int, default=2)
    parser.add_argument("--sampler", default="tpe")
    options = parser.parse_args()
    print(surroundings("ray", "optuna"))
    about = f"{options.concurrent} at once, search.sampler={options.sampler}"
    print(f"{options.trials:,} trials of {EPOCHS} empty epochs, {about}")
    cluster.start(os.environ.get("RAY_ADDRESS"))  # a Ray of its own where none is named
    silence()
    with tempfile.TemporaryDirectory(prefix="gradtune-") as folder:
        seen = _fit(_plan(options.trials, options.concurrent, options.sampler, Path(folder)))
    kept = keep("many", seen)
    parts = np.array_split(np.arange(len(seen["wall"])), min(NUM_PARTS, len(seen["wall"])))
    rows = [_row(part, seen) for part in parts]
    head = ["trials", "ms of wall (median)", "ms of driver CPU (mean)", "driver MB at the end"]
    print(table(head, rows))
    first, last = (float(np.mean(seen["cpu"][part])) for part in (parts[0], parts[-1]))
    p50, p99 = np.percentile(seen["ask"], [50, 99]) * 1000
    print(f"last part / first, driver CPU of a trial: {last / first:.2f}x")
    print(f"driver memory: {seen['mb'][-1] - seen['mb'][0]:+.0f} MB from the first trial on")
    print(f"an ask, CPU: median {p50:.1f} ms, 99 % below {p99:.1f} ms (n={len(seen['ask'])})")
    print(f"each trial: {kept}")


def _row(part: Any, seen: dict[str, Any]) -> list[str]:
    wall, cpu = np.median(seen["wall"][part]) * 1000, np.mean(seen["cpu"][part]) * 1000
    return [f"{part[0] + 1:,} to {part[-1] + 1:,}", f"{wall:.1f}", f"{cpu:.1f}",
            f"{seen['mb'][part[-1]]:.0f}"]  # fmt: skip


def _fit(plan: Plan) -> dict[str, Any]:
    """By trial: wall and CPU seconds since the trial before, CPU seconds of its ask, memory."""
    from benchmarks.noop import NoopTrainable
    from tuner.campaign.campaign import Campaign

    asked, clock, cpu, memory = [], [], [], []
    ask = Campaign.next

    def timed(campaign: Campaign) -> Any:
        clock.append(time.perf_counter())
        cpu.append(time.process_time())
        begun = time.thread_time()
        trial = ask(campaign)
        asked.append(time.thread_time() - begun)
        memory.append(_resident_mb())
        if trial is None:  # nothing to be begun yet: no trial of its own
            for seen in (clock, cpu, asked, memory):
                seen.pop()
        return trial

    Campaign.next = timed  # type: ignore[method-assign]
    try:
        fit_session(plan, NoopTrainable)
    finally:
        Campaign.next = ask  # type: ignore[method-assign]
    return {
        "wall": np.diff(clock),
        "cpu": np.diff(cpu),
        "ask": np.asarray(asked[1:]),
        "mb": np.asarray(memory[1:]),
    }


def _resident_mb() -> float:
    """Memory that this process holds now; nan where the system does not tell."""
    told = Path("/proc/self/statm")
    return int(told.read_text().split()[1]) * PAGE_BYTES / 2**20 if told.exists() else float("nan")


def _plan(num_trials: int, concurrent: int, sampler: str, runs_dir: Path) -> Plan:
    words = [
        *("workload=digits", "space=poly", f"epochs={EPOCHS}", f"trials={num_trials - 1}"),
        *("confirm.seeds=1", "baseline=false", f"max_concurrent={concurrent}", "display=none"),
        *("resources.cpus_per_trial=1", f"search.sampler={sampler}", f"runs_dir={runs_dir}"),
    ]
    return cluster.settle(make_plan(compose(words)), "cpu")


if __name__ == "__main__":
    main()
