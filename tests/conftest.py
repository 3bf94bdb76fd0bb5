"""One Ray cluster for the whole session, started when the first test needs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tuner.cluster import ENVIRONMENT

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def cluster_address() -> Iterator[str]:
    """host:port of the head of a cluster with two CPUs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.cluster_process"],
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
    yield address
    process.stdin.close()
    process.stdout.close()
    process.wait(timeout=60)
