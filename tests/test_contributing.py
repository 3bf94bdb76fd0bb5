"""Does what CONTRIBUTING says suffice? One more of each, added to a copy of the packages.

Everything is asked of one process that runs in the copy; each test reads a part of its answer.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from results.records.schema import TRIALS, trial_row
from results.records.segments import to_batch, write_segment
from tests.conftest import ROOT
from tests.fakes.results import START, make_trial

PACKAGES = ("search_spaces", "trainables", "results", "tuner")
FAMILY = '''"""Sine decay: d(u) = 1 - sin(pi u / 2)^q."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search_spaces.families.family import Family, Parameter
from search_spaces.space import Range


def curve(progress: NDArray[np.float64], *, q: float) -> NDArray[np.float64]:
    """Noise level relative to its start."""
    return np.asarray(1.0 - np.sin(np.pi * progress / 2.0) ** q)


FAMILY = Family(
    curve=curve,
    source="ours",
    parameters={
        "q": Parameter(
            range=Range(low=1.0, high=8.0), meaning="power of the sine", natural_ends=(1,)
        ),
    },
    color="sky",
    recipe={"q": 2.0},
)
'''
ASK_FAMILY = """
from results.arms.comparison import NATURAL_ENDS
from results.plots.search.parameter_map import main_axes
from results.plots.style import SKY, color_of
from results.records.schema import TRIALS, trial_row
from results.records.segments import read_segment
from tuner.config.compose import compose
from tuner.config.help import describe_keys, markdown
from tuner.plan.plan import make_plan

words = ["space=[sine,mine.yaml]", "spaces.sine.q.high=4", "recipe.family=sine"]
plan = make_plan(compose(words))
own, file = plan.spaces
trial = plan.trial(own, own.fixed | {"q": 2.0, "delta0": plan.delta_ref, "interval": 1})
row = trial_row(
    "run", trial, status="running", attempt=0, outcome=None, epochs_done=0, host="",
    started_at=datetime(2026, 11, 21, tzinfo=UTC), ended_at=None, error=None,
)
answer["family"] = {
    "ranges": {space.name: space.to_dict()["ranges"]["q"] for space in plan.spaces},
    "baseline": plan.baseline.fixed["q"],
    "lr": (trial.schedule.lr_S / trial.lr0).tolist(),
    "columns": TRIALS.names,
    "description": TRIALS.field("q").metadata[b"description"].decode(),
    "value": row["q"],
    "old": read_segment(Path("old.parquet"), TRIALS).to_pylist()[0]["q"],
    "is_sky": color_of("sine") == SKY,
    "axes": main_axes(["delta0", "interval", "q"]),
    "ends": NATURAL_ENDS["q"],
    "help": describe_keys().splitlines()[0],
    "docs": [line for line in markdown().splitlines() if line.startswith("| `sine` |")],
}
"""
ASK = f"""
import json
from datetime import UTC, datetime
from pathlib import Path

answer = {{}}
{ASK_FAMILY}
print(json.dumps(answer))
"""


def add_line(path: Path, after: str, line: str) -> None:
    """One line, behind the one that is named."""
    text = path.read_text()
    assert text.count(after) == 1
    path.write_text(text.replace(after, f"{after}{line}"))


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy of the packages with one more of each tells."""
    root = tmp_path_factory.mktemp("house")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, root / name)
    families = root / "search_spaces" / "families"
    (families / "sine.py").write_text(FAMILY)
    add_line(families / "__init__.py", '    "poly": poly.FAMILY,\n', '    "sine": sine.FAMILY,\n')
    add_line(families / "__init__.py", "import constant, ", "sine, ")
    (root / "mine.yaml").write_text("family: sine\nq: {low: 2.0, high: 3.0}\n")
    row = trial_row(
        "run", make_trial(), status="running", attempt=0, outcome=None, epochs_done=0, host="",
        started_at=START, ended_at=None, error=None,
    )  # fmt: skip
    write_segment(root / "old.parquet", pa.Table.from_batches([to_batch(row, TRIALS)]))
    asked = subprocess.run(
        [sys.executable, "-c", ASK], cwd=root, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 0, asked.stderr
    return dict(json.loads(asked.stdout))


def test_a_new_family_is_a_space_of_the_command_line_and_of_files(answer: dict[str, Any]) -> None:
    told = answer["family"]
    assert told["ranges"] == {"sine": {"low": 1, "high": 4}, "mine": {"low": 2, "high": 3}}
    assert told["baseline"] == 2.0
    assert "poly, sine, " in told["help"]
    # sin^2 is one minus cos^2: 15 epochs of digits.
    expected = [1.0, 0.75, 0.25]  # at u = 0, 1/3, 2/3
    assert told["lr"][::5] == pytest.approx(expected)


def test_a_new_family_has_its_columns_behind_all_others(answer: dict[str, Any]) -> None:
    told = answer["family"]
    assert told["columns"] == [*TRIALS.names, "q"]
    assert told["description"] == "power of the sine"
    assert told["value"] == 2.0


def test_records_from_before_a_new_family_are_read(answer: dict[str, Any]) -> None:
    assert answer["family"]["old"] is None


def test_a_new_family_is_drawn_and_documented(answer: dict[str, Any]) -> None:
    told = answer["family"]
    assert told["is_sky"]
    assert told["axes"] == ["q", "interval"]
    assert told["ends"] == [1]
    (line,) = told["docs"]
    assert "Sine decay" in line
    assert "`q`: power of the sine" in line
