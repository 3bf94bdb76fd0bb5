"""Eight nodes and many short trainings: all of them recorded once, and every node is used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.laptop import load_whole
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
TRIALS, NODES = 80, 8


def test_short_trainings_on_eight_nodes_are_all_there_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.many_nodes", str(tmp_path), str(TRIALS), str(NODES)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["code"] == 0, done.stdout + done.stderr
    run = load_whole(tmp_path / "many", trials=TRIALS, epochs=3)
    (manifest,) = run.manifests.values()
    assert manifest["slots"]["max_concurrent"] == NODES
    assert len(told["nodes"]) == NODES
    assert sum(told["nodes"]) == 3 * TRIALS
    assert [quarter["driver_mb"] > 0 for quarter in told["quarters"]] == [True] * 4
