"""Which of many trials are looked at together: arms picked by name, runs of one workload?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from results.arms.choice import group_by_arm, is_baseline
from results.arms.recipes import conflict, workloads_of
from results.records.schema import Row
from search_spaces.registry import unknown_name
from search_spaces.space import BASELINE

Place = tuple[str, str]  # run_id and trial_key


def place_of(row: Mapping[str, Any]) -> Place:
    """What a trial is known by."""
    return row["run_id"], row["trial_key"]


def arm_named(name: str, arms: Mapping[str, Sequence[Row]]) -> str:
    """The arm of this name; your default also by "baseline" or the name given to it.

    Raises:
        ValueError: no such arm, with the nearest.
    """
    if name in arms:
        return name
    own = [arm for arm, rows in arms.items() if is_baseline([*rows])]
    named = [arm for arm in own if arm.partition(":")[2] == name]
    if name == BASELINE and len(own) == 1:
        named = own
    if not named:
        raise unknown_name("arm", name, arms)
    return named[0]


def places_of_arms(rows: Iterable[Row], names: Iterable[str]) -> tuple[set[Place], int, int]:
    """The trials of these arms; how many arms these are, and of how many.

    Raises:
        ValueError: an unknown arm, or fewer than two.
    """
    arms = group_by_arm(rows)
    picked = list(dict.fromkeys(arm_named(name, arms) for name in names))
    if len(picked) < 2:
        raise ValueError(f"two arms or more are compared, but got {', '.join(picked) or 'none'}.")
    return {place_of(row) for name in picked for row in arms[name]}, len(picked), len(arms)


def comparable_runs(
    rows: Iterable[Row], starts: Mapping[str, str], *, by_objective: bool
) -> tuple[list[str], dict[str, str]]:
    """The most runs that trained the same, and why each other one is left out.

    Of as many, those of the run that started last.

    Args:
        starts: when each run started, by run_id: all runs.
        by_objective: they were searched by one objective, too.
    """
    workloads = workloads_of(rows)
    alike = {
        run_id: [other for other in workloads if not conflict(own, workloads[other], by_objective)]
        for run_id, own in workloads.items()
    }
    left_out = {run_id: "it has no trial yet" for run_id in starts if run_id not in workloads}
    if not alike:
        return [], left_out
    anchor = max(alike, key=lambda run_id: (len(alike[run_id]), starts.get(run_id, "")))
    for run_id, own in workloads.items():
        if run_id not in alike[anchor]:
            found = conflict(workloads[anchor], own, by_objective)
            assert found is not None, "runs that are alike stay"
            name, ours, theirs = found
            left_out[run_id] = f"{name} is {theirs} there, {ours} in the others"
    return alike[anchor], left_out
