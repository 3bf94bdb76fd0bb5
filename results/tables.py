"""What is a table? Caption, header and rows of text, for a terminal, a page or a paper."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

UNKNOWN = "-"  # a cell of which nothing is known
LONG_TABLE = 15  # rows
LONG_CELL = 32  # characters; longer text is broken into lines
MAX_ROWS = 60  # of a table that is thinned

_NUMBER = r"[-+<]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?"
NUMBER_CELL = re.compile(rf"{_NUMBER}(?: ?%)?|{UNKNOWN}")
# What is set in math mode: a number, one with its spread, an interval.
MATHEMATICS = re.compile(
    rf"(?<!\S)(?:(?P<mean>{_NUMBER}) \+- (?P<spread>{_NUMBER})|\[{_NUMBER}, {_NUMBER}\]|{_NUMBER})"
    r"(?=[\s,%)]|$)"
)
LATEX_SPECIAL = {
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}"},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One table, rendered three ways; the first cell of a row names it.

    Attributes:
        caption: says what is shown; the terminal leaves it out.
        rows: of text, as long as the header; "-" where nothing is known.
        note: what is missing here; behind the caption, in the terminal below the table.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def text(self) -> str:
        """Aligned columns of plain text."""
        lines = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = [
            [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
        ]
        note = [f"({self.note})"] if self.note else []
        return "\n".join([*("  ".join(line).rstrip() for line in padded), *note])

    def html(self) -> str:
        """A `<table>` in a region that scrolls; the styles of its columns are in the classes."""
        styles, caption = self._styles(), escape(self._caption())
        head = "".join(
            f'<th scope="col" class="{style}">{escape(cell)}</th>'
            for cell, style in zip(self.header, styles, strict=True)
        )
        rows = "".join(
            f'<tr><th scope="row">{escape(name)}</th>'
            + "".join(
                f'<td class="{style}">{escape(cell)}</td>'
                for cell, style in zip(cells, styles[1:], strict=True)
            )
            + "</tr>\n"
            for name, *cells in self.rows
        )
        return (
            f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">\n<table>\n'
            f'<caption><span class="stay">{caption}</span></caption>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>"
        )

    def latex(self) -> str:
        r"""A `table` for papers; needs \usepackage{booktabs}. Names are escaped."""
        columns = "".join("r" if style == "number" else "l" for style in self._styles())
        lines = [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{latex_text(self._caption())}}}",
            rf"  \begin{{tabular}}{{{columns}}}",
            r"    \toprule",
            rf"    {' & '.join(map(_latex_head, self.header))} \\",
            r"    \midrule",
            *(
                rf"    {' & '.join([latex_text(name), *map(_latex_cell, cells)])} \\"
                for name, *cells in self.rows
            ),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(["% \\usepackage{booktabs}", *lines]) + "\n"

    def show(self) -> None:
        """Print it: with lines around it on a terminal, as plain text elsewhere."""
        if not sys.stdout.isatty():
            print(self.text())
            return
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable()
        for cell in self.header:
            table.add_column(Text(cell))
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table, *([Text(f"({self.note})")] if self.note else []), sep="\n")

    _repr_html_ = __html__ = html  # for notebooks, and for templates

    @property
    def is_long(self) -> bool:
        """True where a reader is asked before all rows are shown."""
        return len(self.rows) > LONG_TABLE

    def style_of(self, column: int) -> str:
        """How a column is set: number (flush right), long (wraps) or short."""
        cells = [row[column] for row in self.rows]
        if column and all(NUMBER_CELL.fullmatch(cell) for cell in cells):
            return "number"
        return "long" if max(map(len, cells), default=0) > LONG_CELL else "short"

    def _caption(self) -> str:
        return f"{self.caption}; {self.note}" if self.note else self.caption

    def _styles(self) -> list[str]:
        return [self.style_of(column) for column in range(len(self.header))]

    def known(self) -> Table:
        """Without the columns in which nothing is known; itself where it has no rows."""
        if not self.rows:
            return self
        first, *others = zip(self.header, *self.rows, strict=True)
        kept = [first, *(cells for cells in others if {*cells[1:]} - {UNKNOWN})]
        header, *rows = map(list, zip(*kept, strict=True))
        return replace(self, header=header, rows=rows)


def thinned(length: int, most: int = MAX_ROWS) -> list[int]:
    """At most so many row numbers, evenly spread, first and last included."""
    if length <= most:
        return list(range(length))
    return [round(row * (length - 1) / (most - 1)) for row in range(most)]


def latex_text(text: str) -> str:
    """Text that LaTeX prints as it is; what is not printable becomes a space."""
    return "".join(LATEX_SPECIAL.get(c, c if c.isprintable() else " ") for c in text)


def _latex_head(cell: str) -> str:
    return f"${cell}$" if len(cell) == 1 else latex_text(cell)


def _latex_cell(cell: str) -> str:
    """Numbers and intervals in math mode, the rest as it is."""
    if cell == UNKNOWN:
        return "--"
    text, end = "", 0
    for match in MATHEMATICS.finditer(cell):
        text += f"{latex_text(cell[end : match.start()])}${_mathematics(match)}$"
        end = match.end()
    return text + latex_text(cell[end:])


def _mathematics(match: re.Match[str]) -> str:
    if match["mean"]:
        return rf"{match['mean']} \pm {match['spread']}"
    return match[0] if match[0].startswith("[") else match[0].replace(",", "{,}")
