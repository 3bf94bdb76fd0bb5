"""Exports for spreadsheets and papers, and the command line of all exports."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

import results
from results.__main__ import main
from results.plots import PLOTS
from results.plots.figure import arms_of
from results.records.store import RunStore
from tests.fakes.results import make_trial, write_run, write_trial

pytestmark = pytest.mark.slow  # the file takes more than a few seconds


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run", trials=2)


def test_csv_holds_every_row_and_column(run_dir, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", str(run_dir), "--tables", "csv", "--out", str(out)]) == 0
    assert capsys.readouterr().out.split() == [str(out / "trials.csv"), str(out / "epochs.csv")]
    run = results.load(run_dir)
    for name, table in (("trials", run.trials), ("epochs", run.epochs)):
        rows = list(csv.DictReader((out / f"{name}.csv").read_text().splitlines()))
        assert list(rows[0]) == table.column_names
        assert [row["trial_key"] for row in rows] == table.column("trial_key").to_pylist()
    accuracies = [row["val_accuracy"] for row in rows]
    assert list(map(float, accuracies)) == run.epochs.column("val_accuracy").to_pylist()


def test_csv_writes_nulls_times_and_bits_as_text(run_dir, tmp_path):
    main(["export", str(run_dir), "--tables", "csv", "--out", str(tmp_path)])
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    original = results.load(run_dir).trials.to_pylist()
    assert rows[0]["test_accuracy"] == rows[0]["test_correct"] == ""
    assert rows[0]["started_at"].startswith("2026-11-21T07:15:00")
    assert bytes.fromhex(rows[-1]["test_correct"]) == original[-1]["test_correct"]


def test_an_empty_run_has_empty_tables(tmp_path):
    RunStore.create(tmp_path / "run", {}, "").close()
    assert main(["export", str(tmp_path / "run"), "--tables", "csv,latex"]) == 0
    lines = (tmp_path / "run" / "export" / "trials.csv").read_text().splitlines()
    assert len(lines) == 1


def test_the_latex_table_tells_n_the_interval_and_every_arm(run_dir, tmp_path):
    main(["export", str(run_dir), "--tables", "latex", "--out", str(tmp_path)])
    text = (tmp_path / "arms.tex").read_text()
    assert f"Verdict: {results.load(run_dir).compare().verdict[:10]}" in text
    assert r"95\% t-interval" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [row.split("&")[0].strip() for row in rows] == [
        *("arm", "poly", "cosine", "your default (not tuned)")
    ]
    assert [row.split("&")[1].strip() for row in rows] == ["$n$", "$3$", "$3$", "$3$"]
    assert text.count("{") == text.count("}")
    assert [text.count(rf"\{rule}rule") for rule in ("top", "mid", "bottom")] == [1, 1, 1]


def test_names_cannot_become_latex(tmp_path):
    with RunStore.create(tmp_path / "run", {}, "") as store:
        write_trial(store, replace(make_trial(role="confirm"), space="a_b \\input{x}"))
    main(["export", str(tmp_path / "run"), "--tables", "latex"])
    text = (tmp_path / "run" / "export" / "arms.tex").read_text()
    assert r"a\_b \textbackslash{}input\{x\} & $1$ &" in text


def test_figures_come_in_every_format_asked_for(run_dir, tmp_path):
    arguments = ["--figures", "svg,pdf", "--out", str(tmp_path)]
    assert main(["export", str(run_dir), *arguments]) == 0
    run = results.load(run_dir)
    drawn = {name for name, plot in PLOTS.items() if arms_of(plot.info(run))}
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.{kind}" for name in drawn for kind in ("svg", "pdf")
    }


def test_several_exports_go_into_one_folder(run_dir, capsys):
    arguments = ["--schedule", "best", "--tables", "latex", "--journal", "--report"]
    assert main(["export", str(run_dir), *arguments]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {path.parent for path in paths} == {run_dir / "export"}
    assert [path.name for path in paths] == [
        *("schedule.csv", "schedule.json", "adapters.md", "torch_snippet.py"),
        *("arms.tex", "pairs.tex", "optuna_journal.log", "report.html"),
    ]
    assert all(path.stat().st_size > 100 for path in paths)


@pytest.mark.parametrize("kind", ["journal", "report"])
def test_a_single_file_may_be_named(run_dir, tmp_path, capsys, kind):
    out = tmp_path / "deep" / "mine.out"
    assert main(["export", str(run_dir), f"--{kind}", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert out.is_file()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "export what? Give one or more of --schedule"),
        (["--tables", "xls"], "--tables takes csv, latex, but got 'xls'."),
        (["--tables", ""], "--tables takes csv, latex, but got ''."),
        (["--figures", "png,jpg"], "--figures takes png, svg, pdf, but got 'jpg'."),
        (["--journal", "--report", "--out", "x.html"], "--out must name a folder"),
    ],
)
def test_bad_wishes_are_one_line_and_write_nothing(run_dir, tmp_path, capsys, arguments, error):
    before = sorted(run_dir.rglob("*"))
    assert main(["export", str(run_dir), *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: {error}")
    assert sorted(run_dir.rglob("*")) == before
