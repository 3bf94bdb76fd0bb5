"""Which training is tried again after its worker was lost, and with what? Tune's scheduler, ours.

Tune tries any again, max_failures times. One that ran out of memory is tried again once: on a
GPU that it shared, alone, for the neighbours may have taken what it lacked.

While a new worker starts, Tune hands its trial to the next one that is free, ends the worker that
starts, and does the same to the next trial: of two places one stays empty for the rest of a run
whose trainings are shorter than a start. Here the trial waits, and the free one takes another.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any
from weakref import WeakKeyDictionary

from ray.air.execution._internal import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.schedulers import FIFOScheduler

from tuner.recording.losses import WorkerLostError, lost_memory
from tuner.session.thrift import forget_ended

# Where the manager of Ray's actors hears of a failure.
TELLS = ("_actor_task_failed", "_actor_start_failed")
# For a worker to start while another is free; it may never, where a node has gone.
START_SECONDS = 10.0


class Retries(FIFOScheduler):  # type: ignore[misc]
    """Trials in the order of their suggestion; see this module for those that were lost."""

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Before it is tried again, or when it is given up."""
        # Tune forgets a worker that dies before its next trial has begun, but not that it is to
        # begin there: it would wait without end.
        tune_controller._resetting_trials.discard(trial)
        if trial.run_metadata.num_failures > trial.max_failures or not lost_memory(trial):
            return
        trial.max_failures = trial.run_metadata.num_failures
        resources = trial.placement_group_factory.required_resources
        if 0 < resources.get("GPU", 0) < 1:
            trial.update_resources({"cpu": resources.get("CPU", 0), "gpu": 1})

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Those that ended before it are in the ledger."""
        forget_ended(tune_controller)


@contextlib.contextmanager
def losses_cost_one_training() -> Iterator[None]:
    """Within, whatever ends a worker is a failure of its trial.

    Tune raises where an exception of Ray's is neither of an actor nor of a task, and so does Ray's
    out of memory: the whole search ended with it.
    """
    before = {name: getattr(RayActorManager, name) for name in TELLS}
    for name, tell in before.items():
        setattr(RayActorManager, name, _translating(tell))
    try:
        yield
    finally:
        for name, tell in before.items():
            setattr(RayActorManager, name, tell)


@contextlib.contextmanager
def workers_may_start() -> Iterator[None]:
    """Within, a trial whose worker starts is not handed to another that is free.

    But for a time, and not once the search is over: then no other trial could take the free one.
    """
    before = TuneController._maybe_reuse_cached_actor
    waiting: MutableMapping[Any, float] = WeakKeyDictionary()  # since when, by worker

    def reuse(controller: Any, trial: Any) -> bool:
        worker = controller._trial_to_actor.get(trial)
        if _starts(controller, worker) and not controller._search_alg.is_finished():
            since = waiting.setdefault(worker, time.monotonic())
            if time.monotonic() - since < START_SECONDS:
                return False
        return bool(before(controller, trial))

    TuneController._maybe_reuse_cached_actor = reuse
    try:
        yield
    finally:
        TuneController._maybe_reuse_cached_actor = before


def _starts(controller: Any, worker: Any) -> bool:
    """True of a worker that has its CPUs and is not there yet; one that waits for them may not."""
    begun = controller._actor_manager._live_actors_to_ray_actors_resources
    return worker in begun and worker not in controller._started_actors


def _translating(tell: Callable[..., None]) -> Callable[..., None]:
    def translated(manager: RayActorManager, *, exception: Exception, **about: Any) -> None:
        if not isinstance(exception, RayActorError | RayTaskError):
            text = f"{type(exception).__name__}: {exception}"
            exception = WorkerLostError(text, isinstance(exception, OutOfMemoryError))
        tell(manager, exception=exception, **about)

    return translated
