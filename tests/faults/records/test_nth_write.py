"""Fail the n-th write, n = 1, 2, ..., until it passes: of the records, and of states."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from results.records.audit import audit
from results.records.store import RunStore
from tests.fakes.results import make_recipe, make_trial, write_trial
from tests.faults.counts import only_full, tries
from tests.faults.records.failing_disk import FailingDisk, failing_disk
from trainables.checkpoints import Checkpoints, read_newest

Check = Callable[[int], None]
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


def until_it_passes(text: str, work: Callable[[int], FailingDisk], check: Check) -> int:
    """How many writes were refused until `work`, told which one to refuse, was refused none.

    Each time it is checked what is left.
    """
    with tries() as once:
        number = 1
        while work(number).refused:
            with once("13", text):
                check(number)
            number += 1
    check(number)
    return number - 1


@pytest.mark.fault("13")
@pytest.mark.slow
def test_a_write_of_the_store_that_fails_once_costs_nothing(tmp_path: Path) -> None:
    durable: dict[int, list[str]] = {}

    def work(number: int) -> FailingDisk:
        with failing_disk(tmp_path, number) as disk:
            durable[number] = keep_books(tmp_path / f"run{number}")
        return disk

    def check(number: int) -> None:
        if durable[number]:  # else it could not begin
            found = audit(tmp_path / f"run{number}")
            assert found.problems == []
            recorded = found.tables["trials"]["trial_key"].to_pylist()
            assert recorded == [trial.trial_key for trial in TRIALS]
            assert found.tables["epochs"].num_rows == 2 * len(TRIALS)

    text = "the n-th write of a run's records fails once: no row lost, no damage"
    assert until_it_passes(text, work, check) > 20


@only_full
@pytest.mark.fault("13")
@pytest.mark.slow
def test_a_disk_that_fails_for_good_leaves_what_was_said_to_be_on_it(tmp_path: Path) -> None:
    durable: dict[int, list[str]] = {}

    def work(number: int) -> FailingDisk:
        with failing_disk(tmp_path, number, for_good=True) as disk:
            durable[number] = keep_books(tmp_path / f"run{number}")
        return disk

    def check(number: int) -> None:
        if durable[number]:
            run_dir = tmp_path / f"run{number}"
            with RunStore.open(run_dir) as again:
                again.event("resumed")
            found = audit(run_dir)
            assert found.problems == []
            recorded = set(found.tables["trials"]["trial_key"].to_pylist())
            assert recorded >= set(durable[number])

    text = "the disk is full from the n-th write on: all rows told durable are there"
    until_it_passes(text, work, check)
    assert sum(map(bool, durable.values())) > 5


@pytest.mark.fault("13")
def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    saved: dict[int, int] = {}

    def work(number: int) -> FailingDisk:
        folder, saved[number] = tmp_path / str(number), 0
        with failing_disk(folder, number) as disk, suppress(OSError):
            states = Checkpoints(folder)
            for epoch in (1, 2, 3, 4):
                states.save(epoch, {"epoch": epoch})
                saved[number] = epoch
        return disk

    def check(number: int) -> None:
        folder = tmp_path / str(number)
        newest = read_newest(folder)
        assert (newest or {"epoch": 0})["epoch"] >= saved[number]
        assert not [*folder.glob(".*.tmp")]

    text = "the n-th write of a training's states fails: the newest whole one is found"
    assert until_it_passes(text, work, check) > 10
