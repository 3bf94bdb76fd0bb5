"""A training that tells nothing any more: when its worker is ended, and what is said."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from results.records.store import RunStore
from search_spaces.trial import TrialConfig
from tests.fakes.trials import small_trial
from tests.fakes.tune_loop import tune_trial
from trainables.failures import FIRST_SECONDS, MIN_SECONDS, USUAL_TIMES
from tuner.display.live import Display
from tuner.recording.recorder import Recorder
from tuner.session.cluster import Slots
from tuner.session.watch import (
    MAX_STEP_SECONDS,
    POLL_SECONDS,
    START_SECONDS,
    WAIT_SECONDS,
    WORKER_SECONDS,
    Watch,
    describe_waiting,
)

SLOTS = Slots(cpus_per_trial=2.0, gpus_per_trial=0.0, max_concurrent=1)


class Screen(Display):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__({}, 1)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


class Loop:
    """Tune's loop with a clock of its own and one training."""

    def __init__(self, folder: Path, seconds: float | None, is_own: bool = False) -> None:
        self.store = RunStore.create(folder / "run", {"command": ""}, "")
        self.screen, self.ended, self.time = Screen(), [], 1000.0
        self.recorder = Recorder(self.store, self.screen)
        self.watch = Watch(
            self.recorder,
            SLOTS,
            max_report_seconds=seconds,
            is_own=is_own,
            end=self.ended.append,
            free=lambda: {"CPU": 1.0},
            clock=lambda: self.time,
        )
        self.trial: TrialConfig = small_trial(space="poly")
        self.tune_trial: Any = tune_trial(7, {"trial": json.dumps(self.trial.to_dict())})
        self.tune_trial.temporary_state = SimpleNamespace(ray_actor="the worker")

    def call(self, event: str) -> None:
        getattr(self.watch, event)(iteration=0, trials=[], trial=self.tune_trial)

    def passes(self, seconds: float, step: float = POLL_SECONDS) -> None:
        """So many seconds in which nothing is reported."""
        for _ in range(round(seconds / step)):
            self.time += step
            self.watch.on_step_end(iteration=0, trials=[])


def test_a_worker_is_ended_when_its_training_was_silent_for_max_report_seconds(
    tmp_path: Path,
) -> None:
    loop = Loop(tmp_path, 30.0)
    loop.call("on_trial_start")
    loop.call("on_trial_result")
    loop.passes(30.0)
    assert loop.ended == []
    loop.passes(POLL_SECONDS)
    assert loop.ended == ["the worker"]
    why = "no report for 30 s (max_report_seconds): the training was ended"
    assert loop.recorder.causes == {loop.trial.trial_key: why}


def test_a_first_report_may_take_as_long_as_a_worker_takes_to_start_besides(
    tmp_path: Path,
) -> None:
    loop = Loop(tmp_path, 30.0)
    loop.call("on_trial_start")
    loop.passes(30.0 + START_SECONDS)
    assert loop.ended == []
    loop.passes(POLL_SECONDS)
    assert loop.ended == ["the worker"]


def test_the_very_first_report_has_a_limit_too_which_is_told_beforehand(tmp_path: Path) -> None:
    loop = Loop(tmp_path, None)
    loop.call("on_trial_start")
    loop.passes(MIN_SECONDS + 5.0, step=5.0)
    (line,) = loop.screen.lines
    assert line == (
        f"poly trial {loop.trial.trial_key}: no report for 10 min 05 s; it is ended after "
        "4 h 00 min (max_report_seconds)"
    )
    loop.passes(FIRST_SECONDS + START_SECONDS - MIN_SECONDS - 5.0, step=5.0)
    assert loop.ended == []
    loop.passes(5.0, step=5.0)
    assert loop.ended == ["the worker"]


def test_without_a_limit_given_it_is_that_of_the_usual_time(tmp_path: Path) -> None:
    loop = Loop(tmp_path, None)
    loop.call("on_trial_start")
    for _ in range(3):
        loop.passes(100.0, step=5.0)
        loop.call("on_trial_result")
    loop.passes(USUAL_TIMES * 100.0, step=5.0)
    assert loop.ended == []
    loop.passes(5.0, step=5.0)
    assert loop.ended == ["the worker"]


def test_a_second_run_of_this_process_knows_nothing_of_the_first(tmp_path: Path) -> None:
    for name in ("first", "second"):
        loop = Loop(tmp_path / name, None)
        loop.call("on_trial_start")
        loop.passes(FIRST_SECONDS + START_SECONDS, step=5.0)
        assert loop.ended == []
        loop.call("on_trial_result")


def test_a_training_with_a_process_of_its_own_is_left_to_its_worker_first(tmp_path: Path) -> None:
    loop = Loop(tmp_path, 30.0, is_own=True)
    loop.call("on_trial_start")
    loop.call("on_trial_result")
    loop.passes(30.0 + WORKER_SECONDS)
    assert loop.ended == []
    loop.passes(POLL_SECONDS)
    assert loop.ended == ["the worker"]


def test_a_driver_that_slept_does_not_count_its_sleep(tmp_path: Path) -> None:
    loop = Loop(tmp_path, 30.0)
    loop.call("on_trial_start")
    loop.call("on_trial_result")
    loop.passes(3600.0, step=3600.0)
    loop.passes(30.0 - MAX_STEP_SECONDS)
    assert loop.ended == []
    loop.passes(POLL_SECONDS)
    assert loop.ended == ["the worker"]


@pytest.mark.parametrize("event", ["on_trial_complete", "on_trial_error", "on_trial_recover"])
def test_a_training_that_is_over_is_watched_no_more(tmp_path: Path, event: str) -> None:
    loop = Loop(tmp_path, 30.0)
    loop.call("on_trial_start")
    loop.call(event)
    loop.passes(100.0)
    assert loop.ended == []


def test_an_infinite_limit_is_none(tmp_path: Path) -> None:
    loop = Loop(tmp_path, float("inf"))
    loop.call("on_trial_start")
    loop.passes(10 * FIRST_SECONDS, step=5.0)
    assert loop.ended == []


def test_what_is_waited_for_is_told_once_in_a_while(tmp_path: Path) -> None:
    loop = Loop(tmp_path, None)
    loop.passes(WAIT_SECONDS)
    said = "waiting for 2 CPUs on one node (1 free in all), 20 s so far: others use the cluster"
    assert loop.screen.lines == [said]
    loop.passes(WAIT_SECONDS)
    assert loop.screen.lines == [said]
    loop.passes(300.0)
    assert len(loop.screen.lines) == 2


def test_a_worker_that_does_not_start_is_not_called_a_busy_cluster() -> None:
    assert describe_waiting(SLOTS, {"CPU": 2.0}, 30.0) == (
        "waiting for a worker of Ray's to start, 30 s so far"
    )
    on_gpus = Slots(cpus_per_trial=1.0, gpus_per_trial=1.0, max_concurrent=1)
    assert describe_waiting(on_gpus, {"CPU": 8.0}, 90.0).startswith(
        "waiting for 1 GPU on one node (0 free in all), 1 min 30 s so far"
    )
