"""Where runs are to be written: whatever is wrong there is one line, before anything starts."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fakes.tune_loop import Inline
from tests.faults.drivers import TINY
from tuner import run as run_command
from tuner.session import cluster


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "start", lambda *_: pytest.fail("Ray was started"))


def refused(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    """The one line that this command ends with."""
    assert run_command.main([*words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err.strip()


def a_file(path: Path) -> Path:
    path.write_text("precious")
    return path


def below_a_file(path: Path) -> Path:
    return a_file(path) / "runs"


def a_dangling_link(path: Path) -> Path:
    path.symlink_to(path.parent / "nowhere" / "at all")
    return path


def a_long_name(path: Path) -> Path:
    return path / ("x" * 300)


@pytest.mark.fault("14", "a runs_dir that is none: one line, exit 2, before Ray starts")
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (a_file, "is no folder"),
        (below_a_file, "Not a directory"),
        (a_dangling_link, "is no folder"),
        (a_long_name, "File name too long"),
        (lambda path: Path("/proc/nowhere"), "No such file or directory"),
        (lambda path: Path("/dev/null/runs"), "Not a directory"),
    ],
)
def test_a_runs_dir_that_is_none_is_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], Path],
    why: str,
) -> None:
    runs_dir = make(tmp_path / "there")
    line = refused(capsys, *TINY, f"runs_dir={runs_dir}")
    assert line == (f"error: runs_dir={runs_dir}: not writable: {why}; runs_dir=DIR names another")
    there = tmp_path / "there"
    assert not there.is_file() or there.read_text() == "precious"


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder of a disk that cannot be written, with a run in it."""
    folder = tmp_path / "read_only"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("only root can mount a disk that is read-only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.fault("14", "a read-only disk: one line")
def test_a_project_folder_that_is_read_only_needs_a_runs_dir_elsewhere(
    read_only: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.chdir(read_only):
        line = refused(capsys, *TINY)
    assert line == (
        "error: runs_dir=runs: not writable: Read-only file system; runs_dir=DIR names another"
    )


@pytest.mark.fault("14", "a folder of somebody else's: one line")
@pytest.mark.slow
def test_a_folder_of_somebody_elses_is_told(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    tmp_path.chmod(0o755)
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    done = subprocess.run(
        [
            *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
            *(sys.executable, "-m", "tuner.run", *TINY, f"runs_dir={theirs}"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if "Permission denied: '/" in done.stderr or "can't open file" in done.stderr:
        pytest.skip("this checkout cannot be read by others")
    assert done.returncode == 2, done.stderr
    assert done.stderr.endswith("not writable: Permission denied; runs_dir=DIR names another\n")


@pytest.mark.fault("14", "a relative runs_dir that is not there: made where the command was typed")
@pytest.mark.slow
def test_a_relative_runs_dir_lies_where_the_command_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inline: Inline
) -> None:
    monkeypatch.chdir(tmp_path)
    inline.folder = Path("somewhere/new")
    monkeypatch.setattr(cluster, "start", lambda *_: None)
    done = inline.run(*TINY, "name=here")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "somewhere" / "new" / "here" / "manifest.json").is_file()
    assert done.stdout.strip().splitlines()[-1] == "somewhere/new/here"


@pytest.mark.fault("15", "a folder that holds no run has the name: refused, left as it is")
@pytest.mark.parametrize("name", ["taken", "taken2"])
def test_a_name_that_a_folder_of_ones_own_has_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    own = tmp_path / name / ("notes.txt" if name == "taken" else "config.yaml")
    own.parent.mkdir()
    own.write_text("precious")
    line = refused(capsys, *TINY, f"runs_dir={tmp_path}", f"name={name}")
    assert line == f"error: name={name}: {own.parent} holds no run; use another name"
    assert own.read_text() == "precious"
    assert [*own.parent.iterdir()] == [own]


def test_nothing_is_left_where_ray_does_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise run_command.ConfigError("Ray did not start on this machine: no")

    monkeypatch.setattr(cluster, "start", fail)
    for words in ((), ("name=mine",)):
        assert run_command.main([*TINY, f"runs_dir={tmp_path}", *words]) == 2
        assert list(tmp_path.iterdir()) == []
    assert (
        re.findall("error: (.*)", capsys.readouterr().err)
        == ["Ray did not start on this machine: no"] * 2
    )
