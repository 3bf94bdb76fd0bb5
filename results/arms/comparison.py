"""How do the arms of trial rows compare, and what is to be known beside their scores?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from results.arms.cautions import (
    balance_warnings,
    budget_warnings,
    code_warnings,
    edge_warnings,
    loss_warnings,
    seed_warnings,
    training_warnings,
)
from results.arms.choice import (
    chosen_row,
    confirm_rows,
    group_by_arm,
    is_baseline,
    num_winners,
    objective_of,
    params_of,
    spaces_of,
    unit_of,
)
from results.arms.scores import (
    confirm_scores,
    correct_images,
    diverged_seeds,
    find_metric,
    measured_rows,
    num_images,
    train_losses,
)
from results.arms.selection import arm_named, check_workload, with_excluded
from results.records.schema import Row, trial_from_row
from results.statistics.claims import Price
from results.statistics.compare import Comparison, compare, default_min_effect
from results.statistics.cost import devices_of, seconds_of
from results.statistics.overview import ArmDetails, Cost
from search_spaces.families import CURVE_PARAMETERS
from search_spaces.metric import Metric
from search_spaces.registry import unknown_name
from search_spaces.space import BASELINE, SearchSpace

# Ends of a range that cannot be widened.
NATURAL_ENDS: dict[str, tuple[float, ...]] = {
    **{"interval": (1,), "split": (0, 1), "momentum_share": (0, 1), "batch0": (1,)},
    **{"warmup": (0,), "end": (0,)},
    **{"weight_decay": (0,), "momentum": (0,), "label_smoothing": (0,), "width": (1,)},
    **{name: parameter.natural_ends for name, parameter in CURVE_PARAMETERS.items()},
}


def compare_arms(
    rows: list[Row],
    manifests: Mapping[str, Mapping[str, Any]],
    *,
    metric: str | None = None,
    goal: str | None = None,
    min_effect: float | None = None,
    reference: str | None = None,
    excluded: Iterable[Row] = (),
) -> Comparison:
    """Compare the arms of trial rows on the confirm trials of each arm's chosen config.

    A diverged trial scores at chance in an accuracy and is left out of any other metric. A
    replicate that any arm lost to a failure is dropped from all arms. Trials `excluded` by hand
    count for nothing but what was spent on an arm. Other arguments and errors: see Run.compare.
    """
    check_workload(rows)
    arms = group_by_arm(rows)
    judged = find_metric(rows, metric, goal)
    scores, lost = confirm_scores(arms, judged)
    if metric is not None and not any(scores.values()) and any(measured_rows(arms)[0].values()):
        raise ValueError(f"{metric}: no confirm trial that ended well has it.")
    standard = _reference(arms, reference)
    if reference is not None and not scores.get(standard):
        raise unknown_name("arm", reference, [name for name in scores if scores[name]])
    spaces = {run_id: spaces_of(manifest) for run_id, manifest in manifests.items()}
    spent = with_excluded(arms, excluded)
    details = {name: _details(arm, spent[name], spaces) for name, arm in arms.items()}
    comparison = compare(
        scores,
        reference=standard,
        min_effect=_min_effect(manifests, rows, judged) if min_effect is None else min_effect,
        repeated_looks=any(looked_repeatedly(manifest) for manifest in manifests.values()),
        correct=correct_images(arms, manifests) if judged.name == "test_accuracy" else {},
        losses=train_losses(arms),
        metric=judged,
        diverged=diverged_seeds(arms),
        winners={name: num_winners(rows) for name, rows in arms.items()},
        price=_price(arms, manifests),
        limit="confirm.hours spent" if any(map(_is_spent, manifests.values())) else "",
    )
    searched = {
        name: detail.search.samples_seen
        for name, detail in details.items()
        if detail.search.samples_seen or not is_baseline(arms[name])
    }
    chosen = {name: chosen_row(rows) for name, rows in arms.items()}
    own = {name: trial_from_row(row).training for name, row in chosen.items() if row}
    return replace(
        comparison,
        details=MappingProxyType(details),
        unit=unit_of(manifests),
        warnings=(
            *edge_warnings(details, spaces, arms),
            *training_warnings(own),
            *code_warnings(manifests),
            *(balance_warnings(measured_rows(arms)[0]) if judged.name == "test_accuracy" else ()),
            *loss_warnings(lost),
            *budget_warnings(searched, {name: confirm_rows(rows) for name, rows in arms.items()}),
            *seed_warnings(comparison.pairs.values()),
        ),
    )


def looked_repeatedly(manifest: Mapping[str, Any]) -> bool:
    """True when the number of seeds may depend on their scores.

    The run went on until its comparisons were decided, or got more seeds after its first ones
    could be looked at.
    """
    confirm = (manifest.get("config") or {}).get("confirm") or {}
    return bool(manifest.get("looked")) or bool(confirm.get("until") == "decided")


def _reference(arms: Mapping[str, list[Row]], asked: str | None) -> str:
    """The arm asked for. None: the user's own schedule, where there is just one."""
    if asked is not None:
        return arm_named(asked, arms)
    baselines = [name for name, rows in arms.items() if is_baseline(rows)]
    return baselines[0] if len(baselines) == 1 else BASELINE


def _min_effect(
    manifests: Mapping[str, Mapping[str, Any]], rows: list[Row], metric: Metric
) -> float | None:
    """As the campaign's own: of a user's training, which tells no number beforehand, the least.

    The run's own setting is in the unit of its objective: it holds for that, and for accuracies
    where that is one.
    """
    for manifest in manifests.values():
        given = (manifest.get("config") or {}).get("min_effect")
        objective = objective_of(manifest)
        is_objective = metric.name in (objective.name, objective.test_name, "objective")
        if given is not None and (is_objective or (metric.is_accuracy and objective.is_accuracy)):
            return float(given)
    if not metric.is_accuracy:
        return None
    stated = [m["num_test"] for m in manifests.values() if m.get("num_test") is not None]
    return default_min_effect(max(stated or num_images(rows, manifests).values(), default=0))


def _details(
    rows: list[Row], spent: list[Row], spaces: Mapping[str, Mapping[str, SearchSpace]]
) -> ArmDetails:
    """spent: all that was trained, `rows` and what was excluded."""
    chosen = chosen_row(rows)
    params = params_of(chosen) if chosen else {}
    space = spaces.get(rows[0]["run_id"], {}).get(rows[0]["space"])
    free = space.free.items() if space and chosen else ()
    return ArmDetails(
        params=params,
        config_key=chosen["config_key"] if chosen else "",
        search=_cost(row for row in spent if row["role"] != "confirm"),
        confirm=_cost(row for row in spent if row["role"] == "confirm"),
        num_trials=dict(Counter(row["status"] for row in rows)),
        on_edge=tuple(
            name
            for name, axis in free
            if params[name] not in NATURAL_ENDS.get(name, ()) and axis.is_on_edge(params[name])
        ),
    )


def _is_spent(manifest: Mapping[str, Any]) -> bool:
    return "confirm" in (manifest.get("hours_spent") or ())


def _price(arms: Mapping[str, list[Row]], manifests: Mapping[str, Mapping[str, Any]]) -> Price:
    """Device-hours of more confirm seeds of all arms, by the mean of those that ended well."""
    slots = [manifest.get("slots") for manifest in manifests.values()]
    held = {devices_of(known) for known in slots if known}
    seconds = [[seconds_of(row) for row in confirm_rows(rows)] for rows in arms.values()]
    if len(held) != 1 or not all(slots) or not all(map(any, seconds)):
        return lambda _: ""
    (devices,) = held
    round_seconds = sum(sum(own) / len(own) for own in seconds)
    return lambda num_seeds: devices.text(num_seeds * round_seconds)


def _cost(rows: Iterable[Row]) -> Cost:
    rows = list(rows)
    return Cost(**{name: sum(row[name] or 0 for row in rows) for name in Cost.__slots__})
