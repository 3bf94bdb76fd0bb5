"""Which rows make an arm, and which config stands for it?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from results.records.schema import Row, trial_from_row
from results.statistics.worth import worths
from search_spaces.metric import VAL_ACCURACY, Metric, make_metric
from search_spaces.records import MEASURED
from search_spaces.space import SearchSpace
from search_spaces.space import is_baseline as is_default
from search_spaces.trial import sample_word


def group_by_arm(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by arm, in order of appearance.

    An arm is a space; spaces of the same name in several runs stay apart as name@run unless
    they stand for the same config (such as a shared baseline).
    """
    by_space: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        by_space.setdefault(row["space"], {}).setdefault(row["run_id"], []).append(row)
    suffixes = short_ids({run_id for runs in by_space.values() for run_id in runs})
    arms: dict[str, list[Row]] = {}
    for space, runs in by_space.items():
        configs = {
            chosen["config_key"] for trials in runs.values() if (chosen := chosen_row(trials))
        }
        if len(runs) == 1 or len(configs) == 1:
            arms[space] = [row for trials in runs.values() for row in trials]
        else:
            arms |= {f"{space}@{suffixes[run_id]}": trials for run_id, trials in runs.items()}
    return arms


def chosen_row(rows: Iterable[Row]) -> Row | None:
    """A row of the config that stands for an arm: confirmed last, else the run's own choice.

    Before there is one: of the configs trained in full the one of highest worth over all its
    squeezed and full trainings, or without squeezed ones the best by validation. A row that is
    not `is_full` only names the config: its run chose it without a full training.
    """
    rows = list(rows)
    if confirmed := [row for row in rows if row["role"] == "confirm"]:
        return ([row for row in confirmed if row.get("chosen")] or confirmed)[-1]
    if chosen := run_choice(rows):
        return max(chosen, key=lambda row: (is_full(row), row["horizon"], score_of_search(row)))
    worth = _worths(rows)
    return max(
        filter(is_full, rows),
        key=lambda row: (worth.get(row["config_key"], 0.0), score_of_search(row)),
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
    wanted = ("confirm", chosen["config_key"])
    return [row for row in rows if (row["role"], row["config_key"]) == wanted]


def num_winners(rows: Iterable[Row]) -> int:
    """Configs of an arm that have been judged on confirm seeds, up to the one that stands for it.

    More than one where the search went on after a verdict (trials=+N) and found another winner.
    """
    rows = list(rows)
    chosen = chosen_row(rows)
    judged = [row for row in rows if row["role"] == "confirm" and row["status"] in MEASURED]
    judged.sort(key=lambda row: row["started_at"])
    keys = list(dict.fromkeys(row["config_key"] for row in judged))
    return 1 + keys.index(chosen["config_key"]) if chosen and chosen["config_key"] in keys else 1


def is_baseline(rows: list[Row]) -> bool:
    """True for the arm of the user's own schedule."""
    return is_default(rows[0]["space"])


def is_full(row: Row) -> bool:
    """True for a training over all samples that has ended: only its objective is a result.

    Of one that had nothing to validate, confirmed at once, its test accuracy.
    """
    has_result = row["objective"] is not None or row.get("test_accuracy") is not None
    return row["horizon"] == 1.0 and row["status"] in MEASURED and has_result


def score_of_search(row: Row) -> float:
    """The objective with the sign that makes higher better; -inf of a training without one."""
    if row["objective"] is None:
        return -math.inf
    return trial_from_row(row).recipe.metric.score(float(row["objective"]))


def full_search(rows: Iterable[Row]) -> list[tuple[Row, float]]:
    """The ended full trainings of a search, each with its objective, in their order.

    One that diverged without an objective has the worst that any of them reached; none where
    none reached any.
    """
    rows = [r for r in rows if r["role"] == "search" and r["horizon"] == 1.0]
    rows = [row for row in rows if row["status"] in MEASURED]
    reached = [row for row in rows if row["objective"] is not None]
    if not reached:
        return []
    worst = min(reached, key=score_of_search)["objective"]
    return [(r, float(worst if r["objective"] is None else r["objective"])) for r in rows]


def params_of(row: Row) -> dict[str, float]:
    """The suggested values of this trial in its space's terms."""
    return dict(trial_from_row(row).params)


def point_of(row: Row) -> dict[str, float]:
    """The values that make this trial's arm one point of a space; empty for a whole space.

    A point's name is its space's and then its parameters (see `SearchSpace.points`); the values
    are those recorded, the name may round them.

    Example:
        >>> point_of({"space": "poly"})
        {}
    """
    point = "" if is_default(row["space"]) else row["space"].partition(" ")[2]
    names = [part.partition("=")[0] for part in point.split(",")] if point else []
    params = params_of(row) if names else {}
    return {name: params[name] for name in names if name in params}


def spaces_of(manifest: Mapping[str, Any]) -> dict[str, SearchSpace]:
    """The spaces a run searched, by name."""
    return {s["name"]: SearchSpace.from_dict(s) for s in manifest.get("spaces", [])}


def objective_of(manifest: Mapping[str, Any]) -> Metric:
    """What the search of this run ranked by."""
    recipe = manifest.get("recipe") or {}
    return make_metric(recipe.get("objective", VAL_ACCURACY.name), recipe.get("goal"))


def unit_of(manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """What these runs call a sample (`unit`); samples where they differ or do not tell."""
    words = {
        sample_word((manifest.get("config") or {}).get("unit"), recipe.get("trainer", "network"))
        for manifest in manifests.values()
        if (recipe := manifest.get("recipe"))
    }
    return words.pop() if len(words) == 1 else "samples"


def run_choice(rows: Iterable[Row]) -> list[Row]:
    """Scored trainings of the config that the run itself chose."""
    return [row for row in rows if row.get("chosen") and row["objective"] is not None]


def short_ids(run_ids: Iterable[str]) -> dict[str, str]:
    """The last part of each run_id where that tells them apart, else all of it.

    Example:
        >>> short_ids(["2026-poly-ab12", "2026-poly-cd34"])
        {'2026-poly-ab12': 'ab12', '2026-poly-cd34': 'cd34'}
    """
    run_ids = list(run_ids)
    short = {run_id: run_id.rpartition("-")[2] for run_id in run_ids}
    return short if len(set(short.values())) == len(run_ids) else {r: r for r in run_ids}


def _worths(rows: Iterable[Row]) -> dict[str, float]:
    """Worth by config of a search with squeezed trainings; empty for others."""
    rungs: dict[float, dict[str, float]] = {}
    is_accuracy = True
    for row in rows:
        if row["role"] == "search" and row["status"] in MEASURED:
            rungs.setdefault(row["horizon"], {})[row["config_key"]] = score_of_search(row)
            is_accuracy = trial_from_row(row).recipe.metric.is_accuracy
    if len(rungs) < 2:
        return {}
    return worths(list(rungs.values()), is_accuracy=is_accuracy)
