"""Who may import whom: the sentence of the design and the map of the rooms, read from the source.

Late imports and imports for type checking count as any other.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import optuna
import pytest

from results.measurements import MEASUREMENTS
from tests.conftest import ROOT
from trainables import MEASUREMENTS as PROBES
from tuner.campaign.suggest import Shelf

# The map: room -> the rooms it may import, besides `search_spaces`, which everybody may.
# A room is a package, a folder or a file; whatever lies in it may import the rest of it. A file
# of the package itself is called by the package's name and its own: `results` is results' face.
MAP = {
    "search_spaces": "",
    "trainables": "",
    # What happened and what it means.
    "results.tables": "",
    "results.options": "",
    "results.pictures": "",
    "results.records": "",
    "results.storage": "results.records",
    "results.statistics": "results.tables results.pictures",
    "results.arms": "results.tables results.records results.statistics",
    "results.study": "results.records results.statistics",
    "results.reading": "results.records results.storage results.arms",
    "results.verification": "results.reading results.records results.storage",
    "results.run": "results.reading results.records results.statistics results.arms results.study "
    "results.tables results.pictures",
    "results": "results.run results.verification results.pictures results.plots",
    "results.measurements": "results.tables results.records results.statistics results.arms "
    "results.study results.run",
    "results.exports": "results.tables results.records results.statistics results.arms "
    "results.study results.run results.measurements",
    "results.plots": "results.tables results.records results.statistics results.arms "
    "results.study results.run results.measurements",
    "results.report": "results.tables results.records results.statistics results.arms results.run "
    "results.measurements results.exports results.plots",
    "results.logs": "results.tables results.options results.records results.statistics "
    "results.arms results.plots results.report",
    "results.__main__": "results results.tables results.options results.logs results.records "
    "results.storage results.statistics results.arms results.run results.verification "
    "results.measurements "
    "results.exports results.plots results.report",
    # Who decides, runs and records.
    "tuner.version": "",
    "tuner.config": "trainables results.records",
    "tuner.plan": "tuner.version tuner.config trainables results.records results.storage "
    "results.statistics",
    "tuner.campaign": "tuner.plan results.records results.statistics results.study",
    "tuner.display": "tuner.config tuner.plan results results.records results.storage "
    "results.statistics results.arms",
    "tuner.recording": "tuner.config tuner.display trainables results.records results.storage",
    "tuner.session": "tuner.version tuner.config tuner.plan tuner.campaign tuner.display "
    "tuner.recording trainables results results.records results.storage results.statistics "
    "results.report",
    "tuner.run": "tuner.config tuner.plan tuner.display tuner.session results.records",
    # Of a cluster.
    "tuner.jobs": "tuner.version tuner.config tuner.session",
    "tuner.stop": "tuner.config tuner.run tuner.jobs results.options",
    "tuner.submit": "tuner.version tuner.config tuner.plan tuner.display tuner.session tuner.run "
    "tuner.jobs tuner.stop results.storage results.records",
    "tuner.logs": "tuner.config tuner.display tuner.run tuner.jobs tuner.stop tuner.submit "
    "results results.options results.records results.run results.storage",
    "tuner.status": "tuner.config tuner.display tuner.run tuner.jobs tuner.stop results "
    "results.options results.reading results.records results.storage",
    "tuner.reproduce": "tuner.version tuner.config tuner.plan tuner.session tuner.run trainables "
    "results results.records results.storage results.run",
    "tuner.measure": "tuner.config tuner.plan tuner.display tuner.run trainables results "
    "results.options results.tables results.records results.storage results.statistics "
    "results.run results.measurements results.plots",
    "tuner.api": "tuner.config tuner.plan tuner.display tuner.session tuner.run results "
    "results.records",
    "tuner.command": "tuner.version tuner.config tuner.run tuner.submit tuner.reproduce "
    "tuner.measure results.__main__ results.measurements",
    "tuner": "tuner.api",
}
ARROWS = {room: {"search_spaces", *allowed.split()} for room, allowed in MAP.items()}
# Other packages -> files or folders (of the four packages) that may import them.
PLACES: dict[str, tuple[str, ...]] = {
    "torch": ("trainables/",),
    "torchvision": ("trainables/",),
    "ray": ("tuner/session/", "tuner/recording/", "tuner/jobs/", "trainables/trainable.py"),
    "yaml": ("tuner/config/",),
    # The study for notebooks and for resuming, its importances, its copy for optuna-dashboard.
    "optuna": (
        *("tuner/campaign/", "results/study.py", "results/run.py"),
        *("results/plots/search/importances.py", "results/exports/formats.py"),
    ),
    "pyarrow": ("results/", "trainables/"),
    "matplotlib": ("results/",),
    # Extras: each in the module that adapts it.
    "transformers": ("trainables/adapters/transformers.py",),
    "lightning": ("trainables/adapters/lightning.py",),
    "timm": ("trainables/adapters/timm.py",),
    "huggingface_hub": ("trainables/data/encoded/downloads.py",),
    "IPython": ("tuner/display/",),
}
SEARCH_SPACES_MAY_IMPORT = {"numpy", "search_spaces", *sys.stdlib_module_names}
# A noun has one module; a measurement is trained, read and drawn under one name. `run` is the
# run one reads and the command one types, `schema` that of the columns and that of the keys.
SHARED_NAMES = {
    *PROBES,
    *MEASUREMENTS,
    "functions",
    "theory",
    "nice",
    "equivalence",
    "published",
    "run",
    "schema",
}
MAX_MODULES = 15

PACKAGES = ("search_spaces", "trainables", "results", "tuner")
FOLDERS = (*PACKAGES, "tests", "benchmarks", "docs", "examples")


def module_name(path: Path) -> str:
    """`results.run` of results/run.py, `results` of results/__init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_name(path): path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))
}


@cache
def nodes(module: str) -> tuple[ast.AST, ...]:
    """All of its source: each file is parsed once."""
    return tuple(ast.walk(ast.parse(FILES[module].read_text())))


@cache
def imports(module: str) -> tuple[str, ...]:
    """The modules it imports: of ours exactly, of others as written."""
    names: list[str] = []
    for node in nodes(module):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: absolute imports only"
            parent = node.module or ""
            inside = (f"{parent}.{alias.name}" for alias in node.names)
            names += (name if name in FILES else parent for name in inside)
    return tuple(dict.fromkeys(names))


def room_of(module: str) -> str:
    """Its room on the map: the longest name there that it begins with."""
    parts = module.split(".")
    names = (".".join(parts[:depth]) for depth in range(len(parts), 0, -1))
    return next((name for name in names if name in ARROWS), module)


def arrows() -> Iterator[tuple[str, str]]:
    """(module, module of ours that it imports), all of them."""
    return ((a, b) for a in FILES for b in imports(a) if b in FILES and a != b)


def test_every_folder_has_its_room_on_the_map() -> None:
    # A folder without a line would fall to the face of its package.
    folders = {".".join(module.split(".")[:2]) for module in FILES if module.count(".") >= 2}
    assert {name for name in folders if not name.startswith(("search_spaces", "trainables"))} <= {
        *ARROWS
    }
    assert {room_of(module) for module in FILES} == {*ARROWS}


def test_the_map_has_no_circle() -> None:
    assert circle({room: allowed - {room} for room, allowed in ARROWS.items()}) == []


def test_rooms_import_what_the_map_allows() -> None:
    assert [
        f"{a} imports {b}"
        for a, b in arrows()
        if room_of(a) != room_of(b) and room_of(b) not in ARROWS[room_of(a)]
    ] == []


def test_no_module_imports_itself_by_a_detour() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for a, b in arrows():
        graph[a].add(b)
    assert circle(graph) == []


def circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of it, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("package", PLACES)
def test_other_packages_are_imported_where_the_design_says(package: str) -> None:
    assert [
        f"{FILES[module].relative_to(ROOT)} imports {package}"
        for module in FILES
        if package in {name.partition(".")[0] for name in imports(module)}
        and not str(FILES[module].relative_to(ROOT)).startswith(PLACES[package])
    ] == []


def test_search_spaces_are_pure_numpy() -> None:
    assert {
        name.partition(".")[0]
        for module in FILES
        if room_of(module) == "search_spaces"
        for name in imports(module)
    } <= SEARCH_SPACES_MAY_IMPORT


def test_run_records_are_written_by_the_store_alone() -> None:
    writers = {"write_table", "ParquetWriter", "write_dataset"}
    places = {
        str(path.relative_to(ROOT))
        for module, path in FILES.items()
        for node in nodes(module)
        if isinstance(node, ast.Attribute) and node.attr in writers
    }
    assert places <= {"results/records/segments.py"}


def uses_of(names: set[str]) -> set[str]:
    """Where an attribute or a name of these is read."""
    return {
        str(path.relative_to(ROOT))
        for module, path in FILES.items()
        for node in nodes(module)
        if (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.Name) and node.id in names)
        or (isinstance(node, ast.alias) and node.name in names)
    }


@pytest.mark.fault("11", "impossible: no module restores a search of Tune's")
def test_nothing_is_restored_by_tune() -> None:
    assert uses_of({"can_restore", "restore_errored", "ExperimentAnalysis", "ResultGrid"}) == set()
    restored = {"Tuner.restore", "tune.Tuner.restore"}
    assert not [path for path in FILES.values() if any(x in path.read_text() for x in restored)]


@pytest.mark.fault("23", "impossible: no study of a search has a file; an export makes a new one")
def test_studies_live_in_memory_and_are_written_by_an_export_alone() -> None:
    storages = {"RDBStorage", "JournalStorage", "JournalFileBackend", "GrpcStorageProxy"}
    assert uses_of(storages | {"load_study"}) == {"results/exports/formats.py"}
    with_storage = {
        module
        for module in FILES
        for node in nodes(module)
        if isinstance(node, ast.Call) and "storage" in {word.arg for word in node.keywords}
    }
    assert with_storage == {"results.exports.formats", "tuner.campaign.suggest"}
    assert issubclass(Shelf, optuna.storages.InMemoryStorage)  # what the second hands to it


def test_no_folder_holds_more_than_fifteen_modules() -> None:
    sizes = Counter(
        str(path.parent.relative_to(ROOT))
        for name in FOLDERS
        for path in (ROOT / name).rglob("*.py")
        if path.stem != "__init__"
    )
    assert {folder: size for folder, size in sizes.items() if size > MAX_MODULES} == {}


def test_no_two_modules_share_a_name_but_for_measurements() -> None:
    names = Counter(path.stem for path in FILES.values())
    twice = {name for name, times in names.items() if times > 1}
    assert twice <= {"__init__", "__main__"} | SHARED_NAMES
