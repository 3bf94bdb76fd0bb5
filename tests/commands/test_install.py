"""GradTune as installed software: a wheel in an environment of its own, used from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import results
from tests.conftest import ROOT
from tuner.version import revision

pytestmark = pytest.mark.slow

MINE = """
def train(schedule, seed, report):
    for epoch in range(report.epoch, schedule.num_epochs):
        score = float(schedule.lr_S[0]) / 10
        report(val_accuracy=score, test_accuracy=score)
"""


def call(*words: str, **keys: object) -> subprocess.CompletedProcess[str]:
    """Its output, with code 0."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, **keys)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the checkout, with all that a build leaves behind elsewhere."""
    folder = tmp_path_factory.mktemp("wheel")
    places = folder / "places.cfg"
    places.write_text(f"[build]\nbuild_base={folder}/build\n[egg_info]\negg_base={folder}\n")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    call(*pip, "--wheel-dir", str(folder), str(ROOT),
         env=os.environ | {"DIST_EXTRA_CONFIG": str(places)})  # fmt: skip
    (path,) = folder.glob("gradtune-*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its bin/; the heavy packages are those of the environment that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    call(sys.executable, "-m", "venv", "--without-pip", str(folder))
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "heavy.pth").write_text(str(Path(pytest.__file__).parents[1]) + "\n")
    python = folder / "bin" / "python"
    call(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet",
         "--no-deps", "--force-reinstall", "--ignore-installed", str(wheel))  # fmt: skip
    return folder / "bin"


def test_the_wheel_holds_the_code_and_its_data_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("search_spaces", "trainables", "results", "tuner"):
        for path in (ROOT / package).rglob("*"):
            if path.suffix in {".py", ".json", ".html", ".css"} and path.is_file():
                assert str(path.relative_to(ROOT)) in names
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {
        "search_spaces", "trainables", "results", "tuner"
    }  # fmt: skip


def test_the_installed_command_tells_its_version_and_plans_a_run(
    environment: Path, tmp_path: Path
) -> None:
    gradtune = str(environment / "gradtune")
    version = call(gradtune, "--version", cwd=tmp_path).stdout
    assert f"(git {revision()['sha'][:7]}" in version
    words = ("run", "space=poly", "dry_run=true", "dataset.train_examples=300")
    assert "search poly: " in call(gradtune, *words, cwd=tmp_path).stdout
    where = call(str(environment / "python"), "-c", "import tuner; print(tuner)", cwd=tmp_path)
    assert str(environment.parent) in where.stdout


@pytest.mark.full
def test_it_runs_the_readers_own_training_from_any_folder_and_compares(
    environment: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    gradtune = str(environment / "gradtune")
    words = ("trainable=mine:train", "dataset.train_examples=100", "lr=0.1", "batch.initial=10",
             "epochs=2", "trials=2", "confirm.seeds=2", "name=a", "display=plain")  # fmt: skip
    # With a token of its own it cannot join the session's cluster by mistake.
    alone = os.environ | {"RAY_AUTH_TOKEN": "0" * 64}
    done = call(gradtune, "run", *words, cwd=tmp_path, env=alone)
    assert done.stdout.splitlines()[-1] == "runs/a"
    compared = call(gradtune, "results", "compare", "runs/a", "--no-plots", cwd=tmp_path)
    assert "poly" in compared.stdout
    (manifest,) = results.load(tmp_path / "runs" / "a").manifests.values()
    assert manifest["command"].startswith("gradtune run trainable=mine:train")
    assert manifest["git"] == revision()
