"""From rows to arms: which config stands for an arm, what it scored, and what it cost."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.cautions import budget_warnings, edge_warnings, loss_warnings, seed_warnings
from results.compare import (
    MIN_EFFECT,
    ArmDetails,
    Comparison,
    Cost,
    compare,
)
from results.records import Row
from search_spaces.registry import unknown_name
from search_spaces.space import BASELINE, SearchSpace
from search_spaces.trial import Recipe

METRICS = ("test_accuracy", "objective", "best_val_accuracy", "final_train_accuracy")
MEASURED = ("completed", "diverged")
LOST = ("failed", "oom")  # the machinery's fault, not the schedule's
# Ends of a range that cannot be widened.
NATURAL_ENDS = {
    **{"interval": (1,), "split": (0, 1), "f": (1,), "base": (1,)},
    **{"momentum_share": (0, 1), "batch0": (1,)},
}
# What an arm of a run may bring along.
ARMS_OWN = ("optimizer", "noise_law", "c2", "k")
# Of what identifies a recipe: may differ between comparable runs, how and not what is trained.
INCIDENTAL = ("num_threads", "micro_batch")


def compare_arms(
    rows: list[Row],
    manifests: Mapping[str, Mapping[str, Any]],
    *,
    metric: str,
    min_effect: float | None = None,
) -> Comparison:
    """Compare the arms of trial rows on the confirm trials of each arm's chosen config.

    A diverged trial scores at chance. A replicate that any arm lost to a failure is dropped
    from all arms. Other arguments and errors: see Run.compare.
    """
    check_workload(rows)
    arms = group_by_arm(rows)
    scores, lost = confirm_scores(arms, metric)
    if min_effect is None:
        min_effect = _min_effect(manifests, rows)
    spaces = {run_id: spaces_of(manifest) for run_id, manifest in manifests.items()}
    details = {name: _details(arm, spaces) for name, arm in arms.items()}
    comparison = compare(
        scores,
        min_effect=min_effect,
        repeated_looks=any(looked_repeatedly(manifest) for manifest in manifests.values()),
        correct=correct_images(arms, manifests) if metric == "test_accuracy" else {},
    )
    searched = {n: d.search.samples_seen for n, d in details.items() if not is_baseline(arms[n])}
    return replace(
        comparison,
        metric=metric,
        details=MappingProxyType(details),
        warnings=(
            *edge_warnings(details, spaces, arms),
            *loss_warnings(lost),
            *budget_warnings(searched, {name: confirm_rows(rows) for name, rows in arms.items()}),
            *seed_warnings(comparison.pairs.values()),
        ),
    )


def best_row(rows: list[Row], arm: str | None = None) -> Row:
    """The trial row whose config stands for this arm, or for the best searched arm."""
    arms = group_by_arm(rows)
    if arm is not None:
        if arm not in arms:
            raise unknown_name("space", arm, arms)
        candidates = {arm: arms[arm]}
    else:
        candidates = {name: own for name, own in arms.items() if not is_baseline(own)}
    finished = {name: own for name, own in candidates.items() if any(map(is_full, own))}
    chosen = {name: row for name, own in finished.items() if (row := chosen_row(own))}
    if not chosen:
        raise ValueError(f"no trial of {arm or 'any searched space'} has finished yet.")
    return chosen[max(chosen, key=lambda name: _standing(arms[name], chosen[name]))]


def group_by_arm(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by arm, in order of appearance.

    An arm is a space; spaces of the same name in several runs stay apart as name@run unless
    they stand for the same config (such as a shared baseline).
    """
    by_space: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        by_space.setdefault(row["space"], {}).setdefault(row["run_id"], []).append(row)
    suffixes = _suffixes({run_id for runs in by_space.values() for run_id in runs})
    arms: dict[str, list[Row]] = {}
    for space, runs in by_space.items():
        configs = {chosen["config_key"] for own in runs.values() if (chosen := chosen_row(own))}
        if len(runs) == 1 or len(configs) == 1:
            arms[space] = [row for own in runs.values() for row in own]
        else:
            arms |= {f"{space}@{suffixes[run_id]}": own for run_id, own in runs.items()}
    return arms


def chosen_row(rows: Iterable[Row]) -> Row | None:
    """A row of the config that stands for an arm: confirmed last, else best by validation."""
    rows = list(rows)
    confirmed = [row for row in rows if row["role"] == "confirm"]
    if confirmed:
        return ([row for row in confirmed if row.get("chosen")] or confirmed)[-1]
    return max(filter(is_full, rows), key=lambda row: float(row["objective"]), default=None)


def confirm_rows(rows: Iterable[Row]) -> list[Row]:
    """The confirm trials of the config that stands for an arm."""
    rows = list(rows)
    chosen = chosen_row(rows)
    if chosen is None or chosen["role"] != "confirm":
        return []
    return [
        row
        for row in rows
        if row["role"] == "confirm" and row["config_key"] == chosen["config_key"]
    ]


def is_baseline(rows: list[Row]) -> bool:
    """True for the arm of the user's own schedule."""
    return bool(rows[0]["space"] == BASELINE)


def is_full(row: Row) -> bool:
    """True for a training over all samples that has ended: only its objective is a result."""
    return row["horizon"] == 1.0 and row["status"] in MEASURED and row["objective"] is not None


def params_of(row: Row) -> dict[str, float]:
    """The suggested values of this trial in its space's terms."""
    return dict(json.loads(row["config_json"])["params"])


def spaces_of(manifest: Mapping[str, Any]) -> dict[str, SearchSpace]:
    """The spaces a run searched, by name."""
    return {s["name"]: SearchSpace.from_dict(s) for s in manifest.get("spaces", [])}


def check_workload(rows: Iterable[Row]) -> None:
    """Raise ValueError when trials of different workloads would be compared."""
    first: tuple[str, dict[str, object]] | None = None
    for row in rows:
        recipe = Recipe(**json.loads(row["config_json"])["recipe"]).identity()
        if first is None:
            first = (row["run_id"], recipe)
        for name in sorted((first[1].keys() | recipe.keys()) - set(INCIDENTAL)):
            ours, theirs = first[1].get(name), recipe.get(name)
            is_arms_own = name in ARMS_OWN and row["run_id"] == first[0]
            if ours != theirs and not is_arms_own:
                raise ValueError(
                    f"cannot compare different workloads: {name} is {ours} in run {first[0]} "
                    f"but {theirs} in run {row['run_id']}."
                )


def confirm_scores(
    arms: Mapping[str, list[Row]], metric: str
) -> tuple[dict[str, dict[int, float]], dict[str, int]]:
    """Scores by arm and replicate, and how many replicates each arm lost to failures.

    Raises:
        ValueError: `metric` is not an accuracy column of trials.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    confirmed = {name: confirm_rows(rows) for name, rows in arms.items()}
    pairing = _pairing([row for rows in confirmed.values() for row in rows])
    gone = {
        name: {pairing[_pair(row)] for row in rows if row["status"] in LOST}
        for name, rows in confirmed.items()
    }
    everywhere = set().union(*gone.values())
    scores = {
        name: {
            pairing[_pair(row)]: _score(row, metric)
            for row in rows
            if row["status"] in MEASURED and pairing[_pair(row)] not in everywhere
        }
        for name, rows in confirmed.items()
    }
    return scores, {name: len(lost) for name, lost in gone.items() if lost}


def correct_images(
    arms: Mapping[str, list[Row]], manifests: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[int, NDArray[np.float64]]]:
    """Which test images each confirm training got right, by arm and replicate: correct_I in 0..1.

    A diverged training guesses: every image counts as right with the probability of chance, so
    that its mean is its score. Trainings without a bitmap, or with another number of images
    than most, are left out.
    """
    confirmed = {name: confirm_rows(rows) for name, rows in arms.items()}
    everything = [row for rows in confirmed.values() for row in rows]
    pairing = _pairing(everything)
    sizes = Counter(num for row in everything if (num := _num_images(row, manifests)))
    if not sizes:
        return {}
    num_images = sizes.most_common(1)[0][0]
    return {
        name: {
            pairing[_pair(row)]: _correct(row, num_images)
            for row in rows
            if row["status"] in MEASURED and _num_images(row, manifests) in (0, num_images)
            if row["test_correct"] or row["status"] == "diverged"
        }
        for name, rows in confirmed.items()
    }


def looked_repeatedly(manifest: Mapping[str, Any]) -> bool:
    """True when this run went on until its comparisons were decided."""
    confirm = (manifest.get("config") or {}).get("confirm") or {}
    return bool(confirm.get("until") == "decided")


def _correct(row: Row, num_images: int) -> NDArray[np.float64]:
    if row["status"] == "diverged":
        return np.full(num_images, _chance(row))
    packed = np.frombuffer(row["test_correct"], dtype=np.uint8)
    return np.unpackbits(packed, count=num_images).astype(np.float64)


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
    return Recipe(**json.loads(row["config_json"])["recipe"]).chance


def _standing(rows: list[Row], chosen: Row) -> tuple[bool, float]:
    """Confirmed arms first, by mean test accuracy; then by the chosen trial's objective."""
    scores = [_score(r, "test_accuracy") for r in confirm_rows(rows) if r["status"] in MEASURED]
    if scores:
        return True, sum(scores) / len(scores)
    return False, chosen["objective"] if chosen["objective"] is not None else 0.0


def _min_effect(manifests: Mapping[str, Mapping[str, Any]], rows: list[Row]) -> float:
    for manifest in manifests.values():
        given = (manifest.get("config") or {}).get("min_effect")
        if given is not None:
            return float(given)
    images = max((_num_images(row, manifests) for row in rows), default=0)
    return max(MIN_EFFECT, 2 / images) if images else MIN_EFFECT


def _num_images(row: Row, manifests: Mapping[str, Mapping[str, Any]]) -> int:
    """Test images behind a row's bitmap; 0 without one, up to 7 too many if nobody says."""
    num_bits = 8 * len(row["test_correct"] or b"")
    told = manifests.get(row["run_id"], {}).get("num_test") or num_bits
    return int(min(num_bits, told))


def _details(rows: list[Row], spaces: Mapping[str, Mapping[str, SearchSpace]]) -> ArmDetails:
    chosen = chosen_row(rows)
    params = params_of(chosen) if chosen else {}
    space = spaces.get(rows[0]["run_id"], {}).get(rows[0]["space"])
    edges = space.free.items() if space and chosen else ()
    return ArmDetails(
        params=params,
        config_key=chosen["config_key"] if chosen else "",
        search=_cost(row for row in rows if row["role"] != "confirm"),
        confirm=_cost(row for row in rows if row["role"] == "confirm"),
        num_trials=dict(Counter(row["status"] for row in rows)),
        on_edge=tuple(
            name
            for name, axis in edges
            if params[name] not in NATURAL_ENDS.get(name, ()) and axis.is_on_edge(params[name])
        ),
    )


def _cost(rows: Iterable[Row]) -> Cost:
    rows = list(rows)
    return Cost(
        samples_seen=sum(row["samples_seen"] or 0 for row in rows),
        optimizer_steps=sum(row["optimizer_steps"] or 0 for row in rows),
        train_seconds=sum(row["train_seconds"] or 0.0 for row in rows),
    )


def _suffixes(run_ids: Iterable[str]) -> dict[str, str]:
    """The last part of each run_id where that tells them apart, else all of it."""
    run_ids = list(run_ids)
    short = {run_id: run_id.rpartition("-")[2] for run_id in run_ids}
    return short if len(set(short.values())) == len(run_ids) else {r: r for r in run_ids}
