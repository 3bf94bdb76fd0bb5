"""How names become things: registered ones, import paths, files, and mistakes."""

from __future__ import annotations

import gc
import math
from pathlib import Path

import pytest

from search_spaces import registry
from search_spaces.registry import (
    allow_import,
    allowed_imports,
    check_name,
    find_source,
    import_callable,
    is_import_path,
    load_module,
    lookup,
    nearest,
    unknown_name,
)

KNOWN = {"cosine": math.cos, "sine": "math:sin"}


@pytest.mark.parametrize(
    ("name", "known", "text"),
    [
        ("cosin", ["sine", "cosine"], "; did you mean 'cosine'?"),
        ("zzz", ["sine", "cosine"], ""),
        ("abxy", ["abcd"], "; did you mean 'abcd'?"),  # half of the letters
        ("abxyz", ["abcdef"], ""),  # 4/11
    ],
)
def test_the_nearest_name_is_offered_where_half_of_it_agrees(
    name: str, known: list[str], text: str
) -> None:
    assert nearest(name, iter(known)) == text


def test_an_unknown_name_lists_all_in_order() -> None:
    error = unknown_name("curve", "cosin", iter(["sine", "cosine"]))
    expected = "unknown curve 'cosin'; did you mean 'cosine'? (known: cosine, sine)"
    assert str(error) == expected
    with pytest.raises(ValueError, match="unknown curve 'cosin'"):
        check_name("curve", "cosin", KNOWN)
    with pytest.raises(ValueError, match="unknown curve 'cosin'"):
        lookup("curve", "cosin", KNOWN)


def test_registered_names_and_import_paths_pass() -> None:
    check_name("curve", "cosine", KNOWN)
    check_name("curve", "no.such:thing", KNOWN)  # imported later
    assert (is_import_path("math:cos"), is_import_path("cosine")) == (True, False)


@pytest.mark.parametrize(
    ("name", "function"), [("cosine", math.cos), ("sine", math.sin), ("math:tan", math.tan)]
)
def test_a_name_is_looked_up_here_and_imported_there(name: str, function: object) -> None:
    allow_import("math:tan")
    assert lookup("curve", name, KNOWN) is function


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:f", "^cannot import 'no_such_module:f': No module named"),
        ("math:no_such", "^cannot import 'math:no_such': module 'math' has no attribute"),
        (":f", "^cannot import ':f': "),
        ("no/such.py:f", r"^cannot import 'no/such.py:f': .*No such file"),
        ("math:pi", r"^'math:pi' is not callable\.$"),
    ],
)
def test_what_cannot_be_imported_is_refused(name: str, message: str) -> None:
    allow_import(name)
    with pytest.raises(ValueError, match=message):
        import_callable(name)


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("def f(:\n", "SyntaxError: "),
        ("x\n", "NameError: "),
        ("raise SystemExit(3)\n", "SystemExit"),
    ],
)
def test_code_that_fails_is_told_as_what_cannot_be_imported(
    tmp_path: Path, code: str, line: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(code)
    allow_import(f"{path}:f")
    with pytest.raises(ValueError, match=f"^cannot import .*{line}"):
        import_callable(f"{path}:f")


def test_a_name_that_nobody_has_given_runs_nothing(tmp_path: Path) -> None:
    path, ran = tmp_path / "strangers.py", tmp_path / "ran"
    path.write_text(f"import os\nos.mkdir({str(ran)!r})\ndef curve(u):\n    return u\n")
    name = f"{path}:curve"
    for ask in (import_callable, lambda name: lookup("curve", name, KNOWN)):
        with pytest.raises(ValueError, match="stands in a file, and would run code"):
            ask(name)
    assert not ran.exists()
    allow_import(name)
    assert import_callable(name)(1) == 1
    assert ran.exists()
    assert name in allowed_imports()


def test_a_file_is_imported_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text("LOADED = []\ndef curve(u):\n    return u + 1\n")
    allow_import(f"{path}:curve")
    assert import_callable(f"{path}:curve")(1) == 2
    first, second = load_module(path), load_module(path)
    assert (first.__name__, first.LOADED is second.LOADED) == ("own", False)
    assert find_source(f"{path}:curve") == path


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("cosine", None),
        ("search_spaces.registry:lookup", Path(registry.__file__)),
        ("sys:exit", None),  # without a file
    ],
)
def test_the_source_of_a_name_is_found_without_running_it(name: str, source: Path | None) -> None:
    assert find_source(name) == source


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/such.py:f", "^cannot import 'no/such.py:f': no such file$"),
        ("no_such_module:f", "^cannot import 'no_such_module:f': write package.module:callable$"),
        ("no_such.module:f", "write package.module:callable"),
        (":f", "^cannot import ':f': write package.module:callable$"),
        ("math:", "^cannot import 'math:': write package.module:callable$"),
        ("..math:f", "write package.module:callable"),
    ],
)
def test_a_source_that_is_none_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_source(name)


def test_a_package_that_cannot_be_imported_is_told_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in {
        "raises_at_import": "1 / 0",
        "exits_at_import": "import sys; sys.exit('no\\nway')",
        "unreadable_at_import": "def f(:",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
        with pytest.raises(ValueError, match=rf"^cannot import '{name}\.mod:f': \w+: [^\n]*$"):
            find_source(f"{name}.mod:f")
    with pytest.raises(ValueError, match="RecursionError"):
        find_source(f"{'numpy.' * 2000}x:f")


@pytest.mark.parametrize("was_on", [True, False])
def test_while_a_registered_name_is_imported_nothing_looks_for_garbage(
    was_on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"imported_once_{was_on}"
    code = "import gc\nWAS_ON = gc.isenabled()\ndef told():\n    return WAS_ON\n"
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    (gc.enable if was_on else gc.disable)()
    try:
        assert lookup("thing", "name", {"name": f"{module}:told"})() is False
        assert gc.isenabled() is was_on
        with pytest.raises(ValueError, match="cannot import"):
            lookup("thing", "name", {"name": "no_such_module:told"})
        assert gc.isenabled() is was_on
    finally:
        gc.enable()
