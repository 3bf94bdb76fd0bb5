"""How long does the table of a long training take, how much memory, how large are its exports?

    python -m benchmarks.table

One epoch in which every step is a stage. "s to make" is a TrialConfig's schedule with its steps
counted and its evaluation points found; memory is the most at once while it is made (tracemalloc,
in a pass of its own), then what stays.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import surroundings, table
from results.exports.snippet import export_schedule
from search_spaces.schedule import Schedule
from search_spaces.trial import TrialConfig, canonical_json
from tuner.config.compose import compose
from tuner.plan.plan import make_plan

CURVES: dict[str, tuple[str, dict[str, float]]] = {
    "cosine": ("cosine", {}),
    "poly, the batch grows": ("poly", {"p": 1.0, "split": 0.5}),
    "wsd after a warmup": ("wsd", {"f": 0.2, "p": 1.0, "warmup": 0.02}),
}
MB = 1e6


def make_trial(family: str, params: dict[str, float], steps: int) -> TrialConfig:
    """A training of one epoch in this many steps, where its batch is constant."""
    recipe = make_plan(compose(["epochs=1", "reports=100"])).recipe
    return TrialConfig(
        space=family,
        family=family,
        params={"interval": 0, "delta0": 1.0, "split": 1.0, **params},
        lr0=0.1,
        recipe=replace(recipe, train_examples=steps * recipe.batch0),
    )


def make(trial: TrialConfig) -> Schedule:
    """The table, walked through as a worker does at its start."""
    made = trial.schedule
    made.num_steps()
    assert made.num_reports <= 100
    return made


def measure(name: str, steps: int) -> list[str]:
    """A row of the printed table."""
    start = time.perf_counter()
    trial = make_trial(*CURVES[name], steps)
    made = make(trial)
    seconds = time.perf_counter() - start
    tracemalloc.start()
    again = make(make_trial(*CURVES[name], steps))
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del again
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        csv, json, _, snippet = export_schedule(trial, Path(folder))
        export_seconds = time.perf_counter() - start
        sizes = [path.stat().st_size for path in (csv, json, snippet)]
    return [
        name,
        f"{made.num_stages:,}",
        f"{seconds:.2f}",
        f"{peak / MB:.0f}, {held / MB:.0f}",
        f"{len(canonical_json(trial.to_dict())) / 1e3:.1f}",
        f"{export_seconds:.1f}",
        f"{sizes[0] / MB:.0f}",
        f"{sum(sizes[1:]) / 1e3:.0f}",
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    steps = parser.parse_args().steps
    head = ["curve", "stages", "s to make", "MB at most, held", "kB of config_json"]
    head += ["s to export", "MB of schedule.csv", "kB of JSON and snippet"]
    print(surroundings("numpy"))
    print(table(head, [measure(name, steps) for name in CURVES]))


if __name__ == "__main__":
    main()
