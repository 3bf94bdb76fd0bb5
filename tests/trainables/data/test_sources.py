"""Sources: what `describe` says of data, and how it refuses what cannot be read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search_spaces.registry import allow_import
from tests.fakes.images import (
    CIFAR10_PATH,
    encode,
    image_folder,
    parquet_directory,
    random_images,
    write_parquet,
)
from trainables import DATASETS
from trainables.data.sources import describe
from trainables.data.synthetic import count_examples

HEX = re.compile(r"^[0-9a-f]{32}$")
TRAIN = "train-00000-of-00001.parquet"


@pytest.fixture(scope="module")
def located(tmp_path_factory, imagenet_path):
    """A path at which each data set can be described."""
    tmp_path = tmp_path_factory.mktemp("located")
    parquet_directory(tmp_path / "parquet")
    folder = str(image_folder(tmp_path / "folder"))
    paths = {"parquet": str(tmp_path / "parquet"), "imagefolder": folder}
    return {**dict.fromkeys(DATASETS), **paths, "imagenet": str(imagenet_path)}


@pytest.mark.parametrize("name", DATASETS)
def test_description_is_complete_and_repeatable(name, located):
    info = describe(name, located[name])
    assert info.name == name
    assert info.path == located[name]
    assert info.num_train > 0
    assert info.num_test > 0
    assert info.num_classes > 1
    assert info.channels in (1, 3)
    assert HEX.match(info.fingerprint)
    assert describe(name, located[name]) == info


@pytest.mark.parametrize(
    ("name", "num_train", "num_test", "num_classes"),
    [
        ("digits", 1437, 360, 10),
        ("synthetic", 10_000, 2_000, 10),
        ("cifar10", 50_000, 10_000, 10),
        ("cifar100", 50_000, 10_000, 100),
    ],
)
def test_known_datasets_have_known_counts(name, num_train, num_test, num_classes):
    info = describe(name, None)
    assert (info.num_train, info.num_test) == (num_train, num_test)
    assert info.num_classes == num_classes


def test_describing_imports_nothing_heavy_and_downloads_nothing(tmp_path):
    code = (
        "import sys, trainables.data.sources as s; s.describe('cifar10', None);"
        "s.describe('digits', None); s.describe('synthetic', '5:5');"
        "sys.exit(bool({'torch', 'torchvision', 'sklearn', 'pyarrow'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=tmp_path, env={"PYTHONPATH": str(root)}
    )
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [(None, (10_000, 2_000)), ("50000", (50_000, 2_000)), ("300: 20", (300, 20))],
)
def test_synthetic_path_gives_the_sizes(path, expected):
    assert count_examples(path) == expected


@pytest.mark.parametrize("path", ["", "0", "5:0", "-3", "many", "1:2:3", "1e4", "5:", "5,5"])
def test_synthetic_refuses_other_paths(path):
    with pytest.raises(ValueError, match=r"^dataset.path of synthetic must be 'N' or 'N:M'"):
        describe("synthetic", path)


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


def test_a_file_name_in_another_encoding_is_a_name_like_others(tmp_path):
    folder = image_folder(tmp_path)
    file = next(folder.rglob("*.JPG"))
    file.rename(file.with_name(os.fsdecode(b"caf\xe9.jpg")))
    info = describe("imagefolder", str(folder))
    assert HEX.match(info.fingerprint)
    assert info.num_train == 6
    file.with_name(os.fsdecode(b"caf\xe9.jpg")).rename(file)
    assert describe("imagefolder", str(folder)).fingerprint != info.fingerprint


def test_folder_fingerprint_does_not_depend_on_the_place(tmp_path):
    one = describe("imagefolder", str(image_folder(tmp_path / "one")))
    two = describe("imagefolder", str(image_folder(tmp_path / "two")))
    other = describe("imagefolder", str(image_folder(tmp_path / "other", per_class=2)))
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert (one.num_train, one.num_test, one.num_classes) == (6, 6, 2)


@pytest.mark.parametrize(
    ("name", "path", "message"),
    [
        ("cifar11", None, r"unknown dataset 'cifar11'; did you mean 'cifar10'\?"),
        ("parquet", None, r"dataset parquet needs dataset.path"),
        ("imagenet", None, r"dataset imagenet needs dataset.path"),
        ("parquet", "nowhere", r"but nowhere does not exist"),
        ("cifar10", "nowhere", r"but nowhere does not exist"),
        ("imagefolder", "nowhere", r"but nowhere does not exist"),
        ("digits", "somewhere", r"dataset digits takes no dataset.path"),
        ("no_such_module:load", None, r"cannot import 'no_such_module:load'"),
        ("math:pi", None, r"'math:pi' is not callable"),
    ],
)
def test_wrong_names_and_paths_are_told_in_one_line(name, path, message):
    allow_import(name)
    with pytest.raises(ValueError, match=message) as caught:
        describe(name, path)
    assert "\n" not in str(caught.value)


def refusal(name, path):
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        describe(name, str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_path_to_a_file_is_refused(tmp_path):
    parquet_directory(tmp_path)
    assert "is a file" in refusal("parquet", tmp_path / TRAIN)


@pytest.mark.parametrize("name", ["cifar10", "parquet", "imagefolder", "imagenet"])
def test_empty_directory_is_refused(name, tmp_path):
    assert "train" in refusal(name, tmp_path)


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


def test_first_image_that_is_no_image_is_refused(tmp_path):
    parquet_directory(tmp_path)
    write_parquet(tmp_path / TRAIN, [b"no image"], [0])
    assert "row 0: cannot decode" in refusal("parquet", tmp_path)


def test_parquet_without_rows_is_refused(tmp_path):
    parquet_directory(tmp_path)
    write_parquet(tmp_path / TRAIN, [], pa.array([], pa.int64()))
    assert "holds no images" in refusal("parquet", tmp_path)


def test_cifar_refuses_another_number_of_classes(tmp_path):
    parquet_directory(tmp_path)
    assert "cifar10 has 10 classes, but" in refusal("cifar10", tmp_path)


@pytest.mark.fault("26", "a batch of CIFAR missing or cut off: told by its name")
def test_damaged_cifar_batches_are_told_by_their_name(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    assert "data_batch_1 is missing" in refusal("cifar10", tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"cut off")
    assert "data_batch_1 is damaged" in refusal("cifar10", tmp_path)


def test_folder_without_images_is_refused(tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "test").mkdir()
    assert "train holds no images" in refusal("imagefolder", tmp_path)


def test_folder_whose_test_has_an_unknown_class_is_refused(tmp_path):
    image_folder(tmp_path)
    (tmp_path / "val" / "wasp").mkdir()
    assert "wasp is a class that train/ does not have" in refusal("imagefolder", tmp_path)


def test_imagenet_must_have_1000_classes(tmp_path):
    assert "imagenet has 1000 classes" in refusal("imagenet", image_folder(tmp_path))


def two_images(path):
    """A user's loader that gives just what is asked for."""
    part = SimpleNamespace(labels_N=np.array([0, 1]))
    return SimpleNamespace(
        train=part, test=part, num_classes=2, channels=3, image_size=None, fingerprint=path or ""
    )


def test_users_own_loader_is_described_by_what_it_returns():
    allow_import(f"{__name__}:two_images")
    info = describe(f"{__name__}:two_images", None)
    assert (info.num_train, info.num_test, info.num_classes) == (2, 2, 2)
    assert HEX.match(info.fingerprint)
    assert describe(f"{__name__}:two_images", "abc").fingerprint == "abc"


def test_users_own_loader_must_return_image_data():
    allow_import("builtins:str")
    with pytest.raises(ValueError, match=r"must return ImageData, but its result lacks train"):
        describe("builtins:str", None)


@pytest.mark.skipif(not CIFAR10_PATH.is_dir(), reason="needs CIFAR-10 as Parquet")
def test_cifar10_in_parquet_is_described():
    info = describe("cifar10", str(CIFAR10_PATH))
    assert (info.num_train, info.num_test, info.num_classes) == (50_000, 10_000, 10)
    assert (info.channels, info.image_size) == (3, 32)


def test_parquet_is_described_without_what_takes_long_to_import(tmp_path):
    parquet_directory(tmp_path)
    code = (
        "import sys; from trainables.data.sources import describe; "
        f"describe('parquet', {str(tmp_path)!r}); "
        "print([name for name in ('torch', 'pandas', 'pyarrow.dataset') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
