"""The zoo of tests/data_zoo.py: what becomes of each case; what is taken can be trained on."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.conftest import ROOT
from tests.data_zoo import CASES, Case, deep, image, page, plain, see
from tests.fakes.images import encode, random_images, write_parquet
from trainables.data.datasets import load_images
from trainables.data.encoded import decoding
from trainables.data.encoded.parts import TEST_SHARE
from trainables.data.encoded.pixels import fit, read_image, to_array
from trainables.data.images import CPU, ImageData, Normalization
from trainables.data.sources import DataOptions
from trainables.data.splits import POOL_SEED, stratified_split
from trainables.data.stream import Samples, SampleStream


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_case_is_taken_told_or_refused(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADTUNE_DATA", str(tmp_path / "root"))
    torch.set_num_threads(1)
    root = tmp_path / "data"
    root.mkdir()
    seen = see(case, root)
    assert seen.outcome == case.outcome, seen.lines
    assert case.told in " ".join(seen.lines)
    assert all("\n" not in line and line.isprintable() for line in seen.lines)
    assert case.num_train in (None, seen.num_train)
    assert case.num_test in (None, seen.num_test)
    if seen.outcome == "refused":
        return
    data = load_images(case.name, str(root), None, DataOptions(**case.options))
    for part, count in ((data.train, seen.num_train), (data.test, seen.num_test)):
        assert count == len(part)
        if hasattr(part, "image_size"):  # decoded here, and small: it takes long otherwise
            part = replace(part, num_workers=0, image_size=8)
        rows = np.array([0, len(part) - 1])
        ((images_BCHW, labels_B),) = part.batches([Samples(rows)])
        assert images_BCHW.shape[:2] == (2, data.channels)
        assert labels_B.tolist() == part.labels_N[rows].tolist()


def test_the_zoo_is_large_and_no_two_cases_are_called_alike() -> None:
    assert len(CASES) == len({case.title for case in CASES}) >= 85


@pytest.mark.slow
def test_the_page_is_what_the_zoo_says() -> None:
    text = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    assert text.splitlines() == "\n".join(page()).rstrip().splitlines()


def pixels(picture, channels=None, kind="PNG", **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return to_array(read_image(stream.getvalue(), channels))


def test_sixteen_bits_are_scaled_to_eight() -> None:
    picture = deep(3)
    wanted = np.rint(np.asarray(picture) / 257)  # 65,535 = 255 * 257
    assert np.array_equal(pixels(picture)[..., 0], wanted)


def test_what_is_transparent_shows_white() -> None:
    picture = image(1, mode="RGBA")
    alpha = np.zeros((8, 8), dtype=np.uint8)
    alpha[0], alpha[1] = 255, 51
    picture.putalpha(Image.fromarray(alpha))
    rgb, seen = np.asarray(picture)[..., :3].astype(float), pixels(picture)
    assert np.array_equal(seen[0], rgb[0])
    assert np.abs(seen[1] - (0.2 * rgb[1] + 0.8 * 255)).max() <= 1
    assert np.all(seen[2:] == 255)


def test_exif_orientation_is_followed_as_by_its_standard() -> None:
    picture = image(2).crop((0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the 0th row is at the right: turn clockwise to look at it
    assert np.array_equal(pixels(picture, exif=exif), np.rot90(np.asarray(picture), -1))


def test_one_bit_and_gray_stay_one_channel() -> None:
    assert pixels(image(1, mode="1")).shape == (8, 8, 1)
    assert set(np.unique(pixels(image(1, mode="1")))) <= {0, 255}
    assert pixels(image(1, mode="L"), 3).shape == (8, 8, 3)


def photographs(root: Path, *, bad: tuple[int, ...] = ()) -> tuple[list[bytes], list[int]]:
    """The same 300 PNGs as root/folder and root/parquet."""
    encoded = [encode(one) for one in random_images(300, size=12, seed=4)]
    labels = [number // 75 for number in range(300)]
    names = ["ant", "bee", "cat", "dog"]
    for part in ("train", "test"):
        for number, (data, label) in enumerate(zip(encoded, labels, strict=True)):
            file = root / "folder" / part / names[label] / f"{number:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"" if number in bad else data)
        of_parquet = [b"" if number in bad else data for number, data in enumerate(encoded)]
        write_parquet(root / "parquet" / f"{part}.parquet", of_parquet, labels, names=names)
    return encoded, labels


def loaded(root: Path, name: str, **options: Any) -> ImageData:
    path = str(root / {"imagefolder": "folder"}.get(name, name))
    return load_images(name, path, None, DataOptions(image_size=8, **options)).to(CPU)


@pytest.mark.slow
def test_a_folder_and_parquet_of_the_same_images_give_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADTUNE_DATA", str(tmp_path / "root"))
    photographs(tmp_path)
    plan = [SampleStream(3, 300).take(0, 64), SampleStream(3, 300).take(64, 300)]
    of_folder, of_parquet = (
        list(loaded(tmp_path, name).train.batches(plan)) for name in ("imagefolder", "parquet")
    )
    for (x, y), (x2, y2) in zip(of_folder, of_parquet, strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["imagefolder", "parquet"])
def test_the_next_image_of_its_class_takes_the_place_of_a_bad_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRADTUNE_DATA", str(tmp_path / "root"))
    encoded, labels = photographs(tmp_path, bad=(74, 80, 81))
    # Of 74, the last of its class, that is the first; of 80 not 81, which is bad too.
    stands = list(range(300))
    stands[74], stands[80], stands[81] = 0, 82, 82
    wanted = [to_array(fit(read_image(encoded[one], 3), 8)) for one in stands]
    data = loaded(tmp_path, name, on_bad_image="skip")
    assert np.array_equal(shown(data.train), np.stack(wanted))
    assert data.train.labels_N.tolist() == labels
    assert "3 of 300 train images cannot be decoded" in capfd.readouterr().err
    with pytest.raises(ValueError, match=r"0?74.*: cannot decode the image \(it is empty\)"):
        loaded(tmp_path, name)
    photographs(tmp_path, bad=(74, 80, 81, 82))
    monkeypatch.setenv("GRADTUNE_DATA", str(tmp_path / "other"))
    with pytest.raises(ValueError, match=r"^4 of 300 images cannot be decoded.*allows 1%"):
        loaded(tmp_path, name, on_bad_image="skip")


def shown(images: Any) -> np.ndarray:
    """Pixels (N, H, W, C) as evaluation batches have them."""
    images = replace(images, normalization=Normalization(mean=(0.0,) * 3, std=(1 / 255,) * 3))
    ((x_NCHW, _),) = images.batches([Samples(np.arange(len(images)))])
    return x_NCHW.permute(0, 2, 3, 1).round().byte().numpy()


@pytest.mark.slow
@pytest.mark.parametrize("is_kept", [False, True], ids=["decoded", "from the cache"])
def test_no_image_of_another_set_takes_the_place_of_a_bad_one(
    is_kept: bool, cache: None, tmp_path: Path
) -> None:
    encoded, labels = photographs(tmp_path, bad=(74, 80, 81))
    if is_kept:
        loaded(tmp_path, "parquet", on_bad_image="skip")
    val = np.array([0, 1, 82, 83])  # those that would be next
    train = np.setdiff1d(np.arange(300), val)
    path = str(tmp_path / "parquet")
    whole = load_images("parquet", path, None, DataOptions(image_size=8, on_bad_image="skip"))
    for part in (whole.train.subset(train).to(CPU), whole.train.to(CPU).subset(train)):
        stands = {74: 2, 80: 84, 81: 84}
        rows = [stands.get(row, row) for row in train.tolist()]
        wanted = [to_array(fit(read_image(encoded[row], 3), 8)) for row in rows]
        assert np.array_equal(shown(part), np.stack(wanted))
        assert part.labels_N.tolist() == [labels[row] for row in train]
    alone = whole.train.to(CPU).subset(np.array([80, 81]))
    with pytest.raises(ValueError, match="no image of class 1 can be decoded"):
        shown(alone)


def test_bad_images_of_a_small_pool_are_counted_in_the_whole(
    cache: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    photographs(tmp_path, bad=(74, 80, 81))
    monkeypatch.setattr(decoding, "statistics_sample", lambda _: np.arange(60))
    path, options = str(tmp_path / "parquet"), DataOptions(image_size=8, on_bad_image="skip")
    whole = load_images("parquet", path, None, options)
    pool = whole.train.subset(np.arange(60, 90)).to(CPU)  # 10 % of them are bad
    assert len(pool.lost) == 3
    assert "3 of 30 train images cannot be decoded" in capfd.readouterr().err


def test_a_piece_of_a_bad_file_is_one_of_the_next_of_its_class(tmp_path: Path) -> None:
    photographs(tmp_path, bad=(74,))
    path = str(tmp_path / "folder")
    part = load_images("imagefolder", path, None, DataOptions(on_bad_image="skip")).train
    part = replace(part, num_workers=0, image_size=8)
    draws = np.full((1, 4), 0.3, dtype=np.float32)
    (bad, label), (good, _) = part.batches(
        Samples(np.array([row]), draws, np.array([0])) for row in (74, 0)
    )
    assert torch.equal(bad, good)
    assert label.tolist() == [0]
    others = replace(part, rows_N=np.setdiff1d(part.rows_N, [0]))  # 0 is to be validated
    (third, _), (second, _) = others.batches(
        Samples(np.array([row]), draws, np.array([0])) for row in (73, 0)
    )
    assert torch.equal(third, second)
    assert not torch.equal(third, good)
    strict = load_images("imagefolder", path).train
    with pytest.raises(ValueError, match=r"0074.png: cannot decode the image \(it is empty\)"):
        next(replace(strict, num_workers=0).batches([Samples(np.array([74]))]))


def test_a_coloured_image_among_gray_ones_is_refused_where_it_is_met(tmp_path: Path) -> None:
    gray = [encode(one) for one in random_images(200, channels=1)]
    labels = [number % 2 for number in range(200)]
    coloured = [*gray[:150], encode(random_images(1)[0]), *gray[151:]]
    write_parquet(tmp_path / "train.parquet", coloured, labels, row_group_size=1000)
    write_parquet(tmp_path / "test.parquet", gray, labels)
    with pytest.raises(ValueError, match=r"row 150 is coloured, but .* dataset.channels=1 or 3"):
        load_images("parquet", str(tmp_path)).to(CPU)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADTUNE_DATA", str(tmp_path / ".root"))


def resident(name: str, root: Path, **options: Any) -> Any:
    return load_images(name, str(root), None, DataOptions(**options)).train.to(CPU)


def test_the_cache_tells_image_columns_of_one_file_apart(cache: None, tmp_path: Path) -> None:
    shades = {"photo": 10, "mask": 200}
    columns = {name: [flat(shade)] * 20 for name, shade in shades.items()}
    pq.write_table(pa.table(columns | {"label": [0, 1] * 10}), tmp_path / "train.parquet")
    for name, shade in shades.items():
        images = resident("parquet", tmp_path, image_column=name).images_NHWC
        assert np.all(images.numpy() == shade)


def test_the_cache_tells_splits_by_other_labels_apart(cache: None, tmp_path: Path) -> None:
    count, columns = 40, {"image": [flat(shade) for shade in range(40)]}
    labels = {"half": [n // 20 for n in range(count)], "quarter": [n // 10 for n in range(count)]}
    pq.write_table(pa.table(columns | labels), tmp_path / "images.parquet")
    for name in labels:
        images = resident("parquet", tmp_path, label_column=name)
        shades = images.images_NHWC[:, 0, 0, 0].tolist()
        assert images.labels_N.tolist() == [labels[name][shade] for shade in shades]
        assert len(set(shades)) == 32
        wanted, _ = stratified_split(np.array(labels[name]), TEST_SHARE, POOL_SEED)
        assert shades == wanted.tolist()


def test_the_cache_notices_a_file_that_kept_its_size(cache: None, tmp_path: Path) -> None:
    plain(tmp_path, count=4)
    for shade in (10, 200):
        for file in tmp_path.glob("*/*/*.png"):
            file.write_bytes(flat(shade))
            os.utime(file, (1, 1))  # as unpacked
        images = resident("imagefolder", tmp_path, image_size=8).images_NHWC
        assert np.all(images.numpy() == shade)


def flat(shade: int) -> bytes:
    """A BMP, whose size is that of its pixels."""
    return encode(np.full((8, 8, 3), shade, dtype=np.uint8), "BMP")
