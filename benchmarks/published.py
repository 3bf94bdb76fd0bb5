"""What do trainings that others have published say about our methods?

    python -m benchmarks.published DIR [--replays 1000] [--draws 2000]

Reads DIR, which is no part of the repository; without it the script says so and ends. In it:
llm_schedules_runs.parquet and llm_schedules_curves.parquet, Llama-like models trained by
A. Haegele et al. (fabian-sp/lr-scheduling, MIT), and speedrun_losses.csv, seeds of nanoGPT
speedruns (KellerJordan/modded-nanogpt, MIT). Prints Markdown:

1. Do complete runs of 30, 50, 70 % of the length order schedules as runs of full length do, and
   do the first 30, 50, 70 % of these?
2. Successive halving replayed on them, by the product's own `Halving` and `worths`.
3. Which speedrun differs from which, and how often are such intervals right, by resampling seeds.

Losses in nats, lower is better. Everything random has a fixed seed.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.measure import surroundings, table
from benchmarks.search_efficiency.methods import Method, halving_search, squeezed
from benchmarks.search_efficiency.pool import Array, Pool
from benchmarks.search_efficiency.score import stays_from
from results.statistics.compare import compare
from results.statistics.correlation import spearman
from results.statistics.intervals import mean_of
from results.statistics.paired import Difference, Scores, paired_difference
from results.statistics.unpaired import welch_difference
from search_spaces.metric import make_metric

FILES = ("llm_schedules_runs.parquet", "llm_schedules_curves.parquet", "speedrun_losses.csv")
# The largest group of trainings that differ by their schedule alone.
GROUP = {"n_layer": 12, "n_embd": 768, "dataset": "slimpajama", "sequences_per_step": 200}
FULL, SHORTER = 50_000, (15_000, 25_000, 35_000)  # iterations
SETTINGS = ("scheduler", "cooldown_share", "cooldown_shape", "cos_final_lr", "lr")
OTHERS = ("sequence_length", "warmup_steps", "weight_decay")
RUNGS = (0.3, 0.5, 1.0)  # shares of FULL that were trained
TENTHS = 10  # a prefix is seen at tenths of FULL
NUM_SEEDS = (3, 5, 10)
VAL_LOSS = make_metric("val_loss")
Row = dict[str, Any]
Differ = Callable[[Scores, Scores], Difference]
INTERVALS: dict[str, Differ] = {
    "Welch": welch_difference,
    "paired by number": paired_difference,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """One schedule that was trained.

    Attributes:
        losses: length in iterations -> final validation loss of the complete runs (repeats).
        prefixes: the same for the full-length runs' loss at that iteration.
    """

    losses: Mapping[int, list[float]]
    prefixes: Mapping[int, list[float]]

    def complete(self, length: int) -> float:
        """Validation loss of this schedule in so many iterations; the mean of its repeats."""
        return float(np.mean(self.losses[length]))

    def prefix(self, iteration: int) -> float:
        """Validation loss of the full training when it gets there."""
        return float(np.mean(self.prefixes[iteration]))


def load_configurations(folder: Path) -> list[Configuration]:
    """The schedules of GROUP, whatever their lengths."""
    rows = [
        row
        for row in pq.read_table(folder / FILES[0]).to_pylist()
        if all(row[name] == value for name, value in GROUP.items())
    ]
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    for row in pq.read_table(folder / FILES[1]).to_pylist():
        curves[row["run"]][row["iteration"]] = row["val_loss"]
    trunks = [row for row in rows if row["cooldown_share"] == 0 and row["iterations"] == FULL]
    losses: dict[tuple[Any, ...], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    prefixes: dict[tuple[Any, ...], dict[int, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in filter(has_end, rows):
        losses[settings(row)][row["iterations"]].append(row["final_val_loss"])
        if row["iterations"] == FULL:
            for iteration in SHORTER:
                prefixes[settings(row)][iteration].append(loss_at(row, iteration, curves, trunks))
    return [Configuration(losses=losses[key], prefixes=prefixes[key]) for key in losses]


def has_end(row: Row) -> bool:
    """False where the end of the schedule is not recorded: such a run equals no other one."""
    end = "cos_final_lr" if row["scheduler"] == "cos" else "cooldown_shape"
    return row[end] is not None and row["final_val_loss"] is not None


def settings(row: Row) -> tuple[Any, ...]:
    """What makes two runs the same schedule; only cosines have a final lr of their own."""
    values = {name: row[name] for name in (*SETTINGS, *OTHERS)}
    if row["scheduler"] != "cos":
        values["cos_final_lr"] = None
    return tuple(values.values())


def loss_at(
    row: Row, iteration: int, curves: Mapping[str, Mapping[int, float]], trunks: Sequence[Row]
) -> float:
    """Validation loss of a full-length run there: its own curve's, before that its trunk's."""
    parents = [trunk for trunk in trunks if trunk["lr"] == row["lr"]]
    parents.sort(key=lambda trunk: trunk["group"] != row["group"])  # the same set of runs first
    losses = [c[iteration] for c in (curves[r["run"]] for r in (row, *parents)) if iteration in c]
    return float(losses[0]) if losses else math.nan


def pick_regret(looks: Sequence[float], truth: Sequence[float]) -> float:
    """Nats lost by the schedule that looks best; schedules that look alike share it."""
    look_C, truth_C = np.asarray(looks), np.asarray(truth)
    return float(truth_C[look_C == look_C.min()].mean() - truth_C.min())


def correlation_table(configurations: Sequence[Configuration]) -> str:
    """How well shorter runs order the schedules."""
    rows = []
    for length in SHORTER:
        both = [c for c in configurations if length in c.losses and FULL in c.losses]
        truth = [c.complete(FULL) for c in both]
        looks = [c.complete(length) for c in both], [c.prefix(length) for c in both]
        rhos = [str(spearman(look, truth)).removeprefix("rho = ") for look in looks]
        regrets = [f"{pick_regret(look, truth):.4f}" for look in looks]
        lot = f"{np.mean(truth) - min(truth):.4f}"
        rows.append([f"{length:,} ({length / FULL:.0%})", *rhos, *regrets, lot])
    head = ["iterations", "Spearman: squeezed", "prefix", "regret: squeezed", "prefix", "by lot"]
    return table(head, rows)


def repeat_noise(configurations: Sequence[Configuration]) -> tuple[float, int]:
    """Standard deviation between repeats of one schedule in full (nats), and repeats - 1."""
    groups = [np.asarray(c.losses[FULL]) for c in configurations if FULL in c.losses]
    degrees = sum(len(group) - 1 for group in groups)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return math.sqrt(squares / degrees) if degrees else math.nan, degrees


def as_share(loss: float) -> float:
    """The loss as what the replays call an accuracy: higher is better.

    `worths` takes y = -log10(1 - accuracy) of it, which is minus the loss.
    """
    return 1.0 - 10.0**loss


def make_pool(configurations: Sequence[Configuration]) -> Pool:
    """The schedules that were trained at every length, as replays see our own pools."""
    lengths = (FULL, *reversed(SHORTER))
    kept = [c for c in configurations if all(length in c.losses for length in lengths)]
    score_CH = np.asarray([[as_share(c.complete(n)) for n in lengths] for c in kept])
    curve_CE = np.full((len(kept), TENTHS), math.nan)
    for iteration in SHORTER:
        seen = [as_share(c.prefix(iteration)) for c in kept]
        curve_CE[:, round(TENTHS * iteration / FULL) - 1] = seen
    horizons = tuple(length / FULL for length in lengths)
    return Pool(
        name="published",
        spaces=(),
        arm_C=np.zeros(len(kept), dtype=np.int64),
        params_C=({},) * len(kept),
        horizons_H=horizons,
        score_SCH=score_CH[None],
        cost_SCH=np.broadcast_to(np.asarray(horizons), (1, *score_CH.shape)).copy(),
        diverged_SCH=np.zeros((1, *score_CH.shape), dtype=np.bool_),
        curve_SCE=curve_CE[None],
        held_out_SC=score_CH[None, :, 0],
    )


METHODS: dict[str, Method] = {
    "random, complete runs": halving_search(pooled=True),
    "prefixes, promote first (ASHA)": halving_search(RUNGS, fidelity="prefix", pooled=True),
    "prefixes, ask first": halving_search(RUNGS, fidelity="prefix", order="ask", pooled=True),
    "squeezed": squeezed(RUNGS, pooled=True),
    "squeezed, promote first": squeezed(RUNGS, order="promote", pooled=True),
    "squeezed, rungs 30 %, 100 %": squeezed((0.3, 1.0), pooled=True),
}


def halving_table(configurations: Sequence[Configuration], replays: int, near: float) -> str:
    """Iterations until a search recommends the best schedule for good, over random orders."""
    pool = make_pool(configurations)
    loss_C = np.log10(1.0 - pool.score_SCH[0, :, 0])
    regret_C = loss_C - loss_C.min()
    rows = []
    for name, method in METHODS.items():
        searches = [method(pool, 0, number) for number in range(replays)]
        row = [name, cost_text(searches[0][-1].spent)]
        for tolerance in (1e-9, near):
            arrived_R = np.asarray([stays_from(steps, regret_C, tolerance) for steps in searches])
            low, median, high = np.percentile(arrived_R, [2.5, 50, 97.5], method="nearest")
            row.append(f"{cost_text(median)} [{cost_text(low)}, {cost_text(high)}]")
            row.append(f"{np.isfinite(arrived_R).mean():.0%}")
        last_R = np.asarray([regret_C[steps[-1].config] for steps in searches])
        rows.append([*row, f"{last_R.mean():.4f}"])
    goal = f"within {near:.4f} nats of it"
    head = ["search", "whole search", "to the best", "get there", goal, "get there", "regret"]
    return f"{pool.num_configs} schedules, {replays:,} random orders\n\n" + table(head, rows)


def cost_text(trainings: float) -> str:
    """Full trainings as thousands of iterations."""
    return "never" if math.isinf(trainings) else f"{trainings * FULL / 1000:,.0f}k"


def load_arms(folder: Path) -> dict[str, dict[int, dict[int, float]]]:
    """Validation losses by arm, seed and step."""
    arms: dict[str, dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    with (folder / FILES[2]).open(newline="") as file:
        for row in csv.DictReader(file):
            arms[row["arm"]][int(row["seed"])][int(row["step"])] = float(row["val_loss"])
    return arms


def losses_at(
    arms: Mapping[str, Mapping[int, Mapping[int, float]]], step: int | None = None
) -> dict[str, dict[int, float]]:
    """Loss by arm and seed at this step, None = at the end of each."""
    return {
        arm: {seed: c[max(c) if step is None else step] for seed, c in curves.items()}
        for arm, curves in arms.items()
    }


def last_common_step(arms: Mapping[str, Mapping[int, Mapping[int, float]]]) -> int:
    """The last step at which every seed of every arm was evaluated."""
    return max(set.intersection(*(set(c) for curves in arms.values() for c in curves.values())))


def arms_table(arms: Mapping[str, Mapping[int, float]], steps: Mapping[str, int]) -> str:
    """What each arm reached."""
    rows = []
    for arm, losses in arms.items():
        mean = mean_of(losses.values())
        assert mean.low is not None, "seeds differ"
        interval = f"{mean.mean:.5f} [{mean.low:.5f}, {mean.high:.5f}]"
        sd = np.std(list(losses.values()), ddof=1)
        rows.append([arm, f"{steps[arm]:,}", f"{mean.n}", interval, f"{sd:.5f}"])
    return table(["arm", "steps in all", "n", "val_loss, 95% interval", "sd"], rows)


def pairs_table(arms: Mapping[str, Mapping[int, float]]) -> str:
    """Every pair of arms; no smallest effect is asked for, so the interval speaks."""
    rows = []
    for claim in compare(arms, metric=VAL_LOSS, min_effect=None, paired=False).claims:
        d = claim.difference.reverse  # how far the first lies below
        assert d.p_value is not None, "seeds differ"
        assert claim.p_holm is not None
        interval = f"{d.mean:+.5f} [{d.low:+.5f}, {d.high:+.5f}]"
        outcome = f"{claim.winner} is lower" if claim.winner else "undecided"
        cells = [f"{d.p_value:.2g}", f"{claim.p_holm:.2g}", outcome]
        rows.append([f"{claim.a} below {claim.b}", interval, *cells])
    return table(["pair", "nats, 95% Welch interval", "p", "Holm p", "verdict"], rows)


def halves(scores: Scores) -> Iterator[tuple[dict[int, float], dict[int, float]]]:
    """Every way to cut the seeds of one arm into two halves, numbered anew."""
    first, *others = scores.values()
    size = len(scores) // 2
    for chosen in itertools.combinations(range(len(others)), size - 1):
        a = [first, *(others[i] for i in chosen)]
        b = [value for i, value in enumerate(others) if i not in chosen]
        yield dict(enumerate(a)), dict(enumerate(b))


def false_claims(arms: Mapping[str, Scores], differ: Differ) -> tuple[float, int]:
    """Share of the halves of one arm that are called different, and their number."""
    is_separated = [differ(*pair).separated for scores in arms.values() for pair in halves(scores)]
    return float(np.mean(is_separated)), len(is_separated)


def redraw(loss_R: Array, n: int, rng: np.random.Generator) -> dict[int, float]:
    """So many fresh seeds of this arm, drawn from the real ones with replacement."""
    return dict(enumerate(rng.choice(loss_R, n).tolist()))


def coverage(
    arms: Mapping[str, Scores], differ: Differ, n: int, draws: int
) -> tuple[float, float]:
    """Redrawing n seeds of each arm: share of intervals that hold the real difference.

    Returns:
        that share over all pairs, and of two draws of one arm the share called different.
    """
    rng = np.random.default_rng(n)
    values = [np.asarray(list(scores.values())) for scores in arms.values()]
    held, false = [], []
    for a_R, b_R in itertools.combinations(values, 2):
        truth = float(a_R.mean() - b_R.mean())
        for _ in range(draws):
            d = differ(redraw(a_R, n, rng), redraw(b_R, n, rng))
            held.append(d.low is not None and d.high is not None and d.low <= truth <= d.high)
    for loss_R in values:
        for _ in range(draws):
            false.append(differ(redraw(loss_R, n, rng), redraw(loss_R, n, rng)).separated)
    return float(np.mean(held)), float(np.mean(false))


def resampling_table(arms: Mapping[str, Scores], draws: int) -> str:
    """How often the intervals hold, and how often equal arms are called different."""
    rows = []
    for name, differ in INTERVALS.items():
        share, _ = false_claims(arms, differ)
        cells = [f"{share:.1%}"]
        for n in NUM_SEEDS:
            held, false = coverage(arms, differ, n, draws)
            cells.append(f"{held:.1%}, {false:.1%}")
        rows.append([name, *cells])
    _, num_halves = false_claims(arms, welch_difference)
    head = [f"n={n}: hold, false" for n in NUM_SEEDS]
    return table(["interval", f"false in {num_halves:,} halves", *head], rows)


def main(words: Sequence[str] | None = None) -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", help="of the published data")
    parser.add_argument("--replays", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=2000)
    asked = parser.parse_args(words)
    missing = [name for name in FILES if asked.folder and not (asked.folder / name).exists()]
    if asked.folder is None or missing:
        print(f"skipped: no folder with {', '.join(missing or FILES)} was given")
        return
    print(surroundings("numpy", "scipy"))
    configurations = load_configurations(asked.folder)
    noise, degrees = repeat_noise(configurations)
    print(f"repeats of a schedule at {FULL:,}: sd {noise:.4f} nats ({degrees} degrees of freedom)")
    print(f"\n{correlation_table(configurations)}\n")
    print(f"{halving_table(configurations, asked.replays, near=noise)}\n", flush=True)
    arms = load_arms(asked.folder)
    steps = {arm: max(next(iter(curves.values()))) for arm, curves in arms.items()}
    common = last_common_step(arms)
    for when, step in (("at the end of each arm", None), (f"all at step {common:,}", common)):
        losses = losses_at(arms, step)
        print(f"{when}\n\n{arms_table(losses, steps)}\n\n{pairs_table(losses)}\n", flush=True)
    print(resampling_table(losses_at(arms), asked.draws))


if __name__ == "__main__":
    main()
