"""The same images are the same data, whoever wrote them and into which files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fakes.images import encode, random_images
from tests.fakes.trials import TIMES
from trainables.data.encoded import parts
from trainables.data.encoded.folders import open_folders
from trainables.data.encoded.parquet import open_parquet
from trainables.data.sources import DEFAULT, DataOptions, SourceInfo, describe
from trainables.loop import NetworkTraining
from tuner.config.compose import compose
from tuner.plan.plan import make_plan
from tuner.session.cluster import settle

NAMES = ["ant", "bee", "cat", "dog"]
COUNT = {"train": 40, "test": 20}
IMAGES = {
    part: [encode(one) for one in random_images(count, seed=count)]
    for part, count in COUNT.items()
}
LABELS = {part: [number * 4 // count for number in range(count)] for part, count in COUNT.items()}
PATHS = [f"{n:03}.png" for n in range(40)]


def structs(part: str) -> pa.Table:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pairs = [{"bytes": b, "path": p} for b, p in zip(IMAGES[part], PATHS, strict=False)]
    return pa.table({"image": pa.array(pairs, kind), "label": LABELS[part]})


def of_kind(part: str, image: pa.DataType, word: pa.DataType) -> pa.Table:
    words = pa.array([NAMES[label] for label in LABELS[part]], word)
    return pa.table({"image": pa.array(IMAGES[part], image), "label": words})


def write_datasets(part: str, file: Path) -> None:
    """As Hugging Face's `datasets` does."""
    features = {
        "image": {"_type": "Image"},
        "label": {"names": NAMES, "_type": "ClassLabel"},
    }
    text = json.dumps({"info": {"features": features}})
    table = structs(part).replace_schema_metadata({"huggingface": text})
    pq.write_table(table, file, row_group_size=7)


def write_pandas(part: str, file: Path) -> None:
    structs(part).to_pandas().to_parquet(file)


def write_polars(part: str, file: Path) -> None:
    pytest.importorskip("polars").from_arrow(structs(part)).write_parquet(file)


def write_duckdb(part: str, file: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    images = structs(part)
    with duckdb.connect() as connection:
        connection.register("images", images)
        connection.sql(f"copy (select * from images) to '{file}' (format parquet)")


def write_kind(image: str, word: str):
    kinds = getattr(pa, image)(), getattr(pa, word)()
    return lambda part, file: pq.write_table(of_kind(part, *kinds), file)


WRITERS = {
    "datasets": write_datasets,
    "pandas": write_pandas,
    "polars": write_polars,
    "duckdb": write_duckdb,
    "large": write_kind("large_binary", "large_string"),
    "views": write_kind("binary_view", "string_view"),
}


def written(root: Path, writer: str) -> Path:
    root.mkdir(parents=True)
    for part in COUNT:
        WRITERS[writer](part, root / f"{part}.parquet")
    return root


def folder(root: Path) -> Path:
    for part in COUNT:
        for data, label, name in zip(IMAGES[part], LABELS[part], PATHS, strict=False):
            file = root / part / NAMES[label] / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    return root


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADTUNE_DATA", str(tmp_path / ".root"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """What a training of the images as plain pyarrow writes them came to."""
    root = tmp_path_factory.mktemp("plain")
    for part in COUNT:
        pq.write_table(structs(part), root / f"{part}.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADTUNE_DATA", str(root / ".root"))
        return train("parquet", root)


def train(name: str, path: Path) -> tuple[str, list[dict[str, object]]]:
    """Trial key and the records without what a clock decides."""
    words = [
        "model=resnet8",
        "model.width=4",
        "lr=0.1",
        "batch.initial=8",
        "epochs=2",
        "dataset.val_fraction=0.2",
    ]
    where = [f"dataset={name}", f"dataset.path={path}", "dataset.image_size=8"]
    plan = settle(make_plan(compose(["space=poly", *where, *words])), "cpu")
    ranges = plan.spaces[0].ranges
    trial = plan.trial(plan.spaces[0], {n: axis.from_unit(0.5) for n, axis in ranges.items()})
    training = NetworkTraining(trial)
    while not training.finished:
        training.run_epoch()
    records = [dataclasses.asdict(record) for record in training.records]
    return trial.trial_key, [{k: v for k, v in r.items() if k not in TIMES} for r in records]


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
def test_the_training_and_its_key_do_not_depend_on_who_wrote_the_images(
    writer: str, trained, tmp_path: Path
) -> None:
    assert train("parquet", written(tmp_path / "data", writer)) == trained


def test_a_folder_trains_as_parquet_does(trained, tmp_path: Path) -> None:
    _, records = train("imagefolder", folder(tmp_path / "data"))
    assert records == trained[1]


def test_a_folder_and_all_writers_hold_the_same_content(tmp_path: Path) -> None:
    of_folder = describe("imagefolder", str(folder(tmp_path / "folder")))
    for writer in WRITERS:
        info = describe("parquet", str(written(tmp_path / writer, writer)))
        assert info.fingerprint == of_folder.fingerprint, writer
        assert info.files != of_folder.files


@pytest.mark.parametrize("change", ["pixels", "label", "order", "part", "test part"])
def test_other_content_is_another_fingerprint(
    change: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = describe("parquet", str(written(tmp_path / "one", "datasets"))).fingerprint
    part = "test" if change == "test part" else "train"
    images, labels = [*IMAGES[part]], [*LABELS[part]]
    if change == "pixels":
        images[7] = encode(random_images(1, seed=99)[0])
    elif change == "label":
        labels[7] = 3
    elif change == "order":
        images[0], images[1] = images[1], images[0]
    else:
        images, labels = images[:-1], labels[:-1]
    monkeypatch.setitem(IMAGES, part, images)
    monkeypatch.setitem(LABELS, part, labels)
    assert describe("parquet", str(written(tmp_path / "two", "datasets"))).fingerprint != before


def test_of_more_than_is_read_the_files_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(parts, "CONTENT_BYTES", sum(map(len, IMAGES["train"][:5])))
    written(tmp_path / "one", "datasets")
    images = [*IMAGES["train"]]
    images[-1] = encode(random_images(1, seed=99)[0])
    monkeypatch.setitem(IMAGES, "train", images)
    written(tmp_path / "two", "datasets")
    one, two = (describe("parquet", str(tmp_path / name)) for name in ("one", "two"))
    assert len(open_parquet(tmp_path / "one", DEFAULT).train.digests_K) == 5
    assert one.fingerprint != two.fingerprint
    data = open_folders(folder(tmp_path / "folder"), DataOptions(image_size=8))
    assert data.train.digests_K == []
    (note,) = data.describe("imagefolder", None).notes
    assert note == "folders of more than 0 MB are known by the names and sizes of their files"


def test_when_files_last_changed_is_told_of_those_that_are_not_read_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    places = {
        "parquet": written(tmp_path / "parquet", "datasets"),
        "imagefolder": folder(tmp_path / "folder"),
    }
    assert [describe(*place).changed_ns for place in places.items()] == [0, 0]
    monkeypatch.setattr(parts, "CONTENT_BYTES", sum(map(len, IMAGES["test"])))  # train has more
    for name, place in places.items():
        files = [file for file in place.rglob("train*/**/*.p*")] or [place / "train.parquet"]
        (place / files[3 % len(files)].relative_to(place)).chmod(0o600)
        assert describe(name, str(place)).changed_ns == max(f.stat().st_ctime_ns for f in files)


def test_the_fingerprint_of_files_is_that_of_earlier_versions(tmp_path: Path) -> None:
    """By its formula: blake2b of size and content of each file, then of the parts."""
    from hashlib import blake2b

    root = written(tmp_path / "data", "datasets")
    info: SourceInfo = describe("parquet", str(root))
    digest = blake2b(digest_size=16)
    for part in COUNT:
        data = (root / f"{part}.parquet").read_bytes()
        of_file = blake2b(str(len(data)).encode() + data, digest_size=16).digest()
        digest.update(b"1;" + of_file)
    assert info.files == digest.hexdigest()
    root = folder(tmp_path / "folder")
    digest = blake2b(digest_size=16)
    for part in COUNT:
        files = sorted((root / part).glob("*/*"))
        names = "".join(f"{f.relative_to(root)} {f.stat().st_size};" for f in files)
        digest.update(names.encode())
    assert describe("imagefolder", str(root)).files == digest.hexdigest()
    assert np.all([len(describe("parquet", str(tmp_path / "data")).fingerprint) == 32])
