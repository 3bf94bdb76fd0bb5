"""A live kernel is interrupted while a cell searches: the run is kept, and so is the kernel."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

import results
from tests.conftest import ROOT, ClusterProcess
from tuner.session.cluster import ENVIRONMENT

pytestmark = [
    pytest.mark.slow,
    # Of jupyter_client and pyzmq, about event loops and where their files lie.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning"),
]
SECONDS = 120.0
SETUP = """
import time, tuner
def train(schedule, seed, report):
    for number in range(1, schedule.num_reports + 1):
        time.sleep(0.2)
        report(val_loss=1 / number, test_loss=1 / number)
kept = "mine"
settings = {{"dataset.train_examples": 20, "batch.initial": 10, "confirm.seeds": 1,
            "max_concurrent": 1, "objective": "val_loss", "cluster.address": "{address}"}}
"""
SEARCH = """
run = tuner.search("poly", train, trials=2, name="cut", lr=0.1, epochs=4, report=False,
                   baseline=False, settings=settings)
"""


@dataclass
class Cell:
    """What a cell has shown: printed text, its moving line, the error with its message."""

    text: str = ""
    line: str = ""
    error: tuple[str, str] = ("", "")
    presses: list[float] = field(default_factory=list)


@dataclass
class Kernel:
    manager: Any
    client: Any

    def run(
        self, code: str, presses_at: Callable[[str], bool] | None = None, times: int = 1
    ) -> Cell:
        """Execute; interrupt so many times once the line says so."""
        cell, asked = Cell(), self.client.execute(code)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if presses_at and presses_at(cell.line) and len(cell.presses) < times:
                self.manager.interrupt_kernel()
                cell.presses.append(time.monotonic())
            try:
                message = self.client.get_iopub_msg(timeout=0.2)
            except queue.Empty:
                continue
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != asked:
                continue
            if kind == "stream":
                cell.text += content["text"]
            elif kind == "update_display_data":
                cell.line = content["data"]["text/plain"]
            elif kind == "error":
                cell.error = content["ename"], content["evalue"]
            elif kind == "status" and content["execution_state"] == "idle":
                return cell
        raise AssertionError(f"no end of {code!r}: {cell}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def kernel(folder: Path, cluster: ClusterProcess) -> Iterator[Kernel]:
    manager = KernelManager()
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    manager.start_kernel(cwd=str(folder), env=environment)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    found = Kernel(manager, client)
    found.run(SETUP.format(address=cluster.address))
    yield found
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.mark.full
def test_an_interrupted_cell_keeps_everything_and_says_how_to_go_on(
    kernel: Kernel, folder: Path, cluster: ClusterProcess
) -> None:
    cell = kernel.run(SEARCH, lambda line: line.startswith("1/"))
    joins = f"settings={{'cluster.address': '{cluster.address}'}}"
    go_on = f"tuner.search(resume='runs/cut', trainable=train, {joins})"
    assert f"interrupted; everything finished is kept. Go on with: {go_on}\n" in cell.text
    assert cell.error[0] == "KeyboardInterrupt"
    assert cell.error[1].endswith(f"go on with {go_on}")
    kept = results.load(folder / "runs" / "cut")
    assert kept.trials["status"].to_pylist().count("completed") >= 1
    assert "interrupted" in kept.states()[0]
    again = kernel.run(f"run = {go_on}\nprint(kept, len(run.trials))")
    assert again.error == ("", "")
    assert again.text.endswith("mine 3\n")
    done = results.load(folder / "runs" / "cut")
    assert set(done.trials["status"].to_pylist()) == {"completed"}


@pytest.mark.full
def test_a_cell_that_is_interrupted_twice_leaves_the_kernel_alive(
    kernel: Kernel, folder: Path
) -> None:
    again = SEARCH.replace("cut", "twice")
    cell = kernel.run(again, lambda line: line.startswith("1/"), times=2)
    assert len(cell.presses) == 2
    assert cell.error[0] == "KeyboardInterrupt"
    assert results.load(folder / "runs" / "twice").trials.num_rows >= 1
    assert kernel.run("print(kept)").text == "mine\n"
