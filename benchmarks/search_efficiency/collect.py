"""Train the pool that search methods are replayed on: every config, seed and horizon, once.

    GRADTUNE_CIFAR10=DIR python -m benchmarks.search_efficiency.collect [--workers 2] [--seeds 5]

Workloads: 60 configs on digits (ResNet-8, 359 training and 1,078 validation images) and 27 on a
CIFAR-10 subset (ResNet-8 on 3,000 training and 2,000 validation images of 16x16 pixels), 27
epochs each; arms poly, cosine and exp in equal parts; lr, batch and hybrid splits; intervals of
1 to 9 epochs; initial noise over two decades. Full trainings keep every epoch's validation
accuracy; the whole schedule squeezed into 1/3, 1/9 and 1/27 of the samples is trained beside them.
Interrupted, it goes on where it was; `pool.parquet` is written whenever a workload is complete.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from search_spaces.trial import TrialConfig
from tuner.plan.plan import Plan

HERE = Path(__file__).parent
POOL = HERE / "pool.parquet"
HORIZONS = (1.0, 1 / 3, 1 / 9, 1 / 27)
SPACES = ("poly", "cosine", "exp")
SPLITS = "[1.0,0.41503749927884376,0.0]"
COMMON = [
    "space=[poly,cosine,exp]",
    *(f"spaces.{space}.split.choices={SPLITS}" for space in SPACES),
    *(f"spaces.{space}.interval.high=9" for space in SPACES),
    *("epochs=27", "baseline=false", "precision=fp32"),
]
WORKLOADS: dict[str, dict[str, Any]] = {
    "digits": {
        "configs": 60,
        "words": [
            *("workload=digits", "dataset.val_fraction=0.75"),
            *("batch.initial=16", "batch.max=64", "lr=0.05"),
        ],
    },
    "cifar10_16px": {
        "configs": 27,
        "words": [
            *("workload=cifar10_resnet20", "model=resnet8", "lr=0.05"),
            "dataset=benchmarks.search_efficiency.cifar16:cifar10_16px",
            *("dataset.train_examples=5000", "dataset.val_fraction=0.4"),
            *("batch.initial=32", "batch.max=256"),
        ],
    },
}


def make_workload_plan(workload: str) -> Plan:
    """The plan whose spaces and recipe the pool's configs come from."""
    from tuner.config.compose import compose
    from tuner.plan.plan import make_plan

    words = [*COMMON, *WORKLOADS[workload]["words"]]
    if workload.startswith("cifar10"):
        words.append(f"dataset.path={os.environ['GRADTUNE_CIFAR10']}")
    plan = make_plan(compose(words))
    return replace(plan, recipe=replace(plan.recipe, precision="fp32", num_threads=1))


def pool_params(plan: Plan, num_configs: int) -> list[tuple[str, dict[str, float]]]:
    """Space and parameters of every config: scrambled Sobol points, equally many an arm."""
    from scipy.stats import qmc

    pool = []
    each = num_configs // len(plan.spaces)
    for number, space in enumerate(plan.spaces):
        points = qmc.Sobol(d=len(space.free), rng=1000 + number).random(64)[:each]
        for point in points.tolist():
            free = {
                name: axis.from_unit(u)
                for (name, axis), u in zip(space.free.items(), point, strict=True)
            }
            pool.append((space.name, {**space.fixed, **free}))
    return pool


def tasks(
    workload: str, plan: Plan, seeds: list[int], num_configs: int | None = None
) -> Iterator[tuple[int, TrialConfig]]:
    """Every training of the pool: (config number, trial); the roles' seeds pair the configs."""
    spaces = {space.name: space for space in plan.spaces}
    pool = pool_params(plan, num_configs or WORKLOADS[workload]["configs"])
    for seed in seeds:
        for number, (space, params) in enumerate(pool):
            trial = plan.trial(spaces[space], params, role="confirm", replicate=seed)
            for horizon in HORIZONS:
                yield number, replace(trial, horizon=horizon)


def train(task: tuple[str, int, dict[str, Any]]) -> dict[str, Any]:
    """One training, in a worker process: a row of the pool."""
    from trainables.loop import NetworkTraining

    workload, number, config = task
    trial = TrialConfig.from_dict(config)
    row: dict[str, Any] = {
        "workload": workload,
        "config": number,
        "space": trial.space,
        "params": json.dumps(dict(trial.params), sort_keys=True),
        "seed": trial.replicate,
        "horizon": trial.horizon,
    }
    try:
        training = NetworkTraining(trial)
    except ValueError as error:  # too few steps at this horizon
        return row | {"status": f"refused: {error}"[:120]}
    start = time.perf_counter()
    while not training.finished:
        training.run_epoch()
    outcome = asdict(training.outcome())
    return row | {
        "status": outcome["status"],
        "samples": outcome["samples_seen"],
        "steps": outcome["optimizer_steps"],
        "val_accuracy": outcome["objective"],
        "test_accuracy": outcome["test_accuracy"],
        "val_accuracy_E": [record.val_accuracy for record in training.records],
        "seconds": time.perf_counter() - start,
    }


def collect(
    workload: str,
    seeds: list[int],
    workers: int,
    journal: Path,
    num_configs: int | None = None,
) -> None:
    """Train what the journal lacks."""
    plan = make_workload_plan(workload)
    done = {_key(row) for row in _read(journal)}
    todo = [
        (workload, number, trial.to_dict())
        for number, trial in tasks(workload, plan, seeds, num_configs)
        if (workload, number, trial.replicate, round(trial.horizon, 6)) not in done
    ]
    print(f"{workload}: {len(todo)} trainings to do, {len(done)} done", flush=True)
    start = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers) as processes, journal.open("a") as file:
        for count, row in enumerate(processes.imap_unordered(train, todo), 1):
            file.write(json.dumps(row) + "\n")
            file.flush()
            if count % 60 == 0:
                spent = time.perf_counter() - start
                print(f"{workload}: {count}/{len(todo)}, {spent:.0f} s", flush=True)


def write_pool(journals: list[Path], path: Path) -> None:
    """The Parquet file that replay.py reads."""
    rows = [row for journal in journals for row in _read(journal)]
    rows.sort(key=lambda r: (r["workload"], r["seed"], r["config"], -r["horizon"]))
    columns = ("workload", "config", "space", "params", "seed", "horizon", "status", "samples",
               "steps", "val_accuracy", "test_accuracy", "val_accuracy_E", "seconds")  # fmt: skip
    table = pa.table({name: [row.get(name) for row in rows] for name in columns})
    pq.write_table(table, path, compression="zstd")
    print(f"{path.name}: {table.num_rows} trainings, {path.stat().st_size:,} bytes", flush=True)


def _read(journal: Path) -> list[dict[str, Any]]:
    if not journal.exists():
        return []
    return [json.loads(line) for line in journal.read_text().splitlines()]


def _key(row: dict[str, Any]) -> tuple[str, int, int, float]:
    return row["workload"], row["config"], row["seed"], round(row["horizon"], 6)


def main() -> None:
    """Collect the workloads one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--configs", type=int, help="default: those of the published pool")
    parser.add_argument("--pool", type=Path, default=POOL, help="the file to write")
    parser.add_argument("--journals", type=Path, default=Path("runs/search_efficiency"))
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS))
    args = parser.parse_args()
    args.journals.mkdir(parents=True, exist_ok=True)
    journals = [args.journals / f"{workload}.jsonl" for workload in WORKLOADS]
    for workload in args.workloads:
        journal = args.journals / f"{workload}.jsonl"
        collect(workload, list(range(args.seeds)), args.workers, journal, args.configs)
        write_pool(journals, args.pool)


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
