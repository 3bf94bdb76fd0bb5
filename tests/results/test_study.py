"""The Optuna study that `to_study` and a resume rebuild from trial rows."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import optuna
import pytest

from results.records.store import RunStore
from results.study import build_study, distribution, quiet_optuna
from search_spaces.space import Range
from tests.fakes.results import make_recipe, make_space, make_trial, suggest, write_trial
from tests.results.test_run import reload

COMPLETE, FAIL, RUNNING = (
    optuna.trial.TrialState.COMPLETE,
    optuna.trial.TrialState.FAIL,
    optuna.trial.TrialState.RUNNING,
)


@pytest.fixture
def store(tmp_path):
    spaces = [make_space("poly").to_dict(), make_space("cosine").to_dict()]
    with RunStore.create(tmp_path / "run", {"spaces": spaces}, "") as store:
        yield store


def test_a_study_is_rebuilt_in_the_order_asked(store):
    space = make_space("poly")
    params = suggest(space, 5)
    trials = [make_trial("poly", p) for p in params]
    for trial in trials:
        write_trial(store, trial, status="running", epochs=1)
    outcomes = ["completed", "diverged", "failed", "running", "oom"]
    for trial, status in reversed(list(zip(trials, outcomes, strict=True))):
        write_trial(store, trial, status=status, accuracy=0.9)
    write_trial(store, replace(trials[0], role="select", seed=7))
    write_trial(store, replace(trials[0], horizon=0.5))
    write_trial(store, make_trial("cosine"))
    study = reload(store).to_study("poly")
    assert [t.state for t in study.trials] == [COMPLETE, COMPLETE, FAIL, RUNNING, FAIL]
    assert [t.params for t in study.trials] == [{k: p[k] for k in space.free} for p in params]
    assert [t.user_attrs["trial_key"] for t in study.trials] == [t.trial_key for t in trials]
    assert study.trials[1].value == pytest.approx(0.1)
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE


def test_params_outside_a_changed_space_are_skipped(store):
    for p in (0.5, 3.0):
        write_trial(store, make_trial("poly", {"p": p}))
    rows = reload(store).trials.to_pylist()
    space = make_space("poly")
    narrow = replace(space, ranges={**space.ranges, "p": Range(low=0.1, high=1.0)})
    assert [t.params["p"] for t in build_study(narrow, rows).trials] == [0.5]
    other_split = replace(space, ranges={**space.ranges, "split": Range(value=0.5)})
    assert build_study(other_split, rows).trials == []


def test_equal_params_are_kept_twice(store):
    for seed in (1, 2):
        write_trial(store, replace(make_trial("poly"), seed=seed))
    assert len(reload(store).to_study("poly").trials) == 2


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (Range(low=0.1, high=4.0, log=True), optuna.distributions.FloatDistribution(0.1, 4, True)),
        (Range(low=1, high=7, integer=True), optuna.distributions.IntDistribution(1, 7)),
        (
            Range(low=1, high=9, integer=True, log=True),
            optuna.distributions.IntDistribution(1, 9, log=True),
        ),
        (
            Range(low=0.0, high=1.0, step=0.3),
            optuna.distributions.FloatDistribution(0.0, 0.9, step=0.3),
        ),
        (
            Range(choices=(0.0, 0.5, 1.0)),
            optuna.distributions.CategoricalDistribution((0.0, 0.5, 1.0)),
        ),
    ],
)
def test_ranges_become_optunas_distributions(axis, expected):
    assert distribution(axis) == expected


def test_an_unknown_study_is_refused(store):
    with pytest.raises(ValueError, match="unknown space 'wsd'"):
        reload(store).to_study("wsd")


def test_optuna_is_quiet_inside_and_as_before_outside():
    before = optuna.logging.get_verbosity()
    with warnings.catch_warnings(record=True) as caught:
        with quiet_optuna():
            assert optuna.logging.get_verbosity() == optuna.logging.ERROR
            warnings.warn("new", optuna.exceptions.ExperimentalWarning, stacklevel=1)
        assert optuna.logging.get_verbosity() == before
    assert caught == []


def test_a_study_by_loss_minimises_and_ranks_the_diverged_last(store):
    space, recipe = make_space("poly"), make_recipe(objective="val_loss", goal="min")
    for number, params in enumerate(suggest(space, 3)):
        trial = make_trial("poly", params, recipe=recipe)
        accuracy, status = ((0.8, "completed"), (0.9, "completed"), (0.5, "diverged"))[number]
        write_trial(store, trial, accuracy=accuracy, status=status)
    store.flush()
    rows = reload(store).search_rows()
    study = build_study(space, rows)
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    assert [trial.value for trial in study.trials] == [
        *(r["val_loss"] for r in rows[:2]),
        math.inf,
    ]
    assert study.best_trial.number == 1  # of accuracy 0.9, so of the lower loss
