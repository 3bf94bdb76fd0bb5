"""What Tune does after a worker was lost: the whole search goes on, and with what."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.air.execution._internal import RayActorManager
from ray.exceptions import ActorDiedError, NodeDiedError, OutOfMemoryError, RayActorError
from ray.tune.execution.tune_controller import TuneController

from tests.fakes.tune_loop import tune_trial
from trainables import failures
from tuner.recording.losses import WorkerLostError
from tuner.session import retries
from tuner.session.retries import TELLS, Retries, losses_cost_one_training, workers_may_start


class Manager:
    """Stands for Ray's manager of actors, as far as a failed task of an actor goes."""

    def __init__(self) -> None:
        self.heard: list[Exception] = []
        self._failed_actor_ids: set[Any] = set()

    def _cleanup_actor(self, tracked_actor: Any) -> None:
        pass


def task(manager: Manager) -> Any:
    hear = lambda actor, error: manager.heard.append(error)  # noqa: E731
    actor = SimpleNamespace(_on_error=None, actor_id=1)
    return SimpleNamespace(_tracked_actor=actor, _on_error=hear)


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [(OutOfMemoryError("too much"), True), (NodeDiedError("gone"), False)],
)
def test_what_ended_the_search_is_now_the_loss_of_one_worker(
    error: Exception, is_memory: bool
) -> None:
    manager = Manager()
    about = {"tracked_actor_task": task(manager), "exception": error}
    with pytest.raises(RuntimeError, match="unexpected"):
        RayActorManager._actor_task_failed(manager, **about)
    with losses_cost_one_training():
        RayActorManager._actor_task_failed(manager, **about)
    (heard,) = manager.heard
    assert isinstance(heard, WorkerLostError)
    assert isinstance(heard, RayActorError), "Tune counts it as a failure of the trial"
    assert heard.is_memory is is_memory
    assert str(heard) == f"{type(error).__name__}: {error}"
    again = pickle.loads(pickle.dumps(heard))
    assert (str(again), again.is_memory) == (str(heard), is_memory)


def test_a_loss_that_tune_knows_reaches_it_as_it_is_and_ray_is_left_as_it_was() -> None:
    before = [getattr(RayActorManager, name) for name in TELLS]
    manager, died = Manager(), ActorDiedError()
    with losses_cost_one_training():
        RayActorManager._actor_task_failed(
            manager, tracked_actor_task=task(manager), exception=died
        )
    assert manager.heard == [died]
    assert [getattr(RayActorManager, name) for name in TELLS] == before


def lost(folder: Path, error: Exception, gpu: float = 0.0, max_failures: int = 3) -> Any:
    """Tune's trial after its first failure, as the scheduler hears of it."""
    trial = tune_trial(0, {}, max_failures)
    trial.run_metadata.num_failures = 1
    trial.pickled_error_file = str(folder / "error.pkl")
    Path(trial.pickled_error_file).write_bytes(pickle.dumps(error))
    resources = {"CPU": 2.0, **({"GPU": gpu} if gpu else {})}
    trial.placement_group_factory = SimpleNamespace(required_resources=resources)
    trial.asked = []
    trial.update_resources = trial.asked.append
    Retries().on_trial_error(SimpleNamespace(_resetting_trials=set()), trial)
    return trial


MEMORY = [failures.OutOfMemoryError("CUDA out of memory"), WorkerLostError("no room", True)]


@pytest.mark.parametrize("error", MEMORY)
@pytest.mark.parametrize(("gpu", "asked"), [(0.0, []), (1.0, []), (0.5, [{"cpu": 2.0, "gpu": 1}])])
def test_out_of_memory_is_tried_again_once_and_alone_on_a_shared_gpu(
    tmp_path: Path, error: Exception, gpu: float, asked: list[dict[str, float]]
) -> None:
    trial = lost(tmp_path, error, gpu)
    assert trial.max_failures == 1  # which it has had
    assert trial.asked == asked


def test_where_nothing_is_tried_again_out_of_memory_is_not_either(tmp_path: Path) -> None:
    trial = lost(tmp_path, MEMORY[0], gpu=0.5, max_failures=0)
    assert trial.max_failures == 0
    assert trial.asked == []  # it still runs, by Tune's book, which refuses


@pytest.mark.parametrize("error", [ActorDiedError(), OSError("x"), WorkerLostError("gone", False)])
def test_any_other_loss_is_tried_again_as_often_as_before(
    tmp_path: Path, error: Exception
) -> None:
    trial = lost(tmp_path, error, gpu=0.5)
    assert (trial.max_failures, trial.asked) == (3, [])


def test_a_worker_that_dies_before_its_next_training_begins_does_not_keep_it() -> None:
    lost_trial, other = tune_trial(0, {}), tune_trial(1, {})
    resetting = {lost_trial, other}
    Retries().on_trial_error(SimpleNamespace(_resetting_trials=resetting), lost_trial)
    assert resetting == {other}


class Worker:
    """Stands for Ray's handle of one."""


class FakeController:
    """As much of Tune's as `workers_may_start` looks at: one trial, and a worker that is free."""

    def __init__(
        self, *, has_worker: bool = True, has_cpus: bool = True, is_there: bool = False,
        is_over: bool = False,
    ) -> None:  # fmt: skip
        self.trial, self.worker = "a trial", Worker()
        self._trial_to_actor = {self.trial: self.worker} if has_worker else {}
        live = {self.worker: "its CPUs"} if has_cpus else {}
        self._actor_manager = SimpleNamespace(_live_actors_to_ray_actors_resources=live)
        self._started_actors = {self.worker} if is_there else set()
        self._search_alg = SimpleNamespace(is_finished=lambda: is_over)

    def is_handed_over(self) -> bool:
        return bool(TuneController._maybe_reuse_cached_actor(self, self.trial))


@pytest.mark.parametrize(
    ("about", "is_handed_over"),
    [
        ({}, False),
        ({"has_worker": False}, True),
        ({"has_cpus": False}, True),  # it waits for those that the free one holds
        ({"is_there": True}, True),
        ({"is_over": True}, True),  # no other trial could take the free one
    ],
)
def test_a_trial_whose_worker_starts_is_not_handed_to_one_that_is_free(
    about: dict[str, bool], is_handed_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TuneController, "_maybe_reuse_cached_actor", lambda *_: True)
    controller = FakeController(**about)
    with workers_may_start():
        assert controller.is_handed_over() is is_handed_over
        assert controller.is_handed_over() is is_handed_over
    assert controller.is_handed_over()


def test_a_worker_that_never_starts_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TuneController, "_maybe_reuse_cached_actor", lambda *_: True)
    clock = [100.0]
    monkeypatch.setattr(retries.time, "monotonic", lambda: clock[0])
    controller = FakeController()
    with workers_may_start():
        assert not controller.is_handed_over()
        clock[0] += 0.9 * retries.START_SECONDS
        assert not controller.is_handed_over()
        clock[0] += 0.2 * retries.START_SECONDS
        assert controller.is_handed_over()
        # Another worker that starts for the same trial has its own time.
        other = Worker()
        controller._trial_to_actor[controller.trial] = other
        controller._actor_manager._live_actors_to_ray_actors_resources[other] = "its CPUs"
        assert not controller.is_handed_over()


def test_tune_hands_a_starting_trial_over_where_it_is_not_kept_from_it() -> None:
    made = inspect.getsource(TuneController)
    for text in ("Removing ORIGINAL ACTOR", "self._trial_to_actor.pop(trial)"):
        assert text in inspect.getsource(TuneController._maybe_reuse_cached_actor)
    for name in ("_trial_to_actor", "_started_actors", "_search_alg"):
        assert f"self.{name}" in made
    assert "_live_actors_to_ray_actors_resources" in inspect.getsource(RayActorManager)
