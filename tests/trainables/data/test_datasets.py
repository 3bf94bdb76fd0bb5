"""Data sets: loading, dividing, and batches whose augmentation depends on the sample alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import trainables
from search_spaces.registry import allow_import, lookup
from tests.fakes.images import (
    CIFAR10_PATH,
    image_folder,
    parquet_directory,
    random_images,
)
from trainables.data import teacher as generator
from trainables.data.datasets import load_images, statistics
from trainables.data.images import Augmentation, ImageData, Normalization, TensorImages
from trainables.data.sources import describe
from trainables.data.splits import is_unbalanced, stratified_pool, stratified_split
from trainables.data.stream import Samples, SampleStream

torch.set_num_threads(1)

CPU = torch.device("cpu")
PLAIN = Normalization(mean=(0.0, 0.0, 0.0), std=(1 / 255,) * 3)  # batches hold raw grey levels
EVERYTHING = Augmentation(pad=4, flip=True, max_degrees=15.0)
AUGMENTATIONS = {
    "nothing": Augmentation(),
    "crop": Augmentation(pad=4),
    "flip": Augmentation(flip=True),
    "rotation": Augmentation(max_degrees=15.0),
    "crop and flip": Augmentation(pad=4, flip=True),
    "everything": EVERYTHING,
}
LABELS = st.lists(st.integers(0, 6), min_size=2, max_size=300).map(
    lambda labels: np.array(labels, dtype=np.int64)
)

DATASETS = {n: lookup("dataset", n, trainables.DATASETS) for n in trainables.DATASETS}
MODELS = {n: lookup("model", n, trainables.MODELS) for n in trainables.MODELS}
OPTIMIZERS = {n: lookup("optimizer", n, trainables.OPTIMIZERS) for n in trainables.OPTIMIZERS}


@pytest.fixture(autouse=True)
def data_root(tmp_path, monkeypatch):
    """Where this test's decoded images are cached."""
    monkeypatch.setenv("GRADTUNE_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


@pytest.fixture(scope="module")
def located(tmp_path_factory, imagenet_path):
    """A path at which each data set that needs no download can be loaded, small."""
    root = tmp_path_factory.mktemp("located")
    parquet_directory(root / "parquet", num_train=40)
    parquet_directory(root / "ten", num_train=40, size=32, names=list("abcdefghij"))
    parquet_directory(root / "hundred", num_train=40, size=32, names=[str(i) for i in range(100)])
    image_folder(root / "folder")
    folders = {"parquet": "parquet", "cifar10": "ten", "cifar100": "hundred"}
    folders |= {"imagefolder": "folder"}
    paths = {name: str(root / folder) for name, folder in folders.items()}
    return {"digits": None, "synthetic": "200:50", "imagenet": str(imagenet_path), **paths}


def tensor_images(count=64, size=32, augmentation=EVERYTHING):
    return TensorImages(
        images_NHWC=torch.from_numpy(random_images(count, size=size)),
        labels_N=torch.arange(count) % 10,
        normalization=PLAIN,
        augmentation=augmentation,
    )


def one_batch(images, samples):
    ((images_BCHW, labels_B),) = images.batches([samples])
    return images_BCHW, labels_B


# ---------------------------------------------------------------- every data set


@pytest.mark.slow
@pytest.mark.parametrize("name", DATASETS)
def test_loaded_data_is_what_describe_says(name, located):
    info, data = describe(name, located[name]), load_images(name, located[name])
    assert len(data.train) == len(data.train.labels_N) == info.num_train
    assert len(data.test) == len(data.test.labels_N) == info.num_test
    assert data.num_classes == info.num_classes
    assert (data.channels, data.image_size) == (info.channels, info.image_size)
    for part in (data.train, data.test):
        assert part.labels_N.dtype == torch.int64
        assert 0 <= int(part.labels_N.min()) <= int(part.labels_N.max()) < data.num_classes


def in_process(images):
    """Folders decode in this process: forking is not what these tests are about."""
    return replace(images, **dict.fromkeys({"num_workers"} & set(vars(images)), 0))


@pytest.mark.slow
@pytest.mark.parametrize("name", DATASETS)
def test_batches_are_normalised_channels_last_and_follow_the_plan(name, located):
    data = load_images(name, located[name])
    images = in_process(data.train)
    plan = [SampleStream(0, len(images)).take(0, 3), Samples(np.array([2, 0]))]
    for samples, (x, y) in zip(plan, images.batches(iter(plan)), strict=True):
        shape = (len(samples.index_B), data.channels, data.image_size, data.image_size)
        assert x.shape == shape
        assert x.dtype == torch.float32
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(y, images.labels_N[samples.index_B])


@pytest.mark.slow
@pytest.mark.parametrize("name", DATASETS)
def test_evaluation_and_augmentation_are_repeatable_and_leave_the_global_rng(name, located):
    images = in_process(load_images(name, located[name]).train)
    samples = SampleStream(0, len(images)).take(0, 4)
    before = torch.get_rng_state()
    assert torch.equal(one_batch(images, samples)[0], one_batch(images, samples)[0])
    plain = Samples(samples.index_B)
    assert torch.equal(one_batch(images, plain)[0], one_batch(images, plain)[0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", DATASETS)
def test_subset_holds_these_images_in_this_order(name, located):
    images = in_process(load_images(name, located[name]).train)
    part = images.subset(np.array([3, 1]))
    assert len(part) == 2
    assert torch.equal(part.labels_N, images.labels_N[[3, 1]])
    whole_BCHW, _ = one_batch(images, Samples(np.array([1, 3])))
    part_BCHW, _ = one_batch(part, Samples(np.array([1, 0])))
    assert torch.equal(part_BCHW, whole_BCHW)


@pytest.mark.slow
@pytest.mark.parametrize("name", DATASETS)
def test_memory_format_can_be_chosen(name, located):
    data = load_images(name, located[name]).to(CPU, torch.contiguous_format)
    x, _ = one_batch(in_process(data.test), Samples(np.array([0, 1])))
    assert x.is_contiguous()


# ---------------------------------------------------------------- augmentation


def slow_augmentation(image_CHW, draws_D, augmentation):
    """One image by padding, slicing and torchvision's rotation, as the papers' transforms."""
    pad = augmentation.pad
    size = image_CHW.shape[1]
    row, col = (int(draw * (2 * pad + 1)) for draw in draws_D[:2])
    padded = torch.nn.functional.pad(image_CHW, (pad, pad, pad, pad))
    cropped = padded[:, row : row + size, col : col + size]
    flipped = cropped.flip(2) if augmentation.flip and draws_D[2] < 0.5 else cropped
    from torchvision.transforms.functional import rotate  # 3 s

    return rotate(flipped, (2 * float(draws_D[3]) - 1) * augmentation.max_degrees)


@pytest.mark.slow
@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
@pytest.mark.parametrize("size", [8, 32])
def test_augmentation_equals_the_image_by_image_reference(augmentation, size):
    images = tensor_images(64, size, augmentation)
    samples = SampleStream(1, 64).take(0, 192)
    batch_BCHW, _ = one_batch(images, samples)
    for x_CHW, index, draws_D in zip(batch_BCHW, samples.index_B, samples.draws_BD, strict=True):
        raw_CHW = images.images_NHWC[index].permute(2, 0, 1)
        assert torch.equal(x_CHW.round().byte(), slow_augmentation(raw_CHW, draws_D, augmentation))


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_batch_size_does_not_change_the_augmentation(augmentation):
    images, stream = tensor_images(64, 32, augmentation), SampleStream(2, 64)
    whole_BCHW, labels_B = one_batch(images, stream.take(30, 64))
    parts = list(images.batches(stream.take(first, 8) for first in range(30, 94, 8)))
    assert torch.equal(torch.cat([x for x, _ in parts]), whole_BCHW)
    assert torch.equal(torch.cat([y for _, y in parts]), labels_B)


def test_every_crop_offset_occurs_and_extreme_draws_stay_inside():
    augmentation = Augmentation(pad=1)
    image_HWC = torch.arange(1, 10, dtype=torch.uint8).view(3, 3, 1).expand(3, 3, 3)
    images = replace(
        tensor_images(1, 3, augmentation), images_NHWC=image_HWC.unsqueeze(0).contiguous()
    )
    largest = np.nextafter(np.float32(1), np.float32(0))
    draws = [[0, 0, 0, 0], [0.5, 0.5, 0, 0], [largest, largest, 0, 0]]
    samples = Samples(np.zeros(3, dtype=np.int64), np.array(draws, dtype=np.float32))
    x_BCHW, _ = one_batch(images, samples)
    assert x_BCHW[0, 0].round().int().tolist() == [[0, 0, 0], [0, 1, 2], [0, 4, 5]]
    assert x_BCHW[1, 0].round().int().tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert x_BCHW[2, 0].round().int().tolist() == [[5, 6, 0], [8, 9, 0], [0, 0, 0]]


def test_a_part_without_images_is_not_unbalanced():
    assert not is_unbalanced(np.array([], dtype=np.int64))
    assert is_unbalanced(np.array([0, 0, 0, 0, 1]))


def test_black_is_padded_before_normalisation():
    normalization = Normalization(mean=(0.5, 0.25, 0.1), std=(0.2, 0.3, 0.4))
    images = replace(tensor_images(1, 8), normalization=normalization)
    images = replace(images, augmentation=Augmentation(pad=4))
    samples = Samples(np.array([0]), np.zeros((1, 4), dtype=np.float32))
    x_BCHW, _ = one_batch(images, samples)
    black = [-0.5 / 0.2, -0.25 / 0.3, -0.1 / 0.4]
    assert x_BCHW[0, :, 0, 0].tolist() == pytest.approx(black, rel=1e-6)


@pytest.mark.parametrize("kind", [tuple, list])
def test_normalisation_is_pixel_minus_mean_over_std(kind):
    normalization = Normalization(mean=kind((0.5, 0.25, 0.1)), std=kind((0.2, 0.3, 0.4)))
    images = replace(tensor_images(5, 8), normalization=normalization)
    x_BCHW, _ = one_batch(images, Samples(np.arange(5)))
    raw_BCHW = images.images_NHWC.permute(0, 3, 1, 2).double() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.5, 0.25, 0.1), (0.2, 0.3, 0.4)))
    torch.testing.assert_close(x_BCHW.double(), (raw_BCHW - mean) / std, rtol=1e-6, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_crops_and_flips_as_the_cpu_does():
    images = tensor_images(64, 32, Augmentation(pad=4, flip=True))
    samples = SampleStream(3, 64).take(0, 64)
    on_gpu, labels_B = one_batch(images.to(torch.device("cuda")), samples)
    assert labels_B.is_cuda
    assert torch.equal(on_gpu.cpu().round(), one_batch(images, samples)[0].round())


# ---------------------------------------------------------------- dividing


@given(labels_N=LABELS, fraction=st.floats(0, 0.99), seed=st.integers(0, 9))
def test_split_parts_every_class_in_proportion(labels_N, fraction, seed):
    train, val = stratified_split(labels_N, fraction, seed)
    assert len(val) == round(fraction * len(labels_N))
    assert np.array_equal(np.sort(np.concatenate([train, val])), np.arange(len(labels_N)))
    sizes, taken = np.bincount(labels_N, minlength=7), np.bincount(labels_N[val], minlength=7)
    exact = sizes * (len(val) / len(labels_N))
    num_rare = int((exact < 1).sum())  # each may have got its one image from a larger class
    assert (taken <= np.ceil(exact - 1e-9) + (exact == 0)).all()
    assert (taken >= np.floor(exact + 1e-9) - num_rare).all()


@given(labels_N=LABELS, seed=st.integers(0, 9))
def test_every_class_of_two_is_validated_when_there_are_enough_images(labels_N, seed):
    _, val = stratified_split(labels_N, 0.5, seed)
    sizes, taken = np.bincount(labels_N), np.bincount(labels_N[val], minlength=labels_N.max() + 1)
    assert (taken[sizes >= 2] >= 1).all()


def test_split_takes_the_remainder_where_it_is_largest():
    labels_N = np.repeat([0, 1, 2], [50, 33, 17])
    _, val = stratified_split(labels_N, 0.1, seed=0)  # exact 5, 3.3, 1.7
    assert np.bincount(labels_N[val]).tolist() == [5, 3, 2]


def test_rare_class_gets_one_validation_image_from_the_largest():
    labels_N = np.repeat([0, 1], [97, 3])
    _, val = stratified_split(labels_N, 0.1, seed=0)  # exact 9.7, 0.3
    assert np.bincount(labels_N[val]).tolist() == [9, 1]


def test_split_is_decided_by_its_seed():
    labels_N = np.arange(100) % 10
    one, again, other = (stratified_split(labels_N, 0.2, seed)[1] for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, math.nan])
def test_split_refuses_other_fractions(fraction):
    with pytest.raises(ValueError, match=r"^val_fraction must lie in \[0, 1\)"):
        stratified_split(np.arange(10), fraction, 0)


@pytest.mark.slow
@given(labels_N=LABELS, share=st.floats(0.01, 1))
def test_pool_is_in_proportion_and_always_the_same(labels_N, share):
    count = max(1, round(share * len(labels_N)))
    pool = stratified_pool(labels_N, count)
    assert len(np.unique(pool)) == count
    taken, exact = np.bincount(labels_N[pool], minlength=7), np.bincount(labels_N, minlength=7)
    assert (np.abs(taken - exact * (count / len(labels_N))) < 1 + 1e-9).all()
    assert np.array_equal(pool, stratified_pool(labels_N, count))


@pytest.mark.parametrize("count", [0, 11])
def test_pool_refuses_a_count_it_cannot_give(count):
    with pytest.raises(ValueError, match=r"must lie in \[1, 10\], but got"):
        stratified_pool(np.arange(10), count)


def test_fewer_training_images_are_a_stratified_pool_and_the_test_part_stays():
    data = load_images("digits", None, 200)
    assert len(data.train) == 200
    assert len(data.test) == 360
    assert np.abs(torch.bincount(data.train.labels_N).numpy() - 20).max() <= 1


# ---------------------------------------------------------------- single data sets


def test_digits_are_scikit_learns():
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    data = load_images("digits", None)
    ours = torch.cat([data.train.images_NHWC, data.test.images_NHWC]).view(-1, 64)
    expected = {(label, *image) for image, label in zip(images.astype(int), labels, strict=True)}
    labels_N = torch.cat([data.train.labels_N, data.test.labels_N]).tolist()
    pixels = (ours.double() * 16 / 255).round().long().tolist()
    assert {(label, *image) for image, label in zip(pixels, labels_N, strict=True)} == expected


@pytest.mark.parametrize("name", ["digits", "synthetic", "parquet"])
def test_training_images_have_mean_0_and_std_1(name, located):
    images = load_images(name, located[name]).train
    x_BCHW, _ = one_batch(images, Samples(np.arange(len(images))))
    std_C, mean_C = torch.std_mean(x_BCHW, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean_C, torch.zeros_like(mean_C), rtol=0, atol=1e-4)
    torch.testing.assert_close(std_C, torch.ones_like(std_C), rtol=0, atol=1e-4)


@pytest.mark.parametrize("count", [1, 100, 257])
def test_statistics_are_those_of_the_pixels_as_floats(count):
    images_NHWC = random_images(2 * count, seed=count)
    images_NHWC[..., 1] = 99
    rows = np.arange(1, 2 * count, 2)
    pixels = images_NHWC[rows].astype(np.float32) / 255
    found = statistics(images_NHWC, rows)
    means = pixels.mean((0, 1, 2), dtype=np.float64)
    stds = pixels.std((0, 1, 2), dtype=np.float64)
    np.testing.assert_allclose(found.mean, means, rtol=1e-12)
    np.testing.assert_allclose(found.std, [stds[0], 1.0, stds[2]], rtol=1e-12)


def test_larger_synthetic_set_begins_with_the_smaller_whatever_the_global_seed():
    torch.manual_seed(0)
    few, few_labels = generator.synthetic_images(30, stream=generator.TRAIN)
    torch.manual_seed(1)
    many, many_labels = generator.synthetic_images(700, stream=generator.TRAIN)
    assert np.array_equal(many[:30], few)
    assert np.array_equal(many_labels[:30], few_labels)
    assert np.bincount(many_labels, minlength=10).min() > 20  # 70 if all were equal


def test_mirrored_synthetic_images_keep_their_label():
    teacher = generator._teacher()
    images_NCHW = generator._noise(generator.TEST, 0)
    assert torch.equal(teacher.label(images_NCHW), teacher.label(images_NCHW.flip(3)))


@pytest.mark.full
@pytest.mark.slow
def test_resnet8_learns_the_synthetic_labels():
    data = load_images("synthetic", "4000:1000")
    torch.manual_seed(0)
    model = MODELS["resnet8"](num_classes=10, width=8).to(memory_format=torch.channels_last)
    options = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    optimizer = OPTIMIZERS["sgd"](model.parameters(), lr=0.1, **options)
    stream, num_steps = SampleStream(0, 4000), 120
    plan = (stream.take(64 * step, 64) for step in range(num_steps))
    for step, (x, y) in enumerate(data.train.batches(plan)):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / num_steps)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    x, y = one_batch(data.test, Samples(np.arange(1000)))
    with torch.inference_mode():
        accuracy = (model.eval()(x).argmax(1) == y).double().mean().item()
    assert accuracy > 0.2  # twice chance


def my_images(path):
    """A user's own data set."""
    part = tensor_images(int(path))
    return ImageData(train=part, test=part, num_classes=10)


def test_users_own_loader_is_called_with_the_path():
    name = f"{__name__}:my_images"
    allow_import(name)
    data = load_images(name, "20", 10)
    assert (len(data.train), len(data.test)) == (10, 20)
    assert describe(name, "20").num_train == 20


@pytest.mark.full
@pytest.mark.skipif(not CIFAR10_PATH.is_dir(), reason="needs CIFAR-10 as Parquet")
@pytest.mark.slow
def test_cifar10_in_parquet_is_loaded_whole_and_then_mapped():
    data = load_images("cifar10", str(CIFAR10_PATH))
    assert torch.bincount(data.train.labels_N).tolist() == [5000] * 10
    assert torch.bincount(data.test.labels_N).tolist() == [1000] * 10
    x_BCHW, _ = one_batch(data.train, Samples(np.arange(0, 50_000, 50)))
    std_C, mean_C = torch.std_mean(x_BCHW, dim=(0, 2, 3))
    assert mean_C.abs().max() < 0.1
    assert (std_C - 1.22).abs().max() < 0.1  # the papers' std is that of image means
    again = load_images("cifar10", str(CIFAR10_PATH), 4000)
    assert torch.bincount(again.train.labels_N).tolist() == [400] * 10
