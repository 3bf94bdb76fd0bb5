"""A display that fails, a terminal that is gone, odd texts: the run goes on, and says it once."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import results
from search_spaces.records import MAX_ERROR_BYTES
from tests.conftest import ROOT
from tests.fakes.tune_loop import Inline
from tests.faults.drivers import TINY
from tuner import run as run_command
from tuner.display.live import PlainDisplay
from tuner.session.cluster import ENVIRONMENT

pytestmark = pytest.mark.slow


def events(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]


class Gone(io.StringIO):
    """A stdout whose reader has left after the first line."""

    def write(self, text: str) -> int:
        if self.getvalue():
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        return super().write(text)


class Ascii(io.TextIOWrapper):
    """A stdout that knows no other letters."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii", write_through=True)


def run_with(stdout: Any, *words: str) -> tuple[int, str]:
    err = io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(err):
        code = run_command.main([*TINY, "report=false", *words])
    return code, err.getvalue()


def test_a_reader_that_leaves_costs_the_sight_alone(inline: Inline) -> None:
    code, err = run_with(Gone(), "name=gone", f"runs_dir={inline.folder}")
    assert code == 0
    assert err.count("\n") == 1
    assert err.startswith("warning: nothing more is shown (stdout: BrokenPipeError")
    (event,) = [e for e in events(inline.folder / "gone") if e["kind"] == "display failed"]
    assert "BrokenPipeError" in event["why"]
    assert results.load(inline.folder / "gone").notes == []


def test_a_terminal_without_the_letters_shows_escapes(inline: Inline) -> None:
    out = Ascii()
    folder = inline.folder / "\u00fcbung"
    code, err = run_with(out, "name=ascii", f"runs_dir={folder}")
    assert (code, err) == (0, "")
    assert rb"\xfcbung/ascii" in out.buffer.getvalue()


@pytest.mark.parametrize(
    "method", ["start", "trial_started", "epoch_ended", "trial_ended", "stop"]
)
def test_a_display_that_raises_is_told_once_wherever_it_does(
    inline: Inline, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def broken(self: PlainDisplay, *args: object) -> None:
        raise RuntimeError("no such \x1b[31mterminal \ud800")

    monkeypatch.setattr(PlainDisplay, method, broken)
    done = inline.run(*TINY, f"name={method}")
    assert done.returncode == 0
    assert done.stderr == (
        "warning: nothing more is shown (RuntimeError: no such terminal ?); the run goes on\n"
    )
    (event,) = [e for e in events(inline.folder / method) if e["kind"] == "display failed"]
    assert event["method"] == method
    assert results.load(inline.folder / method).trials.num_rows == 4


def test_a_summary_that_fails_leaves_a_finished_run(
    inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(run_dir: Path) -> None:
        raise KeyError("no such column")

    monkeypatch.setattr("tuner.display.summary.print_summary", broken)
    done = inline.run(*TINY, "name=whole")
    assert done.returncode == 0
    assert "warning: no summary could be printed (KeyError: 'no such column')" in done.stderr
    assert done.stdout.strip().endswith("whole")


ODD = "\ud800 \x1b]0;title\x07\x1b[2Jred\x00 " + "x" * 1_000_000


def raising(schedule: Any, seed: int, report: Any) -> None:
    raise RuntimeError(ODD)


@pytest.mark.full
def test_a_megabyte_of_odd_letters_is_shortened_and_harmless(inline: Inline) -> None:
    done = inline.run(
        f"trainable={__name__}:raising", "lr=0.1", "epochs=2", "batch.initial=32", "trials=1",
        "dataset.train_examples=64", "confirm.seeds=1", "display=plain", "max_failures=0",
        "baseline=false", "name=odd",
    )  # fmt: skip
    assert done.returncode == 1
    shown = done.stdout + done.stderr
    assert len(shown) < 20_000
    assert max(map(len, shown.splitlines())) < 400
    assert not set(shown) & {"\x1b", "\x00", "\x07", "\ud800"}
    for row in results.load(inline.folder / "odd").trials.to_pylist():
        assert len(row["error"].encode()) <= MAX_ERROR_BYTES
        assert row["error"].startswith("log: ")
        assert not set(row["error"]) & {"\x1b", "\x00", "\x07"}


@pytest.mark.full
def test_head_closes_a_real_pipe(inline: Inline) -> None:
    words = [*TINY, "name=head", "report=false", f"runs_dir={inline.folder}"]
    command = f"{sys.executable} -m tests.fakes.tune_loop {' '.join(words)}"
    line = f"{command} | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert done.stderr.count("\n") == 1
    assert "nothing more is shown (stdout: BrokenPipeError" in done.stderr
    run = results.load(inline.folder / "head")
    assert set(run.trials["status"].to_pylist()) == {"completed"}
