"""What an audit finds in runs of before, of others and of later versions, and what is mended."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import results
from results.__main__ import main
from results.records.audit import STATE_NAME, audit
from results.records.schema import EPOCHS, SCHEMA_VERSION, TRIALS
from results.records.segments import read_manifest, read_segment, write_segment
from results.records.store import RunStore
from tests.conftest import ROOT
from tests.fakes.results import edit_manifest, make_trial, write_run, write_trial
from trainables import checkpoints
from tuner.run import main as run_command

OLD_RUN = ROOT / "tests" / "data" / "runs" / "ordinary"


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    """As a version without checksums and copies left it."""
    return Path(shutil.copytree(OLD_RUN, tmp_path / "run"))


def problems(run_dir: Path) -> list[str]:
    """What is wrong, without the folder."""
    return [text.replace(f"{run_dir}/", "") for text in results.verify(run_dir)]


def test_an_old_run_without_its_trials_is_no_whole_run(old_run: Path) -> None:
    keys = set(results.load(old_run).trials["trial_key"].to_pylist())
    (old_run / "trials" / "00000.parquet").unlink()
    assert {*problems(old_run)} == {
        f"run ordinary: trial {key} has epochs, but its row is lost." for key in keys
    }
    assert main(["verify", str(old_run), "--strict"]) == 1


def test_an_old_run_without_its_epochs_tells_each(old_run: Path) -> None:
    (old_run / "epochs" / "00000.parquet").unlink()
    assert len(problems(old_run)) == 12
    assert all(text.endswith("has 0 of its 3 epochs.") for text in problems(old_run))


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"workload: dig", None])
def test_the_configuration_of_an_old_run_comes_back_from_its_manifest(
    old_run: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = old_run / "config.yaml"
    path.unlink() if content is None else path.write_bytes(content)
    (problem,) = problems(old_run)
    assert problem.startswith("config.yaml was skipped: ")
    assert f"{path} is back, from manifest.json." in results.repair(old_run)
    assert problems(old_run) == []
    assert run_command([f"resume={old_run}", "dry_run=true"]) == 0
    assert "12 trainings" in capsys.readouterr().out


def test_what_is_written_anew_holds_no_password_of_an_older_version(old_run: Path) -> None:
    path, password = old_run / "manifest.json", "c4n4ry-4711"
    manifest = json.loads(path.read_text())
    manifest["config"]["tracking"] = {"uri": f"http://me:{password}@host/"}
    path.write_text(json.dumps(manifest))
    (old_run / "config.yaml").unlink()
    results.repair(old_run)
    written = {p: p.read_bytes() for p in old_run.rglob("*") if p.is_file()}
    assert old_run / "config.yaml" in written
    assert [p for p, data in written.items() if password.encode() in data] == []


@pytest.mark.parametrize("content", ["{}", "", '{"schema_version": 2}', "null", "{"])
def test_an_empty_manifest_is_found(old_run: Path, content: str) -> None:
    (old_run / "manifest.json").write_text(content)
    assert any(text.startswith("manifest.json ") for text in problems(old_run))


@pytest.mark.parametrize("name", ["recipe", "spaces", "config"])
def test_a_manifest_of_before_that_lacks_something_is_found(old_run: Path, name: str) -> None:
    path = old_run / "manifest.json"
    path.write_text(
        json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != name})
    )
    assert problems(old_run) == [f"manifest.json lacks {name}."]


def test_a_segment_of_another_run_is_told_and_put_away(tmp_path: Path) -> None:
    for name in ("mine", "other"):
        write_run(tmp_path / name, trials=1, seeds=1)
    for path in (tmp_path / "other" / "epochs").glob("*.parquet"):
        shutil.copy(path, tmp_path / "mine" / "epochs" / "00001.parquet")
    (told, *_) = problems(tmp_path / "mine")
    assert told == "epochs/00001.parquet belongs to run other."
    results.repair(tmp_path / "mine")
    assert problems(tmp_path / "mine") == []
    assert results.load(tmp_path / "mine").epochs.num_rows == 30


def with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


@pytest.mark.fault(
    "24", "segments of two versions: one table; other types and later versions: told by name"
)
def test_segments_of_several_versions_are_one_table(tmp_path: Path) -> None:
    """An older one lacks a column and has smaller numbers, a later one names what it is."""
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    table = read_segment(run_dir / "epochs" / "00000.parquet", EPOCHS)
    older = with_column(table, "epoch", table["epoch"].cast(pa.int32()))
    older = older.drop_columns(["metrics"]).replace_schema_metadata({"schema_version": "1"})
    pq.write_table(older, run_dir / "epochs" / "00001.parquet", write_page_checksum=True)
    assert problems(run_dir) == []
    assert results.load(run_dir).epochs.num_rows == 30
    text = with_column(table, "epoch", table["epoch"].cast(pa.string()))
    pq.write_table(text, run_dir / "epochs" / "00002.parquet", write_page_checksum=True)
    later = table.replace_schema_metadata({"schema_version": "99"})
    pq.write_table(later, run_dir / "epochs" / "00003.parquet", write_page_checksum=True)
    first, second = problems(run_dir)
    assert first == ("epochs/00002.parquet was skipped: column epoch is string instead of int64.")
    assert "epochs/00003.parquet has schema version 99, but this GradTune reads up to 2" in second
    # Nothing of what a newer one has written is put away.
    with pytest.raises(ValueError, match=r"has schema version 99.* Update GradTune"):
        results.repair(run_dir)
    assert (run_dir / "epochs" / "00003.parquet").exists()
    assert not (run_dir / "quarantine").exists()


def test_a_run_that_goes_on_is_of_this_version(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    edit_manifest(run_dir, schema_version=1)
    with RunStore.open(run_dir):
        pass
    assert read_manifest(run_dir)["schema_version"] == SCHEMA_VERSION


@pytest.mark.slow
@pytest.mark.parametrize("name", ["00200000", "123456789012"])
def test_a_strangers_number_makes_no_segments_missing(tmp_path: Path, name: str) -> None:
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    (run_dir / "epochs" / f"{name}.parquet").write_bytes(b"x")
    (problem,) = problems(run_dir)
    assert problem.startswith(f"epochs/{name}.parquet was skipped: ")
    results.repair(run_dir)
    assert problems(run_dir) == []


@pytest.mark.slow
@pytest.mark.parametrize("segments", [{"epochs": {"0": 5}}, {"x": {}}, {"epochs": {"one": {}}}])
def test_segments_that_are_none_are_a_damaged_manifest(tmp_path: Path, segments: Any) -> None:
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    edit_manifest(run_dir, segments=segments)
    assert main(["verify", str(run_dir)]) in (0, 1)
    assert main(["verify", str(run_dir), "repair=true"]) in (0, 1)


def test_a_run_of_before_goes_on_with_checksums(old_run: Path) -> None:
    with RunStore.open(old_run) as store:
        write_trial(store, make_trial())
    assert problems(old_run) == []
    (old_run / "trials" / "00000.parquet").unlink()
    assert "trials: segment 00000 is missing." in problems(old_run)


def test_an_event_that_was_torn_by_a_crash_is_told_once_and_closed(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    with (run_dir / "events.jsonl").open("a") as file:
        file.write('{"time": "')
    with RunStore.open(run_dir) as store:
        store.event("resumed")
    assert problems(run_dir) == ["events.jsonl: line 1 is not as it was written."]


def test_states_are_called_as_trainings_call_them() -> None:
    assert checkpoints.STATE_NAME.fullmatch(name := "00012-a0003-0123456789abcdef.pt")
    assert STATE_NAME.fullmatch(name)
    assert not STATE_NAME.fullmatch(name.replace("a0003", "3"))


def test_a_run_that_is_written_is_not_repaired(tmp_path: Path) -> None:
    with (
        RunStore.create(tmp_path / "run", {}, "") as store,
        pytest.raises(ValueError, match="is being written by process"),
    ):
        results.repair(store.run_dir)


def test_a_whole_run_is_left_as_it_is(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    assert results.repair(run_dir) == []
    after = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    assert before == after
    assert audit(run_dir).lost == ""


def test_a_segment_written_alone_has_a_checksum(tmp_path: Path) -> None:
    write_segment(tmp_path / "00000.parquet", TRIALS.empty_table())
    about = pq.read_metadata(tmp_path / "00000.parquet").metadata
    assert about[b"seal"].startswith(b"sha256:")


def test_the_command_says_what_is_lost_and_mends_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    path = run_dir / "trials" / "00000.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    assert main(["verify", str(run_dir), "--strict"]) == 1
    out = capsys.readouterr().out
    assert "run run has lost the rows of 5 trainings, which a resume trains again.\n" in out
    assert main(["verify", str(run_dir), "--strict", "repair=true"]) == 0
    out = capsys.readouterr().out
    assert f"repaired: {path} is back, from {run_dir}/copies/trials/00000.parquet.\n" in out
    assert out.endswith("no problems found\n")
    assert main(["verify", str(run_dir), "repair=maybe"]) == 2
