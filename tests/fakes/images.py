"""Small data sets on disk, made by the tests that need them."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CIFAR10_PATH = Path(
    os.environ.get(
        "GRADTUNE_CIFAR10", Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10"
    )
)


def random_images(count, *, size=8, channels=3, seed=0):
    """(count, size, size, channels) uint8."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def encode(image_HWC, kind="PNG"):
    """The bytes of an image file; PNG keeps every pixel."""
    stream = io.BytesIO()
    Image.fromarray(image_HWC.squeeze()).save(stream, kind)
    return stream.getvalue()


def write_parquet(
    file, encoded, labels, *, image="img", label="label", names=None, row_group_size=7
):
    """One Parquet file in the hub's layout."""
    images = [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(encoded)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({image: pa.array(images, kind), label: pa.array(labels)})
    if names is not None:
        features = {label: {"names": names, "_type": "ClassLabel"}}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(metadata)
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=row_group_size)


def parquet_directory(root, *, num_train=20, num_test=10, channels=3, size=8, **options):
    """train and test files of random PNGs; labels count 0, 1, 2, 0, ...; returns the pixels."""
    pixels = {}
    for seed, (part, count) in enumerate((("train", num_train), ("test", num_test))):
        pixels[part] = random_images(count, size=size, channels=channels, seed=seed)
        file = root / f"{part}-00000-of-00001.parquet"
        labels = [i % 3 for i in range(count)]
        write_parquet(file, [encode(image) for image in pixels[part]], labels, **options)
    return pixels


def image_folder(root, *, classes=("bee", "ant"), per_class=3, size=40, test="val"):
    """train/ and val/ folders of JPEG files."""
    for seed, part in enumerate(("train", test)):
        images = random_images(len(classes) * per_class, size=size, seed=seed)
        for number, image in enumerate(images):
            folder = root / part / classes[number % len(classes)]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.JPG").write_bytes(encode(image, "JPEG"))
    return root
