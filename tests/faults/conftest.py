"""The real command with a runs folder of its own, and the same without Ray's processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.command import Command
from tests.commands.conftest import command, inline

__all__ = ["alone", "command", "inline"]


@pytest.fixture
def alone(tmp_path: Path) -> Command:
    """The command for runs that start a Ray of their own (address=False): no cluster is there."""
    return Command(tmp_path, "")
