"""Decoded once and kept, or for every batch: the pixels are those of the files."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fakes.images import (
    encode,
    image_folder,
    parquet_directory,
    random_images,
    write_parquet,
)
from tests.trainables.data.test_datasets import DATASETS, one_batch
from trainables.data.datasets import load_images
from trainables.data.encoded.decoding import FolderImages
from trainables.data.images import CPU
from trainables.data.sources import describe
from trainables.data.splits import stratified_pool
from trainables.data.stream import Samples, SampleStream

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def data_root(tmp_path, monkeypatch):
    """Where this test's decoded images are cached."""
    monkeypatch.setenv("GRADTUNE_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


def test_parquet_pixels_and_labels_survive_and_the_cache_gives_them_again(tmp_path, data_root):
    pixels = parquet_directory(tmp_path / "data", num_train=30)
    for _ in range(2):  # decoded, then mapped
        data = load_images("parquet", str(tmp_path / "data"))
        assert np.array_equal(data.train.to(CPU).images_NHWC.numpy(), pixels["train"])
        assert np.array_equal(data.test.to(CPU).images_NHWC.numpy(), pixels["test"])
        assert data.train.labels_N.tolist() == [i % 3 for i in range(30)]
    files = describe("parquet", str(tmp_path / "data")).files
    names = sorted(file.name for file in (data_root / "cache" / files).iterdir())
    wanted = r"test-2-3-whole-\w+_images.npy test-2-3-whole-\w+_labels.npy"
    wanted = f"{wanted} {wanted.replace('test', 'train')}"
    assert re.fullmatch(wanted, " ".join(names))


def test_only_the_pool_is_decoded(tmp_path, data_root):
    pixels = parquet_directory(tmp_path, num_train=40, size=32, names=list("abcdefghij"))
    whole = load_images("cifar10", str(tmp_path))
    pool = stratified_pool(whole.train.labels_N.numpy(), 9)
    left_out = np.setdiff1d(np.arange(40), pool)[0]
    images = [encode(image) for image in pixels["train"]]
    images[left_out] = b"no image"
    labels = whole.train.labels_N.tolist()
    write_parquet(
        tmp_path / "train-00000-of-00001.parquet", images, labels, names=list("abcdefghij")
    )
    for _ in range(2):  # decoded, then mapped
        data = load_images("cifar10", str(tmp_path), 9).to(CPU)
        assert np.array_equal(data.train.images_NHWC.numpy(), pixels["train"][pool])
        assert np.array_equal(data.train.labels_N.numpy(), whole.train.labels_N.numpy()[pool])
    shuffled = load_images("cifar10", str(tmp_path)).train.subset(pool[::-1].copy()).to(CPU)
    assert np.array_equal(shuffled.images_NHWC.numpy(), pixels["train"][pool[::-1]])
    assert len(list(data_root.glob("cache/*/train-2-3-whole-*_images.npy"))) == 1


@pytest.mark.fault("26", "a damaged cache: made anew")
def test_damaged_cache_is_made_anew(tmp_path, data_root):
    pixels = parquet_directory(tmp_path / "data")
    load_images("parquet", str(tmp_path / "data")).to(CPU)
    (file,) = data_root.glob("cache/*/train-2-3-whole-*_images.npy")
    file.write_bytes(file.read_bytes()[:200])
    data = load_images("parquet", str(tmp_path / "data"))
    assert np.array_equal(data.train.to(CPU).images_NHWC.numpy(), pixels["train"])
    assert np.array_equal(np.load(file), pixels["train"])


def test_a_root_that_cannot_be_written_only_means_no_cache(tmp_path, data_root):
    pixels = parquet_directory(tmp_path / "data")
    data_root.write_text("a file where the folder should be")
    data = load_images("parquet", str(tmp_path / "data"))
    assert np.array_equal(data.train.to(CPU).images_NHWC.numpy(), pixels["train"])


def test_writing_to_loaded_images_does_not_reach_the_cache(tmp_path):
    pixels = parquet_directory(tmp_path / "data")
    load_images("parquet", str(tmp_path / "data")).to(CPU)
    load_images("parquet", str(tmp_path / "data")).to(CPU).train.images_NHWC.zero_()
    data = load_images("parquet", str(tmp_path / "data"))
    assert np.array_equal(data.train.to(CPU).images_NHWC.numpy(), pixels["train"])


@pytest.mark.fault("26", "an image that is none, in a Parquet file: told by file and row")
@pytest.mark.parametrize(
    ("row", "encoded", "message"),
    [
        (3, b"\xff\xd8\xff\xe0 cut off", "row 3: cannot decode the image"),
        (3, b"", "row 3: cannot decode the image"),
        (3, None, "row 3: cannot decode the image (it holds no image bytes)"),
        (
            9,
            encode(random_images(1, size=9)[0]),
            "row 9 (9, 9). dataset.image_size=32, for example, resizes them",
        ),
    ],
    ids=["damaged", "empty", "missing", "other size"],
)
def test_bad_image_in_parquet_is_told_by_file_and_row(row, encoded, message, tmp_path):
    parquet_directory(tmp_path)
    images = [encode(image) for image in random_images(12)]
    images[row] = encoded
    write_parquet(tmp_path / "train-00000-of-00001.parquet", images, [0] * 12)
    with pytest.raises(ValueError, match=r"train-00000-of-00001.parquet, row") as caught:
        load_images("parquet", str(tmp_path)).to(CPU)
    assert message in str(caught.value)


def folder_images(root, **options):
    data = DATASETS["imagefolder"](str(image_folder(root, size=40)))
    return replace(data.train, num_workers=0, image_size=32, **options)


def test_folder_crop_depends_on_the_sample_alone(tmp_path):
    images, stream = folder_images(tmp_path), SampleStream(5, 6)
    whole_BCHW, _ = one_batch(images, stream.take(0, 6))
    parts = torch.cat([x for x, _ in images.batches(stream.take(i, 2) for i in (0, 2, 4))])
    assert torch.equal(parts, whole_BCHW)
    plain_BCHW, _ = one_batch(images, Samples(stream.take(0, 6).index_B))
    assert not torch.equal(plain_BCHW, whole_BCHW)


def test_folder_images_are_labelled_by_sorted_class_names(tmp_path):
    images = folder_images(tmp_path)
    assert images.labels_N.tolist() == [0, 0, 0, 1, 1, 1]
    assert all("/ant/" in path for path, _ in images.read(np.arange(3)))


@pytest.mark.fault("26", "an image file that is none: told by its name")
def test_damaged_image_file_is_told_by_its_name(tmp_path):
    images = folder_images(tmp_path)
    ((path, _),) = images.read(np.array([1]))
    Path(path).write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"/train/ant/.*: cannot decode the image \(no image"):
        one_batch(images, Samples(np.array([1])))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_number_of_workers_does_not_change_the_batches(tmp_path):
    images, stream = folder_images(tmp_path), SampleStream(5, 6)
    plan = [stream.take(first, 3) for first in range(0, 12, 3)]
    workers = replace(images, num_workers=2)
    for (x, y), (x2, y2) in zip(images.batches(plan), workers.batches(plan), strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


def test_workers_stay_within_the_cpus_of_the_trial(tmp_path, monkeypatch):
    part = DATASETS["imagefolder"](str(image_folder(tmp_path))).train
    assert isinstance(part, FolderImages)
    for threads, on_cpu, on_gpu in ((1, 0, 1), (3, 2, 3), (64, 4, 4)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert (part.workers, replace(part, device=torch.device("cuda")).workers) == (
            on_cpu,
            on_gpu,
        )
