"""Are data sets by name taken as their files are, at one commit, with one line where not?"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from tests.conftest import ROOT
from tests.fakes.images import image_folder, parquet_directory, random_images
from tests.trainables.data.encoded.hub import serve
from trainables.data.datasets import load_images
from trainables.data.encoded.downloads import NAME, TORCHVISION, split_name
from trainables.data.sources import Place, SourceInfo, describe, resolve
from tuner.config.compose import compose, restore
from tuner.config.schema import ConfigError, plain
from tuner.plan.checks import describe_data
from tuner.plan.plan import make_plan

constants = pytest.importorskip("huggingface_hub.constants")


def set_endpoint(monkeypatch, url):
    """As HF_ENDPOINT does where huggingface_hub is imported after it is set."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("GRADTUNE_DATA", str(tmp_path / "kept"))
    with serve() as hub:
        set_endpoint(monkeypatch, hub.url)
        yield hub


def look(name: str) -> SourceInfo:
    """As a new run does: downloaded, then described."""
    place = resolve(name, None)
    info = describe(place.name, place.path)
    return replace(info, notes=(*place.notes, *info.notes))


def files_of(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}


def parquet_files(tmp_path, **options):
    root = tmp_path / f"parquet-{len(options)}"
    parquet_directory(root / "data", **options)
    return root, files_of(root)


def test_parquet_of_the_hub_is_what_its_files_are(hub, tmp_path):
    root, files = parquet_files(tmp_path)
    commit = hub.put("me/photos", files | {"photos.py": b"raise SystemExit", "README.md": b"no"})
    info, local = look("hf:me/photos"), describe("parquet", str(root))
    assert info.name == f"hf:me/photos@{commit}"
    assert Path(info.path).is_relative_to(tmp_path / "hub")
    assert replace(info, name="parquet", path=str(root), notes=()) == local
    assert info.notes == (f"hf:me/photos is read at its commit {commit}",)
    assert hub.downloads() == sorted(files)
    loaded = load_images(info.name, info.path)
    assert torch.equal(loaded.train.labels_N, load_images("parquet", str(root)).train.labels_N)


def test_folders_of_the_hub_are_what_they_are_and_differ_by_commit(hub, tmp_path):
    files = files_of(image_folder(tmp_path / "folder", test="test"))
    first = hub.put("me/ants", files)
    info = look("hf:me/ants")
    assert (info.num_train, info.num_test, info.num_classes) == (6, 6, 2)
    assert describe(info.name, info.path).fingerprint == info.fingerprint
    # Same names and sizes, one other byte: the density, which no pixel depends on.
    name = "train/ant/1.JPG"
    changed = files[name][:15] + bytes([files[name][15] ^ 2]) + files[name][16:]
    hub.put("me/ants", files | {name: changed})
    assert look(f"hf:me/ants@{first}").fingerprint == info.fingerprint
    assert look("hf:me/ants").fingerprint != info.fingerprint


def test_folders_below_data_are_those_of_the_repository(hub, tmp_path):
    files = files_of(image_folder(tmp_path / "folder", test="test"))
    hub.put("me/ants", {f"data/{name}": data for name, data in files.items()})
    info = look("hf:me/ants")
    assert (info.num_train, info.num_test, info.num_classes) == (6, 6, 2)
    assert info.notes[1:] == ("the images are those of data/",)


@pytest.mark.parametrize("archive", ["data/train.zip", "images.tar.gz", "train-0000.tar"])
def test_images_in_archives_are_refused_in_a_line_that_names_them(archive, hub):
    hub.put("me/packed", {archive: b"", "packed.py": b"raise SystemExit"})
    line = (
        f"dataset hf:me/packed holds neither Parquet files nor images, but {archive}, which is "
        "not unpacked. The hub may have them as Parquet: "
        "dataset=hf:me/packed@refs/convert/parquet. Or unpack it, and name the folder: "
        "dataset=imagefolder dataset.path=DIR."
    )
    with pytest.raises(ValueError, match=re.escape(line)):
        look("hf:me/packed")
    assert hub.downloads() == []


def test_to_describe_downloads_nothing(hub, tmp_path):
    hub.put("me/photos", parquet_files(tmp_path)[1])
    for call in (describe, load_images):
        with pytest.raises(ValueError, match=r"^dataset hf:me/photos: it is not in .*hub\.$"):
            call("hf:me/photos", None)
        with pytest.raises(ValueError, match=r"FashionMNIST is not in .*, or damaged"):
            call("torchvision:FashionMNIST", None)
    assert hub.asked == []
    assert resolve("digits", None) == Place(name="digits", path=None)
    assert resolve("hf:me/photos", "here") == Place(name="hf:me/photos", path="here")


def test_what_is_there_is_downloaded_once_and_a_commit_asks_nobody(hub, tmp_path):
    _, files = parquet_files(tmp_path)
    hub.put("me/photos", files)
    info = look("hf:me/photos")
    assert look("hf:me/photos") == info
    assert hub.downloads() == sorted(files)
    asked = len(hub.asked)
    assert describe(info.name, None) == replace(info, notes=())
    assert describe(info.name, info.path) == replace(info, notes=())
    assert len(hub.asked) == asked


def test_a_branch_has_a_slash_in_its_name(hub, tmp_path):
    root, files = parquet_files(tmp_path)
    hub.put("me/photos", {"photos.py": b""})
    with pytest.raises(ValueError, match=r"its code is not run.*@refs/convert/parquet"):
        look("hf:me/photos")
    hub.put("me/photos", files, "refs/convert/parquet")
    info = look("hf:me/photos@refs/convert/parquet")
    assert info.fingerprint == describe("parquet", str(root)).fingerprint


def test_a_plan_keeps_the_commit_and_a_resume_reads_the_same_bytes(hub, tmp_path):
    _, files = parquet_files(tmp_path)
    commit = hub.put("me/photos", files)
    words = ["dataset=hf:me/photos", "model=resnet8", "lr=0.1", "batch.initial=4", "epochs=2"]
    plan = make_plan(compose([*words, "dataset.val_fraction=0.2"]))
    assert plan.config.dataset.name == plan.recipe.dataset == f"hf:me/photos@{commit}"
    assert plan.recipe.dataset_path == plan.source.path
    hub.put("me/photos", parquet_files(tmp_path, num_train=40)[1])
    assert describe_data(restore(plain(plan.config))).fingerprint == plan.source.fingerprint
    assert look("hf:me/photos").num_train == 40


def test_offline_the_cache_is_read(hub, tmp_path, monkeypatch):
    _, files = parquet_files(tmp_path)
    hub.put("me/photos", files)
    info = look("hf:me/photos")
    asked = len(hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert look("hf:me/photos") == info
    with pytest.raises(
        ValueError, match=r"cannot be asked \(HF_HUB_OFFLINE is set\), and it is not in"
    ):
        look("hf:me/others")
    next(Path(info.path).rglob("test-*.parquet")).unlink()
    with pytest.raises(ValueError, match="and it is not complete in"):
        look("hf:me/photos")
    assert len(hub.asked) == asked


def test_without_a_network_it_is_one_line_or_what_the_cache_holds(hub, tmp_path, monkeypatch):
    hub.put("me/photos", parquet_files(tmp_path)[1])
    info = look("hf:me/photos")
    set_endpoint(monkeypatch, "http://127.0.0.1:9")  # nobody listens
    assert look("hf:me/photos") == info
    with pytest.raises(ValueError, match=r"127.0.0.1:9 cannot be asked \(no network\)") as error:
        look("hf:me/others")
    assert "\n" not in str(error.value)


def test_what_the_hub_does_not_give_is_one_line(hub, tmp_path):
    hub.put("me/photos", parquet_files(tmp_path)[1])
    hub.put("me/gated", parquet_files(tmp_path)[1])
    hub.gated.add("me/gated")
    told = {
        "hf:me/fotos": "there is no .*/datasets/me/fotos, or it is private and HF_TOKEN",
        "hf:me/photos@v9": "has no revision v9",
        "hf:me/gated": "it is gated. Accept its terms at .*/datasets/me/gated, and set HF_TOKEN",
    }
    for name, line in told.items():
        with pytest.raises(ValueError, match=line) as error:
            look(name)
        assert str(error.value).startswith(f"dataset {name}: ")
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_no_file_is_written_or_read_outside_of_the_cache(hub, tmp_path):
    files = files_of(image_folder(tmp_path / "folder", test="test"))
    hub.put("me/out", files | {"../../../../out.png": b"x"})
    with pytest.raises(ValueError, match="cannot be downloaded"):
        look("hf:me/out")
    assert not [*tmp_path.rglob("out.png")]
    secret = tmp_path / "folder" / "train/ant/1.JPG"
    for number, name in enumerate((str(secret), "../../../../../folder/train/ant/1.JPG")):
        table = f"file_name,label\n{name},0\n0.jpg,1\n".encode()
        image = {"0.jpg": secret.read_bytes()}
        hub.put(f"me/table{number}", image | {"metadata.csv": table})
        with pytest.raises(ValueError, match="names a file outside of its folder"):
            look(f"hf:me/table{number}")


@pytest.mark.parametrize(
    "name",
    [
        "hf:", "hf:me", "hf:me/", "hf:/photos", "hf:me/photos/data", "hf:../photos", "hf:me/..",
        "hf:me/photos@", "hf:me/photos@../main", "hf:me/photos@/etc", "hf:me/pho tos",
        "hf:me/photos@a/../../b", "hf:me--you/photos", "hf:me/ph\u00f6tos", "hf:me/photos@main\n",
    ],
)  # fmt: skip
def test_other_names_are_refused_before_anybody_is_asked(name):
    with pytest.raises(ValueError, match="must be hf:owner/name or hf:owner/name@revision"):
        split_name(name)
    words = {"dataset.name": name, "model.name": "resnet8", "lr": 0.1, "batch.initial": 4}
    with pytest.raises(ConfigError):
        make_plan(compose({**words, "epochs": 2}))


def test_names_are_read():
    assert split_name("hf:me/my.photos-2@v1.0") == ("me/my.photos-2", "v1.0")
    assert split_name("hf:me/photos") == ("me/photos", None)
    assert NAME.fullmatch("hf:me/photos@refs/pr/1")


def test_without_the_extra_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"needs huggingface_hub: pip install 'gradtune\[hub\]'"):
        look("hf:me/photos")


@pytest.mark.full
@pytest.mark.slow
def test_the_command_takes_it_by_the_variables_of_the_library(hub, tmp_path):
    commit = hub.put("me/photos", parquet_files(tmp_path)[1])
    environment = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
    }
    words = ["dataset=hf:me/photos", "model=resnet8", "lr=0.1", "batch.initial=4", "epochs=2"]
    done = subprocess.run(
        [sys.executable, "-m", "tuner.run", *words, "dry_run=true", f"runs_dir={tmp_path}/runs"],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"note: dataset: hf:me/photos is read at its commit {commit}\n" in done.stderr
    assert [*(tmp_path / "home/hub").glob("datasets--me--photos/snapshots/*")]


# ------------------------------------------------------------------------- torchvision


def write_idx(file: Path, array: np.ndarray) -> None:
    """The format of MNIST's files: a magic number, the sizes, the bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    file.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


def fashion_mnist(root: Path) -> np.ndarray:
    """A small one where torchvision looks for it; returns the training pixels."""
    raw = root / "FashionMNIST/raw"
    for seed, (part, count) in enumerate((("t10k", 20), ("train", 40))):
        pixels = random_images(count, size=28, channels=1, seed=seed).squeeze()
        write_idx(raw / f"{part}-images-idx3-ubyte", pixels)
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 10)
    return pixels


@pytest.mark.slow
def test_pixels_of_torchvision_are_those_of_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADTUNE_DATA", str(tmp_path))
    pixels = fashion_mnist(tmp_path / "torchvision/FashionMNIST")
    info = look("torchvision:FashionMNIST")
    assert (info.num_train, info.num_test, info.num_classes) == (40, 20, 10)
    assert (info.channels, info.image_size, info.notes) == (1, 28, ())
    assert info.path == str(tmp_path / "torchvision/FashionMNIST")
    assert describe(info.name, info.path) == info
    data = load_images(info.name, info.path)
    assert torch.equal(data.train.labels_N, torch.arange(40) % 10)
    kept = data.train.to(torch.device("cpu")).images_NHWC
    assert np.array_equal(kept.numpy().squeeze(), pixels)


@pytest.mark.slow
def test_another_pixel_is_another_fingerprint(tmp_path):
    fashion_mnist(tmp_path)
    before = describe("torchvision:FashionMNIST", str(tmp_path)).fingerprint
    file = tmp_path / "FashionMNIST/raw/t10k-images-idx3-ubyte"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert describe("torchvision:FashionMNIST", str(tmp_path)).fingerprint != before


@pytest.mark.slow
def test_coloured_ones_with_parts_by_name_are_taken(tmp_path, monkeypatch):
    listed = {}
    for part, count in (("train", 20), ("test", 10)):
        pixels = random_images(count, size=32)
        file = tmp_path / f"{part}_32x32.mat"
        labels = np.arange(count).reshape(-1, 1) % 10
        scipy.io.savemat(file, {"X": pixels.transpose(1, 2, 3, 0), "y": labels})
        digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        listed[part] = ["", file.name, digest]
    monkeypatch.setattr("torchvision.datasets.SVHN.split_list", listed)
    info = describe("torchvision:SVHN", str(tmp_path))
    assert (info.num_train, info.num_test, info.num_classes) == (20, 10, 10)
    assert (info.channels, info.image_size) == (3, 32)
    (tmp_path / "test_32x32.mat").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"is not in .*, or damaged .*Without dataset.path"):
        describe("torchvision:SVHN", str(tmp_path))


@pytest.mark.slow
def test_without_a_network_torchvision_is_one_line(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("Error downloading it:\nno route")

    monkeypatch.setenv("GRADTUNE_DATA", str(tmp_path))
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.download", fail)
    with pytest.raises(ValueError, match="and cannot be downloaded") as error:
        look("torchvision:FashionMNIST")
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_has_it_and_takes_what_it_is_asked(name):
    kind = getattr(importlib.import_module("torchvision.datasets"), name)
    assert {*TORCHVISION[name][0], "root", "download"} <= {*inspect.signature(kind).parameters}


@pytest.mark.slow
def test_a_name_that_is_not_torchvisions_offers_the_nearest():
    words = {"dataset.name": "torchvision:FashionMINST", "model.name": "resnet8", "lr": 0.1}
    with pytest.raises(ConfigError, match="did you mean 'torchvision:FashionMNIST'"):
        make_plan(compose({**words, "batch.initial": 4, "epochs": 2}))
