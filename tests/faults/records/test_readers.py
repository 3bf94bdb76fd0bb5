"""A run is read while it is written: every read sees whole generations, and rows only grow."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import results
from results.records import store as store_module
from results.records.store import RunStore
from tests.fakes.results import make_recipe, make_trial, write_trial
from tests.faults.counts import repeats, tries

NUM_READS = 1000
RECIPE = make_recipe(epochs=2)


def write_until(store: RunStore, done: threading.Event) -> None:
    number = 0
    while not done.is_set():
        write_trial(store, make_trial(params={"p": 0.5 + number / 1000}, recipe=RECIPE))
        store.update_manifest(shared_samples=number)
        store.event("one more", number=number)
        store.flush()
        number += 1


@pytest.mark.fault("25")
@pytest.mark.slow
@pytest.mark.parametrize("part", range(repeats(1, 20)))
def test_every_read_sees_a_whole_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(store_module, "SEGMENT_ROWS", 40)
    done, sizes = threading.Event(), [0]
    with RunStore.create(tmp_path / "run", {"status": "running"}, "") as store:
        writer = threading.Thread(target=write_until, args=(store, done))
        writer.start()
        try:
            with tries() as once:
                number, end = 0, time.monotonic() + 60.0
                # On a busy disk a generation may take longer than all of these reads.
                while number < NUM_READS // 20 or (
                    sizes[-1] == sizes[1] and time.monotonic() < end
                ):
                    with once("25", "a read while a writer rewrites: whole, rows only grow"):
                        run = results.load(store.run_dir)
                        (note,) = run.notes
                        assert note.startswith("run run is still running: ")
                        ended = sum(row["epochs_done"] for row in run.trials.to_pylist())
                        assert ended <= run.epochs.num_rows
                        assert run.trials.num_rows >= sizes[-1]
                        sizes.append(run.trials.num_rows)
                        if number % 10 == 0:
                            assert results.verify(store.run_dir) == []
                    number += 1
        finally:
            done.set()
            writer.join()
    assert sizes[-1] > sizes[1]
