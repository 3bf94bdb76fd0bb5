"""Does everything still move? Ends trainings that hang, and tells what a run is waiting for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import tune

from trainables.failures import MIN_SECONDS, NUM_REMEMBERED, Patience, hang_text
from tuner.display.phrases import describe_seconds
from tuner.recording.recorder import Recorder
from tuner.recording.tracking import trial_of
from tuner.session.cluster import Slots

POLL_SECONDS = 0.5  # between two looks
# Of the loop's own time at most this counts as waited between two looks: a laptop that slept, or
# a driver that was stopped, has heard nothing either.
MAX_STEP_SECONDS = 5.0
START_SECONDS = 60.0  # more for a first report: its worker may have to import torch
# More for a training with a process of its own, which its worker ends, and knows where it hangs.
WORKER_SECONDS = 15.0
WAIT_SECONDS, AGAIN_SECONDS = 20.0, 300.0  # before it is told that nothing can start; told again


@dataclass
class Live:
    """A training under way. since: of its newest sign of life, by our clock."""

    tune_trial: Any
    since: float
    took: deque[float] = field(default_factory=lambda: deque(maxlen=NUM_REMEMBERED))
    is_warned: bool = False


class Watch(tune.Callback):  # type: ignore[misc]
    """Looks at the trainings from Tune's loop, which hears their reports.

    Args:
        recorder: is told why a worker was ended, and shows what is said.
        slots: what a trial needs.
        max_report_seconds: see `Patience`.
        is_own: the trainings have processes of their own.
        ready: called when Tune's loop begins.
        end: ends a worker of Ray's. free: what the cluster has to give now.
        clock: seconds.
    """

    def __init__(
        self,
        recorder: Recorder,
        slots: Slots,
        *,
        max_report_seconds: float | None,
        is_own: bool,
        ready: Callable[[], None] = lambda: None,
        end: Callable[[Any], None] = ray.kill,
        free: Callable[[], Mapping[str, float]] = ray.available_resources,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.recorder, self.slots, self.is_own = recorder, slots, is_own
        self.patience = Patience(max_report_seconds)
        self.ready, self.end, self.free, self.clock = ready, end, free, clock
        self.looked_at, self.now = clock(), 0.0  # by the clock given; by ours
        self.live: dict[str, Live] = {}
        self.moved_at = self.told_at = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks, and nobody reads that pickle."""
        return {}

    def setup(self, *args: Any, **info: Any) -> None:
        """Tune's loop begins, with its signals installed."""
        self.ready()

    def on_trial_start(self, **event: Any) -> None:
        """A worker begins with a training."""
        self.moved_at = self.now
        self.live[event["trial"].trial_id] = Live(event["trial"], since=self.now)

    def on_trial_result(self, **event: Any) -> None:
        """It has told something."""
        self.moved_at = self.now
        live = self.live.get(event["trial"].trial_id)
        if live is not None:
            live.took.append(self.now - live.since)
            self.patience.note(live.took[-1])
            live.since = self.now

    def on_trial_complete(self, **event: Any) -> None:
        """It has ended."""
        self.moved_at = self.now
        self.live.pop(event["trial"].trial_id, None)

    on_trial_error = on_trial_recover = on_trial_complete

    def on_step_end(self, **event: Any) -> None:
        """Tune's loop has gone round, at least ten times a second."""
        step = self.clock() - self.looked_at
        if step < POLL_SECONDS:
            return
        self.looked_at += step
        self.now += min(step, MAX_STEP_SECONDS)
        for live in list(self.live.values()):
            self._look(live)
        if not self.live and self.now - max(self.moved_at, self.told_at) >= self._wait_seconds:
            self._tell_waiting()

    @property
    def _wait_seconds(self) -> float:
        return AGAIN_SECONDS if self.told_at > self.moved_at else WAIT_SECONDS

    def _look(self, live: Live) -> None:
        """End the worker of a training that has told nothing for too long; Tune tries again."""
        trial, silent = trial_of(live.tune_trial), self.now - live.since
        limit = self.patience.limit(live.took)
        if limit is None:
            return
        grace = (0.0 if live.took else START_SECONDS) + (WORKER_SECONDS if self.is_own else 0.0)
        if silent > limit + grace:
            actor = live.tune_trial.temporary_state.ray_actor
            if actor is not None:
                self.recorder.causes[trial.trial_key] = hang_text(limit)
                self.end(actor)
            live.since = self.now  # until it is told to be lost
        elif silent > MIN_SECONDS and not live.took and not live.is_warned:
            live.is_warned = True
            self.recorder.say(
                f"{trial.space} trial {trial.trial_key}: no report for "
                f"{describe_seconds(silent)}; it is ended after {describe_seconds(limit)} "
                "(max_report_seconds)"
            )

    def _tell_waiting(self) -> None:
        """Nothing runs, and nothing has begun for a while."""
        self.told_at = self.now
        self.recorder.say(describe_waiting(self.slots, self.free(), self.now - self.moved_at))


def describe_waiting(slots: Slots, free: Mapping[str, float], seconds: float) -> str:
    """Why nothing runs: others use what a trial needs, or else its worker does not start.

    Args:
        free: resources of the whole cluster, by Ray's names. seconds: that nothing has run.
    """
    wanted = {"CPU": slots.cpus_per_trial, "GPU": slots.gpus_per_trial}
    lacks = [
        f"{count:g} {name}{'s' if count != 1 else ''} on one node ({free.get(name, 0.0):g} free "
        "in all)"
        for name, count in wanted.items()
        if count > free.get(name, 0.0)
    ]
    waited = describe_seconds(seconds)
    if lacks:
        return f"waiting for {' and '.join(lacks)}, {waited} so far: others use the cluster"
    return f"waiting for a worker of Ray's to start, {waited} so far"
