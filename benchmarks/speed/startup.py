"""Claim: `--help` is there in half a second, `import results` in 0.4 s on an idle machine.

Each command in processes of its own, all of them in turns. Wall seconds are what a person waits;
CPU seconds are the same work whatever else the machine does.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
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


def main() -> None:
    """Print seconds by command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--commands", type=int, default=len(COMMANDS), help="only the first")
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


if __name__ == "__main__":
    main()
