"""Which files are the user's code, and which of their changes are changes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tuner.plan.codefiles import code_files, digests, essence


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose training imports two modules of its own, one of them by a function."""
    files = {
        "pkg_of_mine/__init__.py": "",
        "pkg_of_mine/training.py": (
            "import torch\nfrom search_spaces import FAMILIES\nfrom .nets.blocks import Block\n"
            "def train(schedule, seed, report):\n    from pkg_of_mine import data\n"
        ),
        "pkg_of_mine/nets/__init__.py": "",
        "pkg_of_mine/nets/blocks.py": "import pkg_of_mine.training\nclass Block: ...\n",
        "pkg_of_mine/data.py": "PATH = 'x'\n",
        "pkg_of_mine/unused.py": "1 / 0\n",
        "script.py": "import pkg_of_mine.data\nimport numpy\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pkg_of_mine", raising=False)  # of another test's folder
    return tmp_path


def test_imports_within_the_folder_are_followed_and_nothing_is_run(project: Path) -> None:
    files = code_files(["pkg_of_mine.training:train"])
    expected = {"__init__", "training", "nets/__init__", "nets/blocks", "data"}
    assert set(files) == {f"pkg_of_mine/{name}.py" for name in expected}
    assert files["pkg_of_mine/data.py"] == project / "pkg_of_mine" / "data.py"


def test_a_script_is_followed_from_its_folder(project: Path) -> None:
    files = code_files([f"{project / 'script.py'}:train"])
    assert set(files) == {"script.py", "pkg_of_mine/__init__.py", "pkg_of_mine/data.py"}


def test_files_of_one_name_in_two_folders_are_both_watched(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text("import utils\n")
        (tmp_path / folder / "utils.py").write_text(f"{folder} = 1\n")
    names = [f"{tmp_path / folder / 'mine.py'}:f" for folder in ("a", "b", "a")]
    assert set(code_files(names)) == {"mine.py", "utils.py", "b/mine.py", "b/utils.py"}
    before = digests(code_files(names))
    (tmp_path / "b" / "utils.py").write_text("c = 1\n")
    after = digests(code_files(names))
    assert [place for place in before if before[place] != after[place]] == ["b/utils.py"]


def test_of_an_installed_package_only_the_named_file_counts() -> None:
    assert set(code_files(["numpy.linalg:norm"])) == {"numpy/linalg/__init__.py"}
    assert set(code_files(["json:loads"])) == {"json/__init__.py"}


def test_our_own_packages_are_not_the_users_code() -> None:
    assert (ROOT / "trainables" / "data" / "stream.py").is_file()
    assert set(code_files(["examples.gpt:train"])) == {"examples/gpt.py"}


def test_every_file_of_the_code_counts(project: Path) -> None:
    def now() -> dict[str, str]:
        return digests(code_files(["pkg_of_mine.training:train"]))

    before = now()
    (project / "pkg_of_mine" / "unused.py").write_text("2 / 0\n")
    assert now() == before
    blocks = project / "pkg_of_mine" / "nets" / "blocks.py"
    blocks.write_text(blocks.read_text() + "WIDTH = 3\n")
    changed = now()
    assert {name for name in before if before[name] != changed[name]} == {
        "pkg_of_mine/nets/blocks.py"
    }


CODE = b'''"""What it is."""
def f(x):
    """What it does."""
    return {"a": x, "b": """not a docstring"""}
'''


@pytest.mark.parametrize(
    "other",
    [
        CODE.replace(b"What", b"Whatever"),
        CODE + b"# the end\n",
        CODE.replace(b"return {", b"return {  # a dict\n        "),
        CODE.replace(b'    """What it does."""\n', b""),
    ],
)
def test_comments_docstrings_and_layout_change_nothing(other: bytes) -> None:
    assert other != CODE
    assert essence(other) == essence(CODE)


@pytest.mark.parametrize(
    "other",
    [CODE.replace(b"not a", b"still no"), CODE.replace(b"x,", b"-x,"), CODE + b"f = None\n"],
)
def test_what_it_does_changes_it(other: bytes) -> None:
    assert essence(other) != essence(CODE)


def test_what_is_no_python_counts_by_its_bytes() -> None:
    assert essence(b"def f(:") == b"def f(:"
    assert essence(b"\xff\xfe") == b"\xff\xfe"
    assert essence(b"    def f(self):\n        return 1\n") == b"def f(self):\n    return 1"
