"""Steps of a GPU, on the CPU: the same bits as the plain loop, and when a step is recorded."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import io
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from search_spaces.trial import TrialConfig
from tests.fakes.trials import small_trial
from tests.trainables.test_loop import assert_equal, train
from trainables import graphs, loop
from trainables.data.images import TensorImages
from trainables.graphs import (
    MIN_REPLAYS,
    WARM_UP,
    Eager,
    Key,
    Recorder,
    Replay,
    StaticSteps,
    StepGraphs,
    steps_left,
)
from trainables.loop import NetworkTraining


class Closures:
    """Recordings that take the step as it was when it was recorded: its buffers, its numbers."""

    def __init__(self) -> None:
        self.num_replayed = 0
        self.alone: list[bool] = []

    def here(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def record(self, step: Callable[[], None], *, alone: bool) -> Replay:
        self.alone.append(alone)

        def replay() -> None:
            self.num_replayed += 1
            step()

        return replay


def static(
    trial: TrialConfig, recorder: Recorder | Eager, *, keeps_lr: bool = True
) -> NetworkTraining:
    """The training as a GPU takes its steps."""
    training = NetworkTraining(trial)
    assert training.static is None, "the CPU has the plain loop"
    assert isinstance(training.train_set, TensorImages)
    training.static = StaticSteps(
        training, training.train_set, recorder=recorder, keeps_lr=keeps_lr
    )
    return training


def run(training: NetworkTraining, epochs: int | None = None) -> NetworkTraining:
    while not training.finished and (epochs is None or len(training.records) < epochs):
        training.run_epoch()
    return training


# Space, words, and whether a tensor holds the lr, which these optimizers take on the CPU too.
ADAMW = ("optimizer=adamw", "optimizer.momentum=0", "optimizer.nesterov=false", "lr=0.01")
CASES: dict[str, tuple[str, tuple[str, ...], bool]] = {
    "fp32": ("lr", (), True),
    "bf16, the batch changes": ("batch", ("precision=bf16",), True),
    "momentum changes": ("momentum", (), True),
    "no momentum": ("hybrid", ("optimizer.momentum=0", "optimizer.nesterov=false"), True),
    "micro batches": ("hybrid", ("micro_batch=5", "optimizer.clip_norm=1"), True),
    "nshb": ("lr", ("optimizer=nshb", "optimizer.nesterov=false"), False),
    "adamw": ("lr", ADAMW, False),
}


@pytest.mark.slow
@pytest.mark.parametrize(("space", "words", "keeps_lr"), CASES.values(), ids=CASES)
def test_steps_on_fixed_buffers_give_the_same_bits(
    space: str, words: tuple[str, ...], keeps_lr: bool
) -> None:
    trial = small_trial("batch.initial=8", *words, space=space)
    recorder = Closures()
    assert_equal(run(static(trial, recorder, keeps_lr=keeps_lr)), train(trial))
    assert recorder.num_replayed > MIN_REPLAYS - WARM_UP


@pytest.mark.slow
def test_steps_of_large_batches_are_not_recorded_and_give_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graphs, "MAX_BATCH", 8)
    trial, recorder = small_trial("batch.initial=8", space="batch"), Closures()
    ours = run(static(trial, recorder))
    assert [record.batch_size > 8 for record in ours.records] == [False, True, True]
    assert_equal(ours, train(trial))
    assert len(recorder.alone) == 1
    all_large = static(small_trial("batch.initial=16", space="batch"), recorder)
    assert_equal(run(all_large), train(all_large.trial))


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [1, 2])
def test_it_goes_on_from_a_state_and_the_plain_loop_from_its(stop_after: int) -> None:
    trial, whole = small_trial("batch.initial=8"), train(small_trial("batch.initial=8"))
    saved = io.BytesIO()
    torch.save(run(static(trial, Closures()), stop_after).state_dict(), saved)
    for resumed in (static(trial, Closures()), static(trial, Eager()), NetworkTraining(trial)):
        saved.seek(0)
        resumed.load_state_dict(torch.load(saved, weights_only=True))
        assert_equal(run(resumed), whole)


def test_the_device_has_the_tables_lr_and_the_records_have_it_exactly() -> None:
    training = static(small_trial("batch.initial=16"), Eager())
    used: list[Any] = []
    training.optimizer.register_step_post_hook(
        lambda optimizer, *_: used.append(optimizer.param_groups[0]["lr"].item())
    )
    run(training)
    table = training.schedule
    assert used == [np.float32(table.lr_S[step.stage]) for step in table.steps()]
    assert [r.lr for r in training.records] == [table.lr_S[r.stage] for r in training.records]
    kept = training.state_dict()["optimizer"]["param_groups"][0]["lr"]
    assert isinstance(kept, float)


@pytest.mark.slow
def test_a_training_that_is_dropped_holds_nothing_any_more() -> None:
    training = static(small_trial("batch.initial=8", space="lr"), Closures())
    training.run_epoch()
    assert training.static is not None
    assert training.static.graphs.replays
    gone = weakref.ref(training.model)
    gc.collect()
    gc.disable()  # as between two collections: the next training begins at once
    try:
        del training
        assert gone() is None
    finally:
        gc.enable()


class Noted:
    """Recordings whose steps are words: taken, recorded or replayed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.words: list[str] = []
        self.alone: list[bool] = []
        self.is_recording, self.error = False, error

    def here(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def step(self) -> None:
        self.words.append("recorded" if self.is_recording else "taken")

    def record(self, step: Callable[[], None], *, alone: bool) -> Replay:
        self.alone.append(alone)
        if self.error is not None:
            raise self.error
        self.is_recording = True
        step()
        self.is_recording = False
        return lambda: self.words.append("replayed")


def told(recorder: Noted, num_steps: int, key: Key = (8, 0.9), graph: Any = None) -> Counter[str]:
    """What became of all the steps of a key."""
    graph, before = graph or StepGraphs(recorder), len(recorder.words)
    for left in range(num_steps, 0, -1):
        graph.run(key, recorder.step, left)
    return Counter(recorder.words[before:])


def test_no_step_is_taken_twice_and_few_are_not_recorded() -> None:
    few, enough = WARM_UP + MIN_REPLAYS - 1, WARM_UP + MIN_REPLAYS
    assert told(Noted(), few) == {"taken": few}
    # The last is taken: the number left may be one too high.
    expected = {"taken": WARM_UP + 1, "recorded": 1, "replayed": MIN_REPLAYS - 1}
    assert told(Noted(), enough) == expected


def test_recordings_share_memory_while_several_are_in_use() -> None:
    recorder = Noted()
    graph = StepGraphs(recorder)
    for size in (8, 16):  # one after the other: the memory of the first is free
        told(recorder, 40, (size, 0.9), graph)
    for key in ((8, 0.8), (16, 0.8)):
        for _ in range(WARM_UP + 1):
            graph.run(key, recorder.step, 100)
    assert recorder.alone == [True, True, True, False]


def test_what_cannot_be_recorded_is_taken_and_not_tried_again() -> None:
    recorder = Noted(RuntimeError("CUDA error: operation not permitted when stream is capturing"))
    graph = StepGraphs(recorder)
    assert told(recorder, 100, graph=graph) == {"taken": 100}
    assert (len(recorder.alone), graph.problem) == (1, str(recorder.error))


@pytest.mark.parametrize("space", ["lr", "batch", "hybrid"])
def test_steps_left_are_those_of_the_table_or_one_more(space: str) -> None:
    table = small_trial("batch.initial=8", "epochs=7", space=space).schedule
    for first in [0, *(step.first_sample for step in [*table.steps()][::37])]:
        exact = Counter(
            (step.batch_size, float(table.momentum_S[step.stage])) for step in table.steps(first)
        )
        for key, num in steps_left(table, first).items():
            assert abs(num - exact[key]) <= 1


@pytest.mark.parametrize(
    ("recipe", "is_static"),
    [
        ({}, True),
        ({"measurements": {"sharpness": {}}}, True),
        ({"measurements": {"critical": {}}}, False),
        ({"measurements": {"noise": {}}}, False),
        ({"model": "tests.fakes.users_code:linear_model"}, False),
        ({"optimizer": "tests.fakes.users_code:optimizer"}, False),
    ],
)
def test_a_gpu_takes_them_where_a_step_does_nothing_but_compute(
    recipe: dict[str, Any], is_static: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "StaticSteps", lambda *args, **options: "static")
    monkeypatch.setattr(loop, "CudaRecorder", lambda device: None)
    training = NetworkTraining(small_trial())
    training.device = torch.device("cuda")
    training.trial = dataclasses.replace(
        training.trial, recipe=dataclasses.replace(training.trial.recipe, **recipe)
    )
    training.probes = loop.Probes(training.trial.recipe.measurements)
    assert (training._static_steps() == "static") == is_static
    training.trial = small_trial(space="explicit")  # weights are moved at random
    assert training.trial.params["radius0"] > 0
    assert training._static_steps() is None
    training.trial, training.train_set = small_trial(), None  # of images that come in streams
    assert training._static_steps() is None
