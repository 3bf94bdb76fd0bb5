"""docs/faults.md: all rows, and tests that exist. Its counts are what `make faults` counted."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.table import OTHERS, ROWS, TITLES, held, table

PAGE = ROOT / "docs" / "faults.md"
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def marked_rows(path: Path) -> Iterator[str]:
    """The rows that its tests are marked with."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("fault", "pytest.mark.fault"):
            yield ast.literal_eval(node.args[0])


def test_the_page_has_every_row_once_in_their_order() -> None:
    lines = [
        line.split(" | ")[:3]
        for line in PAGE.read_text().splitlines()
        if re.match(r"\| [^|#]", line)
    ]
    rows = [tuple([line[0].strip("| "), *line[1:]]) for line in lines if line[0].strip("| ")]
    expected = [(row, *told) for row, told in ROWS.items()]
    assert rows == expected + [(title, "", "") for title in OTHERS.values()]


@pytest.mark.slow
def test_every_row_has_a_test_and_every_marked_row_is_one_of_the_table() -> None:
    marked = {row for path in TESTS for row in marked_rows(path)}
    assert marked == TITLES.keys()


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(tests/[^`]+)::(test_\w+)`", PAGE.read_text())
    assert len(named) >= len(ROWS)
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


def counts_of(entry: dict[str, object]) -> dict[str, dict[str, dict[str, object]]]:
    return {row: {"text": entry | {"tests": [f"tests/x.py::test_{row}"]}} for row in ROWS}


def test_the_table_tells_what_was_counted() -> None:
    counts = counts_of({"passed": 19, "of": 20})
    page = table(counts)
    assert page.count("| text | 19 / 20 |") == len(ROWS)
    assert "- 9: `tests/x.py::test_9`\n" in page
    assert "| Security |  |  |  | not tried |" in page
    del counts["22"]
    with pytest.raises(ValueError, match=r"no test tells anything of the rows 22$"):
        table(counts)
    with pytest.raises(ValueError, match=r"the table has no rows 99$"):
        table(counts_of({"passed": 1, "of": 1}) | {"99": {}})


def test_numbers_are_told_as_what_they_are() -> None:
    assert held({"passed": 1000, "of": 1000}) == "1,000 / 1,000"
    assert held({"passed": 0, "of": 0}) == "not tried"
    assert held({"passed": 0, "of": 0, "worst": 12.345, "unit": "s"}) == "at most 12.3 s"
