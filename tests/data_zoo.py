"""Data as people have them: folders and Parquet files, each odd in one way.

`python -m tests.data_zoo > docs/data.md` writes the page that says what becomes of each.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.fakes.images import encode, random_images
from trainables.data.encoded.downloads import TORCHVISION
from trainables.data.sources import DataOptions, describe
from tuner.config.schema import ConfigError

SIZE = 8


@dataclass(frozen=True, kw_only=True)
class Case:
    """`make` writes it below a folder; `told` is part of the line that a user sees, '' none.

    num_train and num_test: images that are used, where that is the point.
    """

    title: str
    make: Callable[[Path], object]
    outcome: str  # taken | told | refused
    told: str = ""
    name: str = "imagefolder"
    options: dict[str, Any] = field(default_factory=dict)
    num_train: int | None = None
    num_test: int | None = None


@dataclass(frozen=True)
class Seen:
    """What became of a case: the facts or None, and the lines told."""

    outcome: str
    lines: tuple[str, ...]
    num_train: int | None = None
    num_test: int | None = None


def see(case: Case, root: Path) -> Seen:
    """Make the case and describe it as a run does before it starts."""
    case.make(root)
    options = DataOptions(**case.options)
    try:
        info = describe(case.name, str(root), options)
    except ValueError as error:
        return Seen("refused", (str(ConfigError(f"dataset: {error}")),))
    notes = tuple(str(ConfigError(f"note: dataset: {note}")) for note in info.notes)
    return Seen("told" if notes else "taken", notes, info.num_train, info.num_test)


# ------------------------------------------------------------------------- how they are made


def image(seed: int = 0, size: int = SIZE, mode: str = "RGB") -> Image.Image:
    return Image.fromarray(random_images(1, size=size, seed=seed)[0]).convert(mode)


def save(file: Path, picture: Image.Image | None = None, **options: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    (picture or image(zlib.crc32(file.name.encode()))).save(file, **options)


def plain(root: Path, parts: tuple[str, ...] = ("train", "test"), count: int = 4) -> Path:
    """parts/{ant,bee}/0.png ...; each image differs."""
    seed = 0
    for part in parts:
        for name in ("ant", "bee"):
            for number in range(count):
                seed += 1
                save(root / part / name / f"{number}.png", image(seed))
    return root


def with_file(name: str, data: bytes, at: str = "train/ant") -> Callable[[Path], None]:
    def make(root: Path) -> None:
        file = plain(root) / at / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    return make


def with_image(name: str, picture: Image.Image, **options: Any) -> Callable[[Path], None]:
    return lambda root: save(plain(root) / "train/ant" / name, picture, **options)


def all_of(picture: Callable[[int], Image.Image], suffix: str = "png") -> Callable[[Path], None]:
    """Every image is of this kind."""

    def make(root: Path) -> None:
        for seed in range(16):
            part, name = ("train", "test")[seed % 2], ("ant", "bee")[seed // 2 % 2]
            save(root / part / name / f"{seed}.{suffix}", picture(seed))

    return make


def bomb() -> bytes:
    """A PNG of 67 bytes that says it has 50,000 x 50,000 pixels."""
    data = bytearray(encode(random_images(1, size=1)[0]))
    data[16:24] = (50_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def no_pixels() -> bytes:
    data = bytearray(encode(random_images(1, size=1)[0]))
    data[16:20] = bytes(4)
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def deeper(root: Path) -> None:
    plain(root)
    for folder in list(root.glob("*/*")):
        (folder / "images").mkdir()
        for file in list(folder.glob("*.png")):
            file.rename(folder / "images" / file.name)


def moved(old: str, new: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (plain(root) / new).parent.mkdir(parents=True, exist_ok=True)
        (root / old).rename(root / new)

    return make


def loop(root: Path) -> None:
    (plain(root) / "train/ant/again").symlink_to(root / "train/ant", target_is_directory=True)


def linked(root: Path) -> None:
    plain(root / "store")
    for part in ("train", "test"):
        (root / part).symlink_to(root / "store" / part, target_is_directory=True)


def metadata(lines: list[str], name: str = "metadata.csv") -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for number in range(8):
            save(root / f"{number}.png", image(number))
        (root / name).write_text("\n".join(lines) + "\n")

    return make


def flat_test(root: Path) -> None:
    plain(root, ("train", "val"))
    for number in range(3):
        save(root / "test" / f"{number}.png", image(900 + number))


def empty_files(count: int) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        plain(root, count=110)
        for number in range(count):
            (root / "train/ant" / f"{number}.png").write_bytes(b"")

    return make


def same_image(root: Path) -> None:
    plain(root)
    (root / "test/ant/0.png").write_bytes((root / "train/ant/0.png").read_bytes())


def rows(
    labels: list[Any], *, seed: int = 0, kind: str = "struct", image_name: str = "image",
    label_name: str | None = "label", names: list[str] | None = None, size: int = SIZE,
) -> pa.Table:  # fmt: skip
    encoded: list[Any] = [encode(one) for one in random_images(len(labels), size=size, seed=seed)]
    columns: dict[str, Any] = {}
    if kind == "struct":
        of = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        encoded = [{"bytes": data, "path": "x.png"} for data in encoded]
        columns[image_name] = pa.array(encoded, of)
    else:
        columns[image_name] = pa.array(encoded, getattr(pa, kind)())
    if label_name is not None:
        columns[label_name] = labels if isinstance(labels, pa.Array) else pa.array(labels)
    table = pa.table(columns)
    if names is not None:
        features = {label_name: {"names": names, "_type": "ClassLabel"}}
        text = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": text})
    return table


Tables = dict[str, pa.Table]
LABELS = [0, 1, 0, 1, 0, 1, 0, 1]


def files(tables: Tables, **options: Any) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for name, table in tables.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, root / name, **options)

    return make


def two(**options: Any) -> Callable[[Path], None]:
    return files(
        {"train.parquet": rows(LABELS, **options), "test.parquet": rows(LABELS, seed=1, **options)}
    )


def with_null(column: str) -> pa.Table:
    table = rows(LABELS)
    values = table[column].to_pylist()
    values[3] = None
    position = table.schema.get_field_index(column)
    return table.set_column(position, column, pa.array(values, table[column].type))


def animated(root: Path) -> None:
    save(
        plain(root) / "train/ant/moving.gif",
        image(50), save_all=True, append_images=[image(51), image(52)],
    )  # fmt: skip


def exif(root: Path) -> None:
    tag = Image.Exif()
    tag[0x0112] = 6
    picture = Image.fromarray(random_images(1, size=16)[0][:8])
    save(plain(root) / "train/ant/turned.jpg", picture, exif=tag)


def deep(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 65536, (SIZE, SIZE)).astype(np.uint16)
    return Image.fromarray(values)


def real(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).random((SIZE, SIZE)).astype(np.float32))


def shards(*numbers: int, of: int = 3) -> Callable[[Path], None]:
    tables = {f"data/train-{n:05}-of-{of:05}.parquet": rows(LABELS, seed=n) for n in numbers}
    return files(tables | {"data/test-00000-of-00001.parquet": rows(LABELS, seed=9)})


TEST = {"test.parquet": rows(LABELS, seed=9)}
ONES = range(26)
S = {"image_size": SIZE}
P = "parquet"
EXTRA = [f"{n}.png,{'ab'[n % 2]}" for n in range(8)]

FOLDERS = [
    Case(title="train/CLASS/ and test/CLASS/", make=plain, outcome="taken", num_train=8),
    Case(title="train/, val/", make=lambda r: plain(r, ("train", "val")), outcome="taken"),
    Case(title="Train/, Validation/", make=lambda r: plain(r, ("Train", "Validation")),
         outcome="taken", num_test=8),
    Case(title="train/, val/ and test/", make=lambda r: plain(r, ("train", "val", "test")),
         outcome="told", told="the 8 images of validation are not used", num_test=8),
    Case(title="a test/ without labels beside val/", make=flat_test, outcome="told",
         told="the test images have no labels: validation images are tested on", num_test=8),
    Case(title="CLASS/ alone", make=lambda r: plain(r, (".",), 10), outcome="told",
         told="there is no test part: 4 of 20 images", num_train=16, num_test=4),
    Case(title="train/ alone", make=lambda r: plain(r, ("train",), 10), outcome="told",
         told="there is no test part: 4 of 20 images", num_train=16),
    Case(title="test/ without train/", make=lambda r: plain(r, ("test",)), outcome="refused",
         told="must hold the folders train/ and val/"),
    Case(title="an empty folder", make=lambda r: r.mkdir(exist_ok=True), outcome="refused",
         told="holds no images"),
    Case(title="train/.ipynb_checkpoints/", outcome="told",
         make=with_file("0.png", b"x", "train/.ipynb_checkpoints"),
         told="hidden folders", num_train=8),
    Case(title="train/__MACOSX/", make=with_file("0.png", b"x", "train/__MACOSX"), outcome="told",
         told="hidden folders (1)", num_train=8),
    Case(title="lost+found/", make=with_file("0.png", b"x", "lost+found"), outcome="taken",
         num_train=8),
    Case(title="macOS's companions ._0.png", make=with_file("._0.png", b"\0\5\x16\7"),
         outcome="told", told="hidden files (1)", num_train=8),
    Case(title="Thumbs.db, notes.txt", make=lambda r: (with_file("Thumbs.db", b"x")(r),
         (r / "train/ant/notes.txt").write_text("x")), outcome="told",
         told="left out .db files (1), .txt files (1)", num_train=8),
    Case(title="train/CLASS/images/", make=deeper, outcome="taken", num_train=8, num_test=8),
    Case(title="data/train/CLASS/, data/test/CLASS/", make=lambda r: plain(r / "data"),
         outcome="told", told="the images are those of data/", num_train=8, num_test=8),
    Case(title="an image in no class folder", make=lambda r: save(plain(r) / "train/a.png"),
         outcome="told", told="images in no class folder (1)", num_train=8),
    Case(title="an empty class folder", make=lambda r: (plain(r) / "train/cat").mkdir(),
         outcome="told", told="no train images of 1 class: cat"),
    Case(title="a class that test/ lacks", make=lambda r: save(plain(r) / "train/cat/0.png"),
         outcome="told", told="no test images of 1 class: cat"),
    Case(title="a class that train/ lacks", make=lambda r: save(plain(r) / "test/cat/0.png"),
         outcome="refused", told="cat is a class that train/ does not have"),
    Case(title="a class in other case", make=moved("test/ant", "test/Ant"), outcome="refused",
         told="Ant is a class that train/ does not have"),
    Case(title="one class",
         make=lambda r: (save(r / "train/ant/0.png"), save(r / "test/ant/1.png")),
         outcome="refused", told="all images are of one class, ant"),
    Case(title="30 images of one class, 4 of the other",
         make=lambda r: [save(plain(r) / f"train/ant/x{i}.png", image(i + 100)) for i in ONES],
         outcome="told", told="the classes have from 4 to 30 training images"),
    Case(title="a file name that is not UTF-8",
         make=lambda r: save(plain(r) / "train/ant" / os.fsdecode(b"caf\xe9.png"), image(99)),
         outcome="taken", num_train=9),
    Case(title="an upper-case suffix", make=with_image("1.PNG", image(77), format="PNG"),
         outcome="taken", num_train=9),
    Case(title="folders that are symbolic links", make=linked, outcome="told", num_train=8,
         told="left out folders of no part: store"),
    Case(title="a symbolic link in a loop", make=loop, outcome="told",
         told="links that lead back (1)", num_train=8),
    Case(title="a broken symbolic link",
         make=lambda r: (plain(r) / "train/ant/9.png").symlink_to(r / "nowhere.png"),
         outcome="told", told="broken links (1)", num_train=8),
    Case(title="the same image in train/ and test/", make=same_image, outcome="told",
         told="at least 1 test image also among the training images"),
    Case(title="files beside a metadata.csv", make=metadata(["file_name,label", *EXTRA]),
         outcome="told", told="there is no test part: 2 of 8 images", num_train=6),
    Case(title="files beside a metadata.jsonl",
         make=metadata([json.dumps({"file_name": f"{n}.png", "label": n % 2}) for n in range(8)],
                       "metadata.jsonl"), outcome="told", told="there is no test part"),
    Case(title="a metadata.csv with another column",
         make=metadata(["file_name,kind", *EXTRA]), outcome="told",
         told="there is no test part", options={"label_column": "kind"}),
    Case(title="a metadata.csv without labels", make=metadata(["file_name", "0.png"]),
         outcome="refused", told="the training images have no labels"),
    Case(title="a metadata.csv that names a file which is not there",
         make=metadata(["file_name,label", *EXTRA, "none.png,a"]), outcome="refused",
         told="names 1 file that it lacks: none.png"),
    Case(title="a metadata.csv with an empty label",
         make=metadata(["file_name,label", *EXTRA[:7], "7.png"]), outcome="refused",
         told="metadata.csv: entry 8 has no label"),
    Case(title="a metadata.jsonl whose first line lacks the label",
         make=metadata([json.dumps({"file_name": f"{n}.png", **({"label": n % 2} if n else {})})
                        for n in range(8)], "metadata.jsonl"),
         outcome="refused", told="metadata.jsonl: entry 1 has no label"),
    Case(title="a metadata.jsonl whose first line lacks the file",
         make=metadata([json.dumps({"file_name" if n else "file": f"{n}.png", "label": n % 2})
                        for n in range(8)], "metadata.jsonl"),
         outcome="refused", told="metadata.jsonl: entry 1 has no file_name"),
    Case(title="a metadata.csv with labels of 26 digits", outcome="told",
         make=metadata(["file_name,label", *(f"{n}.png,{10**25 + n % 2}" for n in range(8))]),
         told="there is no test part"),
    Case(title="a metadata.csv in test/ with a class that train/ lacks",
         make=lambda r: (plain(r, ("train",)), metadata(["file_name,label", "0.png,cow"])
                         (r / "test")), outcome="refused",
         told="'cow' is a class that train/ does not have"),
    Case(title="two images", make=metadata(["file_name,label", *EXTRA[:2]]), outcome="refused",
         told="2 images are too few to keep some to test on"),
    Case(title="train/, test/ and extra/", make=lambda r: plain(r, ("train", "test", "extra")),
         outcome="told", told="left out folders of no part: extra", num_train=8),
    Case(title="train/ and training/", make=lambda r: plain(r, ("train", "training", "test")),
         outcome="refused", told="are both of one part"),
    Case(title="a metadata.csv that leaves files out",
         make=metadata(["file_name,label", *EXTRA[:6]]), outcome="told",
         told="images that metadata.csv does not name (2)"),
]  # fmt: skip

BAD = [
    Case(title="a file of zero bytes", make=with_file("x.png", b""), outcome="refused",
         told="x.png: cannot decode the image (it is empty)"),
    Case(title="the same, dataset.on_bad_image=skip", make=empty_files(1), outcome="told",
         told="replaced: ", options={"on_bad_image": "skip"}),
    Case(title="more than 1 % of them, dataset.on_bad_image=skip", make=empty_files(110),
         outcome="refused", told="allows 1%", options={"on_bad_image": "skip"}),
    Case(title="a JPEG that is cut off",
         make=with_file("x.jpg", encode(random_images(1, size=32)[0], "JPEG")[:400]),
         outcome="refused", told="runcated"),
    Case(title="a web page named .jpg", make=with_file("x.jpg", b"<html>404</html>"),
         outcome="refused", told="no image, or of a kind that is not known"),
    Case(title="50,000 x 50,000 pixels in 67 bytes", make=with_file("x.png", bomb()),
         outcome="refused", told="decompression bomb"),
    Case(title="0 x 1 pixels", make=with_file("x.png", no_pixels()), outcome="refused",
         told="cannot decode the image"),
]  # fmt: skip

PIXELS = [
    *(Case(title=f".{kind} files", make=all_of(image, kind), outcome="taken", num_train=8)
      for kind in ("bmp", "tif", "webp", "ppm", "jpg")),
    Case(title=".gif files", make=all_of(lambda s: image(s, mode="P"), "gif"), outcome="taken"),
    Case(title=".pgm files", make=all_of(lambda s: image(s, mode="L"), "pgm"), outcome="taken",
         options=S),
    Case(title="an animated .gif", make=animated, outcome="told", told="the first is taken"),
    Case(title="16 bits, gray: 65,535 is white", make=all_of(deep), outcome="taken", options=S),
    Case(title="real numbers (.tif)", make=all_of(real, "tif"), outcome="refused",
         told="F pixels of 32 bits have no known scale"),
    Case(title="1 bit", make=all_of(lambda s: image(s, mode="1")), outcome="taken", options=S),
    Case(title="CMYK", make=all_of(lambda s: image(s, mode="CMYK"), "jpg"), outcome="taken"),
    Case(title="RGBA: on white", make=all_of(lambda s: image(s, mode="RGBA")), outcome="taken"),
    Case(title="a palette", make=all_of(lambda s: image(s, mode="P")), outcome="taken"),
    Case(title="gray with transparency", make=all_of(lambda s: image(s, mode="LA")),
         outcome="taken", options=S),
    Case(title="a photograph whose EXIF says: turned", make=exif, outcome="taken"),
    Case(title="some gray, some coloured", make=with_image("g.png", image(7, mode="L")),
         outcome="told", told="all have 3 channels"),
    Case(title="sizes that differ", make=with_image("g.png", image(7, size=12)), outcome="taken"),
    Case(title="the same, dataset.image_size=8", make=with_image("g.png", image(7, size=12)),
         outcome="taken", options=S),
]  # fmt: skip

HUB = {"data/train-00000-of-00001.parquet": rows(LABELS),
       "data/test-00000-of-00001.parquet": rows(LABELS, seed=1)}  # fmt: skip
PARQUET = [
    Case(title="data/train-00000-of-00001.parquet", make=files(HUB), outcome="taken", num_train=8),
    Case(title="default/train/0000.parquet", outcome="taken", num_train=16, make=files(
        {"default/train/0000.parquet": rows(LABELS), "default/train/0001.parquet":
         rows(LABELS, seed=2), "default/test/0000.parquet": rows(LABELS, seed=1)})),
    Case(title="train/x.parquet, validation/y.parquet", outcome="taken", make=files(
        {"train/x.parquet": rows(LABELS), "validation/y.parquet": rows(LABELS, seed=1)})),
    Case(title="one file", make=files({"images.parquet": rows(LABELS * 3)}), outcome="told",
         told="there is no test part: 5 of 24 images", num_train=19, num_test=5),
    Case(title="train, validation and test", outcome="told", make=files(
        {f"{p}.parquet": rows(LABELS, seed=i)
         for i, p in enumerate(("train", "validation", "test"))}),
         told="the 8 images of validation are not used"),
    Case(title="test labels that are all -1", outcome="told", make=files(
        {"train.parquet": rows(LABELS), "test.parquet": rows([-1] * 8, seed=1),
         "validation.parquet": rows(LABELS, seed=2)}), told="the test images have no labels"),
    Case(title="a test part without a label column", outcome="told", make=files(
        {"train.parquet": rows(LABELS * 3),
         "test.parquet": rows(LABELS, seed=1, label_name=None)}),
         told="images taken out of train are tested on"),
    Case(title="a test part of no rows", outcome="told", told="the test images are none",
         make=files({"train.parquet": rows(LABELS), "test.parquet": rows(LABELS).slice(0, 0)})),
    Case(title="a shard that is missing", make=shards(0, 2), outcome="refused",
         told="shard 00001 of 3 of train is missing"),
    Case(title="the first shard is missing", make=shards(1, of=2), outcome="refused",
         told="shard 00000 of 2 of train is missing"),
    Case(title="shards 1-of-2 and 2-of-2", make=shards(1, 2, of=2), outcome="taken",
         num_train=2 * len(LABELS)),
    Case(title="train/0001.parquet alone", outcome="told", told="numbered from 1",
         make=files({"train/0001.parquet": rows(LABELS)} | TEST)),
    Case(title="a shard and its copy 'train (1)'", outcome="refused",
         told="are the same shard",
         make=files({"train.parquet": rows(LABELS), "train (1).parquet": rows(LABELS)} | TEST)),
    Case(title="train/0000.parquet and data/train/0000.parquet", outcome="refused",
         told="are the same shard",
         make=files({f"{d}train/0000.parquet": rows(LABELS, seed=len(d)) for d in ("", "data/")}
                    | TEST)),
    Case(title="shards of two versions", outcome="refused", told="shards of two versions",
         make=files(HUB | {"data/train-00000-of-00002.parquet": rows(LABELS),
                           "data/train-00001-of-00002.parquet": rows(LABELS)})),
    Case(title="a shard that is there twice", outcome="refused", told="are the same shard",
         make=files(HUB | {"train-00000-of-00001.parquet": rows(LABELS)})),
    Case(title="two configurations", outcome="refused", told="2 configurations, one and two",
         make=files({f"{c}/{p}.parquet": rows(LABELS) for c in ("one", "two")
                     for p in ("train", "test")})),
    *(Case(title=f"images as {kind}", make=two(kind=kind), outcome="taken")
      for kind in ("binary", "large_binary", "binary_view")),
    *(Case(title=f"image column {name}", make=two(image_name=name), outcome="taken")
      for name in ("img", "jpg", "png", "bytes")),
    *(Case(title=f"label column {name}", make=two(label_name=name), outcome="taken")
      for name in ("labels", "coarse_label", "class")),
    Case(title="label column fine_label", make=two(label_name="fine_label"), outcome="told",
         told="the labels are those of fine_label"),
    Case(title="columns of other names", make=two(image_name="photo", label_name="kind"),
         outcome="refused", told="Name them: dataset.image_column="),
    Case(title="the same, named", make=two(image_name="photo", label_name="kind"),
         outcome="taken", options={"image_column": "photo", "label_column": "kind"}),
    Case(title="words as labels", outcome="taken", make=files(
        {"train.parquet": rows(list("abababab")), "test.parquet": rows(list("bbaa"), seed=1)})),
    Case(title="a word in test that train lacks", outcome="refused", make=files(
        {"train.parquet": rows(list("abababab")), "test.parquet": rows(list("abcc"), seed=1)}),
         told="'c' is a class of test that train/ does not have"),
    Case(title="dictionary labels", outcome="taken", make=files(
        {f"{p}.parquet": rows(pa.array(list("abababab")).dictionary_encode(), seed=s)
         for s, p in enumerate(("train", "test"))})),
    *(Case(title=f"words as {kind}", outcome="taken", make=files(
        {f"{p}.parquet": rows(pa.array(list("abababab"), getattr(pa, kind)()), seed=s)
         for s, p in enumerate(("train", "test"))}))
      for kind in ("large_string", "string_view")),
    Case(title="labels as 0.0, 1.0", outcome="taken", make=files(
        {f"{p}.parquet": rows([float(x) for x in LABELS], seed=s)
         for s, p in enumerate(("train", "test"))})),
    Case(title="labels as 0.5", outcome="refused", told="that are no whole numbers", make=files(
        {f"{p}.parquet": rows([x / 2 for x in LABELS]) for p in ("train", "test")})),
    Case(title="class names in another order", outcome="told", make=files(
        {"train.parquet": rows(LABELS, names=["a", "b"]),
         "test.parquet": rows(LABELS, seed=1, names=["b", "a"])}), told="another order: mapped"),
    Case(title="class names that differ", outcome="refused", make=files(
        {"train.parquet": rows(LABELS, names=["a", "b"]),
         "test.parquet": rows(LABELS, seed=1, names=["a", "c"])}), told="has a class 'c'"),
    Case(title="labels 0, 1, 5", outcome="told", make=files(
        {"train.parquet": rows([0, 1, 5] * 3), "test.parquet": rows([0, 1, 5], seed=1)}),
         told="no train images of 3 classes: 2, 3, 4"),
    Case(title="labels up to 1,000,000", outcome="refused", told="number them from 0", make=files(
        {p: rows([7, 1_000_000] * 2) for p in ("train.parquet", "test.parquet")})),
    Case(title="a label that is null", outcome="refused", told="1 row without a label", make=files(
        {"train.parquet": with_null("label"), "test.parquet": rows(LABELS, seed=1)})),
    Case(title="an image that is null", outcome="refused", told="it holds no image bytes",
         make=files({"train.parquet": with_null("image"), "test.parquet": rows(LABELS, seed=1)})),
    Case(title="row groups of one row", outcome="taken", num_train=8,
         make=files(HUB, row_group_size=1)),
    Case(title="sizes that differ (Parquet)", outcome="refused", told="dataset.image_size=32",
         make=files({"train.parquet": rows(LABELS), "test.parquet": rows(LABELS, size=12)})),
    Case(title="the same, dataset.image_size=8 (Parquet)", outcome="taken", options=S,
         make=files({"train.parquet": rows(LABELS), "test.parquet": rows(LABELS, size=12)})),
    Case(title="no rows", outcome="refused", told="holds no images", make=files(
        {"train.parquet": rows(LABELS).slice(0, 0), "test.parquet": rows(LABELS)})),
    Case(title="a file that is cut off", outcome="refused", told="cannot be read as Parquet",
         make=lambda r: (files(HUB)(r), (r / next(iter(HUB))).write_bytes(b"PAR1"))),
]  # fmt: skip
PARQUET = [Case(**{**vars(case), "name": P}) for case in PARQUET]

AREAS = {
    "Folders (`dataset=imagefolder`)": FOLDERS,
    "Images that cannot be decoded": BAD,
    "Pixels": PIXELS,
    "Parquet (`dataset=parquet`)": PARQUET,
}
CASES = [case for cases in AREAS.values() for case in cases]
HEAD = """# Data: what is taken, told and refused

Written by `python -m tests.data_zoo > docs/data.md`: every line is what a user sees, before
anything starts. `DATA` is `dataset.path`. Nothing here ends in a traceback.

A folder of images or Parquet files is looked at by names, labels and a sample of the images. What
was found odd but can be trained on is told as a note; what would make a result wrong is refused
with exit code 2.

- pyarrow and Pillow read them, not Hugging Face's `datasets`: docs/performance.md says what either
  costs to import and to install.
- Without `dataset.image_size` folders are trained on in random pieces of 224 x 224 pixels, decoded
  for every batch. With it the central square of each image is resized (bilinear), decoded once
  into `$GRADTUNE_DATA/cache` and mapped from there; crops and flips happen on the device. So a
  folder and a Parquet file of the same images give the same training.
- Of what is transparent, white shows through. 16 bits are scaled to 8. EXIF's orientation is
  followed. One channel stays one where all images are gray (`dataset.channels`).
- `dataset.on_bad_image=skip`: the next image of its class takes the place of one that cannot be
  decoded, of those that are trained on where it is one of them: never one to validate or to test.
  Above 1 % the training is refused. Found in a later one, it is one line too. Of the same data the
  same images are bad, but for another version of Pillow, which a resume and the nodes tell.
- Data are known by their content: the labels and the bytes of the images, in order. Who wrote the
  Parquet files does not matter (`datasets`, pandas, polars, DuckDB), nor whether it is a folder.
  A resume and other nodes read them again, and refuse other ones: also where an image that could
  not be decoded was repaired, or another was damaged since.
- Runs are compared, and are one workload of a profile, where content, `dataset.image_size` and the
  other options are the same, be it `parquet`, `imagefolder` or `hf:`. Without a size the name of
  the data set counts, too: folders are then read in pieces. Another split is other content.
- Of a part with more than 256 MiB of images that is too long to read: there the files count,
  Parquet by their bytes (of large ones 64 pieces), folders by names and sizes, which is told. A
  resume tells when one of these files was changed or put there after the run began; on other
  nodes, whose copies are younger, an image that was replaced by one of equal size is not noticed.
- Where the largest class has over 1.5 times the images of the smallest, balanced accuracy (the
  mean over the classes) is recorded beside accuracy, and told with the verdict.
- The validation images are drawn from train for each seed (`dataset.val_fraction`), so those of a
  folder val/ are tested on where there is no test/, and otherwise not used.

## By name (`dataset=hf:owner/name`, `dataset=torchvision:NAME`)

- `dataset=hf:owner/name` is a data set of the Hugging Face hub, `hf:owner/name@revision` at one of
  its commits, tags or branches (`pip install 'gradtune[hub]'`). Its Parquet files, images and
  metadata.csv are downloaded, and read as the folder that they are: all tables below hold. Code in
  it is neither downloaded nor run; where there is nothing else, the hub often has the images as
  Parquet at `@refs/convert/parquet`.
- The commit is told, and kept in the run as `hf:owner/name@COMMIT`: `resume=` and
  `tuner.reproduce` read the same bytes, whatever the newest is then.
- It is downloaded once, by the command itself before anything starts (also with `dry_run=true`),
  into the hub's own cache. The variables are those of huggingface_hub: `HF_HOME` where the cache
  lies, `HF_TOKEN` for what is private or gated, `HF_ENDPOINT` another hub, `HF_HUB_OFFLINE=1`
  nothing but the cache. Without a network the cache is taken too, if it is complete.
- Trainings read the files from there. Other nodes of a cluster need `HF_HOME` (of torchvision
  `GRADTUNE_DATA`) in a folder that all share; one that lacks them is named before anything starts.
- Images in archives (.zip, .tar) are refused in a line that names them.
- Of several configurations `dataset.path=` names the folder, as the line that refuses them says;
  with it, the hub is not asked.
- `dataset=torchvision:NAME` is one of
  TORCHVISION_NAMES,
  with its own train and test parts. torchvision downloads it into `$GRADTUNE_DATA/torchvision`
  unless it is there, or in `dataset.path`, the folder that torchvision calls root. Images are
  cropped and mirrored as those of Parquet are.
""".replace("TORCHVISION_NAMES", ", ".join(TORCHVISION))


def page() -> Iterator[str]:
    """docs/data.md, line by line."""
    yield HEAD
    for area, cases in AREAS.items():
        yield f"## {area}\n"
        yield "| case | | what a user sees |"
        yield "|---|---|---|"
        for case in cases:
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder) / "data"
                root.mkdir()
                seen = see(case, root)
                lines = [line.replace(str(root), "DATA") for line in seen.lines]
            told = "<br>".join(f"`{line}`" for line in lines)
            yield f"| {case.title} | {seen.outcome} | {told} |"
        yield ""


if __name__ == "__main__":
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
    print("\n".join(page()).rstrip())
