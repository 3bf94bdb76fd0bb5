"""The plan, printed before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.trials import SMALL
from tuner.run import main


def test_a_dry_run_prints_budget_schedules_and_time(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [*SMALL, "space=[poly,cosine]", "trials=5", "confirm.seeds=2"]
    assert main([*words, "dry_run=true", f"runs_dir={tmp_path / 'runs'}"]) == 0
    out = capsys.readouterr().out
    # 300 images, a fifth of them to validate: 240 a training epoch, 3 epochs.
    assert "search poly: 5 configs x 3 epochs = 3,600 samples" in out
    assert "confirm poly, cosine, baseline: 1 config x 2 seeds x 3 epochs each" in out
    assert "in total 16 trainings (10 searched), 11,520 samples" in out
    assert "decay rate" in out
    assert "estimated time: " in out
    assert not (tmp_path / "runs").exists()
