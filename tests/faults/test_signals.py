"""A command that is asked to stop, in any way, at any time: nothing is lost, and it says so."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import results
from tests.commands.command import SMALL, Command, reproducible, wait_for
from tests.conftest import ROOT
from tests.fakes.tune_loop import Inline, do_without_ray
from tests.faults.counts import only_full
from tuner import run as run_command
from tuner.session import execution, nodes
from tuner.session.cluster import ENVIRONMENT
from tuner.session.interrupts import STOPS, Interrupted, Interrupts

WORDS = ("space=poly", *SMALL, "trials=6", "epochs=6")
FLUSHED_SECONDS = 10.0
OTHERS = [n for n in STOPS if n not in (signal.SIGINT, signal.SIGTERM)]  # those: test_run.py


@only_full
@pytest.mark.fault(
    "8", "SIGHUP, SIGQUIT, SIGUSR1: all kept within 10 s, exit code, the resume command"
)
@pytest.mark.slow
@pytest.mark.parametrize("number", OTHERS)
def test_a_run_that_is_asked_to_stop_keeps_everything_and_says_how_to_go_on(
    command: Command, number: signal.Signals
) -> None:
    process = command.start(*WORDS, "name=cut")
    wait_for(process, "[2/")
    process.send_signal(number)
    begun = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - begun < FLUSHED_SECONDS
    assert process.returncode == 128 + number
    assert "stopping: keeping everything" in err
    assert "Traceback" not in err
    assert f"resume={command.folder / 'cut'}" in out
    run = results.load(command.folder / "cut")
    (manifest,) = run.manifests.values()
    assert manifest["status"] == "interrupted"
    assert set(run.trials["status"].to_pylist()) <= {"completed", "interrupted"}


@only_full
@pytest.mark.fault("8", "a second signal: left within 2 s")
@pytest.mark.slow
def test_the_second_signal_leaves_at_once(command: Command) -> None:
    process = command.start(*WORDS, "name=cut")
    wait_for(process, "[2/")
    process.send_signal(signal.SIGSTOP)  # both arrive together
    process.send_signal(signal.SIGUSR1)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    begun = time.monotonic()
    process.communicate(timeout=30)
    assert time.monotonic() - begun < 2.0
    assert process.returncode in (128 + signal.SIGUSR1, 128 + signal.SIGTERM)


@pytest.mark.fault("8", "while Ray starts: one line, no run folder")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "seconds"),
    [
        (signal.SIGHUP, 1.5),
        *(
            pytest.param(number, seconds, marks=only_full)
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
            for seconds in (0.0, 1.5)
            if (number, seconds) != (signal.SIGHUP, 1.5)
        ),
    ],
)
def test_a_signal_while_ray_starts_is_told(
    alone: Command, number: signal.Signals, seconds: float
) -> None:
    process = alone.start(*WORDS, address=False)
    wait_for(process, "starting Ray")
    time.sleep(seconds)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    # Amidst an import Python says of the exception that it was ignored.
    assert err.strip().splitlines()[-1] == "interrupted before anything started"
    assert list(alone.folder.iterdir()) == []


@only_full
@pytest.mark.fault("8", "a closed terminal, then resumed: the rows of an undisturbed run")
@pytest.mark.slow
def test_a_closed_terminal_costs_nothing(alone: Command, inline: Inline) -> None:
    """All processes of a terminal, Ray's too, get SIGHUP, and none can write a word any more."""
    run_dir = alone.folder / "cut"
    words = [sys.executable, "-m", "tuner.run", *WORDS, "name=cut", "report=false"]
    words += [f"runs_dir={alone.folder}", "resources.cpus_per_trial=1"]  # threads: as `inline`
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, words, os.environ | ENVIRONMENT | {"RAY_AUTH_TOKEN": "0" * 64})
    seen = b""
    while b"[2/" not in seen:  # or the end of the terminal, an OSError
        seen += os.read(terminal, 65536)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    (manifest,) = results.load(run_dir).manifests.values()
    assert manifest["status"] == "interrupted"
    resumed = inline.run(f"resume={run_dir}")
    assert resumed.returncode == 0, resumed.stderr
    whole = inline.run(*WORDS, "name=whole")
    assert whole.returncode == 0, whole.stderr
    cut, uncut = results.load(run_dir), results.load(alone.folder / "whole")
    assert reproducible(cut) == reproducible(uncut)


@pytest.mark.fault("8", "while the nodes are looked at: one line, no run folder")
def test_a_signal_while_the_nodes_are_looked_at_ends_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    do_without_ray(monkeypatch)
    monkeypatch.setattr(execution, "cluster_address", lambda config: "head:6379")
    monkeypatch.setattr(nodes, "check_nodes", lambda *_: signal.raise_signal(signal.SIGTERM))
    code = run_command.main([*WORDS, f"runs_dir={tmp_path}"])
    assert code == 128 + signal.SIGTERM
    assert capsys.readouterr().err.strip() == "interrupted before anything started"
    assert list(tmp_path.iterdir()) == []


def run_python(code: str, number: int) -> subprocess.CompletedProcess[str]:
    """Code that prints `ready`, and then gets a signal."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(process, "ready")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.parametrize(
    "end", [lambda: signal.raise_signal(signal.SIGTERM), lambda: sys.exit(15)]
)
def test_before_anything_has_begun_a_signal_ends_it_at_once(end: Callable[[], None]) -> None:
    """Also by the handler that Ray installs while it starts, which exits."""
    interrupts, before = Interrupts(), {number: signal.getsignal(number) for number in STOPS}
    with pytest.raises(Interrupted) as caught, interrupts.before_anything():
        end()
    assert caught.value.number == signal.SIGTERM
    assert isinstance(caught.value, KeyboardInterrupt)
    assert {number: signal.getsignal(number) for number in STOPS} == before


@pytest.mark.slow
@pytest.mark.fault("8", "SIGHUP under nohup: ignored")
def test_under_nohup_a_closed_terminal_stays_ignored() -> None:
    code = (
        "import signal, time\n"
        "from tuner.session.interrupts import Interrupts\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "interrupts = Interrupts()\n"
        "interrupts.install()\n"
        "print('ready', flush=True)\n"
        "time.sleep(1.0)\n"
        "print(interrupts.received)\n"
    )
    assert run_python(code, signal.SIGHUP).stdout == "None\n"
