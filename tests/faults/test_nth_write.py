"""Fail the n-th write, n = 1, 2, ..., until it passes: of the records, and of states."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from results.records.audit import audit
from results.records.store import RunStore
from tests.fakes.results import make_recipe, make_trial, write_trial
from tests.faults.counts import count
from tests.faults.failing_disk import failing_disk
from trainables.checkpoints import Checkpoints, read_newest

TRIALS = [make_trial(params={"p": p}, recipe=make_recipe(epochs=2)) for p in (0.5, 2.0)]


def keep_books(run_dir: Path) -> list[str]:
    """A small run from its start to its end; the trials that were said to be on the disk.

    A disk that refuses the start, or the last word, is no matter of the rows.
    """
    durable: list[str] = []
    with suppress(OSError):
        store = RunStore.create(run_dir, {"status": "running"}, "epochs: 6\n")
        with suppress(OSError), store:
            store.event("start", command="python -m tuner.run")
            for number, trial in enumerate(TRIALS, start=1):
                write_trial(store, trial)
                if store.flush():
                    durable = [known.trial_key for known in TRIALS[:number]]
            store.update_manifest(status="completed")
            store.event("end")
    return durable


def until_it_passes(work: Callable[[int], bool]) -> int:
    """The number of refusals until `work`, told which write to refuse, was refused none."""
    number = 0
    while work(number + 1):
        number += 1
    return number


@pytest.mark.slow
def test_a_write_of_the_store_that_fails_once_costs_nothing(tmp_path: Path) -> None:
    def refused(number: int) -> bool:
        run_dir = tmp_path / f"run{number}"
        with failing_disk(tmp_path, number) as disk:
            durable = keep_books(run_dir)
        if durable:  # else it could not begin
            found = audit(run_dir)
            assert found.problems == []
            recorded = found.tables["trials"]["trial_key"].to_pylist()
            assert recorded == [trial.trial_key for trial in TRIALS]
            assert found.tables["epochs"].num_rows == 2 * len(TRIALS)
        return disk.refused > 0

    number = until_it_passes(refused)
    assert number > 20
    count(
        "13",
        "the n-th write of a run's records fails once: no row lost, no damage",
        number,
        number,
    )


@pytest.mark.slow
def test_a_disk_that_fails_for_good_leaves_what_was_said_to_be_on_it(tmp_path: Path) -> None:
    durable: dict[Path, list[str]] = {}

    def refused(number: int) -> bool:
        run_dir = tmp_path / f"run{number}"
        with failing_disk(tmp_path, number, for_good=True) as disk:
            durable[run_dir] = keep_books(run_dir)
        return disk.refused > 0

    number = until_it_passes(refused)
    begun = {run_dir: keys for run_dir, keys in durable.items() if keys}
    for run_dir, keys in begun.items():
        with RunStore.open(run_dir) as again:
            again.event("resumed")
        found = audit(run_dir)
        assert found.problems == []
        assert set(found.tables["trials"]["trial_key"].to_pylist()) >= set(keys)
    assert len(begun) > 5
    count(
        "13",
        "the disk is full from the n-th write on: all rows told durable are there",
        number,
        number,
    )


def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    def refused(number: int) -> bool:
        folder, saved = tmp_path / str(number), 0
        with failing_disk(folder, number) as disk:
            with suppress(OSError):
                states = Checkpoints(folder)
                for epoch in (1, 2, 3, 4):
                    states.save(epoch, {"epoch": epoch})
                    saved = epoch
        newest = read_newest(folder)
        assert (newest or {"epoch": 0})["epoch"] >= saved
        assert not [*folder.glob(".*.tmp")]
        return disk.refused > 0

    number = until_it_passes(refused)
    assert number > 10
    count(
        "13",
        "the n-th write of a training's states fails: the newest whole one is found",
        number,
        number,
    )
