"""How do a run's records and its comparison get into spreadsheets and papers? CSV and LaTeX."""

from __future__ import annotations

import functools
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from results.records.segments import write_atomically, write_text
from results.run import Run
from results.statistics.compare import ArmSummary, Comparison, arm_label, interval_text, points

LATEX_SPECIAL = {
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}"},
}


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
    """Write arms.tex: the arms side by side as a table for booktabs."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "arms.tex"
    write_text(path, latex_table(run.compare()))
    return [path]


def latex_table(comparison: Comparison) -> str:
    r"""A `table` of the arms' scores; needs \usepackage{booktabs}. Names are escaped."""
    metric = latex_text(comparison.metric.replace("_", " "))
    reference = latex_text(arm_label(comparison.reference))
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_caption(comparison)}}}",
        r"  \begin{tabular}{lrrl}",
        r"    \toprule",
        rf"    arm & $n$ & {metric} [\%] & minus {reference} [points] \\",
        r"    \midrule",
        *(f"    {_row(arm)} \\\\" for arm in comparison.arms),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(["% \\usepackage{booktabs}", *lines]) + "\n"


def latex_text(text: str) -> str:
    """Text that LaTeX prints as it is; what is not printable becomes a space."""
    return "".join(LATEX_SPECIAL.get(c, c if c.isprintable() else " ") for c in text)


def _caption(comparison: Comparison) -> str:
    kinds = sorted({arm.difference.interval_kind for arm in comparison.arms if arm.difference})
    told = f" with {latex_text(' or '.join(kinds))}" if kinds else ""
    return (
        f"Mean and standard deviation over $n$ confirm seeds; differences are paired by seed"
        f"{told}. Verdict: {latex_text(comparison.verdict)}"
    )


def _row(arm: ArmSummary) -> str:
    score = f"${100 * arm.mean:.2f}$" if arm.n else "--"
    if arm.n > 1:
        score = f"${100 * arm.mean:.2f} \\pm {100 * arm.sd:.2f}$"
    vs = arm.difference
    gain = f"${points(vs.mean)[0]}$ {interval_text(vs)}" if vs and vs.n else "--"
    return f"{latex_text(arm_label(arm.name))} & {arm.n} & {score} & {gain}"


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
