"""How does a GPU take a training step without waiting for Python? As a graph, on fixed buffers.

A step of a small batch is some 400 kernels, which Python begins more slowly than a GPU runs them.
A CUDA graph is their recording: replayed, it writes to the same addresses again. So what changes
from step to step lies in buffers: which images, their draws, the lr, the sums of losses and hits.
What is baked into a recording is its key: the batch size and the momentum.

The order and the draws of an epoch are uploaded once. Steps before a recording are ordinary ones,
which train too: after them the libraries have chosen their kernels, and momentum buffers exist.
Untested on a GPU.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, optim

from search_spaces.schedule import Schedule, Step
from trainables.data.images import TensorImages, upload
from trainables.data.stream import NUM_DRAWS, SampleStream

MAX_BATCH = 512  # images; above, a GPU takes longer than Python, and a graph holds memory
MIN_REPLAYS = 20  # a recording costs about as many steps (50 to 100 ms, estimated)
WARM_UP = 2  # steps

Key = tuple[int, float]  # batch size, momentum
Replay = Callable[[], None]


class Recorder(Protocol):
    """Where steps run, and what records them."""

    def here(self) -> AbstractContextManager[object]:
        """Where all steps are taken, recorded or not."""
        ...

    def record(self, step: Callable[[], None], *, alone: bool) -> Replay:
        """The step, recorded and not taken; alone: no other recording is in use any more."""
        ...


class CudaRecorder:
    """CUDA graphs; all of one time share their memory, for one runs after the other."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """A stream of their own, which recordings need; it and the one outside wait in turn."""
        outside = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(outside)
        with torch.cuda.stream(self.stream):
            yield
        outside.wait_stream(self.stream)

    def record(self, step: Callable[[], None], *, alone: bool) -> Replay:
        """See Recorder."""
        if alone:  # the pool of those before is free with the last of them
            self.pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # Other threads (Ray's, those that pin memory) may use CUDA meanwhile.
        mode = "thread_local"
        with torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode=mode):
            step()
        replay: Replay = graph.replay
        return replay


class Eager:
    """No recordings: every step is taken by Python, as on the CPU."""

    def here(self) -> AbstractContextManager[object]:
        """Anywhere."""
        return contextlib.nullcontext()


class StepGraphs:
    """The recordings of one training, by key.

    Attributes:
        problem: why a step could not be recorded; none is from then on.
    """

    def __init__(self, recorder: Recorder | Eager) -> None:
        self.recorder = recorder
        self.num_taken: Counter[Key] = Counter()
        self.replays: dict[Key, Replay] = {}
        self.problem: str | None = None

    def run(self, key: Key, step: Callable[[], None], num_left: int) -> None:
        """Take the step, by its recording where there is one.

        Args:
            step: may depend on what is in the key alone, but for the content of buffers.
            num_left: steps of this key in the rest of the training, with this one.
        """
        self.num_taken[key] += 1
        replay = self.replays.get(key) or self._record(key, step, num_left)
        (replay or step)()
        if num_left <= 2:  # the number may be one too high
            self.replays.pop(key, None)

    def _record(self, key: Key, step: Callable[[], None], num_left: int) -> Replay | None:
        pays = self.num_taken[key] > WARM_UP and num_left >= MIN_REPLAYS
        if isinstance(self.recorder, Eager) or self.problem or not pays:
            return None
        try:
            replay = self.recorder.record(step, alone=not self.replays)
        except RuntimeError as error:  # nothing was taken: Python takes it
            self.problem = str(error)
            return None
        return self.replays.setdefault(key, replay)


class Trained(Protocol):
    """What takes the steps: a training of a network on images that are resident."""

    device: torch.device
    schedule: Schedule
    stream: SampleStream
    optimizer: optim.Optimizer

    def set_rates(self, stage: int) -> None:
        """Write lr and momentum of the stage into the optimizer."""
        ...

    def update(self, images: Tensor, labels: Tensor, stage: int) -> None:
        """Forward, backward, sums, and the optimizer's step."""
        ...

    def count(self, batch_size: int) -> None:
        """A step of so many samples was taken."""
        ...


class StaticSteps:
    """The steps of one training, from buffers that stay.

    Args:
        recorder: Eager = none is recorded.
        keeps_lr: the lr of each parameter group is a float32 tensor on the device, so that a
            recording reads it; False = a float of Python's, as without recordings.
    """

    def __init__(
        self,
        training: Trained,
        images: TensorImages,
        *,
        recorder: Recorder | Eager,
        keeps_lr: bool = True,
    ) -> None:
        # No reference in a circle: what a training holds is to be free when it is dropped.
        self.training: Trained = weakref.proxy(training)
        self.images, self.recorder = images, recorder
        self.keeps_lr, device = keeps_lr, training.device
        sizes = training.schedule.batch_size_S
        largest = int(sizes[sizes <= MAX_BATCH].max(initial=0))
        self.index_B = torch.zeros(largest, dtype=torch.int64, device=device)
        self.draws_BD = torch.zeros((largest, NUM_DRAWS), device=device)
        self.begin()

    def begin(self) -> None:
        """At the start, and after the optimizer has loaded a state, whose buffers are new."""
        self.graphs = StepGraphs(self.recorder)
        self.left: Counter[Key] = Counter()
        for group in self.training.optimizer.param_groups if self.keeps_lr else ():
            lr = torch.as_tensor(group["lr"], dtype=torch.float32)
            group["lr"] = lr.to(self.training.device)
            if "capturable" in group:
                group["capturable"] = True
        # AdamW would warn of the steps that are not recorded.
        vars(self.training.optimizer)["_warned_capturable_if_run_uncaptured"] = True

    def take(self, steps: Sequence[Step]) -> None:
        """These steps, one after the other."""
        training, table, first = self.training, self.training.schedule, steps[0].first_sample
        self.left = self.left or steps_left(table, first)
        epoch = training.stream.take(first, sum(step.batch_size for step in steps))
        assert epoch.draws_BD is not None, "the stream of a training has draws"
        with self.recorder.here():
            order_E = upload(epoch.index_B, training.device)
            draws_ED = upload(epoch.draws_BD, training.device)
            for step in steps:
                begin = step.first_sample - first
                place = slice(begin, begin + step.batch_size)
                training.set_rates(step.stage)
                key = (step.batch_size, float(table.momentum_S[step.stage]))
                self._take(key, order_E[place], draws_ED[place], step.stage)
                self.left[key] -= 1
                training.count(step.batch_size)

    def _take(self, key: Key, index_B: Tensor, draws_BD: Tensor, stage: int) -> None:
        if key[0] > MAX_BATCH:
            self.training.update(*self.images.batch(index_B, draws_BD), stage)
            return
        index, draws = self.index_B[: key[0]], self.draws_BD[: key[0]]
        index.copy_(index_B)
        draws.copy_(draws_BD)
        self.graphs.run(
            key,
            lambda: self.training.update(*self.images.batch(index, draws), stage),
            self.left[key],
        )


def steps_left(table: Schedule, first_sample: int) -> Counter[Key]:
    """About how many steps of each key begin at this sample or later: samples over batch size."""
    end_S = np.append(table.start_S[1:], table.total_samples)
    samples_S = np.maximum(0, end_S - np.maximum(table.start_S, first_sample))
    samples: Counter[Key] = Counter()
    for size, momentum, num in zip(
        table.batch_size_S.tolist(), table.momentum_S.tolist(), samples_S.tolist(), strict=True
    ):
        samples[size, momentum] += num
    return Counter({key: -(-num // key[0]) for key, num in samples.items()})
