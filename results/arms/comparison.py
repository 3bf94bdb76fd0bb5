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

from results.arms.bitmaps import bitmap_size, num_images, unpack
from results.arms.cautions import budget_warnings, edge_warnings, loss_warnings, seed_warnings
from results.records.schema import Row
from results.statistics.compare import (
    ArmDetails,
    Comparison,
    Cost,
    compare,
    default_min_effect,
)
from results.statistics.worth import worths
from search_spaces.records import LOST, MEASURED
from search_spaces.registry import unknown_name
from search_spaces.space import BASELINE, SearchSpace
from search_spaces.trial import Recipe

METRICS = ("test_accuracy", "objective", "best_val_accuracy", "final_train_accuracy")
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
    finished = {
        name: own for name, own in candidates.items() if any(map(is_full, own)) or _chosen(own)
    }
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
    """A row of the config that stands for an arm: confirmed last, else the run's own choice.

    Before there is one: of the configs trained in full the one of highest worth over all its
    squeezed and full trainings, or without squeezed ones the best by validation. A row that is
    not `is_full` only names the config: its run chose it without a full training.
    """
    rows = list(rows)
    confirmed = [row for row in rows if row["role"] == "confirm"]
    if confirmed:
        return ([row for row in confirmed if row.get("chosen")] or confirmed)[-1]
    if chosen := _chosen(rows):
        return max(chosen, key=lambda row: (is_full(row), row["horizon"], row["objective"]))
    worth = _worths(rows)
    return max(
        filter(is_full, rows),
        key=lambda row: (worth.get(row["config_key"], 0.0), float(row["objective"])),
        default=None,
    )


def full_rows(rows: Iterable[Row]) -> list[Row]:
    """The trainings that stand for an arm: its confirm trials, before them its best full one.

    Confirm trials may be unfinished. Empty where the chosen config has no full training.
    """
    rows = list(rows)
    chosen = chosen_row(rows)
    return confirm_rows(rows) or ([chosen] if chosen and is_full(chosen) else [])


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


def looked_repeatedly(manifest: Mapping[str, Any]) -> bool:
    """True when the number of seeds may depend on their scores.

    The run went on until its comparisons were decided, or got more seeds after its first ones
    could be looked at.
    """
    confirm = (manifest.get("config") or {}).get("confirm") or {}
    return bool(manifest.get("looked")) or bool(confirm.get("until") == "decided")


def _chosen(rows: Iterable[Row]) -> list[Row]:
    """Scored trainings of the config that the run itself chose."""
    return [row for row in rows if row.get("chosen") and row["objective"] is not None]


def _worths(rows: Iterable[Row]) -> dict[str, float]:
    """Worth by config of a search with squeezed trainings; empty for others."""
    rungs: dict[float, dict[str, float]] = {}
    for row in rows:
        is_scored = row["status"] in MEASURED and row["objective"] is not None
        if row["role"] == "search" and is_scored:
            rungs.setdefault(row["horizon"], {})[row["config_key"]] = row["objective"]
    return worths(list(rungs.values())) if len(rungs) > 1 else {}


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
    """Confirmed arms first, by mean test accuracy; then by the objective of a full training."""
    scores = [_score(r, "test_accuracy") for r in confirm_rows(rows) if r["status"] in MEASURED]
    if scores:
        return True, sum(scores) / len(scores)
    full = [chosen] if is_full(chosen) else filter(is_full, rows)
    return False, max((float(row["objective"]) for row in full), default=0.0)


def _min_effect(manifests: Mapping[str, Mapping[str, Any]], rows: list[Row]) -> float:
    """As the campaign's own: of a user's training, which tells no number beforehand, the least."""
    for manifest in manifests.values():
        given = (manifest.get("config") or {}).get("min_effect")
        if given is not None:
            return float(given)
    told = [m["num_test"] for m in manifests.values() if m.get("num_test") is not None]
    return default_min_effect(max(told or num_images(rows, manifests).values(), default=0))


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
