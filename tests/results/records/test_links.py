"""Nothing is written through a symbolic link in a run folder, and what it names stays as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import results
from results.__main__ import main
from results.records.store import RunStore
from tests.fakes.results import write_run

PLACES = (
    *(".lock", "manifest.json", "config.yaml", "events.jsonl", "exclusions.jsonl", "report.html"),
    *("epochs", "trials", "copies", "checkpoints", "logs", "plots", "quarantine"),
    *("epochs/00001.parquet", "trials/00000.parquet", "copies/manifest.json"),
    *("checkpoints/0123456789abcdef", "checkpoints/0123456789abcdef/attempt-0001"),
    "logs/0123456789abcdef.txt",
    *("tracking", "tracking/tensorboard", "tracking/mlflow.db", "tracking/mlruns"),
    *("tracking/wandb", "tracking/wandb.log", "tracking/wandb/latest-run"),
    *("tracking/wandb/debug-core.log", "tracking/debug-core.log"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run", trials=1, seeds=2)


def linked(whole: Path, folder: Path, place: str) -> tuple[Path, Path]:
    """A copy of the run with a link in this place, and what the link names."""
    run_dir = Path(shutil.copytree(whole, folder / "run"))
    path, target = run_dir / place, folder / "elsewhere"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.rename(target)
    elif path.suffix:
        target.write_text("mine")
    else:
        target.mkdir()
    path.symlink_to(target)
    return run_dir, target


def contents(target: Path) -> dict[str, bytes]:
    files = target.rglob("*") if target.is_dir() else [target]
    return {str(path): path.read_bytes() for path in files if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_run_with_a_link_is_not_written(whole: Path, tmp_path: Path, place: str) -> None:
    run_dir, target = linked(whole, tmp_path, place)
    before = contents(target)
    with pytest.raises(
        ValueError, match=r"^[^\n]* is a symbolic link, [^\n]*Remove it\.$"
    ) as error:
        RunStore.open(run_dir)
    assert str(error.value).startswith(str(run_dir / place))
    assert contents(target) == before
    assert any("is a symbolic link" in problem for problem in results.verify(run_dir))


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_repaired_run_has_no_link(whole: Path, tmp_path: Path, place: str) -> None:
    run_dir, target = linked(whole, tmp_path, place)
    before = contents(target)
    assert results.repair(run_dir)
    RunStore.open(run_dir).close()
    assert contents(target) == before
    assert not any("is a symbolic link" in problem for problem in results.verify(run_dir))
    assert results.load(run_dir).trials.num_rows == results.load(whole).trials.num_rows


@pytest.mark.parametrize(
    "words", [["compare"], ["report"], ["export", "--tables", "csv"], ["exclude", "why=x"]]
)
def test_no_command_of_results_writes_through_one(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    command, *rest = words
    place = {"export": "export", "exclude": "exclusions.jsonl"}.get(command, "plots")
    run_dir, target = linked(whole, tmp_path, place)
    target = tmp_path / "elsewhere"
    target.write_text("") if place == "exclusions.jsonl" else None
    key = results.load(run_dir).trials["trial_key"][0].as_py()
    trial = [key] if command == "exclude" else []
    assert main([command, str(run_dir), *trial, *rest]) == 2
    assert capsys.readouterr().err.count("symbolic link") == 1
    assert not any(contents(target).values())


def test_a_folder_of_runs_may_hold_links_to_runs(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(Path(shutil.copytree(whole, tmp_path / "run")))
    RunStore.open(tmp_path / "latest").close()
    assert results.load(tmp_path / "latest").notes == []


def test_links_that_trackers_make_inside_their_folder_may_stay(
    whole: Path, tmp_path: Path
) -> None:
    """As wandb's client leaves them; through the one that leads out it never writes."""
    run_dir = Path(shutil.copytree(whole, tmp_path / "run"))
    wandb, log = run_dir / "tracking" / "wandb", tmp_path / "core-debug-20260101_000000.log"
    log.write_text("of all runs")
    logs = wandb / "offline-run-20260101_000000-one" / "logs"
    logs.mkdir(parents=True)
    (logs / "debug.log").touch()
    links = {
        wandb / "latest-run": logs.parent.name,
        wandb / "debug-internal.log": "offline-run-that-was-removed/logs/debug-internal.log",
        wandb / "debug.log": f"{logs.parent.name}/logs/debug.log",
        logs / "debug-core.log": log,
    }
    for link, target in links.items():
        link.symlink_to(target)
    RunStore.open(run_dir).close()
    assert results.verify(run_dir) == []
    results.repair(run_dir)
    assert all(link.is_symlink() for link in links)


@pytest.mark.parametrize("target", ["../manifest.json", "elsewhere/none"])
def test_one_that_leads_to_the_records_or_out_to_nothing_may_not(
    whole: Path, tmp_path: Path, target: str
) -> None:
    run_dir = Path(shutil.copytree(whole, tmp_path / "run"))
    (run_dir / "tracking").mkdir()
    place = tmp_path / target if "none" in target else target
    (run_dir / "tracking" / "mlflow.db").symlink_to(place)
    with pytest.raises(ValueError, match="is a symbolic link"):
        RunStore.open(run_dir)
