"""The command with a baseline of the user's own: any curve, a name, searched or not."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path

import pytest

import results
from tests.commands.command import SMALL, reproducible
from tests.conftest import ROOT
from tests.fakes.tune_loop import Inline

pytestmark = pytest.mark.slow

KNEE = f"recipe.family={ROOT / 'tests' / 'fakes' / 'knee.py'}:curve"
# Constant for half of the training, then linear to a tenth.
KNEE_BASELINE = (*SMALL, "space=poly", "trials=2", KNEE, "recipe.knee=0.5", "recipe.end=0.1",
       "baseline.name='half, then down'")  # fmt: skip


def test_a_curve_of_ones_own_is_the_baseline_by_name_and_is_resumed(inline: Inline) -> None:
    done = inline.run(*KNEE_BASELINE, "name=whole")
    assert done.returncode == 0, done.stderr
    assert "half, then down (not tuned)" in done.stdout
    run_dir = inline.folder / "whole"
    run = results.load(run_dir)
    rows = [row for row in run.epochs.to_pylist() if row["space"] == "baseline:half, then down"]
    # Three epochs, read at u = 0, 1/3, 2/3; lr 0.1 of the digits.
    expected = [0.1, 0.1, 0.1 * (0.1 + 0.9 * (1 / 3) / 0.5)]
    assert [row["lr"] for row in rows] == pytest.approx(expected * 2, rel=1e-12)
    trials = [row for row in run.trials.to_pylist() if row["space"].startswith("baseline")]
    assert [row["end"] for row in trials] == [0.1, 0.1]

    refused = inline.run(f"resume={run_dir}", "confirm.seeds=3")
    assert refused.returncode == 2
    assert f"repeat {KNEE} to allow it" in refused.stderr
    (line,) = re.findall(r"^ +(python -m tuner.run resume=.*) +# search on", done.stdout, re.M)
    words = shlex.split(line)
    assert words[-2:] == [KNEE, "trials=+10"]
    more = inline.run(f"resume={run_dir}", KNEE, "confirm.seeds=3")
    assert more.returncode == 0, more.stderr
    again = inline.run(*KNEE_BASELINE, "confirm.seeds=3", "name=again")
    assert again.returncode == 0, again.stderr
    resumed, uncut = (results.load(inline.folder / name) for name in ("whole", "again"))
    assert reproducible(resumed) == reproducible(uncut)


@pytest.mark.full
def test_a_tuned_baseline_gets_what_an_arm_gets(inline: Inline) -> None:
    words = (*SMALL, "space=cosine", "baseline=tuned", "recipe.family=wsd", "recipe.f=0.5")
    done = inline.run(*words, "trials=3", "name=tuned")
    assert done.returncode == 0, done.stderr
    assert "your default (tuned)" in done.stdout
    assert "not tuned" not in done.stdout
    run = results.load(inline.folder / "tuned")
    counts = Counter((row["space"], row["role"]) for row in run.trials.to_pylist())
    assert counts == {
        (space, role): count
        for space in ("cosine", "baseline_tuned")
        for role, count in (("search", 3), ("confirm", 2))
    }
    tuned = [row for row in run.trials.to_pylist() if row["space"] == "baseline_tuned"]
    searched = [row for row in tuned if row["role"] == "search"]
    assert {row["f"] for row in tuned} == {0.5}
    assert {row["interval"] for row in tuned} == {1}
    assert len({row["p"] for row in searched}) == len({row["lr0"] for row in searched}) == 3
    comparison = run.compare()
    assert comparison.reference == "baseline_tuned"
    assert run.best().space == "cosine"
    assert run.best("baseline_tuned").family == "wsd"
    more = inline.run(f"resume={inline.folder / 'tuned'}", "trials=+1")
    assert more.returncode == 0, more.stderr
    counts = Counter((row["space"], row["role"]) for row in run_rows(inline.folder / "tuned"))
    assert counts["baseline_tuned", "search"] == counts["cosine", "search"] == 4


def run_rows(run_dir: Path) -> list[dict[str, object]]:
    return results.load(run_dir).trials.to_pylist()


def test_the_reference_may_be_named_as_the_user_calls_it(inline: Inline) -> None:
    words = (*SMALL, "space=poly", "trials=1", "baseline.name='cosine to 10 %'", "recipe.end=0.1")
    assert inline.run(*words, "name=named").returncode == 0
    run = results.load(inline.folder / "named")
    arm = "baseline:cosine to 10 %"
    for name in (None, "baseline", "cosine to 10 %", arm):
        assert run.compare(reference=name).reference == arm
    assert run.compare(reference="poly").reference == "poly"
    with pytest.raises(ValueError, match="unknown arm 'cosine'"):
        run.compare(reference="cosine")
    assert run.best(arm).params["end"] == 0.1
