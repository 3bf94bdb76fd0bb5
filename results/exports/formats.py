"""How does a run get into spreadsheets, papers and optuna-dashboard? CSV, LaTeX, text, journal."""

from __future__ import annotations

import functools
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from results.records.plain import as_plain
from results.records.segments import write_atomically, write_text
from results.run import Run
from results.study import quiet_optuna

# What makes a spreadsheet compute a text, in any width; not of a number.
FORMULA = "^[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
NUMBER = r"^[-+]?[0-9.]+([eE][-+]?[0-9]+)?$"
JOURNAL_NAME = "optuna_journal.log"
PAPER_TABLES = ("arms", "pairs")  # of a comparison


def export_csv(run: Run, directory: str | Path) -> list[Path]:
    """Write trials.csv and epochs.csv: every column, UTF-8, empty where null, times in UTC.

    Bits of test_correct are written as hexadecimal digits, metrics by name as JSON. A text that a
    spreadsheet would compute (it begins with = + - @ and is no number) has a ' before it.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, table in (("trials", run.trials), ("epochs", run.epochs)):
        path = directory / f"{name}.csv"
        write_atomically(path, functools.partial(pa_csv.write_csv, without_formulas(table)))
        paths.append(path)
    return paths


def without_formulas(table: pa.Table) -> pa.Table:
    """The rows in plain types (`as_plain`), of which no spreadsheet computes a text."""
    table = as_plain(table)
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = table.column(place)
            is_formula = pc.match_substring_regex(texts, FORMULA)
            is_number = pc.match_substring_regex(texts, NUMBER)
            marked = pc.binary_join_element_wise(pa.scalar("'"), texts, "")
            kept = pc.if_else(pc.and_not(is_formula, is_number), marked, texts)
            table = table.set_column(place, field, kept)
    return table.rename_columns(
        [f"'{name}" if re.match(FORMULA, name) else name for name in table.column_names]
    )


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


def export_paragraph(run: Run, directory: str | Path) -> list[Path]:
    """Write paragraph.txt, .md and .tex: what was compared, how it was tuned, and the result."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paragraph = run.paragraph()
    texts = {
        "txt": f"{paragraph}\n",
        "md": paragraph.markdown(),
        "tex": paragraph.latex(),
    }
    paths = [directory / f"paragraph.{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_text(path, text)
    return paths


def export_journal(run: Run, path: str | Path) -> Path:
    """Write the studies of all spaces as one journal file, replacing an earlier one.

    A copy for the eye: the run goes on from its own records, never from this file. Opened by
    `optuna-dashboard FILE`, or by optuna.load_study with JournalStorage(JournalFileBackend(FILE)).

    Raises:
        ValueError: the run has no space.
    """
    import optuna  # late: --help stays fast
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if not run.spaces:
        raise ValueError("this run names no space: there is no study to export.")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with quiet_optuna(), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / JOURNAL_NAME  # a journal only grows; ours is new
        storage = JournalStorage(JournalFileBackend(str(file)))
        for space in run.spaces:
            study = run.to_study(space)
            copy = optuna.create_study(
                study_name=study.study_name, storage=storage, directions=study.directions
            )
            copy.set_user_attr("runs", ", ".join(run.manifests))
            copy.add_trials(study.get_trials(deepcopy=False))
        write_text(path, file.read_text())
    return path
