"""`make papers`: it makes the pictures that docs/papers.md shows, and tells of each part."""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from tests.docs.text import ROOT
from tuner.config.compose import compose

SPEC = importlib.util.spec_from_file_location("papers", ROOT / "docs" / "papers.py")
assert SPEC is not None
assert SPEC.loader is not None
papers = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(papers)

PAGE = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")


def options(tmp_path: Path, *more: str, lanes: int = 2) -> argparse.Namespace:
    return argparse.Namespace(runs=tmp_path, out=tmp_path, lanes=lanes, more=list(more))


def test_every_picture_of_the_page_is_made_and_every_one_made_is_shown() -> None:
    made = {f"papers_{name}.png" for name, picture in papers.SEVERAL.items() if picture}
    for name, (_, figures) in papers.COMMANDS.items():
        made |= {f"papers_{name}_{figure}.png" for figure in figures}
    shown = set(re.findall(r"images/(papers_\w+\.png)", PAGE))
    assert made == shown
    assert shown <= {path.name for path in (ROOT / "docs" / "images").iterdir()}


@pytest.mark.parametrize("name", [n for n in papers.COMMANDS if n not in ("theory", "functions")])
def test_a_part_shares_the_cores_with_the_other_lane(name: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(papers.os, "cpu_count", lambda: 6)
    run = papers.commands_of(name, options(tmp_path))[0]
    assert "max_concurrent=3" in run
    keys = [word for word in run[1:] if "=" in word and not word.startswith("functions=")]
    assert compose(keys).max_concurrent == 3
    assert compose(keys).resources.cpus_per_trial == 1  # on two cores each lane has but one
    alone = papers.commands_of(name, options(tmp_path, lanes=1))[0]
    assert not any(word.startswith("max_concurrent") for word in alone)
    assert "resources.cpus_per_trial=1" in alone  # the same threads: the same numbers
    own = papers.commands_of(name, options(tmp_path, "max_concurrent=1"))[0]
    assert [word for word in own if word.startswith("max_concurrent")] == ["max_concurrent=1"]


def test_a_part_that_fails_does_not_end_the_others_and_each_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(papers, "COMMANDS", {"bad": ([], ()), "good": ([], ())})
    modules = {"bad": [["no_such_module_here"]], "good": [["platform"], ["calendar", "2026"]]}
    monkeypatch.setattr(papers, "commands_of", lambda name, given: modules[name])
    monkeypatch.setattr(sys, "argv", ["papers.py", "--runs", str(tmp_path), "--lanes", "1"])
    assert papers.main() == 1
    out = capsys.readouterr().out
    assert re.search(r"\[1/2\] bad: FAILED \(code 1\) in 0 min \d\d s, 0 min \d\d s since", out)
    assert re.search(r"\[2/2\] good: done in 0 min \d\d s", out)
    assert "failed: bad; the same command goes on with them" in out
    assert "January" in (tmp_path / "good.txt").read_text()
    assert "No module named no_such_module_here" in out


def test_a_part_that_is_not_known_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.setattr(sys, "argv", ["papers.py", "p1_scedules"])
    with pytest.raises(SystemExit) as left:
        papers.main()
    assert left.value.code == 2
    assert "no part p1_scedules (known: functions, " in capsys.readouterr().err
