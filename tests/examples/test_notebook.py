"""examples/notebook.ipynb: a kernel runs all of it, in its smallest form."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

import results
from tests.conftest import ROOT, ClusterProcess
from tuner.session.cluster import ENVIRONMENT

NOTEBOOK = ROOT / "examples" / "notebook.ipynb"
SMALLER = {
    '"epochs": 10': '"epochs": 2',
    '"trials": 6': '"trials": 1',
    '"confirm.seeds": 5': '"confirm.seeds": 2, "max_concurrent": 1, "report": False, MORE',
}
PICTURE = re.compile(r'src="data:image/png;base64,([^"]+)"')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.full,
    # Of jupyter_client and pyzmq, about event loops and where their files lie.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning"),
]


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def cells(folder: Path, cluster: ClusterProcess) -> list[Any]:
    """The code cells of the notebook after a kernel has run them."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for written, smaller in SMALLER.items():
        (cell,) = [cell for cell in code_cells(notebook) if written in cell.source]
        place = f'"cluster.address": "{cluster.address}"'
        cell.source = cell.source.replace(written, smaller.replace("MORE", place))
    client = NotebookClient(
        notebook, timeout=240, resources={"metadata": {"path": str(folder)}}, coalesce_streams=True
    )
    client.execute(env=os.environ | ENVIRONMENT | {"PYTHONPATH": str(ROOT)})
    return code_cells(notebook)


def output(cells: list[Any], source: str) -> list[Any]:
    """The outputs of the cell that begins so."""
    (cell,) = [cell for cell in cells if cell.source.startswith(source)]
    return list(cell.outputs)


def test_progress_is_one_line_and_the_summary_one_text(cells: list[Any]) -> None:
    line, text = (
        [out for out in output(cells, "run = tuner.search(") if out.output_type == kind]
        for kind in ("display_data", "stream")
    )
    assert [out.data.keys() for out in line] == [{"text/plain"}]
    # 1 config and 2 confirm seeds of two arms, 2 seeds of the default.
    assert re.fullmatch(
        r"8/8 trainings; (\d+ min )?\d+ s; best val \d+\.\d\d % \((poly|cosine)\)",
        line[0].data["text/plain"],
    )
    printed = "".join(out.text for out in text)
    assert {out.name for out in text} == {"stdout"}
    assert printed.startswith("starting Ray ...\n")
    assert "for a pull request or a paper:\nSchedules compared: poly, searched over" in printed
    assert "[1/8]" not in printed


def test_it_ends_with_a_verdict_tables_and_pictures(cells: list[Any], folder: Path) -> None:
    (run_dir,) = (folder / "runs").iterdir()
    run = results.load(run_dir)
    assert set(run.trials["status"].to_pylist()) == {"completed"}
    for source, num_pictures, words in (
        ("run.compare()", 1, run.compare().verdict[:20]),
        ("run", 2, f"run {run_dir.name}: completed"),
    ):
        cell = next(cell for cell in cells if cell.source == source)
        html = cell.outputs[0].data["text/html"]
        assert words in html
        pictures = [
            Image.open(io.BytesIO(base64.b64decode(data))) for data in PICTURE.findall(html)
        ]
        assert len(pictures) == num_pictures
        # Not blank: more colours than paper and ink.
        assert all(len(picture.convert("RGB").getcolors(2**20)) > 20 for picture in pictures)
    told = output(cells, "print(run.paragraph()")[0].text
    assert told == f"{run.paragraph().markdown()}\n"
    assert "tuner.search: 'space=[poly,cosine]'" in told
    assert "batch.initial=32" in told


def test_the_notebook_is_kept_as_it_was_run(cells: list[Any]) -> None:
    kept = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(kept)
    assert len(code_cells(kept)) == len(cells)
    text = NOTEBOOK.read_text()
    assert str(ROOT) not in text
    outputs = [out for cell in code_cells(kept) for out in cell.outputs]
    assert {out.output_type for out in outputs} == {"stream", "display_data", "execute_result"}
    assert {out.name for out in outputs if out.output_type == "stream"} == {"stdout"}
    assert (
        len(PICTURE.findall("".join(out.get("data", {}).get("text/html", "") for out in outputs)))
        == 3
    )
