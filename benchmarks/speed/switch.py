"""Goals: 20 ms between two trials of a worker; one that is killed costs half of the run at most.

Trainings of half a second that compute nothing (five epochs of a tenth), two at once, through the
session's own fit: states on disk, every row recorded. A worker writes the time by the clock of the
machine before and after each epoch. In the other arm a worker is killed a third of the way along.
Ideal is the sum of the epochs over the trials at once; both are counted from the first step of the
run to its last, so its start is not in them. Fits of both arms alternate.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import tempfile
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import keep, surroundings, table
from benchmarks.overhead import fit_session, silence
from tuner.config.compose import compose
from tuner.plan.plan import Plan, make_plan
from tuner.session import cluster

EPOCHS, EPOCH_SECONDS = 5, 0.1
POLL_SECONDS = 0.02
UNTOUCHED, KILLED = "untouched", "one worker killed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """One epoch of one training, by time.monotonic, which all processes of a machine share."""

    pid: int
    trial: str
    number: int
    begin: float
    end: float


def main() -> None:
    """Print seconds against the ideal, and the gaps between trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--concurrent", type=int, default=2)
    parser.add_argument("--fits", type=int, default=3)
    options = parser.parse_args()
    print(surroundings("ray"))
    seconds = EPOCHS * EPOCH_SECONDS
    print(f"fits of {options.trials} trials of {seconds:g} s, {options.concurrent} at once")
    with tempfile.TemporaryDirectory(prefix="gradtune-") as folder:
        times = Path(folder) / "times.txt"
        os.environ["GRADTUNE_TIMES"] = (
            f"{EPOCH_SECONDS} {times}"  # before Ray's processes, which inherit it
        )
        cluster.start(None)  # a Ray of its own, whose processes have the variable
        silence()
        plan = _plan(options.trials, options.concurrent, Path(folder))
        fits: dict[str, list[list[Epoch]]] = {UNTOUCHED: [], KILLED: []}
        for _, arm in itertools.product(range(options.fits), fits):
            fits[arm].append(_fit(plan, times, options.trials // 3 if arm == KILLED else None))
    ideal = options.trials * seconds / options.concurrent
    rows = [_row(arm, epochs, ideal) for arm, epochs in fits.items()]
    head = ["", "s, first to last step", "of ideal", "epochs", "ms between trials", "95 %"]
    print(table(head, rows))
    names = [arm for arm, many in fits.items() for epochs in many for _ in epochs]
    flat = [epoch for many in fits.values() for epochs in many for epoch in epochs]
    kept = keep("switch", {"arm": names, **{
        name: [getattr(epoch, name) for epoch in flat] for name in Epoch.__slots__
    }})  # fmt: skip
    print(f"each epoch: {kept}")


def _row(arm: str, fits: list[list[Epoch]], ideal: float) -> list[str]:
    seconds = [_span(epochs) for epochs in fits]
    gaps = np.concatenate([_gaps(epochs) for epochs in fits]) * 1000
    return [
        arm,
        f"{np.median(seconds):.2f} (n={len(fits)})",
        f"{np.median(seconds) / ideal:.2f}x",
        f"{np.mean([len(epochs) for epochs in fits]):.0f}",
        f"{np.median(gaps):.1f} (n={len(gaps)})",
        f"{np.percentile(gaps, 95):.1f}",
    ]


def _span(epochs: list[Epoch]) -> float:
    return max(epoch.end for epoch in epochs) - min(epoch.begin for epoch in epochs)


def _gaps(epochs: list[Epoch]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Seconds from a trial's last step to the next trial's first in the same process."""
    by_process = defaultdict(list)
    for epoch in epochs:
        by_process[epoch.pid].append(epoch)
    pairs = [pair for some in by_process.values() for pair in itertools.pairwise(some)]
    return np.array([b.begin - a.end for a, b in pairs if a.trial != b.trial])


def _fit(plan: Plan, times: Path, kill_after: int | None) -> list[Epoch]:
    """All epochs of one run; a worker is killed after so many trials."""
    times.write_text("")
    is_over = threading.Event()
    killer = threading.Thread(target=_kill, args=(times, kill_after, is_over), daemon=True)
    if kill_after is not None:
        killer.start()
    from benchmarks.noop import TimedTrainable  # ray comes with it, after its variables

    fit_session(plan, TimedTrainable)
    is_over.set()
    return _read(times)


def _kill(times: Path, after: int, is_over: threading.Event) -> None:
    """Kill the process that was last heard of in the middle of a training."""
    while not is_over.wait(POLL_SECONDS):
        epochs = _read(times)
        num_ended = sum(epoch.number == EPOCHS for epoch in epochs)
        if epochs and num_ended >= after and epochs[-1].number < EPOCHS:
            os.kill(epochs[-1].pid, signal.SIGKILL)
            return


def _read(times: Path) -> list[Epoch]:
    """What is there in whole lines."""
    lines = [line.split() for line in times.read_text().splitlines(keepends=True)
             if line.endswith("\n")]  # fmt: skip
    return [
        Epoch(pid=int(pid), trial=trial, number=int(number), begin=float(begin), end=float(end))
        for pid, trial, number, begin, end in lines
    ]


def _plan(num_trials: int, concurrent: int, runs_dir: Path) -> Plan:
    words = [
        *("workload=digits", "space=poly", f"epochs={EPOCHS}", f"trials={num_trials - 1}"),
        *("confirm.seeds=1", "baseline=false", f"max_concurrent={concurrent}", "display=none"),
        *("resources.cpus_per_trial=1", f"runs_dir={runs_dir}"),
    ]
    return cluster.settle(make_plan(compose(words)), "cpu")


if __name__ == "__main__":
    main()
