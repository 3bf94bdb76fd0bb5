"""How is an Optuna study rebuilt from trial rows? One function, for notebooks and for resuming."""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING

from results.records import Row
from search_spaces.space import Range, SearchSpace

if TYPE_CHECKING:  # optuna is imported late: `import results` stays cheap
    import optuna
    from optuna.distributions import BaseDistribution

FINISHED, LOST = ("completed", "diverged"), ("failed", "oom")


def build_study(
    space: SearchSpace, rows: Iterable[Row], sampler: optuna.samplers.BaseSampler | None = None
) -> optuna.Study:
    """An in-memory study that maximises the objective, holding the space's search trials.

    Only full-horizon search trials count. Completed and diverged ones are COMPLETE, failed
    and oom ones FAIL, the rest RUNNING; equal params are kept as often as they were tried;
    params outside the space (it may have changed) are skipped. user_attrs: trial_key.

    Args:
        rows: of `trials`, in ledger order (the order in which they were asked).
        sampler: Optuna's default when None.
    """
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # or each study announces itself
    try:
        study = optuna.create_study(direction="maximize", sampler=sampler, study_name=space.name)
    finally:
        optuna.logging.set_verbosity(verbosity)
    known = distributions(space)
    for row in rows:
        if (row["space"], row["role"], row["horizon"]) != (space.name, "search", 1.0):
            continue
        params = json.loads(row["config_json"])["params"]
        if _is_inside(space, known, params):
            study.add_trial(_frozen_trial(row, {name: params[name] for name in known}, known))
    return study


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """What Optuna has to know of the space: its free parameters."""
    return {name: distribution(axis) for name, axis in space.free.items()}


def distribution(axis: Range) -> BaseDistribution:
    """A free range in Optuna's words."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if axis.choices is not None:
        return CategoricalDistribution(axis.grid())
    low, high = axis.low, axis.high
    assert low is not None
    assert high is not None
    if axis.step is not None:  # Optuna warns unless the step divides the range
        count = int((high - low) / axis.step + 1e-9)
        high = float(Decimal(str(low)) + count * Decimal(str(axis.step)))
    if axis.integer:
        return IntDistribution(round(low), round(high), log=axis.log, step=round(axis.step or 1))
    return FloatDistribution(low, high, log=axis.log, step=axis.step)


def _is_inside(
    space: SearchSpace, known: dict[str, BaseDistribution], params: dict[str, float]
) -> bool:
    if any(params.get(name) != value for name, value in space.fixed.items()):
        return False
    if not known.keys() <= params.keys():
        return False
    try:
        return all(d._contains(d.to_internal_repr(params[name])) for name, d in known.items())
    except ValueError:  # not one of the choices
        return False


def _frozen_trial(
    row: Row, params: dict[str, float], known: dict[str, BaseDistribution]
) -> optuna.trial.FrozenTrial:
    from optuna.trial import TrialState, create_trial

    finished = row["status"] in FINISHED and row["objective"] is not None
    state = TrialState.RUNNING
    if finished:
        state = TrialState.COMPLETE
    elif row["status"] in (*FINISHED, *LOST):
        state = TrialState.FAIL
    return create_trial(
        state=state,
        value=row["objective"] if finished else None,
        params=params,
        distributions=known,
        user_attrs={"trial_key": row["trial_key"]},
    )
