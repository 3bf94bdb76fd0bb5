"""How does a DataLoader follow a schedule? A batch sampler of the whole training's batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import distributed
from torch.utils.data import Sampler

from search_spaces.schedule import Schedule
from trainables.data.stream import SampleStream


class ScheduleBatchSampler(Sampler[list[int]]):
    """The sample numbers of every batch of the training, in the sizes that the schedule says.

    `DataLoader(data, batch_sampler=ScheduleBatchSampler(schedule, len(data)))`. One pass over it
    is the whole training: permutation after permutation, batches may cross the border between
    two, every batch is full and nothing is dropped. Order and sizes depend on seed and schedule
    alone, not on num_workers.

    Args:
        schedule: the table.
        num_examples: samples of the data set, >= 1.
        seed: of the order; equal seeds, equal samples in all arms that are compared.
        accumulation: micro-batches of one size per optimizer step; has to divide every batch.
        first_step: optimizer steps done before; iteration goes on there. Taken from the training
            (a scheduler's `last_epoch`): a loader with workers reads ahead of it.

    Raises:
        ValueError: more than one process (DDP), or a batch that accumulation does not divide.
    """

    def __init__(
        self,
        schedule: Schedule,
        num_examples: int,
        *,
        seed: int = 0,
        accumulation: int = 1,
        first_step: int = 0,
    ) -> None:
        if distributed.is_available() and distributed.is_initialized():
            check_one_process(distributed.get_world_size())
        odd = schedule.batch_size_S[schedule.batch_size_S % accumulation != 0]
        if len(odd):
            raise ValueError(
                f"every batch of the schedule must be a multiple of the {accumulation} batches "
                f"that are accumulated, but one has {odd[0]} samples. Accumulate 1."
            )
        self.schedule, self.accumulation, self.first_step = schedule, accumulation, first_step
        self.stream = SampleStream(seed, num_examples)

    def __iter__(self) -> Iterator[list[int]]:
        """Batches from `first_step` on."""
        for number in range(self.first_step, self.schedule.num_steps()):
            step = self.schedule.step_at(number)
            index_B = self.stream.take(step.first_sample, step.batch_size).index_B
            yield from (piece.tolist() for piece in np.split(index_B, self.accumulation))

    def __len__(self) -> int:
        """Batches of the whole training, those before `first_step` included."""
        return self.schedule.num_steps() * self.accumulation


def check_one_process(world_size: int) -> None:
    """Refuse a training by several processes, whose batches would be cut differently."""
    if world_size > 1:
        raise ValueError(
            f"a schedule is followed by one process, but this training has {world_size}: its "
            "batch is that of all of them. Train on one device."
        )
