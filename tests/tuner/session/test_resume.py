"""What an earlier run goes on with: its own settings, and only the keys that may change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tuner.config.schema import ConfigError, plain
from tuner.run import main, make_request, read_command
from tuner.session.resume import resume_run


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A finished run of the version before this one."""
    return Path(shutil.copytree(ROOT / "tests" / "data" / "runs" / "ordinary", tmp_path / "run"))


def test_a_resumed_run_has_its_own_settings_and_plan(run_dir: Path) -> None:
    plan, folder = resume_run(str(run_dir), {})
    request = make_request({"resume": run_dir})
    assert request.run_dir == folder == run_dir.resolve()
    assert request.config == plan.config
    assert request.make_plan() == plan
    assert plan.config.space == [space.name for space in plan.spaces]


def test_a_run_is_found_by_its_name_where_runs_dir_points(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(run_dir.parent))
    for place in (str(run_dir.parent), "~"):
        assert resume_run("run", {"runs_dir": place})[1] == run_dir.resolve()
    assert resume_run("~/run", {})[1] == run_dir.resolve()
    monkeypatch.chdir(run_dir.parent)
    assert resume_run("run", {})[1] == run_dir.resolve()
    shutil.copytree(run_dir, run_dir.parent / "runs" / "run")
    other = run_dir.parent / "runs" / "run"
    assert resume_run("run", {"runs_dir": "runs"})[1] == other.resolve()  # as it is said
    shutil.rmtree(run_dir)
    assert resume_run("run", {})[1] == other.resolve()


def test_a_run_that_is_nowhere_is_told_with_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        resume_run("a\nb", {"runs_dir": str(tmp_path)})
    assert str(caught.value) == (
        f"resume=a b: no run there or in {tmp_path} (manifest.json is missing)"
    )


@pytest.mark.parametrize("trials", ["+3", "6", 6])
def test_trials_are_added_or_set(run_dir: Path, trials: str | int) -> None:
    assert resume_run(str(run_dir), {})[0].config.trials == 3  # as its manifest says
    assert resume_run(str(run_dir), {"trials": trials})[0].config.trials == 6


def test_nested_values_and_shorthands_are_the_same_keys(run_dir: Path) -> None:
    given = {"confirm": {"seeds": 4}, "dataset": "digits"}
    assert resume_run(str(run_dir), given)[0].config.confirm.seeds == 4


def test_hours_may_be_given_raised_and_lifted(run_dir: Path) -> None:
    given = {"search.hours": 2, "confirm.hours": 0.5, "confirm.seeds": 3}
    config = resume_run(str(run_dir), given)[0].config
    assert (config.search.hours, config.confirm.hours) == (2.0, 0.5)
    manifest = json.loads((run_dir / "manifest.json").read_text())
    (run_dir / "manifest.json").write_text(json.dumps(manifest | {"config": plain(config)}))
    again = resume_run(str(run_dir), {"search.hours": 3, "confirm.hours": None})[0].config
    assert (again.search.hours, again.confirm.hours) == (3.0, None)
    with pytest.raises(ConfigError, match=r"^search\.hours=1\.0: the run already has 2\.0$"):
        resume_run(str(run_dir), {"search.hours": 1})


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"epochs": 3}, "epochs: cannot change when resuming (allowed: trials, "),
    ({"spaces.poly.p.low": 1}, "spaces.poly.p.low: cannot change when resuming"),
    ({"model": "resnet20"}, "model.name=resnet20: cannot change when resuming (the run has "),
    ({"space": "cosine"}, "space=cosine: cannot change when resuming (the run has poly,cosine)"),
    ({"space": "poli"}, "unknown space 'poli'; did you mean 'poly'?"),
    ({"trials": 1}, "trials=1: the run already has 3"),
    ({"trials": "+x"}, "trials=+x: write a whole number, or +N for N more"),
    ({"trials": "many"}, "trials=many: allowed is a whole number, 1 to 1,000,000"),
    ({"confirm.seeds": 0}, "confirm.seeds=0: the run already has 2"),
    ({"max_concurrent": 0}, "max_concurrent=0: allowed is >= 1"),
    ({"confirm.max_seeds": 9}, "confirm.max_seeds=9: has no effect; it needs confirm.until="),
    ({"tracking.uri": "x"}, "tracking.uri=x: has no effect; it needs 'track=[mlflow]'"),
    ({"track": "wandv"}, "unknown tracker 'wandv'; did you mean 'wandb'?"),
    ({"trails": 9}, "unknown key 'trails'; did you mean 'trials'?"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=[str(g) for g, _ in REFUSED])
def test_what_cannot_change_is_refused_in_one_line(
    run_dir: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        resume_run(str(run_dir), given)
    assert str(caught.value).startswith(message)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.yaml", "trials: [1\n"),
        ("config.yaml", ""),
        ("config.yaml", "trials: 3\nconfirm: {}\ntrails: 3\n"),
        ("manifest.json", "{"),
        ("manifest.json", "[]"),
    ],
)
def test_a_damaged_run_folder_is_told_in_one_line(
    run_dir: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_dir / name).write_text(text)
    assert main([f"resume={run_dir}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: resume={run_dir}: unreadable run folder: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("option", [["--config-dir", "my own"], ["--config-dir=my own"]])
def test_the_folder_of_ones_own_files_is_part_of_the_command(option: list[str]) -> None:
    command = read_command(["trials=3", *option, "space=knee"])
    assert command.words == ["trials=3", "space=knee", "--config-dir", "my own"]
