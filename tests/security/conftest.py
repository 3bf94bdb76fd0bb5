"""The real command without Ray's processes, with a runs folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.tune_loop import Inline


@pytest.fixture
def inline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inline:
    return Inline(tmp_path, monkeypatch)
