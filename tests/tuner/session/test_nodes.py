"""What a node lacks is told before the first trial: folder, data, code."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from results.storage.place import Place
from tests.conftest import ROOT
from tests.fakes.images import encode, random_images, write_parquet
from tests.fakes.storage.bucket import use_bucket
from tuner.config.compose import compose
from tuner.plan.plan import Plan, make_plan
from tuner.session.nodes import Wanted, describe_lacks, describe_versions, look, wanted_of

TOKEN = ".seen-0123"


def write_images(folder: Path, seed: int) -> None:
    for part in ("train", "test"):
        encoded = [encode(image) for image in random_images(40, size=32, seed=seed)]
        labels = [number % 10 for number in range(40)]
        write_parquet(folder / f"{part}-00000-of-00001.parquet", encoded, labels)


def make_images_plan(folder: Path) -> Plan:
    words = ["workload=cifar10_resnet20", f"dataset.path={folder}", "epochs=2", "batch.initial=4"]
    return make_plan(compose(["space=poly", *words]))


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / TOKEN).write_text(TOKEN)
    return folder


def test_a_node_that_shares_the_folder_lacks_nothing(shared: Path) -> None:
    plan = make_plan(compose(["space=poly"]))
    assert look(wanted_of(plan, shared, TOKEN)).lacks == []
    assert [path.name for path in shared.iterdir()] == [TOKEN]  # nothing is left behind


@pytest.mark.parametrize("content", [None, "of another run"])
def test_a_folder_of_the_same_name_is_not_the_same_folder(
    content: str | None, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / TOKEN).write_text(content)
    (lack,) = look(Wanted(folder=str(tmp_path), token=TOKEN)).lacks
    assert lack.startswith(f"{tmp_path} is not the same folder there (runs_dir must be")


def test_of_a_bucket_every_node_asks_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = use_bucket(monkeypatch, tmp_path / "cache")
    wanted = wanted_of(make_plan(compose(["space=poly"])), Place("s3", "b/runs"))
    assert look(wanted).lacks == []
    assert bucket.files == {}  # nothing is left behind

    def fail(kind: str, path: str) -> None:
        raise OSError("AWS Error ACCESS_DENIED during PutObject operation")

    bucket.fails = fail
    (lack,) = look(wanted).lacks
    assert lack.startswith("runs_dir=s3://b/runs: no right to it; credentials come from")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_can_only_be_read_is_told(shared: Path) -> None:
    shared.chmod(0o500)
    (lack,) = look(Wanted(folder=str(shared), token=TOKEN)).lacks
    shared.chmod(0o700)
    assert "cannot be written there" in lack


def test_data_that_a_node_lacks_or_has_otherwise_are_told(shared: Path, tmp_path: Path) -> None:
    data = tmp_path / "images"
    write_images(data, seed=0)
    wanted = wanted_of(make_images_plan(data), shared, TOKEN)
    assert look(wanted).lacks == []
    for path in data.iterdir():
        path.unlink()
    write_images(data, seed=1)
    (lack,) = look(wanted).lacks
    assert lack.startswith(f"dataset.path={data}: other data (fingerprint ")
    for path in data.iterdir():
        path.unlink()
    (lack,) = look(wanted).lacks
    assert str(data) in lack
    data.rmdir()
    assert look(wanted).lacks == [f"dataset.path must be a directory, but {data} does not exist"]


def test_code_that_a_node_lacks_or_has_otherwise_is_told(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    code = tmp_path / "minecode.py"
    code.write_text("import minehelp\ndef train(schedule, seed, report): minehelp.go()\n")
    (tmp_path / "minehelp.py").write_text("def go(): pass\n")
    words = ["trainable=minecode:train", "dataset.train_examples=60", "lr=0.1", "epochs=2"]
    wanted = wanted_of(
        make_plan(compose(["space=poly", *words, "batch.initial=4"])), shared, TOKEN
    )
    assert look(wanted).lacks == []
    (tmp_path / "minehelp.py").write_text("def go(): return 1\n")
    assert look(wanted).lacks == ["minecode:train: other code there (minehelp.py)"]
    code.unlink()
    (lack,) = look(wanted).lacks
    assert lack.startswith("cannot import 'minecode:train'")


def test_all_that_is_missing_is_one_line_by_node() -> None:
    (page,) = re.findall(r"    error: (.*)", (ROOT / "docs" / "cluster.md").read_text())
    (lack,) = look(Wanted(folder="/shared/runs", token=TOKEN)).lacks
    assert describe_lacks({"10.0.0.5 (node-5)": [lack]}, 3) == page
    told = describe_lacks({"10.0.0.5 (a)": ["no x"], "10.0.0.6 (b)": ["no x"], "c": ["y", "z"]}, 7)
    assert told == (
        "3 of 7 other nodes cannot train this run. 10.0.0.5 (a), 10.0.0.6 (b): no x; c: y and z"
    )


def test_a_node_of_other_versions_is_told() -> None:
    here = look(Wanted(folder="/", token=TOKEN)).versions
    there = {"a": here, "b": here | {"torch": "1.0"}}
    (line,) = describe_versions(there)
    assert line == f"note: b has torch 1.0 (here {here['torch']}); its numbers may differ"
