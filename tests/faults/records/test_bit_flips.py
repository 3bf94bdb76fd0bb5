"""One bit of a run folder changes: it is told, or every number read is as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import results
from results.records import store as store_module
from results.records.segments import read_manifest
from tests.fakes.results import make_recipe, write_run
from tests.faults.counts import repeats, tries

NUM_FLIPS = 1000
NOT_RECORDS = (".lock",)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = make_recipe(epochs=2)
    run_dir = write_run(tmp_path_factory.mktemp("runs") / "run", trials=1, seeds=1, recipe=recipe)
    with store_module.RunStore.open(run_dir) as store:
        store.event("start", command="python -m tuner.run space=poly trials=1")
    return run_dir


@pytest.mark.fault("10")
@pytest.mark.slow
@pytest.mark.parametrize("part", range(repeats(1, 10)))
def test_a_flipped_bit_is_told_and_never_a_traceback(run_dir: Path, part: int) -> None:
    rng = np.random.default_rng(part)
    before = results.load(run_dir)
    files = sorted(p for p in run_dir.rglob("*") if p.is_file() and p.name not in NOT_RECORDS)
    with tries() as once:
        for _ in range(NUM_FLIPS // 10):
            path = files[int(rng.integers(len(files)))]
            content = path.read_bytes()
            changed = bytearray(content)
            changed[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
            path.write_bytes(bytes(changed))
            with once("10", "a bit of any file of a run flipped: told, no other number is read"):
                problems = results.verify(run_dir)
                assert any(str(path) in problem for problem in problems), (path, problems)
                assert rows(results.load(run_dir)) <= rows(before)
            path.write_bytes(content)
    assert results.verify(run_dir) == []
    assert read_manifest(run_dir)["status"] == "completed"


def rows(run: results.Run) -> set[str]:
    return {repr(row) for table in (run.trials, run.epochs) for row in table.to_pylist()}
