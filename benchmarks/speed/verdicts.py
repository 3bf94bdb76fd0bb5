"""Claim: a verdict on many arms, many runs or many looks is there in seconds.

Made-up scores and runs; one process. Every arm is compared with every other: twice the arms are
four times the pairs, and a pair costs the same.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.measure import keep, surroundings, table
from results import load
from results.statistics.compare import compare
from results.statistics.paired import Scores
from results.statistics.sequential import decided_at
from search_spaces.space import BASELINE
from tests.fakes.results import make_recipe, write_run

SEEDS = 5
MIN_EFFECT = 0.001
EFFECT, SD = 0.0005, 0.01  # below min_effect: a look seldom decides


def main() -> None:
    """Print seconds of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", type=int, default=100, help="and half as many")
    parser.add_argument("--looks", type=int, default=10_000, help="and half as many")
    parser.add_argument("--runs", type=int, default=100, help="and half as many; compared as one")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    timed: list[tuple[str, float, float]] = []
    for arms in (options.arms // 2, options.arms):
        scores = _scores(arms, rng)
        compare(_scores(3, rng))  # imported, caches filled
        name = f"compare {arms} arms of {SEEDS} seeds ({arms * (arms - 1) // 2:,} pairs)"
        _time(name, timed, lambda scores=scores: compare(scores))
    for looks in (options.looks // 2, options.looks):
        values = rng.normal(EFFECT, SD, looks)
        _time(
            f"{looks:,} looks at one pair",
            timed,
            lambda values=values: decided_at(values, min_effect=MIN_EFFECT, level=1e-300),
        )
    with tempfile.TemporaryDirectory(prefix="gradtune-") as folder:
        for number in range(options.runs):
            write_run(
                Path(folder) / f"run{number:03d}",
                arms=(("poly", "cosine", "exp")[number % 3],),
                trials=4,
                seeds=SEEDS,
                recipe=make_recipe(epochs=3),
                run_seed=number,
            )
        for runs in (options.runs // 2, options.runs):
            paths = [str(Path(folder) / f"run{number:03d}") for number in range(runs)]
            _time(f"load and compare {runs} runs", timed, lambda paths=paths: _judge(paths))
    print(surroundings("numpy", "scipy", "pyarrow"))
    rows = [[name, f"{wall:.2f}", f"{cpu:.2f}"] for name, wall, cpu in timed]
    print(table(["", "wall s", "CPU s"], rows))
    names, walls, cpus = zip(*timed, strict=True)
    print(f"each: {keep('verdicts', {'what': names, 'wall': walls, 'cpu': cpus})}")


def _scores(arms: int, rng: np.random.Generator) -> dict[str, Scores]:
    names = [BASELINE, *(f"arm{number}" for number in range(1, arms))]
    return {name: dict(enumerate(rng.normal(0.9, SD, SEEDS).tolist())) for name in names}


def _judge(paths: list[str]) -> None:
    load(paths).compare()


def _time(name: str, timed: list[tuple[str, float, float]], what: Callable[[], object]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    what()
    timed.append((name, time.perf_counter() - wall, time.process_time() - cpu))


if __name__ == "__main__":
    main()
