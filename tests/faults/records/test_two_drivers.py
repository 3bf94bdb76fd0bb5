"""Two drivers on one run, and several runs begun at once: whole commands, in own processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import results
from tests.commands.command import SMALL
from tests.conftest import ROOT
from tests.fakes.tune_loop import Inline
from tests.faults.counts import only_full, repeats, tries
from tests.faults.drivers import TINY, Driver, Ended

NUM_RACES = repeats(3, 10)
SHORT = (*TINY, "trials=1", "baseline=false")


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Driver]]:
    folder = tmp_path_factory.mktemp("runs")
    drivers = [Driver(folder) for _ in range(3)]
    for driver in drivers:
        driver.wait()
    yield drivers
    for driver in drivers:
        driver.close()


def at_once(drivers: list[Driver], *commands: tuple[str, ...]) -> list[Ended]:
    for driver, words in zip(drivers, commands, strict=True):
        driver.tell(*words)
    return [driver.ended() for driver in drivers]


REFUSED = r"error: .*run '{name}' is being written by process \d+ on \S+ since 20\S+ \S+ UTC"


def check_race(ended: list[Ended], name: str) -> None:
    """One has trained it; the other heard it at once."""
    (won,) = [one for one in ended if one.code == 0]
    for lost in ended:
        if lost is not won:
            assert lost.code == 2
            assert lost.err.count("\n") == 1
            assert re.match(REFUSED.format(name=name), lost.err), lost.err
            assert lost.seconds < 1.0


@only_full
@pytest.mark.fault("16")
@pytest.mark.slow
def test_of_two_drivers_that_begin_one_name_at_once_exactly_one_does(
    drivers: list[Driver],
) -> None:
    with tries() as once:
        for number in range(NUM_RACES):
            name = f"new{number}"
            with once("16", "two drivers on one new name: one runs, the other hears it in 1 s"):
                check_race(at_once(drivers[:2], *[(*SHORT, f"name={name}")] * 2), name)
                run = results.load(drivers[0].folder / name)
                assert run.notes == []
                assert run.trials.num_rows == 2


@pytest.mark.fault("16")
@pytest.mark.slow
def test_of_two_drivers_that_resume_one_run_at_once_exactly_one_does(
    drivers: list[Driver],
) -> None:
    folder = drivers[0].folder
    drivers[0].tell(*SHORT, "name=whole")
    assert drivers[0].ended().code == 0
    with tries() as once:
        for number in range(NUM_RACES):
            name = f"old{number}"
            shutil.copytree(folder / "whole", folder / name)
            words = (f"resume={folder / name}", "trials=+1")
            with once("16", "two resumes of one run: one runs, the other hears it in 1 s"):
                check_race(at_once(drivers[:2], words, words), name)
                assert results.load(folder / name).trials.num_rows > 2


@only_full
@pytest.mark.fault("16", "three times three runs of one second, named and unnamed: all rows there")
@pytest.mark.slow
def test_three_runs_of_the_same_second_are_three_runs(drivers: list[Driver]) -> None:
    before = set(drivers[0].folder.iterdir())
    for words in (TINY, TINY):
        assert [one.code for one in at_once(drivers, *[words] * 3)] == [0, 0, 0]
    named = [(*TINY, f"name=at-once-{number}") for number in range(3)]
    assert [one.code for one in at_once(drivers, *named)] == [0, 0, 0]
    new = set(drivers[0].folder.iterdir()) - before
    assert len(new) == 9
    for run_dir in new:
        assert results.load(run_dir).trials.num_rows == 4
        assert results.verify(run_dir) == []


@pytest.mark.fault("16", "a resume and a start beside a running one: refused before Ray starts")
@pytest.mark.fault("15", "the name of a run that is going on: refused before Ray starts")
@pytest.mark.slow
def test_a_driver_on_a_run_that_is_going_on_is_refused_before_ray_starts(
    inline: Inline,
) -> None:
    process = inline.start("space=poly", *SMALL, "trials=30", "name=going")
    assert process.stdout is not None
    for line in process.stdout:
        if "[1/" in line:
            break
    try:
        for words in ((f"resume={inline.folder / 'going'}",), ("space=poly", "name=going")):
            refused = inline.run(*words)
            assert refused.returncode == 2
            assert refused.stderr.count("\n") == 1
            assert "starting Ray" not in refused.stdout
        assert f"is being written by process {process.pid} on" in refused.stderr or (
            "this run exists" in refused.stderr
        )
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)


@only_full
@pytest.mark.fault("16", "a killed container's run goes on in the next one, both as process 1")
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a pid namespace here")
def test_a_run_of_a_container_that_was_killed_goes_on_in_the_next_one(tmp_path: Path) -> None:
    """Both are process 1 of their own table of processes, as Docker has it."""
    code = (
        "import os, sys, time; from pathlib import Path; from results.records.lock import RunLock;"
        "lock = RunLock(Path(sys.argv[1])); print(os.getpid(), lock.notes, flush=True);"
        "time.sleep(float(sys.argv[2]))"
    )
    container = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable]
    words = [*container, "-c", code, str(tmp_path)]
    first = subprocess.Popen([*words, "60"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    line = first.stdout.readline()
    if not line:
        pytest.skip("no pid namespaces here")
    assert line == "1 []\n"
    refused = subprocess.run([*words, "0"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "is being written by process 1 on" in refused.stderr
    first.kill()
    first.communicate()
    done = subprocess.run([*words, "0"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("1 ['taken over from process 1 on"), done.stderr
