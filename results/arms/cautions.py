"""What should a reader know before believing a comparison?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from results.records.schema import Row
from results.statistics.claims import FEW_SEEDS
from results.statistics.overview import ArmDetails
from results.statistics.paired import Difference
from results.statistics.wording import arm_label, counted, percent
from search_spaces.space import SearchSpace, is_baseline

UNEQUAL = 0.1  # relative difference of samples or steps that is worth telling
# Packages whose versions move no number of a training.
NOT_OF_TRAININGS = ("ray", "optuna", "pyarrow", "PyYAML", "scipy")
SPENT = {
    "samples_seen": "saw unequal samples",
    "optimizer_steps": "took unequal optimizer steps (larger batches take fewer)",
}


def edge_warnings(
    details: Mapping[str, ArmDetails],
    spaces: Mapping[str, Mapping[str, SearchSpace]],
    arms: Mapping[str, list[Row]],
) -> list[str]:
    """Chosen parameters at an end of their range. spaces: run_id -> name -> space."""
    warnings = []
    for name, arm in details.items():
        row = arms[name][0]
        for param in arm.on_edge:
            axis = spaces[row["run_id"]][row["space"]].ranges[param]
            advice = f"widen spaces.{row['space']}.{param}"
            if is_baseline(row["space"]):  # a tuned one: its ranges follow from the recipe
                advice = f"choose another {'lr' if param == 'delta0' else f'recipe.{param}'}"
            warnings.append(
                f"{arm_label(name)}: the best {param} = {arm.params[param]:.4g} lies at an end of "
                f"its range [{axis.low:.4g}, {axis.high:.4g}]; {advice}."
            )
    return warnings


def balance_warnings(measured: Mapping[str, Mapping[int, Row]]) -> list[str]:
    """What a mean over the classes says, where some have far more images than others.

    Args:
        measured: ended confirm rows by arm and replicate, judged by accuracy.
    """
    means = {
        name: sum(values) / len(values)
        for name, rows in measured.items()
        if (values := [v for r in rows.values() if (v := r["test_balanced_accuracy"]) is not None])
    }
    if not means:
        return []
    told = ", ".join(f"{arm_label(name)} {percent(mean)} %" for name, mean in means.items())
    return [
        "the classes are unbalanced, and accuracy counts images; balanced accuracy, the mean over "
        f"the classes: {told} (--metric test_balanced_accuracy compares by it)."
    ]


def loss_warnings(lost: Mapping[str, int]) -> list[str]:
    """Confirm seeds lost to failures, by arm."""
    return [
        f"{name}: {count} confirm seeds were lost to failures and dropped from all arms."
        for name, count in lost.items()
    ]


def training_warnings(own: Mapping[str, Iterable[str]]) -> list[str]:
    """Numbers of the training that some arms gave or searched and others left as they were.

    Args:
        own: their names, by arm.
    """
    lacking: dict[tuple[str, ...], list[str]] = {}
    names = {arm: set(given) for arm, given in own.items()}
    for name in sorted(set().union(*names.values())):
        lacking.setdefault(tuple(arm for arm in names if name not in names[arm]), []).append(name)
    return [
        f"{', '.join(given)}: not searched or given by {', '.join(map(arm_label, arms))}, but by "
        "other arms: what tells them apart is not the schedule alone."
        for arms, given in lacking.items()
        if arms
    ]


def budget_warnings(searched: Mapping[str, int], confirmed: Mapping[str, list[Row]]) -> list[str]:
    """Unequal samples of the searches, unequal samples or steps of the confirm trainings.

    Args:
        searched: samples of each searched arm.
        confirmed: confirm rows of each arm; only completed ones count, each arm by its mean.
    """
    warnings = []
    if _are_unequal(searched.values()):
        warnings.append(f"the arms were searched with unequal samples: {_listed(searched)}.")
    for column, what in SPENT.items():
        spent = _per_training(confirmed, column)
        if _are_unequal(spent.values()):
            warnings.append(f"confirm trainings {what}: {_listed(spent)}.")
    return warnings


def code_warnings(manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Runs that went on with other code than they began with: yours (code=accept), or others'."""
    warnings = []
    for run_id, manifest in manifests.items():
        for change in manifest.get("code_changes") or []:
            warnings.append(
                f"{run_id}: your code changed on {str(change.get('at'))[:10]} while it ran "
                f"({', '.join(change.get('files', []))}); trainings before and after are compared."
            )
        for change in manifest.get("version_changes") or []:
            changed = [
                f"{name} {then} -> {now}"
                for name, (then, now) in change.get("versions", {}).items()
                if name not in NOT_OF_TRAININGS
            ]
            if changed:
                warnings.append(
                    f"{run_id}: {', '.join(changed)} on {str(change.get('at'))[:10]} while it "
                    "ran; trainings before and after are compared."
                )
    return warnings


def seed_warnings(pairs: Iterable[Difference]) -> list[str]:
    """Too few paired seeds somewhere."""
    fewest = min((d.n for d in pairs if d.n), default=FEW_SEEDS)
    if fewest >= FEW_SEEDS:
        return []
    what = {
        1: "one says nothing about the spread",
        2: "their interval rests on a single degree of freedom",
    }.get(fewest, "intervals are wide and lean on normal differences")
    seeds = counted(fewest, "paired seed")
    return [f"only {seeds}: {what}; confirm with {FEW_SEEDS} or more (confirm.seeds)."]


def _per_training(confirmed: Mapping[str, list[Row]], column: str) -> dict[str, float]:
    completed = {
        name: [row[column] or 0 for row in rows if row["status"] == "completed"]
        for name, rows in confirmed.items()
    }
    return {name: sum(values) / len(values) for name, values in completed.items() if values}


def _are_unequal(values: Iterable[float]) -> bool:
    values = list(values)
    most = max(values, default=0)
    return bool(most) and (most - min(values)) / most > UNEQUAL


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{arm_label(name)} {round(value):,}" for name, value in values.items())
