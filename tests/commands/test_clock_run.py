"""The command with one epoch: lr at every step, evaluation points of their own, rungs, resume."""

from __future__ import annotations

import math
from collections import Counter

import pytest

import results
from tests.commands.command import reproducible
from tests.fakes.tune_loop import Inline

pytestmark = pytest.mark.slow

ONE_EPOCH = (
    *("workload=digits", "model.width=4", "epochs=1", "batch.initial=16", "display=plain"),
    *("space=[poly,cosine]", "reports=5", "confirm.seeds=2"),
)
N = 1150  # training images


@pytest.mark.parametrize("fidelity", ["prefix", pytest.param("squeezed", marks=pytest.mark.full)])
def test_one_epoch_is_searched_by_steps(inline: Inline, fidelity: str) -> None:
    words = (*ONE_EPOCH, f"search.fidelity={fidelity}", "search.rungs=2", "trials=3")
    done = inline.run(*words, "name=run")
    assert done.returncode == 0, done.stderr
    assert "report 1/" in done.stdout
    run = results.load(inline.folder / "run")
    assert not [note for note in run.notes if "lack" in note]
    by_trial = run.epochs_by_trial()
    for row in run.trials.to_pylist():
        rows = by_trial[row["run_id"], row["trial_key"]]
        assert row["interval"] == 0
        assert [r["epoch"] for r in rows] == list(range(1, row["epochs_done"] + 1))
        expected = math.ceil(5 * row["horizon"] - 1e-9)
        assert row["status"] == "paused" or row["epochs_done"] == expected
        for r in rows:
            point = min(r["epoch"] / 5, row["horizon"])  # the first step at or past it
            assert point <= r["epochs_seen"] + 1 / N < point + (r["batch_size"] + 1) / N
    more = inline.run(f"resume={inline.folder / 'run'}", "trials=+1")
    assert more.returncode == 0, more.stderr
    roles = Counter(
        (r["space"], r["role"]) for r in results.load(inline.folder / "run").trials.to_pylist()
    )
    assert roles["baseline", "confirm"] == 2


def test_rungs_that_one_batch_passes_together_are_scored_and_resumed(inline: Inline) -> None:
    words = (
        *("workload=digits", "model.width=4", "dataset.train_examples=300", "display=plain"),
        *("epochs=1", "reports=20", "batch.initial=200", "search.fidelity=prefix"),
        *("search.eta=2", "trials=4", "baseline=false", "confirm.seeds=1"),
    )
    done = inline.run(*words, "name=run")
    assert done.returncode == 0, done.stderr
    run = results.load(inline.folder / "run")
    searched = [row for row in run.search_rows() if row["role"] == "search"]
    # Of 240 samples the rungs end at 60 and 120, both with the first batch.
    assert Counter(r["status"] for r in searched) == {"paused": 3, "completed": 1}
    for row in searched:
        passed = range(12, (240 if row["status"] == "completed" else 200) + 1, 12)
        assert list(row["prefix_scores"]) == list(passed)
        assert row["prefix_scores"][60] == row["prefix_scores"][120]
    more = inline.run(f"resume={inline.folder / 'run'}", "trials=+1")
    assert more.returncode == 0, more.stderr
    again = results.load(inline.folder / "run").search_rows()
    assert Counter(r["role"] for r in again) == {"search": 5, "confirm": 1}


@pytest.mark.full
def test_a_run_by_steps_is_the_same_again(inline: Inline) -> None:
    words = (*ONE_EPOCH, "trials=2", "spaces.poly.warmup.low=0", "spaces.poly.warmup.high=0.3")
    for name in ("first", "second"):
        assert inline.run(*words, f"name={name}").returncode == 0
    first, second = (results.load(inline.folder / name) for name in ("first", "second"))
    assert reproducible(first) == reproducible(second)
    warm = {r["warmup"] for r in first.trials.to_pylist() if r["space"] == "poly"}
    assert len(warm) == 2
    assert all(0 <= share <= 0.3 for share in warm)
