"""Over several workloads: on which share of them is an arm close to the best?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from results.arms.choice import group_by_arm
from results.arms.scores import confirm_scores, find_metric
from results.arms.selection import INCIDENTAL, OF_ARMS
from results.records.schema import Row, trial_from_row
from results.statistics.profiles import Profiles, performance_profiles


def workload_profiles(
    rows: Iterable[Row], metric: str | None = None, goal: str | None = None
) -> Profiles:
    """Performance profiles (which see) of the confirmed arms over the workloads of these rows.

    metric, goal: see Run.compare.
    """
    rows = list(rows)
    judged = find_metric(rows, metric, goal)
    given = {name for row in rows for name in trial_from_row(row).training}
    by_workload: dict[str, list[Row]] = {}
    for row in rows:
        by_workload.setdefault(_workload(row, given), []).append(row)
    names = _names({key: rows[0] for key, rows in by_workload.items()})
    arms = {names[key]: group_by_arm(rows) for key, rows in by_workload.items()}
    return performance_profiles(
        {w: confirm_scores(rows_by_arm, judged)[0] for w, rows_by_arm in arms.items()}, judged
    )


def _workload(row: Row, given: set[str]) -> str:
    """What a workload is: all of the recipe that arms of a run share. given: by configs."""
    recipe, left_out = trial_from_row(row).recipe.identity(), {*INCIDENTAL, *OF_ARMS, *given}
    return json.dumps({k: v for k, v in recipe.items() if k not in left_out})


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
