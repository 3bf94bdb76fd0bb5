"""What did each arm score, by seed, and which arm stands first?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.arms.choice import (
    chosen_row,
    confirm_rows,
    group_by_arm,
    is_baseline,
    is_full,
    run_choice,
)
from results.records.schema import OUTCOME_NUMBERS, Row, trial_from_row
from search_spaces.metric import NATS, VAL_ACCURACY, Metric, goal_of, make_metric
from search_spaces.records import LOST, MEASURED, named_value
from search_spaces.registry import unknown_name

# Numbers of the trials that are no result of the training.
NO_METRICS = ("num_params",)
SAME_ACCURACY = 1e-6  # float32 shares differ by 6e-8; those of n and n + 1 images by 1/n

# Run and length in bytes: what bitmaps of the same number of images share.
BitmapSize = tuple[str, int]


def best_row(rows: list[Row], arm: str | None = None) -> Row:
    """The trial row whose config stands for this arm, or for the best searched arm."""
    arms = group_by_arm(rows)
    if arm is not None and arm not in arms:
        raise unknown_name("space", arm, arms)
    chosen = {
        name: row
        for name, trials in arms.items()
        if (name == arm if arm is not None else not is_baseline(trials))
        and (any(map(is_full, trials)) or run_choice(trials))
        and (row := chosen_row(trials))
    }
    if not chosen:
        raise ValueError(f"no trial of {arm or 'any searched space'} has finished yet.")
    return chosen[max(chosen, key=lambda name: _standing(arms[name], chosen[name]))]


def confirm_scores(
    arms: Mapping[str, list[Row]], metric: Metric
) -> tuple[dict[str, dict[int, float]], dict[str, int]]:
    """Values by arm and replicate, and how many replicates each arm lost to failures.

    A diverged training has chance for an accuracy, of any other metric no value.
    """
    measured, lost = measured_rows(arms)
    values = {
        name: {replicate: score_of(row, metric) for replicate, row in by_replicate.items()}
        for name, by_replicate in measured.items()
    }
    scores = {
        name: {replicate: value for replicate, value in by_replicate.items() if value is not None}
        for name, by_replicate in values.items()
    }
    return scores, lost


def find_metric(rows: Iterable[Row], name: str | None = None, goal: str | None = None) -> Metric:
    """The metric of this name, as these trials recorded it; None = the objective, on test data.

    Raises:
        ValueError: no trial has it, its goal is not known, or the runs had several objectives.
    """
    rows = list(rows)
    recipes = [trial_from_row(row).recipe for row in rows]
    objectives = dict.fromkeys(recipe.metric for recipe in recipes) or {VAL_ACCURACY: None}
    is_known = name is None or name == "objective"
    if is_known and len(objectives) > 1:
        names = ", ".join(metric.name for metric in objectives)
        raise ValueError(f"the runs were searched by several objectives ({names}): name a metric.")
    objective = next(iter(objectives))
    if is_known:
        selected = objective.of_test if name is None else replace(objective, name="objective")
    else:
        columns = [c for c in OUTCOME_NUMBERS if c not in NO_METRICS]
        reported = [key for row in rows for key in dict(row["metrics"] or ())]
        known = dict.fromkeys([*columns, *reported, *(m.test_name for m in objectives)])
        if name not in known:
            raise unknown_name("metric", str(name), known)
        same = [m for o in objectives for m in (o, o.of_test) if m.name == name]
        given = goal if goal or not same else same[0].goal
        if given is None and goal_of(str(name)) is None:
            raise ValueError(f"{name}: is lower or higher better? Add --goal min or max.")
        selected = make_metric(str(name), given)
    is_function = any(recipe.trainer == "function" for recipe in recipes)
    return replace(selected, unit="") if is_function and selected.unit == NATS else selected


def diverged_seeds(arms: Mapping[str, list[Row]]) -> dict[str, tuple[int, int]]:
    """Confirm trainings that diverged, of how many that ended, by arm; only arms with some."""
    counts = {
        name: (
            sum(row["status"] == "diverged" for row in by_replicate.values()),
            len(by_replicate),
        )
        for name, by_replicate in measured_rows(arms)[0].items()
    }
    return {name: (count, of) for name, (count, of) in counts.items() if count}


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
            if row["status"] == "completed" and 0 < (row["final_train_loss"] or 0) < math.inf
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
    sizes = Counter(num for row in everything if (num := numbers.get(_bitmap_size(row))))
    if not sizes:
        return {}
    size = sizes.most_common(1)[0][0]
    return {
        name: {
            pairing[_pair(row)]: _correct(row, size)
            for row in rows
            if row["status"] == "diverged"
            or (row["status"] in MEASURED and numbers.get(_bitmap_size(row)) == size)
        }
        for name, rows in confirmed.items()
    }


def num_images(
    rows: Iterable[Row], manifests: Mapping[str, Mapping[str, Any]]
) -> dict[BitmapSize, int]:
    """Test images behind every size of bitmap: as the manifest tells, else from the accuracies.

    A bitmap is padded to whole bytes: by itself it tells the number only to within 7.
    0 where nobody knows: a training of the user's own tells its number by no word, and its
    accuracies fit none or several numbers.
    """
    groups: dict[BitmapSize, list[Row]] = {}
    for row in rows:
        if row["test_correct"]:
            groups.setdefault(_bitmap_size(row), []).append(row)
    return {
        (run_id, num_bytes): _num_behind(
            sized, num_bytes, manifests.get(run_id, {}).get("num_test")
        )
        for (run_id, num_bytes), sized in groups.items()
    }


def _pair(row: Row) -> tuple[int, int]:
    return row["replicate"], row["seed"]


def _pairing(rows: list[Row]) -> dict[tuple[int, int], int]:
    """What pairs rows: the replicate within a run; across runs the seed has to agree too."""
    pairs = sorted({_pair(row) for row in rows})
    if len({row["run_id"] for row in rows}) <= 1:
        return {pair: pair[0] for pair in pairs}
    return {pair: number for number, pair in enumerate(pairs)}


def score_of(row: Row, metric: Metric) -> float | None:
    """The metric's value at the end of this training; see confirm_scores."""
    value = named_value(row, metric.name)
    if row["status"] != "diverged" and value is not None and math.isfinite(value):
        return value
    is_told = row["status"] == "diverged" or value is not None
    return trial_from_row(row).recipe.chance if metric.is_accuracy and is_told else None


def _standing(rows: list[Row], chosen: Row) -> tuple[bool, bool, float]:
    """Confirmed arms first, by mean on test data; then by the objective of a full training.

    Arms with a diverged seed, where chance does not stand for it, behind the others.
    """
    metric = trial_from_row(chosen).recipe.metric
    confirmed = [row for row in confirm_rows(rows) if row["status"] in MEASURED]
    scores_or_none = [score_of(row, metric.of_test) for row in confirmed]
    values = [value for value in scores_or_none if value is not None]
    if scores_or_none:
        mean = metric.score(sum(values) / len(values)) if values else -math.inf
        return True, len(values) == len(scores_or_none), mean
    full = [chosen] if is_full(chosen) else filter(is_full, rows)
    scores = (metric.score(float(row["objective"])) for row in full)
    return False, True, max(scores, default=0.0 if metric.is_accuracy else -math.inf)


def _bitmap_size(row: Row) -> BitmapSize:
    """The size of this trial's bitmap; 0 bytes without one."""
    return row["run_id"], len(row["test_correct"] or b"")


def _correct(row: Row, size: int) -> NDArray[np.float64]:
    if row["status"] == "diverged":
        return np.full(size, trial_from_row(row).recipe.chance)
    packed = np.frombuffer(row["test_correct"], dtype=np.uint8)
    return np.unpackbits(packed, count=size).astype(np.float64)


def _num_behind(rows: Sequence[Row], num_bytes: int, stated: int | None) -> int:
    """As stated, else the one number that makes every row's share of ones its accuracy."""
    possible = range(8 * num_bytes - 7, 8 * num_bytes + 1)
    if stated is not None and stated in possible:
        return stated
    shares = [
        (int.from_bytes(row["test_correct"]).bit_count(), row["test_accuracy"])
        for row in rows
        if row["status"] == "completed" and row["test_accuracy"] is not None
    ]
    fitting = [
        num for num in possible if all(abs(ones / num - a) <= SAME_ACCURACY for ones, a in shares)
    ]
    return fitting[0] if len(fitting) == 1 else 0
