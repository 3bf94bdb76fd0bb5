"""report.html: what it says, that it needs nothing else, and that it never breaks."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from markupsafe import Markup
from matplotlib.figure import Figure

import results
from results.__main__ import main
from results.records.store import RunStore
from results.report import write_report
from results.report.svg import MOST_MARKS, inline_svg
from tests.fakes.results import (
    edit_manifest,
    make_recipe,
    make_space,
    make_trial,
    write_run,
    write_trial,
)

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

VOID = {"meta", "br", "link", "img", "input", "hr", "path", "use", "rect", "image"}


class Page(HTMLParser):
    """What a test wants to know of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag):
        while self._open and self._open[-1] in VOID - {tag}:
            self._open.pop()
        assert self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        for tag in set(self._open):
            self.texts[tag][-1] += data

    def values(self, name):
        return [value for _, key, value in self.attributes if key == name]


def page_of(run_dir) -> Page:
    return Page(write_report(results.load(run_dir), run_dir / "report.html").read_text())


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def quick(monkeypatch):
    """For tests of words: no figure is drawn."""
    monkeypatch.setattr("results.report.page.inline_svg", lambda *_: Markup("<svg></svg>"))


@pytest.fixture(scope="module")
def page(run_dir):
    return page_of(run_dir)


def test_the_verdict_comes_first_and_every_part_in_order(page, run_dir):
    comparison = results.load(run_dir).compare()
    verdict = next(text for text in page.texts["p"] if "minus" in text or "beats" in text)
    assert verdict.lower().rstrip(".") == comparison.verdict.lower().rstrip(".")
    headings = ["Verdict", "Evidence", "Curves", "Schedules", "Search", "Where time went"]
    assert page.texts["h2"] == [*headings, "Provenance"]
    assert page.texts["h1"] == ["run"]


def test_the_paragraph_stands_on_the_first_page_and_a_click_selects_it(page, run_dir):
    run = results.load(run_dir)
    assert page.texts["pre"][0] == run.paragraph().text()
    assert ("pre", "class", "paragraph") in page.attributes
    (style,) = page.texts["style"]
    assert re.search(r"\.paragraph \{[^}]* user-select: all", style)


def test_nothing_is_loaded_from_elsewhere(page):
    for name in ("src", "href", "action", "data", "poster", "srcset"):
        assert all(value.startswith(("#", "data:image/png")) for value in page.values(name))
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert not any("url(" in text or "@import" in text for text in page.texts["style"])
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page.values("content")


def test_ids_are_unique_and_links_inside_the_page_lead_somewhere(page):
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    links = [value[1:] for value in page.values("href") if value.startswith("#")]
    assert set(links) <= set(ids)


def test_every_figure_has_a_name_for_those_who_do_not_see_it(page):
    labels = [v for tag, key, v in page.attributes if (tag, key) == ("svg", "aria-label")]
    assert len(labels) == page.tags["svg"] == page.tags["figure"] == page.tags["figcaption"]
    assert all(len(label) > 40 for label in labels)
    assert page.tags["caption"] == page.tags["table"] >= page.tags["figure"]
    assert "lang" in {key for tag, key, _ in page.attributes if tag == "html"}


def test_every_caption_tells_how_many(page):
    assert all("n=" in text or text.count("n ") for text in page.texts["figcaption"])
    intervals = ("interval", "n=1 training", "Wall time", "admissible")
    assert all(any(word in text for word in intervals) for text in page.texts["figcaption"])


def test_the_numbers_of_the_arm_table_are_those_of_the_comparison(page, run_dir):
    comparison = results.load(run_dir).compare()
    for arm in comparison.arms:
        assert f"{100 * arm.mean:.2f} +- {100 * arm.sd:.2f}" in page.texts["td"]
    assert all("\n" not in cell for cell in page.texts["td"])


@pytest.mark.usefixtures("quick")
def test_provenance_holds_the_exact_settings(run_dir):
    text = write_report(results.load(run_dir), run_dir / "report.html").read_text()
    assert "epochs: 6" in text.partition("<pre")[2]
    page = Page(text)
    assert "status" in page.texts["dt"]
    assert "completed" in page.texts["dd"]


@pytest.mark.full
def test_the_report_is_small_and_ascii_names_survive(run_dir):
    path = write_report(results.load(run_dir), run_dir / "report.html")
    assert path.stat().st_size < 1_000_000


EVIL = '<script>alert("x")</script>'


def test_names_and_errors_cannot_become_markup(tmp_path):
    space = replace(make_space("poly"), name=EVIL)
    manifest = {"status": EVIL, "spaces": [space.to_dict()], "command": EVIL, "scale": EVIL}
    with RunStore.create(tmp_path / "run", manifest, f"name: {EVIL}\n") as store:
        for number in range(9):
            trial = make_trial(params={"p": 0.5 + number / 3, "interval": 1 + number % 2})
            write_trial(store, replace(trial, space=EVIL), accuracy=0.8 + number / 100)
        write_trial(store, replace(make_trial(role="confirm"), space=EVIL))
        bad = make_trial(params={"p": 3.9}, recipe=make_recipe())
        write_trial(store, replace(bad, space="</svg>" + EVIL), status="failed")
    text = write_report(results.load(tmp_path / "run"), tmp_path / "report.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert Page(text).tags["script"] == 0


def write_empty(run_dir):
    RunStore.create(run_dir, {}, "").close()


def write_searching(run_dir):
    write_run(run_dir, seeds=0, baseline=False)


def write_one_arm(run_dir):
    write_run(run_dir, arms=["cosine"], trials=1, seeds=1, baseline=False)


def write_failed(run_dir):
    with RunStore.create(run_dir, {"spaces": [make_space("poly").to_dict()]}, "") as store:
        write_trial(store, make_trial(), status="failed")
        write_trial(store, make_trial(params={"p": 2.0}), status="oom", epochs=1)


def write_diverged(run_dir):
    with RunStore.create(run_dir, {"spaces": [make_space("poly").to_dict()]}, "") as store:
        for p in (0.5, 1.0, 2.0):
            write_trial(store, make_trial(params={"p": p}), status="diverged", epochs=1)


def write_rungs(run_dir):
    with RunStore.create(run_dir, {"spaces": [make_space("poly").to_dict()]}, "") as store:
        write_trial(store, make_trial(horizon=0.5))


def write_functions(run_dir):
    recipe = make_recipe(trainer="function", dataset="rastrigin", model="none", num_classes=0)
    with RunStore.create(run_dir, {"spaces": [make_space("poly").to_dict()]}, "") as store:
        write_trial(store, make_trial(recipe=recipe, role="confirm"))
        write_trial(store, make_trial(recipe=recipe, params={"p": 2.0}))


WRITERS = (
    *(write_empty, write_searching, write_one_arm, write_failed, write_diverged, write_rungs),
    write_functions,
)


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_kind_of_run_gets_a_report(tmp_path, write):
    write(tmp_path / "run")
    page = page_of(tmp_path / "run")
    assert page.texts["h2"][0] == "Verdict"
    assert page.texts["h2"][-1] == "Provenance"
    assert len(page.texts["p"]) > 2


def test_a_report_says_what_is_damaged_unfinished_and_failed(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=2, seeds=2)
    (run_dir / "trials" / "00007.parquet").write_bytes(b"nonsense")
    assert any("00007.parquet was skipped" in text for text in page_of(run_dir).texts["li"])
    with RunStore.create(tmp_path / "going", {"status": "running"}, "") as store:
        write_trial(store, make_trial(), status="running", epochs=1)
        write_trial(store, make_trial(params={"p": 2.0}), status="failed")
        store.flush()
        page = page_of(tmp_path / "going")
    assert any("still running: 1 trials unfinished" in text for text in page.texts["li"])
    assert any("1 of 2 trials failed" in text for text in page.texts["li"])
    assert any("RuntimeError: failed" in text for text in page.texts["td"])


@pytest.mark.usefixtures("quick")
def test_a_damaged_manifest_and_config_still_give_a_report(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=2, seeds=2)
    (run_dir / "manifest.json").write_text("{")
    (run_dir / "config.yaml").unlink()
    page = page_of(run_dir)
    assert any("manifest.json was skipped" in text for text in page.texts["li"])
    assert page.tags["pre"] == 1  # the paragraph: no settings are known


@pytest.mark.usefixtures("quick")
def test_odd_values_in_a_manifest_do_no_harm(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    edit_manifest(run_dir, versions=None, git=[], started_at="yesterday", hardware={})
    assert "yesterday" in page_of(run_dir).texts["dd"]


@pytest.mark.full
@pytest.mark.usefixtures("quick")
def test_the_command_writes_the_report_and_prints_its_path(run_dir, tmp_path, capsys):
    assert main(["report", str(run_dir)]) == 0
    assert capsys.readouterr().out == f"{run_dir / 'report.html'}\n"
    out = tmp_path / "new" / "mine.html"
    assert main(["report", str(run_dir), "--out", str(out)]) == 0
    assert out.read_text() == (run_dir / "report.html").read_text()


@pytest.mark.usefixtures("quick")
def test_several_runs_need_a_place_for_their_report(run_dir, tmp_path, capsys):
    other = write_run(tmp_path / "other", trials=1, seeds=3, run_seed=1)
    assert main(["report", str(run_dir), str(other)]) == 2
    assert capsys.readouterr().err.startswith("error: say where to write the report of 2 runs")
    both = tmp_path / "both.html"
    assert main(["report", str(run_dir), str(other), "--out", str(both)]) == 0
    assert Page(both.read_text()).texts["h1"] == ["run, other"]


@pytest.mark.parametrize(("count", "is_picture"), [(MOST_MARKS, False), (MOST_MARKS + 1, True)])
def test_a_cloud_of_very_many_points_becomes_one_picture(count, is_picture):
    figure = Figure()
    axes = figure.subplots()
    axes.scatter(np.arange(count), np.arange(count))
    axes.plot([0, 1], [0, 1])
    axes.set_title("still text")
    svg = inline_svg(figure, "cloud", "a cloud")
    assert ("data:image/png;base64" in svg) == is_picture
    assert "still text" in svg
    assert (svg.count("<use") < 100) == is_picture
