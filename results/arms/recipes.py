"""Over several workloads: on which share of them is an arm close to the best?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from results.arms.choice import group_by_arm
from results.arms.scores import confirm_scores, find_metric
from results.arms.selection import INCIDENTAL, OF_ARMS, workload_of
from results.records.schema import Row, trial_from_row
from results.statistics.profiles import Profiles, performance_profiles
from search_spaces.trial import Recipe, canonical_json


def workload_profiles(
    rows: Iterable[Row], metric: str | None = None, goal: str | None = None
) -> Profiles:
    """Performance profiles (which see) of the confirmed arms over the workloads of these rows.

    metric, goal: see Run.compare.
    """
    rows = list(rows)
    judged = find_metric(rows, metric, goal)
    trials = [trial_from_row(row) for row in rows]
    given = {name for trial in trials for name in trial.training}
    contents = _contents(trial.recipe for trial in trials)
    by_workload: dict[str, list[Row]] = {}
    for row, trial in zip(rows, trials, strict=True):
        by_workload.setdefault(_workload(trial.recipe, given, contents), []).append(row)
    names = _names({key: rows[0] for key, rows in by_workload.items()})
    arms = {names[key]: group_by_arm(rows) for key, rows in by_workload.items()}
    return performance_profiles(
        {w: confirm_scores(rows_by_arm, judged)[0] for w, rows_by_arm in arms.items()}, judged
    )


def _workload(recipe: Recipe, given: set[str], contents: Mapping[str, set[str]]) -> str:
    """What a workload is: all of the recipe that arms of a run share. given: by configs."""
    workload, left_out = workload_of(recipe), {*INCIDENTAL, *OF_ARMS, *given}
    held = set() if recipe.data_files else contents.get(recipe.data_fingerprint, set())
    if len(held) == 1:
        (workload["data_fingerprint"],) = held
    return canonical_json({k: v for k, v in workload.items() if k not in left_out})


def _contents(recipes: Iterable[Recipe]) -> dict[str, set[str]]:
    """What files hold, by their fingerprint, which in records of before is all that is known."""
    contents: dict[str, set[str]] = defaultdict(set)
    for recipe in recipes:
        if recipe.data_files:
            contents[recipe.data_files].add(recipe.data_fingerprint)
    return contents


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
