"""Folders of images: what `describe` says of them, and which it refuses."""

from __future__ import annotations

import os

from tests.fakes.images import image_folder
from tests.trainables.data.refusals import refusal
from tests.trainables.data.test_sources import HEX
from trainables.data.sources import describe


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
