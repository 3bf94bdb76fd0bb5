"""What a notebook shows of a run and of a comparison: words, tables and the main figures."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import results
from results.plots import PLOTS
from results.plots.notebook import OF_A_RUN
from results.records.store import RunStore
from results.statistics.compare import compare
from tests.conftest import ROOT
from tests.fakes.results import write_run

IMAGE = re.compile(r'<img alt="([^"]+)" style="[^"]*" src="data:image/png;base64,([^"]+)">')


def pictures(html: str) -> dict[str, Image.Image]:
    """The pictures of a page by what they are called."""
    return {
        name: Image.open(io.BytesIO(base64.b64decode(data))) for name, data in IMAGE.findall(html)
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> results.Run:
    return results.load(write_run(tmp_path_factory.mktemp("runs") / "run", trials=2))


@pytest.mark.slow
def test_a_run_shows_how_its_chosen_schedules_trained(run: results.Run) -> None:
    html = run._repr_html_()
    assert html.index("</table>") < html.index("<img")
    assert pictures(html).keys() == {PLOTS[name].title for name in OF_A_RUN}
    assert all(picture.width == 1200 for picture in pictures(html).values())


def test_where_no_pictures_are_shown_it_is_one_line(run: results.Run) -> None:
    # 2 search trainings of two arms, 3 confirm seeds of these and the default, 6 epochs each.
    assert repr(run) == "<Run run: completed; 13 trials, 78 epochs>"


def test_a_comparison_shows_its_differences_below_the_verdict(run: results.Run) -> None:
    comparison = run.compare()
    html = comparison._repr_html_()
    assert html.index("minus your default") < html.index("<img") < html.index("<table>")
    assert pictures(html).keys() == {"Paired differences"}


def test_it_needs_no_run(run: results.Run) -> None:
    scores = {"a": {0: 0.9, 1: 0.8}, "b": {0: 0.7, 1: 0.7}}
    assert len(pictures(compare(scores)._repr_html_())) == 1
    assert len(pictures(compare(scores, paired=False)._repr_html_())) == 1


def test_without_anything_to_draw_there_are_only_words(tmp_path: Path) -> None:
    RunStore.create(tmp_path / "run", {}, "").close()
    run = results.load(tmp_path / "run")
    assert "<img" not in run._repr_html_()
    assert "<img" not in run.compare()._repr_html_()


def test_reading_a_run_does_not_import_matplotlib() -> None:
    code = "import sys, results; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
