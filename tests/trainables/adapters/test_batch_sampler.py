"""A DataLoader cuts the batches that the table says, whatever reads them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from search_spaces.schedule import Schedule
from tests.fakes.followed import NUM_EXAMPLES, batch_by_step, decaying, growing
from trainables.adapters import ScheduleBatchSampler
from trainables.data.stream import SampleStream

BOTH = pytest.mark.parametrize("table", [decaying(), growing()], ids=["decaying", "growing"])


def numbers(table: Schedule, seed: int = 3) -> list[list[int]]:
    """Of the samples of each step, straight from the stream."""
    stream = SampleStream(seed, NUM_EXAMPLES)
    return [stream.take(s.first_sample, s.batch_size).index_B.tolist() for s in table.steps()]


@BOTH
def test_each_batch_has_the_size_and_the_samples_of_its_step(table: Schedule) -> None:
    sampler = ScheduleBatchSampler(table, NUM_EXAMPLES, seed=3)
    batches = list(sampler)
    assert [len(batch) for batch in batches] == batch_by_step(table)
    assert batches == numbers(table)
    assert len(sampler) == table.num_steps()
    first = list(itertools.chain(*batches))[:NUM_EXAMPLES]
    assert sorted(first) == list(range(NUM_EXAMPLES))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_change_nothing(num_workers: int) -> None:
    data = TensorDataset(torch.arange(NUM_EXAMPLES))
    sampler = ScheduleBatchSampler(growing(), NUM_EXAMPLES, seed=3)
    loader = DataLoader(data, batch_sampler=sampler, num_workers=num_workers)
    assert [batch.tolist() for (batch,) in loader] == numbers(growing())


def test_a_batch_that_crosses_the_border_of_an_epoch_stays_whole() -> None:
    table = decaying(batch0=12)
    batches = list(ScheduleBatchSampler(table, NUM_EXAMPLES))
    assert NUM_EXAMPLES % 12
    assert {len(batch) for batch in batches} == {12}
    seen = list(itertools.chain(*batches))
    for epoch in range(3):
        piece = seen[NUM_EXAMPLES * epoch : NUM_EXAMPLES * (epoch + 1)]
        assert sorted(piece) == list(range(NUM_EXAMPLES))


@BOTH
def test_accumulation_cuts_a_step_into_equal_parts(table: Schedule) -> None:
    sampler = ScheduleBatchSampler(table, NUM_EXAMPLES, seed=3, accumulation=2)
    pieces = list(sampler)
    assert len(pieces) == len(sampler) == 2 * table.num_steps()
    pairs = zip(pieces[::2], pieces[1::2], strict=True)
    assert [a + b for a, b in pairs] == numbers(table)
    assert all(len(a) == len(b) for a, b in zip(pieces[::2], pieces[1::2], strict=True))
    with pytest.raises(ValueError, match="a multiple of the 3 batches that are accumulated"):
        ScheduleBatchSampler(table, NUM_EXAMPLES, accumulation=3)


@BOTH
def test_it_goes_on_at_a_step(table: Schedule) -> None:
    sampler = ScheduleBatchSampler(table, NUM_EXAMPLES, seed=3, first_step=5)
    assert list(sampler) == numbers(table)[5:]


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    with pytest.raises(ValueError, match="followed by one process, but this training has 4"):
        ScheduleBatchSampler(growing(), NUM_EXAMPLES)
