"""A run with damaged records goes on: only what is lost is trained again, and all is told."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

import results
from results.records.events import EVENTS_NAME
from results.records.segments import COPIES
from tests.commands.command import SMALL, reproducible
from tests.fakes.tune_loop import Inline
from tests.faults.counts import only_full, tries
from tests.faults.records.damage import DAMAGES
from trainables import trainable
from trainables.checkpoints import Checkpoints


@pytest.fixture
def inline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inline:
    return Inline(tmp_path, monkeypatch)


def finished(inline: Inline) -> Path:
    """A finished run of 2 configs and 2 x 2 confirm trials; what its rows are."""
    done = inline.run("space=poly", *SMALL, "trials=2", "name=run")
    assert done.returncode == 0, done.stderr
    return inline.folder / "run"


def trained(run_dir: Path) -> dict[str, object]:
    """By trial when its training began: one that is trained again begins later."""
    rows = results.load(run_dir).trials.select(["trial_key", "started_at"]).to_pylist()
    return {row["trial_key"]: row["started_at"] for row in rows}


@pytest.mark.fault("10")
@pytest.mark.slow
def test_damaged_segments_come_back_and_nothing_is_trained_again(inline: Inline) -> None:
    run_dir = finished(inline)
    whole, began = results.load(run_dir), trained(run_dir)
    kept = inline.folder / "kept"
    shutil.copytree(run_dir, kept)
    damages = itertools.product(
        ("trials", "epochs"), ("truncated", "zeroed", "flipped", "missing")
    )
    with tries() as once:
        for table, damage in damages:
            shutil.rmtree(run_dir)
            shutil.copytree(kept, run_dir)
            DAMAGES[damage](run_dir / table / "00000.parquet", np.random.default_rng(0))
            with once("10", "resume after a damaged segment: nothing trained again, and told"):
                again = inline.run(f"resume={run_dir}")
                assert again.returncode == 0, again.stderr
                assert f"note: {run_dir / table / '00000.parquet'} is back, from " in again.stderr
                assert reproducible(results.load(run_dir)) == reproducible(whole)
                assert trained(run_dir) == began
                assert results.verify(run_dir) == []


@only_full
@pytest.mark.fault("11")
@pytest.mark.slow
def test_no_state_of_tunes_is_read_wherever_it_lies(inline: Inline) -> None:
    """A run folder holds none (test_run.py); what looks like it is not looked at."""
    run_dir = finished(inline)
    with tries() as once:
        for name in ("tuner.pkl", "experiment_state-1.json", "search_gen_state-1.json",
                     "searcher-state-1.pkl"):  # fmt: skip
            (run_dir / name).write_bytes(b"\x80\x04cut off")
            with once("11", "damaged files of Tune's names in a run folder: resume reads none"):
                more = inline.run(f"resume={run_dir}", "trials=+1")
                assert more.returncode == 0, more.stderr
                assert results.verify(run_dir) == []


@only_full
@pytest.mark.fault("10", "a segment and its copy lost: trained again, and told")
@pytest.mark.slow
def test_rows_that_are_lost_twice_are_trained_again_and_told(inline: Inline) -> None:
    run_dir = finished(inline)
    whole, began = results.load(run_dir), trained(run_dir)
    for folder in (run_dir, run_dir / COPIES):
        (folder / "trials" / "00000.parquet").unlink()
    again = inline.run(f"resume={run_dir}")
    assert again.returncode == 0, again.stderr
    lost = f"the rows of {len(began)} trainings, which a resume trains again."
    assert f"note: run run has lost {lost}\n" in again.stderr
    assert reproducible(results.load(run_dir)) == reproducible(whole)
    assert not set(trained(run_dir).items()) & set(began.items())


@pytest.mark.fault(
    "12", "newest state truncated, zeroed, flipped, missing: the one before, and it is said"
)
@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncated", "zeroed", "flipped", "missing"])
def test_a_training_goes_on_from_the_state_before_and_says_so(
    inline: Inline, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    run_dir, folder = stopped(inline, monkeypatch)
    (newest,) = folder.glob("00002-*.pt")
    DAMAGES[damage](newest, np.random.default_rng(0))
    again = inline.run(f"resume={run_dir}")
    assert again.returncode == 0, again.stderr
    told = [
        event["why"]
        for event in map(json.loads, (run_dir / EVENTS_NAME).read_text().splitlines())
        if event["kind"] == "lost"
    ]
    what = "missing" if damage == "missing" else "damaged"
    assert told == [f"the state after report 2 is {what}; it goes on from report 1"]
    assert told[0] in again.stdout


def stopped(inline: Inline, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A run stopped by Ctrl-C after the second state of its first training, and its states."""
    save = Checkpoints.save

    def save_and_stop(states: Checkpoints, epoch: int, state: dict[str, object]) -> None:
        save(states, epoch, state)
        if epoch == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(trainable, "SAVE_PAYS", 0.0)  # after every epoch, however fast
        patch.setattr(trainable.ScheduledTrainable, "report_seconds", 0.0)
        patch.setattr(Checkpoints, "save", save_and_stop)
        done = inline.run("space=poly", *SMALL, "trials=1", "baseline=false", "name=run")
    assert done.returncode == 130, done.stderr
    run_dir = inline.folder / "run"
    (folder,) = (path for path in (run_dir / "checkpoints").iterdir() if path.is_dir())
    return run_dir, folder
