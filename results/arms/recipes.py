"""Which rows were trained alike? Workloads: one and the same, or several to profile arms over."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from results.arms.choice import group_by_arm
from results.arms.scores import confirm_scores
from results.records.schema import Row, trial_from_row
from results.statistics.profiles import Profiles, performance_profiles

# What an arm of a run may bring along.
ARMS_OWN = ("optimizer", "noise_law", "c2", "k")
# Of what identifies a recipe: may differ between comparable runs, how and not what is trained.
INCIDENTAL = ("num_threads", "micro_batch")


def check_workload(rows: Iterable[Row]) -> None:
    """Raise ValueError when trials of different workloads would be compared."""
    first: tuple[str, dict[str, object]] | None = None
    for row in rows:
        recipe = trial_from_row(row).recipe.identity()
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


def workload_profiles(rows: Iterable[Row], metric: str = "test_accuracy") -> Profiles:
    """Performance profiles of the confirmed arms over the workloads of these rows.

    Raises:
        ValueError: fewer than two workloads, or no two arms that all of them have.
    """
    by_workload: dict[str, list[Row]] = {}
    for row in rows:
        by_workload.setdefault(_workload(row), []).append(row)
    names = _names({key: rows[0] for key, rows in by_workload.items()})
    return performance_profiles(
        {
            names[key]: confirm_scores(group_by_arm(rows), metric)[0]
            for key, rows in by_workload.items()
        }
    )


def _workload(row: Row) -> str:
    """What a workload is: all of the recipe that arms of one run share."""
    recipe = trial_from_row(row).recipe.identity()
    return json.dumps({k: v for k, v in recipe.items() if k not in (*INCIDENTAL, *ARMS_OWN)})


def _names(first_rows: Mapping[str, Row]) -> dict[str, str]:
    """The workloads' names; those that share one are told apart by their first run."""
    names = {
        key: trial_from_row(row).recipe.workload or row["dataset"]
        for key, row in first_rows.items()
    }
    taken = list(names.values())
    return {
        key: name if taken.count(name) == 1 else f"{name}@{first_rows[key]['run_id']}"
        for key, name in names.items()
    }
