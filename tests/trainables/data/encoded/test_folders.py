"""Folders of images: what `describe` says of them, and which it refuses."""

from __future__ import annotations

import os

import numpy as np

from tests.fakes.images import image_folder
from tests.trainables.data.refusals import refusal
from tests.trainables.data.test_sources import HEX
from trainables.data.encoded.folders import open_folders
from trainables.data.sources import DataOptions, describe


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


def test_names_of_files_take_as_many_bytes_as_they_have_letters(tmp_path):
    folder = image_folder(tmp_path)
    long = next(folder.rglob("train/*/*.JPG"))
    long = long.rename(long.with_name("\u00e9" * 100 + ".jpg"))
    raw = next(folder.rglob("train/*/*.JPG"))
    raw = raw.rename(raw.with_name(os.fsdecode(b"caf\xe9.jpg")))
    data = open_folders(folder, DataOptions(image_size=8))
    wanted = sorted(str(file) for file in folder.glob("train/*/*"))
    assert [where for where, _ in data.train.read(np.arange(6))] == wanted
    assert {str(long), str(raw)} <= {*wanted}
    names = data.train.read.args[0]
    assert len(names.text) == sum(len(os.fsencode(file)) for file in wanted)


def test_a_folder_in_a_folder_is_the_folder(tmp_path):
    image_folder(tmp_path / "a" / "b")
    info = describe("imagefolder", str(tmp_path))
    assert (info.num_train, info.num_test, info.num_classes) == (6, 6, 2)
    assert info.notes == ("the images are those of b/",)
    assert info.files == describe("imagefolder", str(tmp_path / "a" / "b")).files


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
