"""Parquet files: what `describe` says of them, and which it refuses."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fakes.images import encode, parquet_directory, random_images, write_parquet
from tests.trainables.data.refusals import refusal
from trainables.data.encoded import parquet
from trainables.data.encoded.parquet import open_parquet
from trainables.data.sources import DEFAULT, describe

TRAIN = "train-00000-of-00001.parquet"


def test_parquet_counts_classes_and_shape(tmp_path):
    parquet_directory(tmp_path, num_train=20, num_test=10, size=6, channels=1)
    info = describe("parquet", str(tmp_path))
    assert (info.num_train, info.num_test, info.num_classes) == (20, 10, 3)
    assert (info.channels, info.image_size) == (1, 6)


def test_parquet_class_names_count_even_those_without_images(tmp_path):
    parquet_directory(tmp_path, names=["a", "b", "c", "d", "e"])
    assert describe("parquet", str(tmp_path)).num_classes == 5


def test_parquet_finds_several_files_one_level_down_and_validation_as_test(tmp_path):
    for seed, name in enumerate(("train-00001", "train-00000", "validation-00000")):
        encoded = [encode(image) for image in random_images(4, seed=seed)]
        write_parquet(tmp_path / "data" / f"{name}.parquet", encoded, [0, 1, 0, 1], image="image")
    info = describe("parquet", str(tmp_path))
    assert (info.num_train, info.num_test) == (8, 4)


def test_fingerprint_is_of_the_content_not_of_the_place(tmp_path):
    parquet_directory(tmp_path / "one")
    parquet_directory(tmp_path / "two")
    parquet_directory(tmp_path / "other", num_train=21)
    one, two, other = (
        describe("parquet", str(tmp_path / name)).fingerprint for name in ("one", "two", "other")
    )
    assert one == two
    assert one != other


@pytest.mark.fault("26", "a Parquet file empty, truncated, with a bad footer: told by its name")
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"not a parquet file at all",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-20] + bytes(20),
        lambda data: data[:-4],
    ],
    ids=["empty", "text", "truncated", "footer", "magic"],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_damaged_parquet_is_told_by_its_name(part, damage, tmp_path):
    parquet_directory(tmp_path)
    file = tmp_path / f"{part}-00000-of-00001.parquet"
    file.write_bytes(damage(file.read_bytes()))
    assert str(file) in refusal("parquet", tmp_path)


@pytest.mark.parametrize(
    "columns",
    [
        {"label": [0]},
        {"img": ["path.png"], "label": [0]},
        {"img": [{"bytes": b"x", "path": "p"}]},
        {"img": [{"bytes": b"x", "path": "p"}], "label": [[0]]},
        {"picture": [{"bytes": b"x", "path": "p"}], "label": [0]},
    ],
    ids=["no image", "image not bytes", "no label", "label a list", "other name"],
)
def test_parquet_without_its_columns_is_refused(columns, tmp_path):
    parquet_directory(tmp_path)
    pq.write_table(pa.table(columns), tmp_path / TRAIN)
    assert "must have an image column" in refusal("parquet", tmp_path)


@pytest.mark.parametrize("labels", [[-1, 0], [0, 3]], ids=["negative", "beyond the names"])
def test_labels_out_of_range_are_refused(labels, tmp_path):
    parquet_directory(tmp_path, names=["a", "b", "c"])
    encoded = [encode(image) for image in random_images(2)]
    write_parquet(tmp_path / TRAIN, encoded, labels, names=["a", "b", "c"])
    assert "labels must lie in [0, 3)" in refusal("parquet", tmp_path)


def test_missing_label_is_refused(tmp_path):
    parquet_directory(tmp_path)
    write_parquet(tmp_path / TRAIN, [encode(image) for image in random_images(2)], [0, None])
    assert "1 row without a label" in refusal("parquet", tmp_path)


def test_large_images_are_read_a_few_at_a_time(monkeypatch, tmp_path):
    """More than 2 GiB of a column, in one row group, never lie in one array."""
    parquet_directory(tmp_path, num_train=60, row_group_size=1000)
    images = open_parquet(tmp_path, DEFAULT).train
    whole = [*images.read(np.arange(60))]
    sizes = []
    iter_batches = pq.ParquetFile.iter_batches

    def note(self, batch_size, **options):
        for batch in iter_batches(self, batch_size=batch_size, **options):
            sizes.append(batch.nbytes)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", note)
    monkeypatch.setattr(parquet, "READ_BYTES", 2000)
    assert [*images.read(np.arange(60))] == whole
    assert len(sizes) >= 6
    assert max(sizes) <= 2000 * 1.5
    sizes.clear()
    monkeypatch.setattr(parquet, "READ_BYTES", 1)
    assert [*images.read(np.array([3, 50]))] == [whole[3], whole[50]]
    assert len(sizes) == 51


READ_ALL = """
import pathlib, sys
import numpy as np
import pyarrow as pa
from trainables.data.encoded.parquet import open_parquet
from trainables.data.sources import DEFAULT

train = open_parquet(pathlib.Path(sys.argv[1]), DEFAULT).train
held = max(len(image) for _, image in train.read(np.arange(len(train))))
print(held, pa.default_memory_pool().max_memory())
"""


@pytest.mark.slow
def test_a_row_group_is_not_held_whole(tmp_path):
    """40 MB of one: what pyarrow holds at most, in a process of its own."""
    encoded = [number.to_bytes(2, "big") * 2_000 for number in range(10_000)]
    table = pa.table({"image": encoded, "label": [number % 2 for number in range(10_000)]})
    for part in ("train", "test"):
        pq.write_table(table, tmp_path / f"{part}.parquet", compression="none")
    assert pq.ParquetFile(tmp_path / "train.parquet").num_row_groups == 1
    command = [sys.executable, "-c", READ_ALL, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    held, most = map(int, told.split())
    assert held == 4_000
    assert most < 0.5 * held * len(encoded)


def test_first_image_that_is_no_image_is_refused(tmp_path):
    parquet_directory(tmp_path)
    write_parquet(tmp_path / TRAIN, [b"no image"], [0])
    assert "row 0: cannot decode" in refusal("parquet", tmp_path)


def test_parquet_without_rows_is_refused(tmp_path):
    parquet_directory(tmp_path)
    write_parquet(tmp_path / TRAIN, [], pa.array([], pa.int64()))
    assert "holds no images" in refusal("parquet", tmp_path)


def test_parquet_is_described_without_what_takes_long_to_import(tmp_path):
    parquet_directory(tmp_path)
    code = (
        "import sys; from trainables.data.sources import describe; "
        f"describe('parquet', {str(tmp_path)!r}); "
        "print([name for name in ('torch', 'pandas', 'pyarrow.dataset') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
