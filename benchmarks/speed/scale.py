"""What does one more trial, report, node and trial at once cost whoever drives them all?

Trainings that compute nothing on simulated nodes (ray.cluster_utils: each a raylet of its own,
all on this machine), through the session's own fit; every report travels alone. The first training
of each place waits until all workers are there. Counted are CPU seconds of the driver (search,
records, Tune), of Ray's controller (gcs_server) and of the nodes' raylets, from the end of so many
trials as there are places: starts are not in them. Two lengths of training separate the cost of a
trial from that of a report. Each shape in processes of its own; 64 workers take minutes to start.

The model: the driver is one thread of Python, so it serves 1/(its CPU seconds) trials a second;
trials of T seconds, a report each E, on N GPUs need N (trial/T + report/E) of it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import keep, surroundings, table
from tuner.session.cluster import ENVIRONMENT

SHAPES = ("1x2", "2x2", "4x2", "8x2")  # nodes x trials at once on each
SHORT, LONG = 3, 24  # reports of a training
CASES = ((60, 3), (600, 6), (3600, 18), (24 * 3600, 300))  # seconds of a training, of a report
HALF = 0.5  # of the driver's thread: the rest is for what comes at the same moment
PARTS = ("driver", "gcs_server", "raylet")
TICK = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Print the costs of each shape, and what follows for many GPUs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=150, help="that are counted")
    parser.add_argument("--shapes", nargs="*", default=SHAPES, help="nodes x trials on each")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        shape, reports = options.one
        print(json.dumps(_measure(shape, int(reports), options.trials)))
        return
    print(surroundings("ray"))
    print(f"{options.trials:,} trials of {SHORT} and of {LONG} reports on each shape")
    measured = [
        _run_apart(shape, reports, options.trials)
        for shape in options.shapes
        for reports in (SHORT, LONG)
    ]
    rows = [_row(short, long) for short, long in zip(measured[::2], measured[1::2], strict=True)]
    head = ["nodes x at once", "driver: ms a trial", "ms a report", "gcs: ms a trial",
            "raylets: ms a trial", "reports/s here", "driver MB"]  # fmt: skip
    print(table(head, rows))
    trial, report = _costs(*measured[-2:], "driver")
    print(f"of the last shape: {1000 * trial:.1f} ms a trial and {1000 * report:.2f} ms a report;")
    print("so GPUs that one driver keeps busy, half of its thread used:")
    rows = []
    for seconds, every in CASES:
        gpus = HALF / (trial / seconds + report / every)
        rows.append([_duration(seconds), _duration(every), f"{gpus:,.0f}", f"{1000 / gpus:.2g}"])
    print(table(["a training", "a report each", "GPUs", "drivers for 1,000"], rows))
    columns = {key: [some[key] for some in measured] for key in measured[0]}
    print(f"each: {keep('scale', columns)}")


def _run_apart(shape: str, reports: int, trials: int) -> dict[str, Any]:
    words = ["--one", shape, str(reports), "--trials", str(trials)]
    command = [sys.executable, "-m", "benchmarks.speed.scale", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{shape}: {done.stderr}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _row(short: dict[str, Any], long: dict[str, Any]) -> list[str]:
    trial, report = _costs(short, long, "driver")
    return [
        f"{short['nodes']} x {short['at_once'] // short['nodes']}",
        f"{1000 * trial:.1f}",
        f"{1000 * report:.2f}",
        *(f"{1000 * _costs(short, long, part)[0]:.1f}" for part in PARTS[1:]),
        f"{long['reports'] * long['trials'] / long['seconds']:.0f}",
        f"{long['driver_mb']:.0f}",
    ]


def _costs(short: dict[str, Any], long: dict[str, Any], part: str) -> tuple[float, float]:
    """CPU seconds of this part for a trial, and for a report."""
    a, b = (some[part] / some["trials"] for some in (short, long))
    report = (b - a) / (long["reports"] - short["reports"])
    return a - short["reports"] * report, report


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _measure(shape: str, reports: int, num_trials: int) -> dict[str, Any]:
    """One run on such a cluster, from the moment on when each place has ended a trial."""
    nodes, each = map(int, shape.split("x"))
    at_once = nodes * each
    places = tempfile.TemporaryDirectory(prefix="gradtune-")
    # Before Ray's processes, which inherit it.
    os.environ.update(ENVIRONMENT, GRADTUNE_PLACES=f"{at_once} {places.name}")
    os.environ.pop("RAY_ADDRESS", None)
    from ray.cluster_utils import Cluster

    from benchmarks.noop import Together
    from benchmarks.overhead import fit_session, silence
    from tuner.config.compose import compose
    from tuner.plan.plan import make_plan
    from tuner.recording.recorder import Recorder
    from tuner.session import cluster

    head = {"num_cpus": each, "include_dashboard": False}
    simulated = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(nodes - 1):
        simulated.add_node(num_cpus=each)
    simulated.wait_for_nodes()
    processes = _processes()
    looks: list[dict[str, float]] = []
    complete = Recorder.on_trial_complete

    def counted(recorder: Recorder, *args: Any, **info: Any) -> None:
        complete(recorder, *args, **info)
        looks.append({"clock": time.perf_counter(), "driver": time.process_time()}
                     | {name: sum(map(_cpu_seconds, pids)) for name, pids in processes.items()}
                     )  # fmt: skip

    Recorder.on_trial_complete = counted  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory(prefix="gradtune-") as folder:
        total = num_trials + at_once
        words = ["workload=digits", "space=poly", f"epochs={reports}", f"trials={total - 1}"]
        words += ["confirm.seeds=1", "baseline=false", "display=none", "search.sampler=random"]
        words += ["resources.cpus_per_trial=1", f"runs_dir={folder}"]
        cluster.start(simulated.address)
        silence()
        plan = cluster.settle(make_plan(compose(words)), "cpu")
        fit_session(plan, Together)
    first, last = looks[at_once - 1], looks[-1]
    cluster.leave()
    simulated.shutdown()
    places.cleanup()
    return {
        "nodes": nodes,
        "at_once": at_once,
        "reports": reports,
        "trials": len(looks) - at_once,
        "seconds": last["clock"] - first["clock"],
        **{part: last[part] - first[part] for part in PARTS},
        "driver_mb": int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES / 2**20,
    }


def _processes() -> dict[str, list[int]]:
    """Ray's own ones that this process has started, by their names."""
    pids: dict[str, list[int]] = {name: [] for name in PARTS[1:]}
    for path in Path("/proc").glob("[0-9]*/stat"):
        pid, name, parent = _stat(path)[:3]
        if name in pids and int(parent) == os.getpid():
            pids[name].append(int(pid))
    assert all(pids.values()), pids
    return pids


def _cpu_seconds(pid: int) -> float:
    fields = _stat(Path(f"/proc/{pid}/stat"))
    return (int(fields[12]) + int(fields[13])) / TICK


def _stat(path: Path) -> list[str]:
    """pid, name, parent, and the fields after it; see proc(5)."""
    try:
        text = path.read_text()
    except OSError:  # it has just ended
        return ["0", "", "0"]
    before, _, after = text.rpartition(")")
    pid, _, name = before.partition(" (")
    _, parent, *rest = after.split()
    return [pid, name, parent, *rest]


if __name__ == "__main__":
    main()
