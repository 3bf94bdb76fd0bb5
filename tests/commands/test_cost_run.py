"""The command with hours: what it costs is recorded and told, and ends a run that can go on."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from typing import Any

import pytest

import results
from tests.commands.command import SMALL
from tests.fakes.tune_loop import Inline, OneWorker

pytestmark = pytest.mark.slow

WORDS = (*SMALL, "space=[poly,cosine]", "confirm.seeds=4", "name=run")
LITTLE = 1e-6  # hours: less than any training takes


def counts(run: results.Run) -> Counter[tuple[str, str]]:
    return Counter((row["space"], row["role"]) for row in run.rows())


def test_hours_end_a_run_with_equal_arms_and_more_hours_go_on(inline: Inline) -> None:
    done = inline.run(*WORDS, f"search.hours={LITTLE}", f"confirm.hours={LITTLE}")
    assert done.returncode == 0, done.stderr
    run = results.load(inline.folder / "run")
    one_round = {("poly", "search"): 1, ("cosine", "search"): 1}
    seeds = {(arm, "confirm"): 2 for arm in ("poly", "cosine", "baseline")}
    assert counts(run) == one_round | seeds
    assert "n=2 paired seeds (preliminary, confirm.hours spent)" in done.stdout
    assert f"(search.hours={LITTLE:g} ended it)" in done.stdout
    (offer,) = [line for line in done.stdout.splitlines() if "# search on" in line]
    assert f" search.hours={2 * LITTLE:g} " in offer
    again = inline.run(f"resume={inline.folder / 'run'}")
    assert again.returncode == 0
    assert counts(results.load(inline.folder / "run")) == one_round | seeds
    more = inline.run(f"resume={inline.folder / 'run'}", "search.hours=1", "confirm.hours=1")
    assert more.returncode == 0, more.stderr
    run = results.load(inline.folder / "run")
    assert counts(run)["poly", "search"] == counts(run)["cosine", "search"] == 4
    chosen = Counter(r["space"] for r in run.rows() if r["role"] == "confirm" and r["chosen"])
    assert chosen == {"poly": 4, "cosine": 4, "baseline": 4}
    manifest = json.loads((inline.folder / "run" / "manifest.json").read_text())
    assert manifest["hours_spent"] == []
    assert manifest["looked"], "more seeds after a look at the first"
    assert "hours spent" not in more.stdout


def test_time_is_wall_time(inline: Inline, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Tune takes from one report to the next belongs to a training that waits for it."""
    call, pause = OneWorker._call, 0.05

    def slow(self: OneWorker, event: str, **about: Any) -> None:
        time.sleep(pause if event == "on_trial_result" else 0.0)
        call(self, event, **about)

    monkeypatch.setattr(OneWorker, "_call", slow)
    monkeypatch.setattr(
        "trainables.trainable.ScheduledTrainable.report_seconds", 0.0
    )  # one at a time
    start = time.monotonic()
    done = inline.run(*SMALL, "trials=1", "confirm.seeds=1", "baseline=false", "name=run")
    took = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    run = results.load(inline.folder / "run")
    by_trial, told = run.epochs_by_trial(), 0.0
    for row in run.rows():
        epochs = by_trial[row["run_id"], row["trial_key"]]
        walls = [e["wall_seconds"] for e in epochs]
        parts = [e["seconds"] + e["eval_seconds"] for e in epochs]
        # The pause after a report is part of the next one.
        assert all(wall >= part for wall, part in zip(walls, parts, strict=True))
        assert min(walls[1:]) >= pause
        # And the end: losses on all training data, test data.
        assert row["wall_seconds"] > sum(walls)
        told += row["wall_seconds"]
    assert told < took
    hours = r"<?0(\.\d+)?"
    line = f"^spent {hours} CPU hours: search {hours}, confirm {hours}$"
    assert re.search(line, done.stdout, re.M)
