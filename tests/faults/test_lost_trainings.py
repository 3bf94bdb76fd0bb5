"""Whole searches with trainings of ours that hang, die, freeze or need too much memory."""

from __future__ import annotations

from pathlib import Path

import pytest

import results
from tests.commands.command import Command, reproducible
from tests.fakes.tune_loop import Inline
from tests.faults.counts import only_full
from tests.faults.faulty import SMALL, events, statuses, write_model

pytestmark = pytest.mark.slow  # Ray's processes

fault = pytest.mark.fault
KILLED = fault("4", "killed once: goes on from its state, the rows of an undisturbed run")
ENDED = fault("5", "exits, crashes, raises once: goes on from its state, rows as undisturbed")
SILENT = fault("19", "sleeps, spins, is frozen: ended, tried again, rows as undisturbed")
FAILED = "killed, exits, raises until its last retry: a row with the error, the others whole"

HANG = "no report for 3 s (max_report_seconds): the training was ended"
DIED = "the process of its worker died (killed, out of memory, or crashed)"


@pytest.fixture
def runner(inline: Inline, act: str, request: pytest.FixtureRequest) -> Inline | Command:
    """What takes the process along needs one of Ray's."""
    made: Command = inline if act.startswith("raise") else request.getfixturevalue("command")
    return made


@pytest.mark.parametrize(
    ("act", "how"),
    [
        pytest.param("time.sleep(1000)", HANG, marks=[SILENT, only_full]),
        pytest.param("while True: pass", HANG, marks=[SILENT, only_full]),
        pytest.param("os.kill(os.getpid(), signal.SIGSTOP)", HANG, marks=[SILENT, only_full]),
        pytest.param("os._exit(3)", DIED, marks=[ENDED, only_full]),
        pytest.param("sys.exit(3)", DIED, marks=[ENDED, only_full]),
        pytest.param("ctypes.string_at(0)", DIED, marks=[ENDED, only_full]),
        # Killed from outside: tests/commands/test_run.py.
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", DIED, marks=[KILLED, only_full]),
        pytest.param("raise OSError('no disk')", "OSError: no disk", marks=ENDED),
    ],
)
def test_a_network_lost_once_goes_on_from_its_state_with_the_rows_of_an_undisturbed_run(
    runner: Inline | Command, inline: Inline, tmp_path: Path, act: str, how: str
) -> None:
    model = write_model(tmp_path, f"if among_first(1):\n    {act}")
    words = (model, *SMALL, "trials=2", "confirm.seeds=1", "max_report_seconds=3")
    done = runner.run(*words, "name=hurt")
    assert done.returncode == 0, done.stderr
    assert f"{how} (retry 1 of 3)" in done.stdout
    assert "(raylet)" not in done.stdout + done.stderr
    hurt = results.load(tmp_path / "hurt")
    assert statuses(hurt) == {"completed": 3}
    assert len(events(hurt, "lost")) == 1
    unhurt = inline.run(*words, "name=unhurt")  # the flag is there
    assert unhurt.returncode == 0, unhurt.stderr
    assert sorted(hurt.trials["attempt"].to_pylist()) == [1, 1, 2]
    assert reproducible(hurt) == reproducible(results.load(tmp_path / "unhurt"))


@only_full
@pytest.mark.fault("19", "hangs as often as it is tried: failed, the search goes on")
def test_a_network_that_hangs_again_and_again_counts_as_failed_and_the_search_goes_on(
    command: Command, tmp_path: Path
) -> None:
    model = write_model(tmp_path, "if among_first(2):\n    time.sleep(1000)")
    # A fresh process on a busy machine may need more than 3 s to its first report.
    words = (model, *SMALL, "max_report_seconds=10", "max_failures=1", "name=hung")
    done = command.run(*words)
    assert done.returncode == 1
    run = results.load(command.folder / "hung")
    assert statuses(run) == {"completed": 5, "failed": 1}
    (failed,) = [row for row in run.trials.to_pylist() if row["status"] == "failed"]
    why = HANG.replace("3 s", "10 s")
    assert failed["error"] == why
    assert failed["attempt"] <= 2  # the last start that told anything
    assert len(events(run, "lost")) == 1
    assert failed["epochs_done"] <= 1  # of this start: 0 where no state was saved before
    assert f"1 of 6 trials failed; the first with:\n  {why}" in done.stdout


@pytest.mark.parametrize(
    ("act", "retries", "status", "line"),
    [
        pytest.param(
            *("os.kill(os.getpid(), signal.SIGKILL)", 3, "failed", DIED),
            marks=[fault("4", FAILED), only_full],
        ),
        pytest.param("os._exit(1)", 0, "failed", DIED, marks=[fault("5", FAILED), only_full]),
        pytest.param("sys.exit(1)", 0, "failed", DIED, marks=[fault("5", FAILED), only_full]),
        pytest.param(
            "raise OSError('no disk')", 1, "failed", "OSError: no disk", marks=fault("5", FAILED)
        ),
        pytest.param(
            "raise MemoryError('9 GB')", 3, "oom", "MemoryError: 9 GB", marks=fault("5", FAILED)
        ),
    ],
)
def test_the_last_retry_that_fails_is_a_row_with_its_error_and_the_others_are_whole(
    runner: Inline | Command, tmp_path: Path, act: str, retries: int, status: str, line: str
) -> None:
    times = 1 + (1 if status == "oom" else retries)
    model = write_model(tmp_path, f"if among_first({times}):\n    {act}")
    words = (model, *SMALL, "trials=2", "confirm.seeds=1", f"max_failures={retries}", "name=hurt")
    done = runner.run(*words)
    assert done.returncode == 1, done.stderr
    run = results.load(tmp_path / "hurt")
    assert statuses(run) == {"completed": 3, status: 1}
    (row,) = [row for row in run.trials.to_pylist() if row["status"] == status]
    assert row["error"].splitlines()[-1] == line
    # An exception is told; of a start that dies before its first report nothing is heard.
    assert row["attempt"] == times or ("raise" not in act and row["attempt"] < times)
    assert row["epochs_done"] <= 1  # of this start: 0 where no state was saved before
    assert len(events(run, "lost")) == times - 1
    assert f"1 of 4 trials failed; the first with:\n  {line}" in done.stdout


@only_full
@pytest.mark.fault("30", "processes of their own or one for all: the same rows")
@pytest.mark.parametrize(("isolate", "num_processes"), [("true", 2), ("false", 1)])
def test_each_network_gets_a_process_of_its_own_where_asked_and_the_rows_are_the_same(
    command: Command, inline: Inline, tmp_path: Path, isolate: str, num_processes: int
) -> None:
    model = write_model(tmp_path, "FLAG.with_name(f'process-{os.getpid()}').touch()")
    words = (model, *SMALL, "trials=1", "confirm.seeds=1")
    done = command.run(*words, f"isolate={isolate}", "name=apart")
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("process-*"))) == num_processes
    assert inline.run(*words, "name=together").returncode == 0
    apart, together = (results.load(command.folder / name) for name in ("apart", "together"))
    assert reproducible(apart) == reproducible(together)


@only_full
@pytest.mark.fault("19", "a hang and a death in processes of their own: tried again, recorded")
def test_a_network_with_a_process_of_its_own_that_hangs_or_dies_is_tried_again_in_another(
    command: Command, tmp_path: Path
) -> None:
    act = "if among_first(1):\n    time.sleep(1000)\nelif among_first(2):\n    os._exit(1)"
    words = (write_model(tmp_path, act), *SMALL, "trials=2", "confirm.seeds=1", "isolate=true")
    done = command.run(*words, "max_report_seconds=3", "name=apart")
    assert done.returncode == 0, done.stderr
    run = results.load(command.folder / "apart")
    assert statuses(run) == {"completed": 3}
    assert [event["why"] for event in events(run, "lost")] == [HANG, DIED]
