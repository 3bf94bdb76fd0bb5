"""Which rows were trained alike? Workloads: one and the same, or several to profile arms over."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.arms.choice import group_by_arm
from results.arms.scores import confirm_scores, find_metric
from results.records.schema import Row, trial_from_row
from results.statistics.profiles import Profiles, performance_profiles
from search_spaces.trial import LATER_FIELDS, canonical_json

# What an arm of a run may bring along.
OF_ARMS = ("optimizer", "noise_law", "c2", "k")
# Of what identifies a recipe: may differ between comparable runs, how and not what is trained.
INCIDENTAL = ("num_threads", "micro_batch", "objective", "goal")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What a training depends on, and which of it its config gave itself (weight decay, say)."""

    identity: Mapping[str, Any]
    given: frozenset[str]


def check_workload(rows: Iterable[Row]) -> None:
    """Raise ValueError when trials of different workloads would be compared.

    What a config gives itself is no workload's.
    """
    workloads = workloads_of(rows)
    # Compared with what gives least itself: the baseline, where there is one.
    first_id = min(workloads, key=lambda run_id: len(workloads[run_id][0].given), default="")
    for run_id, recipes in workloads.items():
        difference = conflict(workloads[first_id], recipes, is_same_run=run_id == first_id)
        if difference is not None:
            name, ours, theirs = difference
            raise ValueError(
                f"cannot compare different workloads: {name} is {ours} in run {first_id} "
                f"but {theirs} in run {run_id}."
            )


def workloads_of(rows: Iterable[Row]) -> dict[str, list[Trained]]:
    """By run_id what was trained, each once, first what gave least itself."""
    workloads: dict[str, dict[str, Trained]] = {}
    for row in rows:
        trial = trial_from_row(row)
        trained = Trained(identity=trial.recipe.identity(), given=frozenset(trial.training))
        key = canonical_json({**trained.identity, "given": sorted(trained.given)})
        workloads.setdefault(row["run_id"], {}).setdefault(key, trained)
    return {
        run_id: sorted(recipes.values(), key=lambda trained: len(trained.given))
        for run_id, recipes in workloads.items()
    }


def conflict(
    ours: Sequence[Trained],
    theirs: Sequence[Trained],
    by_objective: bool = False,
    *,
    is_same_run: bool = False,
) -> tuple[str, Any, Any] | None:
    """The first thing in which trainings differ from the first of ours: name, ours, theirs.

    Args:
        by_objective: the objective counts, too.
        is_same_run: arms of one run may bring their own optimizer.
    """
    allowed = {*INCIDENTAL} - ({"objective", "goal"} if by_objective else set())
    allowed |= {*OF_ARMS} if is_same_run else set()
    first = ours[0].identity
    for trained in theirs:
        names = first.keys() | trained.identity.keys()
        for name in sorted(names - allowed - ours[0].given - trained.given):
            # What is left out is at its default.
            default = LATER_FIELDS.get(name)
            one, other = first.get(name, default), trained.identity.get(name, default)
            if one != other:
                return name, one, other
    return None


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
