"""Who may import whom: the sentence of the design, read from the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

OURS = ("search_spaces", "trainables", "results", "tuner")
ALLOWED_OURS = {
    "search_spaces": {"search_spaces"},
    "trainables": {"trainables", "search_spaces"},
    "results": {"results", "search_spaces"},
    "tuner": set(OURS),
}
# Package -> files or folders (of the four packages) that may import it.
ALLOWED_PLACES = {
    "torch": ("trainables/",),
    "torchvision": ("trainables/",),
    "ray": ("tuner/", "trainables/trainable.py"),
    "hydra": ("tuner/",),
    "omegaconf": ("tuner/",),
    # The study for notebooks and for resuming, its importances, its copy for optuna-dashboard.
    "optuna": (
        *("tuner/", "results/study.py", "results/run.py"),
        *("results/measurements/importances.py", "results/exports/journal.py"),
    ),
    "pyarrow": ("results/", "trainables/"),
    "matplotlib": ("results/",),
}
SEARCH_SPACES_MAY_IMPORT = {"numpy", "search_spaces", *sys.stdlib_module_names}
FILES = sorted(path for name in OURS for path in (ROOT / name).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Top-level names of all modules a file imports, late imports included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: absolute imports only"
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_only_go_where_the_design_says(path: Path) -> None:
    place = str(path.relative_to(ROOT))
    names = set(imported(path))
    assert names & set(OURS) <= ALLOWED_OURS[path.relative_to(ROOT).parts[0]]
    for package, places in ALLOWED_PLACES.items():
        assert package not in names or place.startswith(places), f"{place} imports {package}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "search_spaces").glob("*.py")), ids=lambda p: p.name
)
def test_search_spaces_are_pure_numpy(path: Path) -> None:
    assert set(imported(path)) <= SEARCH_SPACES_MAY_IMPORT


def test_run_records_are_written_by_the_store_alone() -> None:
    writers = {"write_table", "ParquetWriter", "write_dataset"}
    found = {
        str(path.relative_to(ROOT))
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in writers
    }
    assert found <= {"results/records/segments.py"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_outgrows_its_noun(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
