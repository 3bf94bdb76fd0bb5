"""Where may data become code? Only in the places named here, each with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_layering import FILES

# Calls by which something read becomes something run, or a file is unpacked anywhere.
DANGEROUS_NAMES = {"eval", "exec", "compile", "__import__"}
DANGEROUS_MODULES = {
    *("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "runpy", "code", "pty"),
    *("tarfile", "zipfile", "imp", "xml"),
}
DANGEROUS_ATTRIBUTES = {
    *("import_module", "exec_module", "spec_from_file_location", "loads_pickle", "read_pickle"),
    *("unpack_archive", "extractall", "system", "popen", "unsafe_load", "full_load"),
}
# File, what it uses -> why nothing of a stranger's gets there.
ALLOWED = {
    ("search_spaces/registry.py", "spec_from_file_location"): "behind allow_import, as the next",
    ("search_spaces/registry.py", "exec_module"): "names that the user has given",
    ("search_spaces/registry.py", "import_module"): "names that the user has given",
    ("trainables/user/server.py", "import_module"): "PICKLED, our constant",
    ("trainables/user/handed.py", "pickle"): "the driver's own function, over Ray",
    ("trainables/user/report.py", "pickle"): "names the exception of torch.load",
    ("trainables/trainable.py", "cloudpickle"): "writes the user's function of this process",
    ("trainables/trainable.py", "pickle"): "a buffer's type, of the same function",
    ("tuner/session/parcel.py", "cloudpickle"): "counts bytes, reads none",
    ("tuner/plan/usercode.py", "pickle"): "writes arguments, for a digest",
    ("tuner/recording/losses.py", "pickle"): "what Tune wrote, into this run's own scratch folder",
    ("tuner/recording/trackers.py", "import_module"): "wandb, mlflow, tensorboardX by our names",
    ("tuner/session/execution.py", "import_module"): "HEAVY, our constant",
    ("results/__init__.py", "import_module"): "our modules of the names that it exports",
    ("tuner/command.py", "import_module"): "COMMANDS, our constant",
}


def uses(tree: ast.AST) -> Iterator[str]:
    """What of the dangerous it names, however it is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Name):
            names = [node.id] if node.id in DANGEROUS_NAMES else []
        elif isinstance(node, ast.Attribute):
            names = [node.attr] if node.attr in DANGEROUS_ATTRIBUTES else []
        else:
            continue
        for name in names:
            first, last = name.partition(".")[0], name.rpartition(".")[2]
            if first in DANGEROUS_MODULES or last in DANGEROUS_ATTRIBUTES | {"cloudpickle"}:
                yield first if first in DANGEROUS_MODULES else last
            elif name in DANGEROUS_NAMES:
                yield name


@cache
def tree_of(path: Path) -> ast.Module:
    """Each file is parsed once."""
    return ast.parse(path.read_text())


def sources() -> dict[str, ast.Module]:
    return {str(path.relative_to(ROOT)): tree_of(path) for path in FILES.values()}


@pytest.mark.slow
def test_data_becomes_code_only_where_it_is_allowed() -> None:
    found = {(name, use) for name, tree in sources().items() for use in uses(tree)}
    assert found == {*ALLOWED}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import xml.etree.ElementTree", "eval(x)",
        "from ray import cloudpickle", "import ray.cloudpickle", "importlib.import_module(x)",
        "from importlib import import_module", "x = __import__", "tar.extractall()",
        "os.system('x')", "from os import system", "import joblib",
    ],
)  # fmt: skip
def test_the_search_sees_it(source: str) -> None:
    assert [*uses(ast.parse(source))]


def calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    """Calls of `torch.load`, say."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        last = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if last == name.rpartition(".")[2] and ast.unparse(node.func) == name:
            yield node


def is_constant(call: ast.Call, keyword: str, value: object) -> bool:
    return any(
        word.arg == keyword and isinstance(word.value, ast.Constant) and word.value.value == value
        for word in call.keywords
    )


def everything() -> list[Path]:
    folders = ("search_spaces", "trainables", "results", "tuner", "benchmarks", "examples", "docs")
    return [path for folder in folders for path in (ROOT / folder).rglob("*.py")]


def test_states_are_read_as_weights_only() -> None:
    loads = [c for path in everything() for c in calls(tree_of(path), "torch.load")]
    assert len(loads) >= 3
    assert all(is_constant(call, "weights_only", True) for call in loads)


@pytest.mark.slow
def test_yaml_is_read_by_the_safe_loader_and_arrays_without_pickles() -> None:
    trees = {path: tree_of(path) for path in everything()}
    loaders = [
        ast.unparse(word.value)
        for tree in trees.values()
        for call in calls(tree, "yaml.load")
        for word in call.keywords
        if word.arg == "Loader"
    ]
    assert loaders == ["_Loader"]
    from tuner.config import yamltext

    assert issubclass(yamltext._Loader, yamltext.yaml.SafeLoader)
    arrays = [call for tree in trees.values() for call in calls(tree, "np.load")]
    assert arrays
    assert not any(word.arg == "allow_pickle" for call in arrays for word in call.keywords)


def test_no_shell_is_asked() -> None:
    shells = [
        path
        for path in everything()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.keyword) and node.arg == "shell"
    ]
    assert shells == []
