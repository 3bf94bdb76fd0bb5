"""Claim: on an idle machine `--help` takes 0.5 s, `import results` 0.4 s, the first epoch 8 s.

Each command in processes of its own, all of them in turns. Wall seconds are what a person waits;
CPU seconds are the same work whatever else the machine does. The first epoch is that of a search
with a Ray of its own, as `make run` types it, on the screen.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.measure import keep, surroundings, table

# What is measured -> what Python is told.
COMMANDS = {
    "python, nothing else": "pass",
    "import numpy": "import numpy",
    "import results": "import results",
    "results.load (pyarrow)": "import results; results.load",
    "python -m tuner.run --help": "from tuner.run import main; main(['--help'])",
    "import torch (a worker)": "import torch",
    "import ray.tune (the driver)": "import ray.tune",
    "import optuna (the driver)": "import optuna",
}

# What a run prints -> what it has done by then.
LINES = {"starting Ray": "the plan is made and checked", " epoch 1/": "the first epoch is shown"}


def main() -> None:
    """Print seconds by command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--commands", type=int, default=len(COMMANDS), help="only the first")
    parser.add_argument("--runs", type=int, default=3, help="searches to their first epoch")
    options = parser.parse_args()
    chosen = dict([*COMMANDS.items()][: options.commands])
    print(surroundings("numpy", "pyarrow", "torch", "ray"))
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in chosen}
    for _ in range(options.rounds + 1):
        for name, code in chosen.items():
            seen[name].append(_seconds(code))
    seen = {name: found[1:] for name, found in seen.items()}  # the first compiles and caches
    rows = []
    for name, found in seen.items():
        wall, cpu = np.median(found, axis=0)
        rows.append([name, f"{cpu:.2f}", f"{wall:.2f}", f"{min(w for w, _ in found):.2f}"])
    print(table(["", "CPU s (median)", "wall s (median)", "wall s (least)"], rows))
    if options.runs:
        waits = [_first_epoch() for _ in range(options.runs)]
        middle, least = np.median(waits, axis=0), np.min(waits, axis=0)
        rows = [
            [done, f"{m:.2f}", f"{k:.2f}"]
            for done, m, k in zip(LINES.values(), middle, least, strict=True)
        ]
        print(table(["python -m tuner.run space=poly", "after s (median)", "(least)"], rows))
    columns = {
        "command": [name for name, found in seen.items() for _ in found],
        "wall": [wall for found in seen.values() for wall, _ in found],
        "cpu": [cpu for found in seen.values() for _, cpu in found],
    }
    print(f"each start: {keep('startup', columns)}")


def _seconds(code: str) -> tuple[float, float]:
    """Of a process that runs this: by the clock, and of its CPU."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begun, cpu


def _first_epoch() -> list[float]:
    """Seconds from the command to each of these lines."""
    with tempfile.TemporaryDirectory() as folder:
        words = ("space=poly", "display=plain", f"runs_dir={folder}")
        begun = time.perf_counter()
        run = subprocess.Popen(
            [sys.executable, "-u", "-m", "tuner.run", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert run.stdout is not None
        waits, awaited = [], list(LINES)
        for line in run.stdout:
            if awaited[0] in line:
                waits.append(time.perf_counter() - begun)
                awaited.pop(0)
            if not awaited:
                break
        run.terminate()
        run.communicate(timeout=60)
    if awaited:
        raise RuntimeError(f"the run ended before it said {awaited[0]!r}")
    return waits


if __name__ == "__main__":
    main()
