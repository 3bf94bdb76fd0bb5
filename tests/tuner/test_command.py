"""`gradtune`: one command for run, measure and results."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from search_spaces import SPACES
from tests.conftest import ROOT
from tuner import command, version

OLD_RUN = ROOT / "tests" / "data" / "runs" / "ordinary"


def complete(line: str) -> list[str]:
    """What bash offers for this line."""
    script = command.completion("bash") + (
        'COMP_LINE=$1; COMP_POINT=${#COMP_LINE}; _gradtune; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script, "bash", line], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {name} " in printed for name in ("run", "measure", "results"))


def test_without_a_command_the_usage_is_told_as_a_mistake() -> None:
    assert command.main([]) == 2


@pytest.mark.parametrize("words", [["rnu"], ["--verison"], ["--print-completion", "fish"]])
def test_an_unknown_command_is_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert repr(" ".join(words)) in error
    assert "(known: run, measure, results," in error


def test_the_nearest_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["result", "compare"])
    assert "did you mean 'results'?" in capsys.readouterr().err


def test_commands_name_themselves_in_their_help_and_hints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        command.main(["results", "--help"])
    assert "usage: gradtune results" in capsys.readouterr().out


def test_results_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["results", "verify", str(OLD_RUN)]) == 0
    assert "no problems found" in capsys.readouterr().out


@pytest.mark.slow
def test_no_command_imports_ray_before_it_has_said_how_to_talk_to_it() -> None:
    """Ray reads the mode of its authentication once: a client without token would be refused."""
    code = "import importlib, sys\n" + "".join(
        f"importlib.import_module({name!r})\nassert 'ray' not in sys.modules, {name!r}\n"
        for name in command.COMMANDS.values()
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("mine", [None, "mimalloc"])
def test_rows_are_written_with_the_systems_allocator_unless_another_is_wished(
    mine: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
    if mine:
        monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", mine)
    code = "import tuner.run, pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    ask = [sys.executable, "-c", code]
    done = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (mine or "system")


@pytest.mark.parametrize("name", ["run", "measure"])
def test_mistakes_in_the_words_are_those_of_the_module(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["trails=3"] if name == "run" else ["noise", "trails=3"]
    assert command.main([name, *words]) == 2
    assert "trails" in capsys.readouterr().err


def test_version_names_the_revision_of_the_checkout(capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True)
    assert command.main(["--version"]) == 0
    pattern = rf"gradtune \d+\.\d+\.\d+ \(git {done.stdout[:7]}(, changed)?\)\n"
    assert re.fullmatch(pattern, capsys.readouterr().out)


def test_a_copy_in_someone_elses_checkout_has_no_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    shutil.copy(version.__file__, tmp_path)
    monkeypatch.setattr(version, "HERE", tmp_path)
    assert version.revision() == {}


def test_a_recorded_revision_counts_before_any_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "revision.json").write_text('{"sha": "0123456789", "dirty": true}')
    monkeypatch.setattr(version, "RECORDED", tmp_path / "revision.json")
    assert version.describe_version().endswith("(git 0123456, changed)")


def test_bash_completes_commands_keys_and_names() -> None:
    assert complete("gradtune me") == ["measure"]
    assert complete("gradtune results comp") == ["compare"]
    assert complete("gradtune measure exch") == ["exchange"]
    assert complete("gradtune run max_c") == ["max_concurrent="]
    assert complete("gradtune submit foll") == ["follow="]
    # After "=" bash wants what follows it.
    assert complete("gradtune run trials=3 space=") == [*SPACES]


def test_a_folder_that_was_removed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert command.main(["results", "--help"]) == 2
    assert capsys.readouterr().err == "error: the working directory has been removed\n"


def test_zsh_gets_the_same_after_its_own_preparation() -> None:
    assert command.completion("zsh").endswith(command.completion("bash"))
    assert "bashcompinit" in command.completion("zsh")
