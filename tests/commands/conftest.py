"""The real command with a runs folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.command import Command
from tests.conftest import ClusterProcess
from tests.fakes.tune_loop import Inline


@pytest.fixture
def command(tmp_path: Path, cluster: ClusterProcess) -> Command:
    return Command(tmp_path, cluster.address)


@pytest.fixture
def inline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inline:
    """The same command without Ray's processes, with the same runs folder."""
    return Inline(tmp_path, monkeypatch)
