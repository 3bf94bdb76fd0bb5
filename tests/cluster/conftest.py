"""A folder of its own for each test that sends jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.laptop import Laptop


@pytest.fixture
def laptop(tmp_path: Path) -> Laptop:
    return Laptop(tmp_path)
