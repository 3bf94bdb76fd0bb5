"""Does every script still run? Each in its smallest form, as its reader starts it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks.published_files import write_published
from tests.conftest import ROOT, ClusterProcess
from tests.fakes.processes import ready
from tuner.session.cluster import ENVIRONMENT


def write_page(folder: Path) -> None:
    """One block to be written, and one of another benchmark."""
    block = "```\npython -m benchmarks.{} {}\n\nold\n```\n"
    blocks = block.format("table", "--steps 2000"), block.format("coverage", "--simulations 4")
    (folder / "page.md").write_text("# Page\n\n" + "\n".join(blocks))


# Module -> its smallest form: words after it, with {} for a folder of its own.
SCRIPTS: dict[str, list[str]] = {
    "benchmarks.coverage": ["--simulations", "4"],
    "benchmarks.gpu": ["--images", "64"],
    "benchmarks.images": ["--images", "60"],
    "benchmarks.speed.many": ["--trials", "4", "--concurrent", "1"],
    "benchmarks.speed.scale": ["--trials", "2", "--shapes", "1x1"],
    "benchmarks.speed.switch": ["--trials", "4", "--fits", "1"],
    "benchmarks.speed.startup": ["--rounds", "1", "--commands", "2", "--runs", "1"],
    "benchmarks.speed.store": ["--trials", "20", "--epochs", "3", "--report-trials", "20"],
    "benchmarks.speed.verdicts": ["--arms", "4", "--looks", "10", "--runs", "2"],
    "benchmarks.speed.page": ["--page", "{}/page.md", "table"],
    "benchmarks.overhead": ["--trials", "2", "--fits", "1", "--warm-ups", "0"],
    "benchmarks.published": ["{}", "--replays", "2", "--draws", "2"],
    "benchmarks.table": ["--steps", "2000"],
    "benchmarks.throughput": ["--images", "128", "--pairs", "1", "--model", "resnet8"],
    "benchmarks.isolation": [
        *("--trials", "2", "--fits", "1", "--functions", "1", "--warm-ups", "0")
    ],
    "benchmarks.reports": ["--reports", "20", "--fits", "1", "--warm-ups", "0"],
    "benchmarks.search_efficiency.collect": [
        *("--seeds", "1", "--configs", "3", "--workers", "1", "digits"),
        *("--journals", "{}", "--pool", "{}/pool.parquet"),
    ],
    "benchmarks.search_efficiency.replay": ["--replays", "1", "--workloads", "cifar10_16px"],
}
# The scripts that are files: path -> the same.
FILES: dict[str, list[str]] = {
    "docs/make_images.py": ["tests/data/runs/ordinary", "--out", "{}/images"],
    "docs/papers.py": [
        *("p1_methods", "--out", "{}", "--runs", "{}/runs", "epochs=2", "confirm.seeds=2"),
        *("dataset.train_examples=200", "spaces.lr.interval.value=1", "max_concurrent=1"),
        "cluster.address={cluster}",
    ],
    "examples/gpt.py": [
        *("trials=1", "confirm.seeds=1", "baseline=false", "dataset.train_examples=64"),
        *("space=wsd", "reports=1", "max_concurrent=1", "runs_dir={}"),
        "cluster.address={cluster}",
    ],
}
# Scripts that read data which is not here -> what writes the like of it into the folder.
PREPARED: dict[str, Callable[[Path], None]] = {
    "benchmarks.published": write_published,
    "benchmarks.speed.page": write_page,
}
# A quarter of a minute each and more, most because they search through Ray.
LONG = {
    *("benchmarks.speed.many", "benchmarks.speed.store", "benchmarks.overhead"),
    *("benchmarks.isolation", "benchmarks.reports", "benchmarks.throughput", "benchmarks.images"),
    *("benchmarks.coverage", "benchmarks.speed.startup"),
    *("benchmarks.speed.scale", "benchmarks.speed.switch"),
    *("benchmarks.search_efficiency.collect", "benchmarks.search_efficiency.replay"),
    *("benchmarks.gpu", "docs/papers.py", "examples/gpt.py"),
}
# What the others import.
HELPERS = {
    *("measure", "noop", "plain_loop", "trainings", "trials", "cifar16", "methods"),
    *("pool", "score", "outcome", "right", "rates"),
}


def test_every_script_has_its_smallest_form_here() -> None:
    files = {path for path in (ROOT / "benchmarks").rglob("*.py") if path.stem != "__init__"}
    scripts = {path for path in files if 'if __name__ == "__main__":' in path.read_text()}
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in scripts}
    assert modules == {*SCRIPTS}
    assert {path.stem for path in files - scripts} == HELPERS
    others = [path for name in ("docs", "examples") for path in (ROOT / name).glob("*.py")]
    names = {str(path.relative_to(ROOT)) for path in others if path.stem != "__init__"}
    assert names == {*FILES}
    assert {*SCRIPTS, *FILES} >= LONG


@pytest.mark.parametrize("module", SCRIPTS)
def test_what_a_script_imports_is_there(module: str) -> None:
    importlib.import_module(module)


def check(script: str, folder: Path, address: str) -> None:
    """It ends well, and prints."""
    if script in PREPARED:
        PREPARED[script](folder)
    words = [
        word.replace("{}", str(folder)).replace("{cluster}", address)
        for word in (SCRIPTS | FILES)[script]
    ]
    where = {"RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)}
    done = ready.run(script, *words, cwd=ROOT, env=os.environ | ENVIRONMENT | where)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("script", [name for name in (*SCRIPTS, *FILES) if name not in LONG])
def test_the_script_runs_in_its_smallest_form_without_ray(script: str, tmp_path: Path) -> None:
    check(script, tmp_path, "nowhere:1")


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(LONG))
def test_the_script_runs_in_its_smallest_form(
    script: str, tmp_path: Path, cluster: ClusterProcess
) -> None:
    check(script, tmp_path, cluster.address)
