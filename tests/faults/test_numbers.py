"""Numbers that no training should report: each is a row, and the search goes on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import results
from tests.fakes.tune_loop import Inline
from tests.faults.counts import only_full

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

WORDS = (
    *("dataset.train_examples=100", "lr=0.5", "batch.initial=5", "epochs=3", "trials=3"),
    *("baseline=false", "confirm.seeds=3", "max_concurrent=1", "display=plain"),
)
# The second epoch of a confirm training with an even seed.
ODD = """
import numpy, torch
def train(schedule, seed, report):
    for number in range(schedule.num_reports):
        if report.needs_test and seed % 2 == 0 and number == 1:
            report({report})
        else:
            report(val_accuracy=0.5, val_loss=0.3, test_accuracy=0.5, test_loss=0.3)
"""
LINE = "TypeError: report: val_accuracy must be a number, but got "


@pytest.mark.fault(
    "18", "NaN, infinite, missing, text, arrays, too large: a row, the others go on"
)
@pytest.mark.parametrize(
    ("report", "status", "error"),
    [
        ("val_accuracy=float('nan')", "diverged", None),
        ("val_accuracy=float('inf')", "diverged", None),
        pytest.param("val_accuracy=-float('inf')", "diverged", None, marks=only_full),
        pytest.param(
            "val_accuracy=0.5, train_loss=numpy.float32('inf')", "diverged", None, marks=only_full
        ),
        ("val_accuracy=0.5, val_loss=torch.tensor(float('nan'))", "diverged", None),
        pytest.param("val_accuracy=numpy.float32(0.5)", "completed", None, marks=only_full),
        ("val_accuracy=torch.tensor(0.5)", "completed", None),
        ("val_accuracy=0.5, val_loss=-3.0", "completed", None),
        pytest.param("val_accuracy=None", "failed", f"{LINE}None.", marks=only_full),
        ("", "failed", f"{LINE}None."),
        ("val_accuracy='0.5'", "failed", f"{LINE}str."),
        pytest.param("val_accuracy=[0.5]", "failed", f"{LINE}list.", marks=only_full),
        ("val_accuracy=-0.1", "failed", "`0 <= val_accuracy <= 1` must hold"),
        pytest.param("val_accuracy=10 ** 400", "failed", f"{LINE}int.", marks=only_full),
    ],
)
def test_each_is_a_row_and_the_others_go_on(
    inline: Inline, tmp_path: Path, report: str, status: str, error: str | None
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(ODD.format(report=report))
    done = inline.run(f"trainable={path}:train", *WORDS, "name=run")
    rows = results.load(inline.folder / "run").trials.to_pylist()
    odd = [r for r in rows if r["role"] == "confirm" and r["seed"] % 2 == 0]
    assert 0 < len(odd) < 3
    assert Counter(r["status"] for r in odd) == {status: len(odd)}
    assert {r["status"] for r in rows if r not in odd} == {"completed"}
    assert len(rows) == 3 + 3
    assert done.returncode == (1 if status == "failed" else 0)
    for row in odd:
        assert (row["error"] is None) == (error is None)
        assert error is None or error in row["error"].splitlines()[-1]
        assert row["wall_seconds"] >= 0


LOSSES = """
def train(schedule, seed, report):
    for number in range(schedule.num_reports):
        report(val_loss={value}, test_loss={value})
"""


@pytest.mark.fault("18", "losses below zero are ranked; where all are infinite, it says so")
@pytest.mark.parametrize("value", ["-3.0", "float('inf')"])
def test_losses_below_zero_are_ranked_and_endless_ones_all_diverge(
    inline: Inline, tmp_path: Path, value: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(LOSSES.format(value=value))
    done = inline.run(f"trainable={path}:train", *WORDS, "objective=val_loss", "name=run")
    run = results.load(inline.folder / "run")
    statuses = set(run.trials["status"].to_pylist())
    assert statuses == ({"completed"} if value == "-3.0" else {"diverged"})
    assert done.returncode == (0 if value == "-3.0" else 1)
    assert "Traceback" not in done.stderr
