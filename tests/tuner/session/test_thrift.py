"""Tune forgets what has ended: neither its memory nor its snapshots grow with the trials."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.utils.callback import _create_default_callbacks

from tuner.session.retries import Retries
from tuner.session.session import NoProgress


def trial_of(status: str) -> Any:
    return SimpleNamespace(status=status, is_finished=lambda: status in ("TERMINATED", "ERROR"))


def test_only_what_goes_on_is_left_when_a_trial_ends() -> None:
    lost, ended, ending, waiting = map(trial_of, ("ERROR", "TERMINATED", "RUNNING", "PENDING"))
    kept = [lost, ended, ending, waiting]
    controller = SimpleNamespace(
        _trials=kept,
        _stopped_trials={id(ended)},
        _failed_trials={id(lost)},
        _trials_to_cache={*map(id, kept)},
        _trial_metadata={"1": "its state"},
    )
    Retries().on_trial_complete(controller, ending, {})
    assert controller._trials is kept  # Tune's callbacks hold the list
    assert kept == [ending, waiting]
    empty = ("_stopped_trials", "_failed_trials", "_trials_to_cache", "_trial_metadata")
    assert not any(getattr(controller, name) for name in empty)


def test_tune_has_these_lists_and_tells_the_scheduler_of_an_end() -> None:
    made = inspect.getsource(TuneController.__init__)
    for name in ("stopped_trials: Set", "failed_trials: Set", "trials_to_cache: Set"):
        assert f"self._{name}[Trial] = set()" in made
    assert "self._trials: List[Trial] = []" in made
    assert "self._trial_metadata: Dict[str, str] = {}" in made
    assert "self._scheduler_alg.on_trial_complete(\n                    self, trial" in (
        inspect.getsource(TuneController.stop_trial)
    )
    assert callable(Trial.is_finished)


def test_what_tune_would_print_of_a_trial_holds_none() -> None:
    # Its own callback keeps every trial that has ever reported; with one there it adds none.
    made = _create_default_callbacks([NoProgress()])
    (progress,) = (one for one in made if isinstance(one, TrialProgressCallback))
    event = {"iteration": 1, "trials": [], "trial": trial_of("RUNNING")}
    progress.on_trial_result(result={"done": True}, **event)
    progress.on_trial_complete(**event)
    progress.on_trial_error(**event)
    assert not progress._completed_trials
    assert not progress._last_print
