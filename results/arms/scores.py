"""What did each arm score, by seed, and which arm stands first?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.arms.bitmaps import bitmap_size, num_images, unpack
from results.arms.choice import (
    chosen_row,
    confirm_rows,
    group_by_arm,
    is_baseline,
    is_full,
    own_choice,
)
from results.records.schema import Row, trial_from_row
from search_spaces.records import LOST, MEASURED
from search_spaces.registry import unknown_name

METRICS = ("test_accuracy", "objective", "best_val_accuracy", "final_train_accuracy")


def best_row(rows: list[Row], arm: str | None = None) -> Row:
    """The trial row whose config stands for this arm, or for the best searched arm."""
    arms = group_by_arm(rows)
    if arm is not None:
        if arm not in arms:
            raise unknown_name("space", arm, arms)
        candidates = {arm: arms[arm]}
    else:
        candidates = {name: own for name, own in arms.items() if not is_baseline(own)}
    finished = {
        name: own for name, own in candidates.items() if any(map(is_full, own)) or own_choice(own)
    }
    chosen = {name: row for name, own in finished.items() if (row := chosen_row(own))}
    if not chosen:
        raise ValueError(f"no trial of {arm or 'any searched space'} has finished yet.")
    return chosen[max(chosen, key=lambda name: _standing(arms[name], chosen[name]))]


def confirm_scores(
    arms: Mapping[str, list[Row]], metric: str
) -> tuple[dict[str, dict[int, float]], dict[str, int]]:
    """Scores by arm and replicate, and how many replicates each arm lost to failures.

    Raises:
        ValueError: `metric` is not an accuracy column of trials.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    measured, lost = measured_rows(arms)
    scores = {
        name: {replicate: _score(row, metric) for replicate, row in own.items()}
        for name, own in measured.items()
    }
    return scores, lost


def measured_rows(
    arms: Mapping[str, list[Row]],
) -> tuple[dict[str, dict[int, Row]], dict[str, int]]:
    """Ended confirm trials by arm and replicate, and how many each arm lost to failures.

    A replicate that any arm lost is left out of all. Of several runs a replicate is a seed.
    """
    confirmed = {name: confirm_rows(rows) for name, rows in arms.items()}
    pairing = _pairing([row for rows in confirmed.values() for row in rows])
    gone = {
        name: {pairing[_pair(row)] for row in rows if row["status"] in LOST}
        for name, rows in confirmed.items()
    }
    everywhere = set().union(*gone.values())
    measured = {
        name: {
            pairing[_pair(row)]: row
            for row in rows
            if row["status"] in MEASURED and pairing[_pair(row)] not in everywhere
        }
        for name, rows in confirmed.items()
    }
    return measured, {name: len(lost) for name, lost in gone.items() if lost}


def train_losses(arms: Mapping[str, list[Row]]) -> dict[str, dict[int, float]]:
    """Final training losses (nats) by arm and replicate; of completed trainings that have one."""
    return {
        name: {
            replicate: row["final_train_loss"]
            for replicate, row in rows.items()
            if row["status"] == "completed" and _is_positive(row["final_train_loss"])
        }
        for name, rows in measured_rows(arms)[0].items()
    }


def correct_images(
    arms: Mapping[str, list[Row]], manifests: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[int, NDArray[np.float64]]]:
    """Which test images each confirm training got right, by arm and replicate: correct_I in 0..1.

    A diverged training guesses: every image counts as right with the probability of chance, so
    that its mean is its score. Trainings without a bitmap, with an unknown number of images, or
    with another number than most, are left out.
    """
    confirmed = {name: confirm_rows(rows) for name, rows in arms.items()}
    everything = [row for rows in confirmed.values() for row in rows]
    pairing, numbers = _pairing(everything), num_images(everything, manifests)
    sizes = Counter(num for row in everything if (num := numbers.get(bitmap_size(row))))
    if not sizes:
        return {}
    size = sizes.most_common(1)[0][0]
    return {
        name: {
            pairing[_pair(row)]: np.full(size, _chance(row)) if diverged else unpack(row, size)
            for row in rows
            if (diverged := row["status"] == "diverged")
            or (row["status"] in MEASURED and numbers.get(bitmap_size(row)) == size)
        }
        for name, rows in confirmed.items()
    }


def _pair(row: Row) -> tuple[int, int]:
    return row["replicate"], row["seed"]


def _pairing(rows: list[Row]) -> dict[tuple[int, int], int]:
    """What pairs rows: the replicate within a run; across runs the seed has to agree too."""
    pairs = sorted({_pair(row) for row in rows})
    if len({row["run_id"] for row in rows}) <= 1:
        return {pair: pair[0] for pair in pairs}
    return {pair: number for number, pair in enumerate(pairs)}


def _score(row: Row, metric: str) -> float:
    value = row[metric]
    if row["status"] == "diverged" or value is None or not math.isfinite(value):
        return _chance(row)
    return float(value)


def _chance(row: Row) -> float:
    return trial_from_row(row).recipe.chance


def _standing(rows: list[Row], chosen: Row) -> tuple[bool, float]:
    """Confirmed arms first, by mean test accuracy; then by the objective of a full training."""
    scores = [_score(r, "test_accuracy") for r in confirm_rows(rows) if r["status"] in MEASURED]
    if scores:
        return True, sum(scores) / len(scores)
    full = [chosen] if is_full(chosen) else filter(is_full, rows)
    return False, max((float(row["objective"]) for row in full), default=0.0)


def _is_positive(loss: float | None) -> bool:
    return loss is not None and math.isfinite(loss) and loss > 0
