"""The last screen: what may be said of the best schedule, and commands that work as printed."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from results.__main__ import make_parser
from results.options import as_options
from results.statistics.claims import Claim, Outcome
from results.statistics.paired import paired_difference
from tuner.config.words import parse_words
from tuner.display.summary import (
    API,
    _search_line,
    describe_standing,
    next_commands,
    resume_command,
)

OPEN_SEARCH = {"search": {"sampler": "tpe", "budget": None}}
BUILT_IN = {key: {"name": "built_in"} for key in ("dataset", "model", "optimizer")}
CURVE = "my/knee.py:curve"


def claim(a: str, b: str, outcome: Outcome, winner: str | None = None) -> Claim:
    scores = {seed: 0.5 + 0.1 * seed for seed in range(5)}
    difference = paired_difference(scores, scores)
    return Claim(a=a, b=b, difference=difference, outcome=outcome, winner=winner)


@pytest.mark.parametrize(
    ("claims", "heading"),
    [
        ([], "best schedule"),
        ([claim("poly", "baseline", "better", "poly")], "best schedule"),
        (
            [claim("poly", "baseline", "better", "baseline")],
            "best schedule tried, behind your default (not tuned)",
        ),
        (
            [
                claim("poly", "baseline", "better", "poly"),
                claim("cosine", "poly", "undecided"),
                claim("cosine", "baseline", "better", "baseline"),
            ],
            "best schedule tried, not proven better than cosine",
        ),
        (
            [claim("poly", "baseline", "equivalent"), claim("poly", "exp", "undecided")],
            "best schedule tried, not proven better than your default (not tuned), exp",
        ),
    ],
)
def test_best_is_said_only_of_what_has_won(claims: list[Claim], heading: str) -> None:
    assert describe_standing("poly", claims) == heading


def manifest(family: str, command: str) -> dict[str, Any]:
    return {
        "config": {**OPEN_SEARCH, **BUILT_IN, "trainable": None, "space": ["poly", "knee"]},
        "spaces": [{"family": "poly"}, {"family": family}],
        "command": command,
    }


def test_searched_configs_tell_how_many_diverged() -> None:
    ends = [("completed", 0.3), ("diverged", None), ("diverged", None), ("completed", 0.4)]
    rows = [
        {"space": "poly", "role": "search", "config_key": str(number), "horizon": 1.0,
         "status": status, "objective": objective}
        for number, (status, objective) in enumerate(ends)
    ]  # fmt: skip
    run = SimpleNamespace(spaces=["poly"], manifests={"run": {"model_based": 0}})
    line = "searched configs: poly 4 of which 2 in full, 2 diverged (0 suggested by"
    assert _search_line(run, rows).startswith(line)


def test_the_commands_name_a_family_of_ones_own_which_allows_its_code() -> None:
    run = manifest(CURVE, "python -m tuner.run space=[poly,my/knee.py] trials=4")
    _, export, more = next_commands(Path("runs/a"), run, CURVE)
    words = shlex.split(export, comments=True)
    assert words[:3] == ["python", "-m", "results"]
    args = make_parser()[0].parse_args(words[3:])
    assert (args.command, args.schedule, args.family) == ("export", "best", CURVE)
    assert shlex.split(more, comments=True)[3:] == [
        *("resume=runs/a", "space=[poly,my/knee.py]", "trials=+10")
    ]


def test_built_in_families_need_no_words_of_their_own() -> None:
    run = manifest("cosine", "python -m tuner.run space=[poly,cosine]")
    _, export, more = next_commands(Path("runs/a"), run, "cosine")
    assert "--family" not in export
    assert "space=" not in more


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (["space=[poly,my/knee.py]"], ["space=[poly,my/knee.py]"]),
        (["space=a", "space='two words.py'"], ["space='two words.py'"]),
        (["--config-dir", "my own", "space=knee"], ["space=knee", "--config-dir", "my own"]),
        (["preset=mine", "--config-dir", "b"], ["space=[poly,knee]", "--config-dir", "b"]),
    ],
)
def test_what_goes_on_names_the_spaces_as_they_were_typed(
    typed: list[str], named: list[str]
) -> None:
    run = manifest(CURVE, shlex.join(["gradtune", "run", *typed]))
    line = resume_command(Path("two words"), run, "gradtune run", trials="+10")
    assert shlex.split(line) == ["gradtune", "run", "resume=two words", *named, "trials=+10"]


ODD = ("two words", "it's", "a=b (1)", "[x,y]", "~x", "-x", "$(touch x)", "\u00e9\u4e2d", "a\\'b")


@pytest.mark.parametrize("name", ODD)
def test_what_goes_on_can_be_pasted_whatever_the_folder_is_called(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_dir = tmp_path / name / "run"
    run_dir.mkdir(parents=True)
    shown = "printf '%s\\n' "
    line = resume_command(run_dir, manifest("poly", ""), trials="+10").replace("python ", shown)
    _, _, word, _ = subprocess.check_output(["bash", "-c", line], text=True).splitlines()
    assert Path(str(parse_words([word])["resume"])).samefile(run_dir)
    for line in next_commands(run_dir, manifest("poly", ""), "poly")[:2]:
        words = subprocess.check_output(["bash", "-c", line.replace("python ", shown)], text=True)
        (typed,) = [word for word in words.splitlines() if word.endswith("run")]
        parser, commands = make_parser()
        assert as_options([typed], commands["compare"]) == [typed]
        assert Path(parser.parse_args(["compare", typed]).paths[0]).samefile(run_dir)


def test_a_command_recorded_without_quotes_is_split_on_blanks() -> None:
    run = manifest(CURVE, "python -m tuner.run space=my/knee.py name=it's")
    assert resume_command(Path("runs/a"), run).endswith(" resume=runs/a space=my/knee.py")


def test_a_search_from_python_goes_on_from_python() -> None:
    run = manifest(CURVE, "tuner.search: space=my/knee.py")
    line = resume_command(Path("runs/a"), run, API)
    assert line == "tuner.search(resume='runs/a', space=...)"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"trainable": None}, ""),
        ({"trainable": "__main__:train"}, ", trainable=train"),
        ({"trainable": "__main__:Net.train"}, ", trainable=..."),
        ({"trainable": "mine:train"}, ", trainable='mine:train'"),
        ({"model": {"name": "mine:net"}}, ", model='mine:net'"),
        ({"recipe": {"family": "mine:curve"}}, ", settings={'recipe.family': 'mine:curve'}"),
    ],
)
def test_from_python_only_code_of_ones_own_is_named_again(
    given: dict[str, Any], named: str
) -> None:
    run = manifest("exp", "tuner.search: space=poly")
    run["config"] |= given
    line = resume_command(Path("runs/a"), run, API, trials="+2")
    assert line == f"tuner.search(resume='runs/a'{named}, trials='+2')"
