"""A process of Ray's own dies under a run: the driver ends soon, with its books closed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

import results
from tests.commands.command import Command, reproducible, wait_for
from tests.fakes.tune_loop import Inline
from tests.faults.counts import only_full
from tests.faults.faulty import SMALL, write_model

pytestmark = pytest.mark.slow

# No training goes on while this file is there, so none ends before the death is noticed.
HOLD = "hold"
WAIT = f"while FLAG.with_name('{HOLD}').exists():\n    time.sleep(0.1)"
END_SECONDS = 15.0
FEW_LINES = 12  # what a run of six short trainings says besides; Ray's essays have dozens


def child_called(parent: int, name: str) -> int:
    """The process of this name that the other has started."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text()
        except OSError:
            continue
        before, _, after = text.partition(" (")
        if after.startswith(f"{name})") and after.rpartition(")")[2].split()[1] == str(parent):
            return int(before)
    raise AssertionError(f"no process {name}")


@pytest.mark.fault(
    "7", "gcs_server or raylet killed: ends within 15 s with the resume command, which works"
)
@pytest.mark.parametrize(
    ("name", "called"),
    [
        pytest.param(*("gcs_server", "the head of the cluster (gcs_server)"), marks=only_full),
        ("raylet", "the node of this machine (raylet)"),
    ],
)
def test_the_run_ends_soon_with_its_books_closed_and_goes_on_elsewhere(
    alone: Command, inline: Inline, tmp_path: Path, name: str, called: str
) -> None:
    model = write_model(tmp_path, WAIT)
    process = alone.start(model, *SMALL, "name=cut", address=False)
    wait_for(process, "[2/")
    (tmp_path / HOLD).touch()
    os.kill(child_called(process.pid, name), signal.SIGKILL)
    begun = time.monotonic()
    out, err = communicate(process)
    assert time.monotonic() - begun < END_SECONDS
    assert process.returncode == 1
    assert f"error: {called}" in err
    assert f"resume={alone.folder / 'cut'}" in err
    assert len((out + err).splitlines()) < FEW_LINES, out + err
    (manifest,) = results.load(alone.folder / "cut").manifests.values()
    assert manifest["status"] == "failed"
    assert manifest["problem"].startswith(called)
    (tmp_path / HOLD).unlink()
    resumed = inline.run(f"resume={alone.folder / 'cut'}", model)
    assert resumed.returncode == 0, resumed.stderr
    whole = inline.run(model, *SMALL, "name=whole")
    assert whole.returncode == 0, whole.stderr
    cut, uncut = (results.load(alone.folder / run) for run in ("cut", "whole"))
    assert reproducible(cut) == reproducible(uncut)


def communicate(process: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
