"""The clock of the machine is set by an hour while a run goes on."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import results
from results.plots.arms.time_use import time_use_info
from tests.conftest import ROOT
from tests.faults.counts import only_full
from tests.faults.drivers import TINY, Driver


@only_full
@pytest.mark.fault("28", "set by an hour, back or on: no negative or absurd duration")
@pytest.mark.slow
@pytest.mark.parametrize("seconds", [-3600, pytest.param(3600, marks=only_full)])
def test_a_clock_that_jumps_makes_no_absurd_duration(tmp_path: Path, seconds: int) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library, jump = tmp_path / "jump.so", tmp_path / "jump"
    source = str(ROOT / "tests" / "faults" / "records" / "jumping_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    jump.write_text("0")
    driver = Driver(tmp_path, LD_PRELOAD=str(library), JUMP=str(jump))
    driver.wait()
    # Some seconds, and the clock is set within.
    long = [word for word in TINY if not word.startswith("epochs=")]
    driver.tell(*long, "epochs=16", "name=jumped", "report=true")
    end = time.monotonic() + 60
    while not list(tmp_path.glob("jumped/epochs/*.parquet")) and time.monotonic() < end:
        time.sleep(0.02)
    jump.write_text(str(seconds))
    ended = driver.ended()
    driver.close()
    assert ended.code == 0, ended.err
    run = results.load(tmp_path / "jumped")
    for row in run.trials.to_pylist():
        assert timedelta(0) <= row["ended_at"] - row["started_at"] < timedelta(minutes=5)
        assert 0 <= row["train_seconds"] <= row["wall_seconds"] < 300
    for row in run.epochs.to_pylist():
        assert 0 <= row["seconds"] < 300
        assert 0 <= row["wall_seconds"] < 300
    (manifest,) = run.manifests.values()
    began, over = (datetime.fromisoformat(manifest[f"{name}_at"]) for name in ("started", "ended"))
    assert timedelta(0) <= over - began < timedelta(minutes=5)
    assert 0 <= time_use_info(run).slot_seconds < 300
    assert not re.search(r"-\d+ s\b|\d+ h \d+ min", ended.out)
    assert not re.search(r"\b\d+ h \d\d min", (tmp_path / "jumped" / "report.html").read_text())
