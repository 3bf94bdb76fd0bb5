"""Whole searches whose trainings keep state, die, hang and print: what becomes of the others."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import results
from tests.commands.command import reproducible
from tests.fakes.tune_loop import Inline

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

SMALL = (
    *("dataset.train_examples=100", "lr=0.5", "batch.initial=5", "epochs=3", "trials=3"),
    *("confirm.seeds=2", "max_concurrent=1", "display=plain"),
)
COUNTS = """
counter = []
def train(schedule, seed, report):
    counter.append(1)
    for _ in range(schedule.num_reports):
        report(val_accuracy=len(counter) / 100, test_accuracy=len(counter) / 100)
"""
# A confirm training, unless spared, ends as the line says after its first report.
ENDS = """
import ctypes, os, pathlib, time
def train(schedule, seed, report):
    for number in range(report.report, schedule.num_reports):
        print("working on", number)
        report(val_accuracy=0.5 + number / 100, test_accuracy=0.5, state={{"n": number}})
        if report.needs_test and not {spared}:
            {end}
"""


def write(folder: Path, text: str) -> str:
    path = folder / "mine.py"
    path.write_text(text)
    return f"trainable={path}:train"


def events(run: results.Run, kind: str) -> list[dict[str, Any]]:
    lines = (run.dirs[0] / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


@pytest.mark.fault("30", "a user's module that counts: each training has a module of its own")
def test_a_counter_of_the_module_makes_no_difference_and_did_where_a_process_is_shared(
    inline: Inline, tmp_path: Path
) -> None:
    trainable, reached = write(tmp_path, COUNTS), {}
    for isolate in ("true", "false"):
        done = inline.run(trainable, *SMALL, f"name={isolate}", f"isolate={isolate}")
        assert done.returncode == 0, done.stderr
        run = results.load(inline.folder / isolate)
        reached[isolate] = sorted(row["objective"] for row in run.trials.to_pylist())
    assert reached["true"] == [0.01] * 7
    assert reached["false"] == [number / 100 for number in range(1, 8)]


@pytest.mark.fault(
    "5", "a user's function that dies or hangs: tried again, counted, the search goes on"
)
@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("os._exit(1)", "the training's process ended with exit code 1"),
        ("ctypes.string_at(0)", "the training's process was ended by SIGSEGV"),
        ("time.sleep(1000)", "no report for 2 s (max_report_seconds): the training was ended"),
    ],
)
def test_deaths_and_hangs_are_tried_again_counted_and_the_search_goes_on(
    inline: Inline, tmp_path: Path, end: str, how: str
) -> None:
    trainable = write(tmp_path, ENDS.format(spared="seed % 2", end=end))
    words = (*SMALL, "max_failures=1", "max_report_seconds=2", "baseline=false", "name=ends")
    done = inline.run(trainable, *words, "confirm.seeds=4")
    assert done.returncode == 1
    run = results.load(inline.folder / "ends")
    rows = run.trials.to_pylist()
    odd = sum(row["seed"] % 2 for row in rows if row["role"] == "confirm")
    assert 0 < odd < 4  # both kinds are among the four seeds
    assert Counter(r["status"] for r in rows) == {"completed": 3 + odd, "failed": 4 - odd}
    for row in rows:
        log = run.dirs[0] / "logs" / f"{row['trial_key']}.txt"
        assert "working on 0" in log.read_text()
        if row["status"] == "failed":
            assert row["error"] == f"log: {log}\n{how}"
            assert row["attempt"] == 2
            assert f"trial {row['trial_key']}: {how} (retry 1 of 1); log: {log}" in done.stdout
    assert len(events(run, "lost")) == 4 - odd
    assert f"{4 - odd} of 7 trials failed; the first with:\n  {how}" in done.stdout


def test_a_training_that_died_once_goes_on_from_its_state_with_the_same_rows(
    inline: Inline, tmp_path: Path
) -> None:
    died, rows = tmp_path / "died", []
    end = f"if not os.path.exists({str(died)!r}): open({str(died)!r}, 'w'); os._exit(1)"
    trainable = write(tmp_path, ENDS.format(spared="False", end=end))
    for name, prepare, attempts in (
        ("whole", died.touch, [1] * 7),
        ("cut", died.unlink, [1] * 6 + [2]),
    ):
        prepare()
        done = inline.run(trainable, *SMALL, f"name={name}")
        assert done.returncode == 0, done.stderr
        run = results.load(inline.folder / name)
        assert sorted(row["attempt"] for row in run.trials.to_pylist()) == attempts
        rows.append(reproducible(run))
    assert rows[0] == rows[1]


def test_an_error_begins_with_its_log_and_ends_with_its_line(
    inline: Inline, tmp_path: Path
) -> None:
    trainable = write(
        tmp_path, "def train(schedule, seed, report):\n    print('here')\n    1 / 0\n"
    )
    done = inline.run(trainable, *SMALL, "name=zero", "max_failures=0")
    assert done.returncode == 1
    row = results.load(inline.folder / "zero").trials.to_pylist()[0]
    log = inline.folder / "zero" / "logs" / f"{row['trial_key']}.txt"
    assert row["error"].startswith(f"log: {log}\nTraceback")
    assert row["error"].rstrip().endswith("ZeroDivisionError: division by zero")
    assert log.read_text().endswith("here\n")


def test_dry_run_tells_file_and_line_of_an_error_and_what_a_process_costs(
    inline: Inline, tmp_path: Path
) -> None:
    trainable = write(tmp_path, "def train(schedule, seed, report):\n    f()\n\ndef f(): 1 / 0\n")
    refused = inline.run(trainable, *SMALL, "dry_run=true")
    assert refused.returncode == 2
    place = f"({tmp_path / 'mine.py'}, line 4)"
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("error")]
    assert line.endswith(f"its first epoch raised ZeroDivisionError: division by zero {place}")
    told = inline.run(write(tmp_path, COUNTS), *SMALL, "dry_run=true")
    assert "a fresh process for each training: 0." in told.stdout
    told = inline.run(write(tmp_path, COUNTS), *SMALL, "dry_run=true", "isolate=false")
    assert "fresh process" not in told.stdout


def test_the_last_printed_line_is_shown_where_asked_for(inline: Inline, tmp_path: Path) -> None:
    trainable = write(tmp_path, ENDS.format(spared="1", end="pass"))
    for asked in ("true", "false"):
        done = inline.run(trainable, *SMALL, f"name={asked}", f"display_log={asked}")
        assert done.returncode == 0, done.stderr
        assert bool(re.search(r"\n    working on \d\n", done.stdout)) == (asked == "true")
    refused = inline.run("space=poly", "display_log=true")
    assert refused.stderr.endswith(
        "display_log=true: has no effect; it needs trainable= and a display\n"
    )


def test_isolation_belongs_to_the_run_and_patience_does_not(
    inline: Inline, tmp_path: Path
) -> None:
    trainable = write(tmp_path, COUNTS)
    assert inline.run(trainable, *SMALL, "name=run").returncode == 0
    again = (trainable, f"resume={inline.folder / 'run'}", "trials=+1")
    refused = inline.run(*again, "isolate=false")
    assert refused.returncode == 2
    assert "isolate: cannot change when resuming" in refused.stderr
    assert inline.run(*again, "max_report_seconds=100").returncode == 0
