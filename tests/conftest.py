"""One Ray cluster for all tests that need one, which one process runs; started by the first."""

from __future__ import annotations

import functools
import gc
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from search_spaces import registry
from tests.faults.counts import count
from tuner.session.cluster import ENVIRONMENT

gc.disable()  # until all is imported
# A busy machine is no defect: an example may take as long as it takes.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Started in the background of a script, Python inherits "ignore" and so would all commands here.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and of nohup

# No test asks the hub of Hugging Face for anything.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).parent.parent


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """As many processes as CPUs; slow tests wait for Ray about half of their time: one more."""
    waiting = "not slow" not in config.option.markexpr
    return min(4, len(os.sched_getaffinity(0)) + waiting)


@functools.cache
def tests_on_ray(file: str) -> set[str]:
    """Names of this file's tests whose arguments ask for the cluster."""
    asks = r"def (test_\w+)\([^)]*\b(?:cluster: ClusterProcess|command: Command)\b"
    return set(re.findall(asks, (ROOT / file).read_text(encoding="utf-8")))


class OneCluster(LoadFileScheduling):
    """A file's tests in one process, but for those on the cluster, which have one for them all."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, name = nodeid.partition("::")
        return "on Ray" if name.partition("[")[0] in tests_on_ray(file) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> OneCluster:
    """Instead of xdist's by file, of the same order."""
    return OneCluster(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test that is marked with a row of docs/faults.md tells of it."""
    report = yield
    if report.when == "call" or (report.when == "setup" and report.failed):
        for mark in item.iter_markers("fault"):
            if len(mark.args) == 2 and not report.skipped:
                count(*mark.args, passed=int(report.passed), of=1)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts Ray's processes comes first: at the end the other processes would wait for it.

    A test that is skipped or left out is one that docs/faults.md calls not tried.
    """
    on_ray = {item.path for item in items if "cluster" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in on_ray)
    for item in items:
        for mark in item.iter_markers("fault"):
            row, text = (*mark.args, "")[:2]
            count(row, text, passed=0, of=0, test=item.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What has been imported stays: the collector of garbage never looks at it."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def names_given_in_a_test_are_its_own() -> Iterator[None]:
    """No code is imported because another test was given its name."""
    before = {*registry._allowed}
    yield
    registry._allowed.clear()
    registry._allowed.update(before)


@dataclass(frozen=True)
class ClusterProcess:
    """A running cluster: host:port of its head, and its process."""

    address: str
    pid: int

    def worker_pids(self) -> list[int]:
        """Its processes that train a trial right now."""
        listing = subprocess.run(
            ["pgrep", "--full", "ray::.*Trainable"], capture_output=True, text=True, check=False
        )
        return [pid for pid in map(int, listing.stdout.split()) if self._is_mine(pid)]

    def _is_mine(self, pid: int) -> bool:
        while pid > 1:
            if pid == self.pid:
                return True
            status = Path(f"/proc/{pid}/stat")
            pid = int(status.read_text().rpartition(")")[2].split()[1]) if status.exists() else 0
        return False


@pytest.fixture(scope="session")
def cluster() -> Iterator[ClusterProcess]:
    """A cluster with two CPUs; whoever joins it finds its token in the environment."""
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.processes.cluster_process"],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    address = process.stdout.readline().strip()
    assert address, "the cluster did not start"
    yield ClusterProcess(address=address, pid=process.pid)
    process.stdin.close()
    process.stdout.close()
    process.wait(timeout=60)
