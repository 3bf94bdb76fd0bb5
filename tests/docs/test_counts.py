"""What docs/faults.md is made of: what did not hold is counted too, and fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.counts import FILE, tries, worst


@pytest.fixture
def counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FILE, str(tmp_path / "counts.json"))
    return tmp_path / "counts.json"


def test_a_try_that_does_not_hold_is_counted_and_the_others_are_made(counts: Path) -> None:
    with pytest.raises(ExceptionGroup, match=r"^1 tries did not hold") as caught:  # noqa: PT012
        with tries() as once:
            for number in range(3):
                with once("1", "told"):
                    assert number != 1
    assert len(caught.value.exceptions) == 1
    told = json.loads(counts.read_text())["1"]["told"]
    assert (told["passed"], told["of"]) == (2, 3)
    (test,) = told["tests"]
    assert test.endswith("::test_a_try_that_does_not_hold_is_counted_and_the_others_are_made")


def test_of_what_is_measured_the_worst_is_kept(counts: Path) -> None:
    for seconds in (2.0, 3.0, 1.0):
        worst("1", "took", seconds, "s")
    assert json.loads(counts.read_text())["1"]["took"]["worst"] == 3.0


MARKED = """
import pytest

@pytest.mark.fault("1", "of two")
@pytest.mark.parametrize("held", [True, False])
def test_some(held):
    assert held

@pytest.mark.fault("2", "skipped")
def test_skipped():
    pytest.skip("no such machine")

@pytest.mark.fault("3", "in its fixture")
def test_fixture(nowhere):
    pass

@pytest.mark.fault("4")
def test_left_out():
    pass
"""


@pytest.mark.slow
def test_marked_tests_are_counted_by_their_outcome(counts: Path, tmp_path: Path) -> None:
    (tmp_path / "test_marked.py").write_text(MARKED)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [
            *command,
            "-c",
            ROOT / "pyproject.toml",
            "-k",
            "not left_out",
            tmp_path / "test_marked.py",
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout
    told = {
        row: {text: (entry["passed"], entry["of"]) for text, entry in texts.items()}
        for row, texts in json.loads(counts.read_text()).items()
    }
    assert told == {
        "1": {"of two": (1, 2)},
        "2": {"skipped": (0, 0)},
        "3": {"in its fixture": (0, 1)},
        "4": {"": (0, 0)},
    }
