"""The real command with a runs folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.command import Command
from tests.conftest import ClusterProcess


@pytest.fixture
def command(tmp_path: Path, cluster: ClusterProcess) -> Command:
    return Command(tmp_path, cluster.address)
