"""Records of several versions as one frame that JSON and spreadsheets take."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import results
from results.records.schema import SCHEMAS
from tests.conftest import ROOT
from tests.fakes.results import write_run

OLD_RUN = ROOT / "tests" / "data" / "runs" / "ordinary"


@pytest.fixture
def runs(tmp_path: Path) -> results.Run:
    """A run of an older version, whose interval is a whole number, and one of this."""
    shutil.copytree(OLD_RUN, tmp_path / "old")
    write_run(tmp_path / "run", trials=2, seeds=2)
    return results.load(tmp_path)


@pytest.mark.parametrize("table", SCHEMAS)
def test_a_frame_goes_to_json_and_back(runs: results.Run, table: str) -> None:
    frame = runs.frame(table)
    rows = json.loads(frame.to_json(orient="records"))
    source = getattr(runs, table).to_pylist()
    assert [row["trial_key"] for row in rows] == [row["trial_key"] for row in source]
    assert [*rows[0]] == SCHEMAS[table].names
    assert [row["val_loss"] for row in rows] == pytest.approx([row["val_loss"] for row in source])


def test_bits_and_times_are_text(runs: results.Run) -> None:
    row = runs.frame().query("role == 'confirm'").iloc[-1]
    source = [r for r in runs.trials.to_pylist() if r["role"] == "confirm"][-1]
    assert bytes.fromhex(row["test_correct"]) == source["test_correct"]
    assert row["started_at"].startswith(f"{source['started_at']:%Y-%m-%dT%H:%M:%S}")


@pytest.mark.slow
def test_a_frame_goes_into_a_spreadsheet(runs: results.Run, tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    import pandas

    runs.frame().to_excel(tmp_path / "trials.xlsx", index=False)
    read = pandas.read_excel(tmp_path / "trials.xlsx")
    assert read["lr0"].tolist() == pytest.approx(runs.trials["lr0"].to_pylist())


def test_polars_and_duckdb_take_the_loaded_tables(runs: results.Run) -> None:
    polars, duckdb = pytest.importorskip("polars"), pytest.importorskip("duckdb")
    trials = runs.trials
    assert polars.from_arrow(trials).shape == (trials.num_rows, trials.num_columns)
    ((count,),) = duckdb.sql("select count(*) from trials where interval > 0").fetchall()
    assert count == trials.num_rows


def test_an_unknown_table_is_refused(runs: results.Run) -> None:
    with pytest.raises(ValueError, match="unknown table 'trails'; did you mean 'trials'"):
        runs.frame("trails")
