"""Names and errors of a stranger's, as every renderer shows them: text, and nothing but text."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

import results
from results.__main__ import main
from results.plots import save_plots
from results.records.redaction import visible
from results.records.store import RunStore
from results.tables import Table
from search_spaces.trial import derive_seed
from tests.fakes.logs import write_log
from tests.fakes.results import make_trial, write_trial
from tuner.display.live import RichDisplay

pytestmark = pytest.mark.fault(
    "security", "escapes, formulas, HTML, LaTeX in names and errors: shown as text"
)

# What pages, spreadsheets, papers, terminals, pull requests and templates would obey.
PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<svg/onload=alert(1)>",
    "=cmd|' /C calc'!A0",
    "+1+cmd|x",
    "-1+cmd|x",
    "@SUM(1+1)",
    "\t=1+1",
    "\r=1+1",
    "\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b31mred",
    "\u202egnp.exe",
    "zero\u200bwidth",
    r"$\frac{$",
    "$$x$$",
    r"\input{/etc/passwd}",
    r"\write18{touch x}",
    "%{&_#^~",
    "[x](javascript:alert(1))",
    "![x](http://evil/x.png)",
    "```\n# heading",
    "poly\nbest schedule: forged",
    "{{ 7*7 }}{% raw %}",
    "../../etc/passwd",
)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stranger's CSV, an arm a payload; spaces around a name are not of it."""
    names = {name.strip(): name for name in PAYLOADS}.values()
    ends = {name: (3.0 + 0.01 * n, 3.1, 2.9 + 0.02 * n) for n, name in enumerate(names)}
    return write_log(tmp_path_factory.mktemp("logs") / "logs.csv", ends)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stranger's run: an arm a payload, and each in the manifest, in errors and hosts too."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    manifest = {
        "status": PAYLOADS[9],
        "command": "python -m tuner.run ```\n# heading \x1b[2J",
        "scale": PAYLOADS[0],
        "problem": PAYLOADS[10],
        "versions": {"python": PAYLOADS[1], PAYLOADS[2]: "1"},
        "code": {"files": dict.fromkeys(PAYLOADS, "x")},
        "hardware": {PAYLOADS[9]: PAYLOADS[9]},
        "num_test": 360,
    }
    with RunStore.create(folder, manifest, f"name: '{PAYLOADS[0]}\x1b[2J'\n") as store:
        store.event("start", command=manifest["command"])
        for number, name in enumerate(PAYLOADS):
            best = replace(make_trial("poly"), space=name)
            write_trial(store, best, accuracy=0.8 + 0.002 * number)
            lost = replace(best, params={**best.params, "p": 2.0})
            write_trial(store, lost, status="failed")
            for replicate in range(2):
                seed = derive_seed(0, "confirm", replicate)
                trial = replace(best, role="confirm", replicate=replicate, seed=seed)
                write_trial(store, trial, accuracy=0.8 + 0.002 * number + 0.01 * replicate)
    return folder


class Page(HTMLParser):
    """The tags of a page and what is dangerous among their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {str(value) for name, value in attrs if name in ("href", "src")}


def assert_harmless_page(html: str) -> None:
    page = Page(html)
    assert page.tags.isdisjoint({"script", "img", "iframe", "object", "form", "base"})
    assert not [name for name in page.attributes if name.startswith("on")]
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert_harmless_lines(html)
    assert "alert(1)" in html  # it is shown


def assert_harmless_lines(text: str) -> None:
    """Nothing that a terminal obeys, and no line of a name's own."""
    assert [line for line in text.split("\n") if not line.replace("\t", "").isprintable()] == []
    assert [n for n in text.split("\n") if n.startswith(("best schedule: forged", "# head"))] == []


def told(*words: str) -> str:
    """What the command prints, on both streams."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*words])
    assert code == 0, err.getvalue()
    return out.getvalue() + err.getvalue()


@pytest.mark.slow
def test_a_judgment_of_a_strangers_csv(logs: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert_harmless_lines(told("judge", str(logs), "--out", str(page)))
    assert_harmless_page(page.read_text())


def test_a_mistake_in_a_strangers_csv_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = write_log(tmp_path / "logs.csv", {"\x1b[2J": (1.0, float("nan"))})
    assert main(["judge", str(logs)]) == 2
    error = capsys.readouterr().err
    assert_harmless_lines(error)
    assert error.count("\n") == 1


@pytest.mark.slow
def test_the_report_of_a_strangers_run(run_dir: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert_harmless_lines(told("report", str(run_dir), "--out", str(page)))
    assert_harmless_page(page.read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["show"], ["compare", "--no-plots"], ["compare", "--paragraph"]]
)
def test_a_strangers_run_in_the_terminal(run_dir: Path, words: list[str]) -> None:
    assert_harmless_lines(told(words[0], str(run_dir), *words[1:]))


@pytest.mark.full
@pytest.mark.slow
def test_the_figures_of_a_strangers_run(run_dir: Path, tmp_path: Path) -> None:
    written = save_plots(results.load(run_dir), tmp_path, ("svg",))
    assert written
    for path in written:
        assert path.parent == tmp_path
        assert Page(path.read_text()).tags.isdisjoint({"script", "foreignobject"})


def test_spreadsheets_compute_nothing(run_dir: Path, tmp_path: Path) -> None:
    told("export", str(run_dir), "--tables", "csv", "--out", str(tmp_path))
    for path in tmp_path.glob("*.csv"):
        with path.open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        computed = [cell for cell in cells if re.match(r"[=+\-@\t\r\n]", cell)]
        assert [cell for cell in computed if not is_number(cell)] == []
    assert "'=cmd" in (tmp_path / "trials.csv").read_text()


def is_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        float(text)
        return True
    return False


def test_papers_input_nothing(run_dir: Path, tmp_path: Path) -> None:
    told("export", str(run_dir), "--tables", "latex", "--paragraph", "--out", str(tmp_path))
    for path in tmp_path.glob("*.tex"):
        text = path.read_text()
        assert r"\input" not in text
        assert r"\write" not in text
        lines = [line for line in text.split("\n") if not line.startswith("% \\usepackage")]
        assert not re.search(r"(?<!\\)%", "\n".join(lines))  # nothing is commented out
        bare = re.sub(r"\\[{}\\]", "", text)
        assert bare.count("{") == bare.count("}")
        assert_harmless_lines(text)


def test_pull_requests_link_nothing(run_dir: Path, tmp_path: Path) -> None:
    told("export", str(run_dir), "--paragraph", "--out", str(tmp_path))
    text = (tmp_path / "paragraph.md").read_text()
    words, fence, code = re.split(r"^(`{3,})$", text, maxsplit=1, flags=re.MULTILINE)
    assert "](" not in words
    assert not re.search(r"(?<!\\)[<>`]", words)
    assert re.findall(r"^`+$", code, flags=re.MULTILINE) == [fence]  # it ends where we end it
    assert_harmless_lines(text)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_cell_is_text_in_every_form(payload: str) -> None:
    name = visible(payload, in_a_line=True)  # as reading a run makes it
    table = Table(caption=name, header=["arm", name], rows=[[name, "1"]])
    assert_harmless_lines(table.text())
    assert Page(table.html()).tags <= {
        *("div", "table", "caption", "span", "thead", "tr", "th", "tbody", "td"),
    }
    assert r"\input" not in table.latex()


def test_a_live_table_shows_markup_as_text() -> None:
    display = RichDisplay({"[/]": 3, "[bold red]x": 1, "[link=file:///x]y": 1}, 10)
    console = Console(file=io.StringIO(), width=200)
    console.print(display.render())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(name in shown for name in ("[/]", "[bold red]x", "[link=file:///x]y"))
