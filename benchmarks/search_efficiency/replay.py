"""How many samples does each search method spend to find a good schedule?

    python -m benchmarks.search_efficiency.replay [--replays 200]

Replays the methods on pool.parquet (see collect.py), each many times, one worker, and prints
Markdown tables. A method sees the validation accuracies of one seed; what it recommends is judged
by the mean over the other seeds. Seeded: the numbers are the same every time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import surroundings, table
from benchmarks.search_efficiency import score
from benchmarks.search_efficiency.methods import (
    METHODS,
    SHORT_VARIANTS,
    SHORTEST,
    VARIANTS,
    Method,
)
from benchmarks.search_efficiency.pool import POOL, WORKLOADS, Array, Pool, load_pools
from benchmarks.search_efficiency.score import Interval, Replays, interval

RANDOM = "random, in full"
AT_SAMPLES = (1, 2, 3, 5, 7, 10, 15, 20)
MATCHED = (5, 10, 20)
PREFIX_EPOCHS = (1, 3, 9, 18)


def replay_all(pool: Pool, methods: Mapping[str, Method], num_replays: int) -> dict[str, Replays]:
    """Every method on this pool."""
    return {name: score.replay(pool, method, num_replays) for name, method in methods.items()}


def describe(pool: Pool, random: Replays) -> str:
    """What is replayed, and how well any method on one seed can do."""
    seeds = range(pool.num_seeds)
    errors = [pool.standard_error(seed) for seed in seeds]
    near = [float((pool.regrets(seed) <= score.TOLERANCE).sum()) for seed in seeds]
    likely = [float((pool.regrets(s) <= e).sum()) for s, e in zip(seeds, errors, strict=True)]
    floor = [pool.regrets(seed)[pool.score_SCH[seed, :, 0].argmax()] for seed in seeds]
    regrets = ", ".join(f"{x:.2f}" for x in floor)
    return (
        f"{pool.name}: {pool.num_configs} configs in {len(pool.spaces)} arms, {pool.num_seeds} "
        f"seeds, {len(random.seed_R)} replays\n"
        f"best config on the other seeds: standard error {np.mean(errors):.2f} points; within "
        f"{score.TOLERANCE} points of it {np.mean(near):.1f} configs, within one standard error "
        f"{np.mean(likely):.1f}\n"
        f"all configs in full on one seed, best by validation: regret {np.mean(floor):.2f} points "
        f"(by seed: {regrets})"
    )


def arrival_table(pool: Pool, results: Mapping[str, Replays], draws: NDArray[np.int64]) -> str:
    """Samples until the recommendation stays good."""
    rows = []
    for name, result in results.items():
        row = [name, f"{np.mean(result.end_R):.1f}"]
        for times_R in (result.near_R, result.likely_R):
            counted_R = np.minimum(times_R, pool.num_configs)
            row += [
                _resampled(times_R, draws, np.median).text(1),
                f"{100 * np.isfinite(times_R).mean():.0f}%",
                _resampled(counted_R, draws, np.mean).text(1),
            ]
        rows.append(row)
    near = f"within {score.TOLERANCE}"
    head = ["method", "whole search"]
    for name in (f"{near}: median", "within 1 SE: median"):
        head += [name, "get there", f"mean, never = {pool.num_configs}"]
    return table(head, rows)


def _resampled(
    values_R: Array, draws: NDArray[np.int64], statistic: Callable[..., Any]
) -> Interval:
    return interval(float(statistic(values_R)), statistic(values_R[draws], axis=1))


def regret_table(
    pool: Pool, results: Mapping[str, Replays], draws: NDArray[np.int64], *, sure: bool
) -> str:
    """Mean regret in points at equal samples; `sure` adds the intervals."""
    times = score.make_times(pool)
    columns = [int(np.searchsorted(times, at - 1e-9)) for at in AT_SAMPLES] + [len(times) - 1]
    rows = []
    for name, result in results.items():
        curve = result.regret_RT.mean(axis=0)
        drawn = score.mean_curves(result.regret_RT, draws)
        cells = [interval(curve[at], drawn[:, at]) for at in columns]
        rows.append([name, *(c.text(2) if sure else f"{c.value:.2f}" for c in cells)])
    return table(["regret after", *(f"{at}" for at in AT_SAMPLES), "the whole search"], rows)


def match_table(
    pool: Pool, results: Mapping[str, Replays], random: Replays, draws: NDArray[np.int64]
) -> str:
    """Samples to be as good as random search is after N full trainings."""
    times = score.make_times(pool)
    goals = [int(np.searchsorted(times, n - 1e-9)) for n in MATCHED if n < pool.num_configs]
    goals.append(len(times) - 1)
    curve = random.regret_RT.mean(axis=0)
    head = [f"{times[at]:.0f} ({curve[at]:.2f})" for at in goals[:-1]]
    rows = []
    for name, result in results.items():
        row = [name]
        for at in goals:
            needed, ratio = score.samples_to_match(
                result.regret_RT, random.regret_RT, at, times, draws
            )
            row.append(f"{needed.text(1)}: {_ratio(ratio)}")
        if result is not random:
            rows.append(row)
    last = f"all {pool.num_configs} ({curve[-1]:.2f})"
    return table(["as good as random after (its regret)", *head, last], rows)


def _ratio(ratio: Interval) -> str:
    return "-" if ratio.value == 0 else ratio.text(1, "x")


def correlation_table(pool: Pool, rng: np.random.Generator) -> str:
    """How well short trainings order the configs as full ones do."""
    looks = [
        (f"prefix, {epoch} of {pool.curve_SCE.shape[2]} epochs", pool.curve_SCE[:, :, epoch - 1])
        for epoch in PREFIX_EPOCHS
    ]
    for h, horizon in reversed(list(enumerate(pool.horizons_H))):
        name = "full" if horizon == 1 else f"squeezed, 1/{round(1 / horizon)}"
        looks.append((name, pool.score_SCH[:, :, h]))
    elsewhere = np.stack([pool.accuracy_elsewhere(seed) for seed in range(pool.num_seeds)])
    rows = []
    for name, look in looks:
        known = int((~np.isnan(look).any(axis=0)).sum())
        same = score.rank_correlations(look, pool.score_SCH[:, :, 0], rng)
        other = score.rank_correlations(look, elsewhere, rng)
        cells = ["-" if rho is None else rho.text(2) for rho in (other, same)]
        rows.append([name, str(known), *cells])
    return table(["Spearman of", "configs", "with other seeds", "with the same seed"], rows)


def print_tables(pool: Pool, num_replays: int) -> None:
    """All tables of one workload."""
    results = replay_all(pool, METHODS, num_replays)
    random = results[RANDOM]
    draws = score.resample(random.seed_R, np.random.default_rng(0))
    print(describe(pool, random), "\n")
    print(match_table(pool, results, random, draws), "\n")
    print(regret_table(pool, results, draws, sure=True), "\n")
    print(arrival_table(pool, results, draws), "\n")
    print(correlation_table(pool, np.random.default_rng(0)), "\n")
    short = SHORT_VARIANTS if pool.allows(SHORTEST) else {}
    variants = {RANDOM: random, "squeezed": results["squeezed"]}
    variants |= replay_all(pool, VARIANTS | short, num_replays)
    print(regret_table(pool, variants, draws, sure=False), "\n")
    print(match_table(pool, variants, random, draws), "\n", flush=True)


def main() -> None:
    """Replay on every workload of the pool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--pool", type=Path, default=POOL)
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=WORKLOADS)
    args = parser.parse_args()
    print(surroundings("numpy", "optuna"))
    for pool in load_pools(args.pool):
        if pool.name in args.workloads:
            print_tables(pool, args.replays)


if __name__ == "__main__":
    main()
