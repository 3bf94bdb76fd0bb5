"""Sources: what `describe` says of data, and how it refuses what cannot be read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from search_spaces.registry import allow_import
from tests.fakes.images import (
    CIFAR10_PATH,
    image_folder,
    parquet_directory,
)
from tests.trainables.data.refusals import refusal
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


@pytest.mark.slow
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


def test_path_to_a_file_is_refused(tmp_path):
    parquet_directory(tmp_path)
    assert "is a file" in refusal("parquet", tmp_path / TRAIN)


@pytest.mark.parametrize("name", ["cifar10", "parquet", "imagefolder", "imagenet"])
def test_empty_directory_is_refused(name, tmp_path):
    assert "train" in refusal(name, tmp_path)


def test_cifar_refuses_another_number_of_classes(tmp_path):
    parquet_directory(tmp_path)
    assert "cifar10 has 10 classes, but" in refusal("cifar10", tmp_path)


@pytest.mark.fault("26", "a batch of CIFAR missing or cut off: told by its name")
def test_damaged_cifar_batches_are_told_by_their_name(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    assert "data_batch_1 is missing" in refusal("cifar10", tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"cut off")
    assert "data_batch_1 is damaged" in refusal("cifar10", tmp_path)


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


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR10_PATH.is_dir(), reason="needs CIFAR-10 as Parquet")
def test_cifar10_in_parquet_is_described():
    info = describe("cifar10", str(CIFAR10_PATH))
    assert (info.num_train, info.num_test, info.num_classes) == (50_000, 10_000, 10)
    assert (info.channels, info.image_size) == (3, 32)
