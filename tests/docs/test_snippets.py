"""Does the Python of the documentation still run? What is complete runs, the rest compiles."""

from __future__ import annotations

import importlib.util
import re
import shutil
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest

import results
from tests.docs.test_commands import OLD_RUN, RUN_NAME
from tests.docs.text import blocks
from tests.fakes.results import write_run
from tests.fakes.tune_loop import do_without_ray

PYTHON = [block for block in blocks() if block.kind == "python"]
# Indented snippets, by the words they begin with, and what they need beside GradTune.
SNIPPETS = ("from search_spaces", "import optuna, results")
ONE_LINERS = {"pandas": "", "polars": "pl", "duckdb": "", "results": ""}
# Blocks that are neither commands nor Python: what a command prints, a formula, the map.
PRINTED = (
    *("best schedule", "search_spaces/ ", "search poly:", "e_n =", "shared:"),
    *("python ", "make ", "gradtune ", "GRADTUNE_CIFAR10=", "ray get-auth-token", "laptop "),
    "error: 1 of 3 other nodes",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With runs of the reader's: one of an older version, with fewer columns, and one of this."""
    shutil.copytree(OLD_RUN, tmp_path / "runs" / "a")
    write_run(tmp_path / "runs" / "b", trials=2, seeds=2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_liners() -> list[str]:
    """Lines of README.md that read a run with one library or another."""
    lines = [line for block in blocks() if not block.kind for line in block.text.splitlines()]
    begin = tuple(f"{library}." for library in ONE_LINERS)
    return [re.sub(r"\s{2,}#.*$", "", line) for line in lines if line.startswith(begin)]


def test_every_block_is_of_a_known_kind() -> None:
    libraries = tuple(f"{library}." for library in ONE_LINERS)
    for block in blocks():
        known = block.kind == "python" or block.text.startswith((*PRINTED, *SNIPPETS, *libraries))
        assert known, f"{block.page}:{block.line} is covered by no test: {block.text[:60]!r}"


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"{block.page}:{block.line}")
def test_python_blocks_compile(block) -> None:
    # Some are the middle of a function, after its imports.
    whole = textwrap.dedent(block.text)
    imports = re.match(r"(?:(?:import|from) .*\n|\n)*", whole)
    assert imports is not None
    body = textwrap.dedent(whole[imports.end() :])
    compile(f"def train():\n{textwrap.indent(imports[0] + body, '    ')}", block.page, "exec")


@pytest.mark.slow
@pytest.mark.parametrize("beginning", SNIPPETS)
def test_indented_snippets_run(beginning: str, folder: Path) -> None:
    texts = [block.text for block in blocks() if not block.kind]
    (text,) = [text for text in texts if text.startswith(beginning)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optuna's plots call themselves experimental
        exec(RUN_NAME.sub("runs/a", text), {})


@pytest.mark.slow
@pytest.mark.parametrize("line", one_liners())
def test_one_liners_on_the_records_run(line: str, folder: Path) -> None:
    library = line.partition(".")[0]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    names = {library: importlib.import_module(library), "results": results}
    names |= {ONE_LINERS[library]: names[library]} if ONE_LINERS[library] else {}
    value = eval(RUN_NAME.sub("runs/a", line), names)
    assert len(value) > 0


@pytest.mark.slow
def test_the_search_from_python_runs_as_it_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    do_without_ray(monkeypatch)
    monkeypatch.syspath_prepend(folder)
    mine, script = (block.text for block in PYTHON[:2])
    (folder / "searched.py").write_text(mine)
    for written, smaller in {
        "import tuner\n": "import tuner\nfrom searched import train\n",
        "epochs=10": "epochs=2",
        "trials=8": "trials=1",
        '"batch.initial": 32': '"batch.initial": 32, "confirm.seeds": 2, "report": False',
        "+10": "+1",
    }.items():
        assert written in script
        script = script.replace(written, smaller)
    names: dict[str, Any] = {}
    exec(script, names)
    rows = results.load(names["run"].dirs[0]).trials.to_pylist()
    assert len([row for row in rows if row["role"] == "search"]) == 2 * 2
