"""One table in a terminal, a page and a paper."""

from __future__ import annotations

import pytest

from results.tables import Table, latex_text, thinned

TABLE = Table(
    caption="Scores <of> 2 arms",
    header=["arm", "n", "accuracy %", "minus default", "p"],
    rows=[
        ["a_1 & b", "3", "97.31 +- 0.20", "0.70 [-3.10, 4.50]", "<0.001"],
        ["default", "1", "96.00", "-", "-"],
    ],
)


def test_text_is_aligned_and_has_no_trailing_spaces():
    assert TABLE.text().splitlines() == [
        "arm      n  accuracy %     minus default       p",
        "a_1 & b  3  97.31 +- 0.20  0.70 [-3.10, 4.50]  <0.001",
        "default  1  96.00          -                   -",
    ]


def test_html_escapes_every_cell_and_names_its_rows():
    html = TABLE.html()
    assert '<th scope="row">a_1 &amp; b</th>' in html
    assert '<td class="number">&lt;0.001</td>' in html
    assert "Scores &lt;of&gt; 2 arms</span></caption>" in html
    assert html == TABLE._repr_html_() == TABLE.__html__()


def test_latex_sets_numbers_spreads_and_whole_intervals_in_math_mode():
    lines = [line.strip() for line in TABLE.latex().splitlines()]
    assert r"\begin{tabular}{lrllr}" in lines
    assert r"arm & $n$ & accuracy \% & minus default & $p$ \\" in lines
    assert r"a\_1 \& b & $3$ & $97.31 \pm 0.20$ & $0.70$ $[-3.10, 4.50]$ & $<0.001$ \\" in lines
    assert r"default & $1$ & $96.00$ & -- & -- \\" in lines


@pytest.mark.parametrize(
    ("cell", "latex"),
    [
        ("1,234,567", "$1{,}234{,}567$"),
        ("-0.5", "$-0.5$"),
        ("p=0.9, interval=1", "p=0.9, interval=1"),  # a name's value is no number by itself
        ("0.70 (no interval from one seed)", "$0.70$ (no interval from one seed)"),
        ("undecided, ~12 more seeds", r"undecided, \textasciitilde{}12 more seeds"),
        ("1e-05", "$1e-05$"),
        ("v2", "v2"),
    ],
)
def test_what_is_a_number_in_latex(cell, latex):
    table = Table(caption="", header=["arm", "x"], rows=[["arm", cell]])
    assert f"arm & {latex} \\\\" in table.latex()


def test_names_cannot_become_latex():
    assert latex_text("50%_a&b\\x{}\n$#~^<>") == (
        r"50\%\_a\&b\textbackslash{}x\{\} \$\#\textasciitilde{}\textasciicircum{}"
        r"\textless{}\textgreater{}"
    )
    table = Table(caption="", header=["arm", "x"], rows=[["3 \\input{x}", "1"]])
    assert r"3 \textbackslash{}input\{x\} & $1$ \\" in table.latex()


def test_long_tables_are_thinned_with_first_and_last():
    places = thinned(1000)
    assert (places[0], places[-1], len(set(places))) == (0, 999, 60)
    assert thinned(60) == list(range(60))
    assert thinned(10, 4) == [0, 3, 6, 9]


def test_columns_in_which_nothing_is_known_are_left_out():
    table = Table(caption="c", header=["arm", "n", "p"], rows=[["a", "1", "-"], ["b", "-", "-"]])
    assert table.known().header == ["arm", "n"]
    assert [table.style_of(column) for column in range(3)] == ["short", "number", "number"]
    empty = Table(caption="c", header=["arm", "n"], rows=[])
    assert empty.known() == empty


def test_shown_on_a_terminal_a_table_has_lines_and_no_markup_is_read(capsys, monkeypatch):
    table = Table(caption="", header=["arm", "[red]x[/red]"], rows=[["a", "[bold]1[/bold]"]])
    table.show()
    assert capsys.readouterr().out == f"{table.text()}\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    table.show()
    printed = capsys.readouterr().out
    assert "[red]x[/red]" in printed
    assert "[bold]1[/bold]" in printed
    assert len(printed.splitlines()) > len(table.text().splitlines())
