"""Tune forgets what has ended: its memory and its snapshots do not grow with the trials."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ray.tune.execution.tune_controller import TuneController

from tests.fakes.tune_loop import tune_trial
from tuner.session.thrift import Thrift, small_snapshots


def ended_trial() -> Any:
    trial = tune_trial(1, {"trial": "much"})
    trial.run_metadata.last_result = {"records": [1, 2, 3]}
    trial.run_metadata.metric_analysis = {"objective": {"max": 1.0}}
    trial.run_metadata.metric_n_steps = {"objective": {"5": [1.0]}}
    trial.evaluated_params, trial.experiment_tag = {"trial": "much"}, "1_trial_much"
    return trial


def test_of_a_trial_that_has_ended_nothing_large_is_left() -> None:
    for tell in (Thrift().on_trial_complete, Thrift().on_trial_error):
        trial = ended_trial()
        tell(iteration=1, trials=[trial], trial=trial)
        told = trial.run_metadata
        assert (told.last_result, told.metric_analysis, told.metric_n_steps) == ({}, {}, {})
        assert (trial.config, trial.evaluated_params, trial.experiment_tag) == ({}, {}, "")


def test_tune_makes_no_table_of_what_it_has_forgotten() -> None:
    trials = [ended_trial()]
    Thrift().on_experiment_end(trials=trials)
    assert trials == []


def test_snapshots_name_no_trials_within_only() -> None:
    before = TuneController._get_trial_checkpoints
    controller: Any = SimpleNamespace(_trials_to_cache={ended_trial()})
    with small_snapshots():
        assert TuneController._get_trial_checkpoints(controller) == {}
    assert controller._trials_to_cache == set()
    assert TuneController._get_trial_checkpoints is before
