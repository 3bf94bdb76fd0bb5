"""Tune forgets what has ended: neither its memory nor its snapshots grow with the trials."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial

from tuner.session.retries import Retries


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
