"""Runs of the version before this one (tests/data/runs): read, gone on with, extended.

The folders are as that version left them, without reports and locks: `ordinary` (arms poly and
cosine), `squeezed` (two rungs, arms poly and exp) and `squeezed_cut`, the same command killed
half way.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import results
from results.records.schema import LATER_COLUMNS, trial_from_row
from tests.commands.command import reproducible
from tests.conftest import ROOT
from tests.fakes.tune_loop import Inline
from tests.faults.counts import only_full

RUNS = ROOT / "tests" / "data" / "runs"
# Number of trials and epochs that the files hold.
SIZES = {"ordinary": (12, 36), "squeezed": (30, 162), "squeezed_cut": (10, 30)}


def copied(name: str, folder: Path) -> Path:
    """The run in a folder of its own."""
    return Path(shutil.copytree(RUNS / name, folder / name))


def file_rows(name: str, kind: str) -> list[dict]:
    """The rows of its one file, read by pyarrow alone."""
    return pq.read_table(RUNS / name / kind / "00000.parquet").to_pylist()


@pytest.mark.fault("24", "runs of earlier versions: every row is read")
@pytest.mark.parametrize("name", SIZES)
def test_an_old_run_loads_with_all_its_rows(name: str) -> None:
    run = results.load(RUNS / name)
    assert (run.trials.num_rows, run.epochs.num_rows) == SIZES[name]
    for kind, table in (("trials", run.trials), ("epochs", run.epochs)):
        rows = {(row["trial_key"], row.get("epoch")): row for row in table.to_pylist()}
        for row in file_rows(name, kind):
            read = rows[row["trial_key"], row.get("epoch")]
            assert {column: read[column] for column in row} == row
    assert results.verify(RUNS / name) == []


@pytest.mark.fault("24", "compared: the means of their rows")
@pytest.mark.parametrize("name", ["ordinary", "squeezed"])
def test_an_old_run_compares_by_the_means_of_its_rows(name: str) -> None:
    arms = {arm.name: arm.mean for arm in results.load(RUNS / name).compare().arms}
    confirmed = [row for row in file_rows(name, "trials") if row["role"] == "confirm"]
    for space in {row["space"] for row in confirmed}:
        scores = [row["test_accuracy"] for row in confirmed if row["space"] == space]
        assert len(scores) == 2
        assert arms[space] == pytest.approx(np.mean(scores), abs=1e-12)


def test_the_trials_of_an_old_run_keep_their_identity() -> None:
    for name in SIZES:
        for row in results.load(RUNS / name).rows():
            trial = trial_from_row(row)
            assert (trial.trial_key, trial.config_key) == (row["trial_key"], row["config_key"])


def known(run: results.Run) -> list[list[dict[str, object]]]:
    """Rows without the columns that came after these records, or are no longer measured."""
    return [
        [
            {k: v for k, v in row.items() if k not in LATER_COLUMNS}
            | ({"final_train_loss": None, "final_train_accuracy": None} if is_search(row) else {})
            for row in rows
        ]
        for rows in reproducible(run)
    ]


def is_search(row: dict[str, object]) -> bool:
    """A trial whose training images are no longer looked at in the end."""
    return row.get("role") == "search" and "final_train_loss" in row


@only_full
@pytest.mark.fault("24", "killed half way, resumed now: the rows of the whole one")
@pytest.mark.slow
def test_an_old_run_killed_half_way_is_resumed_to_the_rows_of_the_whole_one(
    inline: Inline, tmp_path: Path
) -> None:
    cut = copied("squeezed_cut", tmp_path)
    assert list(cut.glob("checkpoints/*/*.pt")), "one training was under way"
    resumed = inline.run(f"resume={cut}", "report=false")
    assert resumed.returncode == 0, resumed.stderr
    assert known(results.load(cut)) == known(results.load(RUNS / "squeezed"))


@pytest.mark.fault("24", "extended: the old rows as they were")
@pytest.mark.slow
def test_an_old_run_is_extended_and_keeps_its_rows(inline: Inline, tmp_path: Path) -> None:
    grown = copied("ordinary", tmp_path)
    done = inline.run(f"resume={grown}", "trials=+2", "report=false")
    assert done.returncode == 0, done.stderr
    before, after = (reproducible(results.load(path)) for path in (RUNS / "ordinary", grown))
    for old, new in zip(before, after, strict=True):
        assert [row for row in new if row in old] == old
    roles = [row["role"] for row in after[0] if row not in before[0]]
    assert roles.count("search") == 2 * 2, "two more configs an arm"
    assert json.loads((grown / "manifest.json").read_text())["status"] == "completed"
