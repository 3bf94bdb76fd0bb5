"""How is an Optuna study rebuilt from trial rows? One function, for notebooks and for resuming."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from results.records.schema import Row, trial_from_row
from search_spaces.metric import VAL_ACCURACY, Metric
from search_spaces.records import ENDED_WELL, LOST, MEASURED
from search_spaces.space import Range, SearchSpace

if TYPE_CHECKING:  # optuna is imported late: `import results` stays cheap
    import optuna
    from optuna.distributions import BaseDistribution

Kind = Literal["running", "complete", "pruned", "fail"]


@dataclass(kw_only=True)
class Tried:
    """One config of the search: one Optuna trial, whatever number of rungs it has trained on.

    Attributes:
        params: the free parameters. key: config_key. trial_key: of its longest training.
        scores: the objective by the samples trained on, of every rung that has ended.
        kind: pruned = all its trainings have ended, none of them was the full one.
        started_at, ended_at: UTC.
    """

    key: str
    params: dict[str, float]
    trial_key: str = ""
    scores: dict[int, float] = field(default_factory=dict)
    kind: Kind = "running"
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def objective(self) -> float | None:
        """Of the full training; None while there is none."""
        return self.scores[max(self.scores)] if self.kind == "complete" else None


def build_study(space: SearchSpace, rows: Iterable[Row]) -> optuna.Study:
    """An in-memory study of the objective, towards its goal, holding the space's search trials.

    One trial a config. Completed and diverged full trainings are COMPLETE, failed and oom ones
    FAIL; a diverged one that has no objective gets the worst, an infinite one. A config whose
    shorter trainings (rungs) all have ended is PRUNED; each rung's score is an intermediate value
    at the samples it trained on. The rest is RUNNING. Params outside the space (it may have
    changed) are skipped. user_attrs: trial_key, config_key.

    Args:
        rows: of `trials`, in ledger order (the order in which they were asked); `prefix_scores`,
            where a row has it, gives the objective by samples at earlier rungs.
    """
    configs, metric = tried_configs(space, rows)
    return make_study(space, configs, metric)


def tried_configs(space: SearchSpace, rows: Iterable[Row]) -> tuple[list[Tried], Metric]:
    """The configs that build_study makes trials of, in the order asked, and their objective."""
    known, metric = distributions(space), VAL_ACCURACY
    tried: dict[tuple[str, str, int], Tried] = {}
    for row in rows:
        if (row["space"], row["role"]) != (space.name, "search"):
            continue
        trial = trial_from_row(row)
        params, metric = trial.params, trial.recipe.metric
        if _is_inside(space, known, params):
            free = {name: params[name] for name in known}
            key = (row["run_id"], row["config_key"], row["seed"])
            config = tried.setdefault(key, Tried(key=row["config_key"], params=free))
            _add_row(config, row, metric.worst)
    return [*tried.values()], metric


def make_study(
    space: SearchSpace, configs: Iterable[Tried], metric: Metric = VAL_ACCURACY
) -> optuna.Study:
    """The study of these configs; see build_study."""
    import optuna

    with quiet_optuna():
        study = optuna.create_study(direction=f"{metric.goal}imize", study_name=space.name)
    known = distributions(space)
    study.add_trials([frozen_trial(config, known) for config in configs])
    return study


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna tells errors only: no line for every study, no warning of experimental parts."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    is_loud = verbosity != optuna.logging.ERROR
    if is_loud:  # not needlessly: each setting costs 1 ms, all loggers of a process are told
        optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", "Clip non-finite values")  # of diverged trainings
            yield
    finally:
        if is_loud:
            optuna.logging.set_verbosity(verbosity)


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """What Optuna has to know of the space: its free parameters."""
    return {name: distribution(axis) for name, axis in space.free.items()}


def distribution(axis: Range) -> BaseDistribution:
    """A free range in Optuna's words."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

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
    space: SearchSpace, known: dict[str, BaseDistribution], params: Mapping[str, float]
) -> bool:
    is_fixed = all(params.get(name) == value for name, value in space.fixed.items())
    if not is_fixed or not known.keys() <= params.keys():
        return False
    try:
        return all(d._contains(d.to_internal_repr(params[name])) for name, d in known.items())
    except ValueError:  # not one of the choices
        return False


def _add_row(config: Tried, row: Row, worst: float) -> None:
    """What this training says of its config; nothing is longer than a full one."""
    if config.kind == "complete":
        return
    config.trial_key = row["trial_key"]
    config.scores.update(row.get("prefix_scores") or {})
    config.started_at = config.started_at or row["started_at"]
    config.ended_at = row["ended_at"]
    value = worst if row["status"] == "diverged" and row["objective"] is None else row["objective"]
    has_score = row["status"] in ENDED_WELL and value is not None
    is_full = row["horizon"] == 1.0 and row["status"] in MEASURED
    if has_score:
        config.scores[_samples(row)] = value
    if row["status"] not in (*ENDED_WELL, *LOST):
        config.kind = "running"
    elif not has_score:
        config.kind = "pruned" if config.scores else "fail"
    else:
        config.kind = "complete" if is_full else "pruned"


def _samples(row: Row) -> int:
    """Samples this training has (fewer on a lower rung)."""
    if row["status"] == "paused":
        return trial_from_row(row).recipe.samples_at(int(row["epochs_done"]))
    full = int(row["epochs"]) * int(row["train_examples"])
    return math.ceil(full * float(row["horizon"]) - 1e-6)


def frozen_trial(config: Tried, known: dict[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    """The config as a trial of Optuna's.

    Args:
        known: see `distributions`.
    """
    from optuna.trial import TrialState, create_trial

    scores = dict(sorted(config.scores.items()))
    trial = create_trial(
        state=TrialState[config.kind.upper()],
        value=config.objective,
        params=config.params,
        distributions=known,
        intermediate_values=scores,
        user_attrs={"trial_key": config.trial_key, "config_key": config.key},
    )
    if config.started_at is not None:
        trial.datetime_start = config.started_at.replace(tzinfo=None)
    if config.kind != "running" and config.ended_at is not None:
        trial.datetime_complete = config.ended_at.replace(tzinfo=None)
    return trial
