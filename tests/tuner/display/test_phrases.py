"""What is said on the terminal, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.trials import small_trial
from tuner.display.phrases import describe_params, describe_path, describe_seconds, stage_lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_seconds_are_told_in_words(seconds: float, text: str) -> None:
    assert describe_seconds(seconds) == text


def test_params_are_told_curve_first_and_without_a_split_of_one() -> None:
    params = {"split": 1.0, "delta0": 0.25, "interval": 3, "p": 0.5}
    assert describe_params(params) == "p=0.5 interval=3 delta0=0.25"
    assert describe_params(params | {"split": 0.0}).endswith("interval=3 delta0=0.25 split=0")


def test_long_stage_tables_leave_out_the_middle_and_keep_the_end() -> None:
    lines = stage_lines(small_trial("epochs=20", space="poly").schedule)
    assert len(lines) == 7
    assert lines[0].startswith("epoch 0 ")
    assert lines[5] == "... 14 more stages"
    assert lines[6].startswith("epoch 19 ")


def test_a_capped_stage_is_marked() -> None:
    lines = stage_lines(small_trial("batch.max=40", space="batch").schedule)
    assert ["capped" in line for line in lines] == [False, True, True]


def test_a_path_is_told_whole_where_the_working_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray removes and unpacks a job's copy again when another node of the machine needs it.
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    assert describe_path(gone / "x") == "x"
    gone.rmdir()
    assert describe_path(gone / "x") == str(gone / "x")
