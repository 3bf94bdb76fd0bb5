"""How do a run's records and its comparison get into spreadsheets and papers? CSV and LaTeX."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from results.records.segments import write_atomically, write_text
from results.run import Run

PAPER_TABLES = ("arms", "pairs")  # of a comparison


def export_csv(run: Run, directory: str | Path) -> list[Path]:
    """Write trials.csv and epochs.csv: every column, UTF-8, empty where null, times in UTC.

    Bits of test_correct are written as hexadecimal digits.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, table in (("trials", run.trials), ("epochs", run.epochs)):
        path = directory / f"{name}.csv"
        write_atomically(path, functools.partial(pa_csv.write_csv, _without_binary(table)))
        paths.append(path)
    return paths


def export_latex(run: Run, directory: str | Path) -> list[Path]:
    """Write arms.tex, and pairs.tex where arms have a seed in common: tables for booktabs."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    comparison, paths = run.compare(), []
    for name, table in comparison.tables().items():
        if name in PAPER_TABLES:
            verdict = f". Verdict: {comparison.verdict}" if name == "arms" else ""
            path = directory / f"{name}.tex"
            write_text(path, replace(table, caption=table.caption + verdict).latex())
            paths.append(path)
    return paths


def _without_binary(table: pa.Table) -> pa.Table:
    """CSV has no bytes: hexadecimal text instead."""
    for place, field in enumerate(table.schema):
        if pa.types.is_binary(field.type):
            values = [None if v is None else v.hex() for v in table.column(place).to_pylist()]
            table = table.set_column(place, field.name, pa.array(values, pa.string()))
        elif pa.types.is_timestamp(field.type):
            text = pc.strftime(table.column(place), format="%Y-%m-%dT%H:%M:%SZ")
            table = table.set_column(place, field.name, text)
    return table
