"""Which of many trials are looked at together: arms picked by name, runs of one workload?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.arms.choice import group_by_arm, is_baseline
from results.records.schema import Row, trial_from_row
from search_spaces.registry import unknown_name
from search_spaces.space import BASELINE
from search_spaces.trial import LATER_FIELDS, Recipe, canonical_json

# What an arm of a run may bring along.
OF_ARMS = ("optimizer", "noise_law", "c2", "k")
# Of what identifies a recipe: may differ between comparable runs, how and not what is trained.
INCIDENTAL = ("num_threads", "micro_batch", "objective", "goal")
# Data sets that are read alike where a size is asked for (of hf:owner/name, too): one content in
# any of them is one training. What names a column of them says which content it is, no more.
IN_FILES, HUB = ("parquet", "imagefolder", "imagenet"), "hf:"
COLUMN_OPTIONS = ("image_column", "label_column")
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
    defaults = [arm for arm, rows in arms.items() if is_baseline([*rows])]
    named = [arm for arm in defaults if arm.partition(":")[2] == name]
    if name == BASELINE and len(defaults) == 1:
        named = defaults
    if not named:
        raise unknown_name("arm", name, arms)
    return named[0]


def with_excluded(
    arms: Mapping[str, Sequence[Row]], excluded: Iterable[Row]
) -> dict[str, list[Row]]:
    """All trials of these arms, the excluded ones too: what was spent on them."""
    name_of = {(row["run_id"], row["space"]): name for name, rows in arms.items() for row in rows}
    whole = {name: [*rows] for name, rows in arms.items()}
    for row in excluded:
        if (name := name_of.get((row["run_id"], row["space"]))) is not None:
            whole[name].append(row)
    return whole


def places_of_arms(
    rows: Iterable[Row], names: Iterable[str], excluded: Iterable[Row] = ()
) -> tuple[set[Place], int, int]:
    """The trials of these arms; how many arms these are, and of how many.

    Args:
        excluded: trials that are no part of `rows`; those of these arms are among the places.

    Raises:
        ValueError: an unknown arm, or fewer than two.
    """
    arms = group_by_arm(rows)
    picked = list(dict.fromkeys(arm_named(name, arms) for name in names))
    if len(picked) < 2:
        raise ValueError(f"two arms or more are compared, but got {', '.join(picked) or 'none'}.")
    whole = with_excluded({name: arms[name] for name in picked}, excluded)
    return {place_of(row) for rows in whole.values() for row in rows}, len(picked), len(arms)


def comparable_runs(
    rows: Iterable[Row],
    starts: Mapping[str, str],
    *,
    by_objective: bool,
    excluded: Iterable[Row] = (),
) -> tuple[list[str], dict[str, str]]:
    """The most runs that trained the same, and why each other one is left out.

    Of as many, those of the run that started last.

    Args:
        starts: when each run started, by run_id: all runs.
        by_objective: they were searched by one objective, too.
        excluded: trials that are no part of `rows`.
    """
    workloads = workloads_of(rows)
    alike = {
        run_id: [
            other for other in workloads if not conflict(trained, workloads[other], by_objective)
        ]
        for run_id, trained in workloads.items()
    }
    emptied = {row["run_id"] for row in excluded}
    left_out = {
        run_id: "all of its trials are excluded" if run_id in emptied else "it has no trial yet"
        for run_id in starts
        if run_id not in workloads
    }
    if not alike:
        return [], left_out
    anchor = max(alike, key=lambda run_id: (len(alike[run_id]), starts.get(run_id, "")))
    for run_id, trained in workloads.items():
        if run_id not in alike[anchor]:
            difference = conflict(workloads[anchor], trained, by_objective)
            assert difference is not None, "runs that are alike stay"
            name, ours, theirs = difference
            left_out[run_id] = f"{name} is {theirs} there, {ours} in the others"
    return alike[anchor], left_out


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What a training depends on, and which of it its config gave itself (weight decay, say).

    content, files: fingerprints of its data; '' of files where content is of the files, as in
        records of before.
    """

    identity: Mapping[str, Any]
    given: frozenset[str]
    content: str
    files: str

    def has_data_of(self, other: Trained) -> bool:
        """Whether one of both is a record of before, and the files are the same."""
        if self.files and other.files:
            return False
        return (self.files or self.content) == (other.files or other.content)


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
    before: tuple[str, Recipe, frozenset[str]] | None = None
    for row in rows:
        trial = trial_from_row(row)
        recipe, given = trial.recipe, frozenset(trial.training)
        this = (row["run_id"], recipe, given)
        if this == before:  # as nearly always: one recipe for thousands of trials
            continue
        before = this
        trained = Trained(
            identity=workload_of(recipe),
            given=given,
            content=recipe.data_fingerprint,
            files=recipe.data_files,
        )
        key = canonical_json({**trained.identity, "given": sorted(trained.given)})
        workloads.setdefault(row["run_id"], {}).setdefault(key, trained)
    return {
        run_id: sorted(recipes.values(), key=lambda trained: len(trained.given))
        for run_id, recipes in workloads.items()
    }


def workload_of(recipe: Recipe) -> dict[str, Any]:
    """What a training depends on: its identity, with one name for what reads files alike."""
    identity = recipe.identity()
    options = {k: v for k, v in recipe.data_options.items() if k not in COLUMN_OPTIONS}
    identity.pop("data_options", None)
    if options:
        identity["data_options"] = options
    is_in_files = recipe.dataset in IN_FILES or recipe.dataset.startswith(HUB)
    if is_in_files and "image_size" in options:
        identity["dataset"] = "images in files"
    return identity


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
        if ours[0].has_data_of(trained):
            names -= {"data_fingerprint"}
        for name in sorted(names - allowed - ours[0].given - trained.given):
            # What is left out is at its default.
            default = LATER_FIELDS.get(name)
            one, other = first.get(name, default), trained.identity.get(name, default)
            if one != other:
                return name, one, other
    return None
