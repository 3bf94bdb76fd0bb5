"""What does a search method get to see of the pool? One seed: scores and samples of trainings.

Arrays: S seeds, C configs, H horizons (descending, the first is 1), E epochs.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from search_spaces import SPACES
from search_spaces.space import Range, SearchSpace

Array = NDArray[np.float64]
Fidelity = Literal["squeezed", "prefix"]
Row = dict[str, Any]
POOL = Path(__file__).parent / "pool.parquet"
EPOCHS = 27
SPLITS = (1.0, 0.41503749927884376, 0.0)
MOMENTUM = 0.9
CHANCE = 0.1  # accuracy of a diverged training, ten classes


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """What the pool's rows do not say of a workload (collect.py sets it).

    Attributes:
        lr, batch: the recipe's; they place the range of delta0.
        num_val, num_test: held-out images.
    """

    lr: float
    batch: int
    num_val: int
    num_test: int

    def space(self, name: str) -> SearchSpace:
        """An arm of the pool, with absolute ranges."""
        delta_ref = self.lr / (1 - MOMENTUM) / math.sqrt(self.batch)
        built_in = SPACES[name]
        ranges = {
            **built_in.ranges,
            "split": Range(choices=SPLITS),
            "interval": Range(low=1, high=9, log=True, integer=True),
        }
        return replace(built_in, ranges=ranges).resolve(epochs=EPOCHS, delta_ref=delta_ref)


WORKLOADS = {
    "digits": Workload(lr=0.05, batch=16, num_val=1078, num_test=360),
    "cifar10_16px": Workload(lr=0.05, batch=32, num_val=2000, num_test=10_000),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """One training as a method sees it.

    Attributes:
        score: validation accuracy. cost: samples paid, in full trainings. diverged: it ended
        early and cannot go on.
    """

    score: float
    cost: float
    diverged: bool = False


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Every training of a workload.

    Attributes:
        arm_C: index into spaces. params_C: of every config.
        horizons_H: of squeezed trainings. score_SCH: validation accuracy, NaN = refused.
        cost_SCH: samples spent, in full trainings. diverged_SCH: 1 or 0.
        curve_SCE: validation accuracy of the full training after each epoch; chance from
            where it diverged.
        held_out_SC: accuracy of the full training on all images it was not trained on,
            validation and test together: the least noisy view of it that the pool has.
    """

    name: str
    spaces: tuple[SearchSpace, ...]
    arm_C: NDArray[np.int64]
    params_C: tuple[dict[str, float], ...]
    horizons_H: tuple[float, ...]
    score_SCH: Array
    cost_SCH: Array
    diverged_SCH: NDArray[np.bool_]
    curve_SCE: Array
    held_out_SC: Array

    @property
    def num_seeds(self) -> int:
        """Trainings of each config at each horizon."""
        return len(self.held_out_SC)

    @property
    def num_configs(self) -> int:
        """Of all arms."""
        return len(self.arm_C)

    def accuracy_elsewhere(self, seed: int) -> Array:
        """Held-out accuracy of every config, mean over all seeds but this one, (C,)."""
        return np.asarray(np.delete(self.held_out_SC, seed, axis=0).mean(axis=0))

    def regrets(self, seed: int) -> Array:
        """Points of accuracy lost by taking each config, on the other seeds, (C,)."""
        accuracy_C = self.accuracy_elsewhere(seed)
        return np.asarray(100 * (accuracy_C.max() - accuracy_C))

    def standard_error(self, seed: int) -> float:
        """Of the best config's accuracy over the other seeds, in points."""
        best = int(self.accuracy_elsewhere(seed).argmax())
        others_S = np.delete(self.held_out_SC[:, best], seed)
        return float(100 * others_S.std(ddof=1) / np.sqrt(len(others_S)))

    def train(
        self, seed: int, config: int, horizon: float, *, fidelity: Fidelity, paid: float = 0.0
    ) -> Training:
        """What a training of this length shows.

        A refused one (too few steps when squeezed) costs nothing and its config is out, as if
        it had diverged.

        Args:
            paid: horizon of the prefix that it continues.
        """
        if fidelity == "squeezed" or horizon == 1:
            h = self._index(horizon)
            score, cost = self.score_SCH[seed, config, h], self.cost_SCH[seed, config, h]
            if np.isnan(score):
                return Training(score=CHANCE, cost=0.0, diverged=True)
            return Training(
                score=float(score),
                cost=float(max(0.0, cost - (paid if fidelity == "prefix" else 0.0))),
                diverged=bool(self.diverged_SCH[seed, config, h]),
            )
        epoch = round(horizon * self.curve_SCE.shape[2])
        whole = self.cost_SCH[seed, config, 0]  # less than 1 when it diverged
        return Training(
            score=float(self.curve_SCE[seed, config, epoch - 1]),
            cost=float(max(0.0, min(horizon, whole) - paid)),
            diverged=bool(self.diverged_SCH[seed, config, 0] and whole < horizon),
        )

    def allows(self, horizon: float) -> bool:
        """True when nine in ten configs could be squeezed into this horizon."""
        return bool(np.isnan(self.score_SCH[:, :, self._index(horizon)]).mean() < 0.1)

    def _index(self, horizon: float) -> int:
        return int(np.argmin(np.abs(np.asarray(self.horizons_H) - horizon)))


def load_pools(path: Path = POOL) -> list[Pool]:
    """The pools of all workloads in the file."""
    rows = pq.read_table(path).to_pylist()
    names = [name for name in WORKLOADS if any(row["workload"] == name for row in rows)]
    return [make_pool([r for r in rows if r["workload"] == name], name) for name in names]


def make_pool(rows: list[Row], name: str) -> Pool:
    """The pool of one workload; seeds that lack a training are left out."""
    workload = WORKLOADS[name]
    first = {row["config"]: row for row in rows}
    configs, seeds = sorted(first), sorted({row["seed"] for row in rows})
    horizons = tuple(sorted({row["horizon"] for row in rows}, reverse=True))
    seeds = [s for s in seeds if _is_whole(rows, s, len(configs) * len(horizons))]
    arms = tuple(dict.fromkeys(first[config]["space"] for config in configs))
    shape = (len(seeds), len(configs), len(horizons))
    score, cost, held_out = np.full(shape, np.nan), np.full(shape, np.nan), np.empty(shape[:2])
    diverged, curve = np.zeros(shape, dtype=np.bool_), np.empty((*shape[:2], EPOCHS))
    unit = float(np.median([r["samples"] for r in rows if r["horizon"] == 1 and r["samples"]]))
    for row in rows:
        if row["seed"] not in seeds or row["status"].startswith("refused"):
            continue
        s, c = seeds.index(row["seed"]), configs.index(row["config"])
        h = horizons.index(row["horizon"])
        score[s, c, h], cost[s, c, h] = row["val_accuracy"], row["samples"] / unit
        diverged[s, c, h] = row["status"] == "diverged"
        if row["horizon"] == 1:
            held_out[s, c] = _held_out(row, workload)
            curve[s, c] = _curve(row)
    return Pool(
        name=name,
        spaces=tuple(workload.space(arm) for arm in arms),
        arm_C=np.asarray([arms.index(first[config]["space"]) for config in configs]),
        params_C=tuple(json.loads(first[config]["params"]) for config in configs),
        horizons_H=horizons,
        score_SCH=score,
        cost_SCH=cost,
        diverged_SCH=diverged,
        curve_SCE=curve,
        held_out_SC=held_out,
    )


def _is_whole(rows: list[Row], seed: int, num_trainings: int) -> bool:
    return len([row for row in rows if row["seed"] == seed]) == num_trainings


def _held_out(row: Row, workload: Workload) -> float:
    """Accuracy on validation and test images together."""
    val, test = row["val_accuracy"], row["test_accuracy"]
    test = CHANCE if test is None or np.isnan(test) else test
    num_val, num_test = workload.num_val, workload.num_test
    return float((num_val * val + num_test * test) / (num_val + num_test))


def _curve(row: Row) -> Array:
    """Validation accuracy after each epoch, (E,)."""
    seen_E = np.asarray(row["val_accuracy_E"], dtype=float)
    curve_E = np.full(EPOCHS, CHANCE)
    curve_E[: len(seen_E)] = np.nan_to_num(seen_E, nan=CHANCE)
    return curve_E
