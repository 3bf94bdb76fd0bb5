"""Claim: images in files are decoded once; the next training of the same data maps them, reads
them at the speed of memory, and holds little more than their bytes.

Every load is a process of its own; its memory is the largest it held, above what it held with
torch imported. A folder of JPEGs is made for it unless `--path` names one, or Parquet files.

`--imports` tells instead what it costs to import what reads images, in the driver (no torch) and
in a worker, against Hugging Face's `datasets` where that is installed.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import files
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measure import surroundings, table

LOADS = ("first: decoded", "second: mapped", "third: mapped")
NUM_CLASSES, TEST_SHARE, BATCH = 10, 0.1, 500
# What is imported -> its statement, and what is installed for it (other packages need the rest).
DATASETS = ("datasets", "dill", "multiprocess", "xxhash", "huggingface_hub", "hf-xet")
IMPORTS = {
    "Python": ("pass", ()),
    "driver: pyarrow, Pillow": ("import pyarrow.parquet, PIL.Image", ("pyarrow", "pillow")),
    "driver: datasets": ("import datasets", ("pyarrow", "pillow", *DATASETS)),
    "worker: torch": ("import torch", ()),
    "worker: torch, pyarrow, Pillow": ("import torch, pyarrow.parquet, PIL.Image", ()),
    "worker: torch, datasets": ("import torch, datasets", ()),
}
ROUNDS = 5
# kB at most; getrusage counts the process that forked it, too.
HELD = "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"


def main() -> None:
    options = _options()
    if options.load:
        print(json.dumps(load(options.path, options.image_size)))
        return
    if options.imports:
        print(surroundings("torch", "pyarrow", "pillow"))
        print(table(["imported", "s (median of 5)", "MB held", "MB installed"], import_rows()))
        return
    print(surroundings("torch", "pillow"))
    with tempfile.TemporaryDirectory() as folder:
        path = options.path
        if path is None:
            path = os.path.join(folder, "images")
            start = time.perf_counter()
            make_folder(Path(path), options.images, options.pixels)
            seconds = time.perf_counter() - start
            size = f"{options.images:,} JPEGs of {options.pixels} x {options.pixels} pixels"
            print(
                f"{size}, made in {seconds:.1f} s, as {options.image_size} x {options.image_size}"
            )
        os.environ["GRADTUNE_DATA"] = os.path.join(folder, "cache")
        rows = [[name, *_row(path, options.image_size)] for name in LOADS]
    print(table(["load", "s to the device", "s to read every pixel", "peak MB", "of uint8"], rows))


def load(path: str, image_size: int | None) -> dict[str, float]:
    """Seconds and bytes of one load of all images, divided as a training divides them."""
    import pyarrow.parquet
    import torch

    from trainables.data.datasets import load_images
    from trainables.data.encoded.decoding import EncodedImages
    from trainables.data.sources import DataOptions
    from trainables.data.splits import stratified_split

    torch.set_num_threads(os.cpu_count() or 1)
    name = "parquet" if [*Path(path).rglob("*.parquet")] else "imagefolder"
    load_part = functools.partial(
        load_images, name, path, None, DataOptions(image_size=image_size)
    )
    assert EncodedImages, "imported before memory is counted"
    assert pyarrow.parquet, "and so is what reads files"
    base, start = _resident(), time.perf_counter()
    data = load_part().to(torch.device("cpu"))
    loaded = time.perf_counter()
    train, val = stratified_split(data.train.labels_N.numpy(), 0.1, 0)
    parts = [data.train.subset(train), data.train.subset(val), data.test]
    for images in {id(part.images_NHWC): part.images_NHWC for part in parts}.values():
        for some in images.split(BATCH):
            some.numpy().max()
    read = time.perf_counter()
    return {
        "load": loaded - start,
        "read": read - loaded,
        "bytes": sum(part.images_NHWC.numel() for part in (data.train, data.test)),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - base,
    }


def import_rows() -> list[list[str]]:
    """Each import in processes of its own, one round after the other."""
    has_datasets = importlib.util.find_spec("datasets") is not None
    shown = {name: how for name, how in IMPORTS.items() if has_datasets or "datasets" not in name}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in shown}
    for _ in range(ROUNDS):
        for name, (statement, _) in shown.items():
            command, start = [sys.executable, "-c", f"{statement}\n{HELD}"], time.perf_counter()
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            taken[name].append((time.perf_counter() - start, float(told) * 1.024e-3))
    rows = []
    for name, (_, packages) in shown.items():
        seconds, held = (statistics.median(column) for column in zip(*taken[name], strict=True))
        installed = f"{sum(map(_installed_mb, packages)):.0f}" if packages else ""
        rows.append([name, f"{seconds:.2f}", f"{held:.0f}", installed])
    return rows


def _installed_mb(package: str) -> float:
    paths = (Path(str(file.locate())) for file in files(package) or ())
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def make_folder(root: Path, count: int, pixels: int) -> None:
    """train/CLASS/ and test/CLASS/ with smooth random JPEGs."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(functools.partial(_make_image, root, count, pixels), range(count)))


def _make_image(root: Path, count: int, pixels: int, number: int) -> None:
    part = "test" if number < TEST_SHARE * count else "train"
    folder = root / part / f"class{number % NUM_CLASSES}"
    folder.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((pixels, pixels), Image.Resampling.BICUBIC)
    image.save(folder / f"{number}.jpg", quality=90)


def _row(path: str, image_size: int | None) -> list[str]:
    words = ["--load", "--path", path]
    words += [] if image_size is None else ["--image-size", str(image_size)]
    command = [sys.executable, "-m", "benchmarks.images", *words]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    peak = told["peak"] / 1e6
    ratio = f"{told['peak'] / told['bytes']:.2f}x"
    return [f"{told['load']:.2f}", f"{told['read']:.2f}", f"{peak:.0f}", ratio]


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--pixels", type=int, default=96, help="rows of the JPEGs that are made")
    parser.add_argument("--image-size", type=int, help="rows they are resized to (made ones: 32)")
    parser.add_argument("--path", help="a folder of images, or of Parquet files, instead")
    parser.add_argument("--imports", action="store_true", help="what it costs to import, instead")
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.path is None:
        options.image_size = options.image_size or 32
    return options


if __name__ == "__main__":
    main()
