"""How a run stands, from its records alone: also while another machine writes them."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from results import load
from results.records.lock import LOCK_NAME
from results.records.store import RunStore
from tests.conftest import ROOT
from tests.fakes.results import make_space, make_trial, write_run, write_trial
from tuner.display.standing import describe_run

STARTED = datetime(2026, 11, 21, 7, 15, tzinfo=UTC)
NOW = (STARTED + timedelta(minutes=2)).timestamp()
OLD_RUNS = ROOT / "tests" / "data" / "runs"
PLANNED = {"arms": {"poly": 100, "baseline": 2}, "samples_by_role": {"search": 102 * 7200}}
SLOTS = {"cpus_per_trial": 1.0, "gpus_per_trial": 0.0, "max_concurrent": 2}


def write_unfinished(run_dir: Path, holder: dict[str, Any] | None, **manifest: Any) -> Path:
    """Two ended trainings (90 and 92 %), one diverged, one at epoch 3 of 6, held by `holder`."""
    about: dict[str, Any] = {
        "status": "running",
        "started_at": STARTED.isoformat(),
        "spaces": [make_space("poly").to_dict()],
        "config": {"space": ["poly"]},
        "planned": PLANNED,
        "slots": SLOTS,
        "command": "python -m tuner.run space=poly",
    }
    with RunStore.create(run_dir, about | manifest, "") as store:
        write_trial(store, make_trial(params={"p": 0.5}), accuracy=0.9)
        write_trial(store, make_trial(params={"p": 0.7}), accuracy=0.92)
        write_trial(store, make_trial(params={"p": 3.0}), accuracy=0.5, status="diverged")
        write_trial(store, make_trial(params={"p": 1.5}), status="running", epochs=3)
    if holder is not None:
        (run_dir / LOCK_NAME).write_text(json.dumps(holder))
    for path in run_dir.rglob("*"):
        os.utime(path, (NOW - 7, NOW - 7))
    return run_dir


def screen(run_dir: Path, now: float = NOW) -> list[str]:
    shown = io.StringIO()
    console = Console(width=100, soft_wrap=True, markup=False, highlight=False, file=shown)
    console.print(describe_run(load(run_dir), now))
    return [" ".join(line.split()) for line in shown.getvalue().splitlines()]


def test_a_run_of_another_machine_is_told_with_arms_best_time_and_cost(tmp_path: Path) -> None:
    run_dir = write_unfinished(tmp_path / "x", {"pid": 1, "host": "node-3"})
    lines = screen(run_dir)
    assert lines[0].endswith("x: running (process 1 on node-3), last record 7 s ago")
    assert lines[1:6] == [
        "space done running diverged failed best val with",
        lines[2],  # below
        "baseline 0/2 0 0 0 -",
        "running role epoch lr batch delta val left",
        lines[5],
    ]
    assert lines[2].startswith("poly 3/100 1 1 0 9")  # the fake's last epoch has its own noise
    assert lines[2].endswith("p=0.7 interval=1 delta0=0.08839")
    assert lines[5].startswith("poly search 3/6 ")
    # Trainings of 6 epochs of 0.55 s. Seen are 3.5 of 102, the rest on two slots:
    # 98.5 * 3.3 / 2 = 162.5 s; spent 3.5 * 3.3 s = 0.0032 h of 102 * 3.3 s = 0.0935 h.
    assert lines[6] == (
        "2 min 00 s so far, about 2 min 43 s left; 0.0032 of about 0.094 CPU hours"
    )
    assert len(lines) == 7


def test_a_run_that_is_quiet_for_long_is_doubted(tmp_path: Path) -> None:
    run_dir = write_unfinished(tmp_path / "x", {"pid": 1, "host": "node-3"})
    (first, *_) = screen(run_dir, NOW + 3600)
    assert first.endswith("last record 1 h 00 min ago: is it still alive?")


@pytest.mark.parametrize("holder", [None, {"pid": 2**22 + 1, "host": socket.gethostname()}])
def test_a_run_whose_process_is_gone_says_so_and_how_to_go_on(
    holder: dict[str, Any] | None, tmp_path: Path
) -> None:
    lines = screen(write_unfinished(tmp_path / "x", holder))
    assert lines[0].endswith("x: ended without a word, 7 s ago")
    assert any(line.startswith("go on with: python -m tuner.run resume=") for line in lines)
    assert not any("left" in line for line in lines)


def test_an_interrupted_run_tells_its_problem(tmp_path: Path) -> None:
    ended = (STARTED + timedelta(minutes=1)).isoformat()
    run_dir = write_unfinished(
        tmp_path / "x", None, status="failed", problem="no space left", ended_at=ended
    )
    assert screen(run_dir)[0].endswith("x: failed 1 min 00 s ago: no space left")


def test_hours_that_end_a_search_bound_what_is_left(tmp_path: Path) -> None:
    config = {"space": ["poly"], "search": {"hours": 0.01}}  # 36 s of one CPU
    run_dir = write_unfinished(tmp_path / "x", {"pid": 1, "host": "node-3"}, config=config)
    # 36 s less the 3.5 * 3.3 = 11.55 s spent, on two slots: 12.2 s.
    assert "about 12 s left" in screen(run_dir)[6]


@pytest.mark.parametrize("name", ["ordinary", "squeezed", "squeezed_cut"])
def test_runs_of_before_are_told_too(name: str, tmp_path: Path) -> None:
    shutil.copytree(OLD_RUNS / name, tmp_path / name)
    lines = screen(tmp_path / name)
    assert f"{name}: " in lines[0]
    assert any(line.startswith("space done running") for line in lines)


def test_a_finished_run_has_nothing_left(tmp_path: Path) -> None:
    lines = screen(write_run(tmp_path / "x"))
    assert "x: completed" in lines[0]
    assert lines[-1].startswith("spent ")
