"""The processes of users' functions: fresh ones, their logs, and every way in which they end."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.fakes.losses import descend
from tests.trainables.user.test_user_training import measured, user_trial
from tests.trainables.user.test_user_training import train as in_thread
from trainables.failures import (
    FIRST_SECONDS,
    MIN_SECONDS,
    USUAL_TIMES,
    FunctionError,
    Patience,
    ProcessError,
)
from trainables.trainable import pickled
from trainables.user.adapter import UserTraining
from trainables.user.handed import Handed, lay_out
from trainables.user.process import describe_exit

pytestmark = pytest.mark.slow  # each server of processes imports torch

LAST = "val_accuracy=0.5, test_accuracy=0.5"
Make = Callable[..., UserTraining]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A training of these lines, which may call `last()` to report."""

    def make(body: str, **options: Any) -> UserTraining:
        path = tmp_path / "mine.py"
        inside = textwrap.indent(textwrap.dedent(body), "    ")
        path.write_text(
            "import ctypes, logging, os, signal, sys, threading, time, warnings, torch\n"
            "counter = []\n"
            f"def train(schedule, seed, report):\n{inside}"
        )
        trial = user_trial(recipe={"model": f"{path}:train"}, until=options.pop("until", None))
        return UserTraining(trial, log=str(tmp_path / "logs" / "log.txt"), **options)

    return make


def finish(training: UserTraining) -> UserTraining:
    while not training.finished:
        training.run_epoch()
    return training


def values(training: UserTraining) -> list[float]:
    """What it reported as the accuracy."""
    return [record.val_accuracy for record in finish(training).records]


def log_of(training: UserTraining) -> str:
    assert training.log is not None
    return Path(training.log).read_text()


def is_there(pid: int) -> bool:
    """True while a process has this number and is no zombie."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


COUNTS = f"""
    counter.append(1)
    for _ in range(4):
        report({LAST.replace("0.5", "len(counter) / 10", 1)})
"""


@pytest.mark.parametrize(("isolate", "seen"), [(True, [0.1, 0.1]), (False, [0.1, 0.2])])
def test_a_global_of_the_users_module_leaks_only_where_trainings_share_a_process(
    make: Make, isolate: bool, seen: list[float]
) -> None:
    for value in seen:
        assert values(make(COUNTS, isolate=isolate)) == [value] * 4
    assert values(make(COUNTS)) == [0.1] * 4  # and none is left for one that asks for its own


def test_the_function_sees_the_environment_as_it_is_now(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    tells = """
        for _ in range(4):
            report(val_accuracy=float(os.environ.get("SHARE", 0)), test_accuracy=0.5)
    """
    for isolate in (True, False):
        assert values(make(tells, isolate=isolate)) == [0.0] * 4
        monkeypatch.setenv("SHARE", "0.25")
        assert values(make(tells, isolate=isolate)) == [0.25] * 4
        monkeypatch.delenv("SHARE")
        assert values(make(tells, isolate=isolate)) == [0.0] * 4


def test_what_a_module_has_set_in_its_environment_stays_where_it_is_imported_once(
    make: Make,
) -> None:
    sets = """
        if not counter:
            os.environ["MODULES"] = "0.5"
        counter.append(1)
        for _ in range(4):
            report(val_accuracy=float(os.environ["MODULES"]), test_accuracy=0.5)
    """
    for _ in range(2):
        assert values(make(sets, isolate=False)) == [0.5] * 4


def test_what_torch_imports_for_an_optimizer_is_there_already(make: Make) -> None:
    body = f"""
        before = set(sys.modules)
        torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        lazy = {{name for name in sys.modules if name.startswith("torch")}} - before
        for _ in range(4):
            report({LAST}, lazy=len(lazy))
    """
    metrics = finish(make(body)).records[-1].metrics
    assert metrics is not None
    assert metrics["lazy"] < 10  # 700 without


def test_records_are_those_of_the_same_function_in_this_process() -> None:
    ours = finish(UserTraining(user_trial(role="confirm")))
    theirs = in_thread(descend, user_trial(role="confirm"))
    assert measured(ours.records) == measured(theirs.records)
    assert ours.outcome().test_correct == theirs.outcome().test_correct


@pytest.mark.parametrize("ahead", [0, 100])
def test_it_goes_on_from_its_state_in_another_process(ahead: int) -> None:
    whole = finish(UserTraining(user_trial()))
    first = UserTraining(user_trial(), ahead=ahead)
    first.run_epoch()
    second = UserTraining(user_trial(), ahead=ahead)
    second.load_state_dict(first.state_dict())
    assert measured(finish(second).records) == measured(whole.records)


MADE = f"""
for number in range(1, 5):
    report({LAST})
    print("made", number)
"""


def made(training: UserTraining, number: int, seconds: float = 5.0) -> bool:
    """True when the function has left this report within the seconds."""
    deadline = time.monotonic() + seconds
    while f"made {number}" not in log_of(training) and time.monotonic() < deadline:
        time.sleep(0.02)
    return f"made {number}" in log_of(training)


@pytest.mark.parametrize(("ahead", "last"), [(0, 0), (2, 2), (100, 4)])
def test_a_function_runs_ahead_as_far_as_it_is_let(make: Make, ahead: int, last: int) -> None:
    training = make(f"print('made 0')\n{MADE}print('made 5')", ahead=ahead)
    training.run_epoch()
    assert made(training, last)
    assert made(training, last + 1, 0.3) is (last == 4)
    assert len(values(training)) == 4
    assert made(training, 5)


def test_a_function_waits_at_the_report_where_its_trial_pauses(make: Make) -> None:
    training = make(MADE, ahead=100, until=3)
    training.run_epoch()
    assert made(training, 2)
    assert not made(training, 3, 0.3)
    training.run_epoch()
    training.run_epoch()
    assert not made(training, 3, 0.3)
    training.stop()
    assert "made 3" not in log_of(training)


def test_a_diverged_function_does_not_run_on(make: Make) -> None:
    training = make(MADE.replace("0.5", "float('nan') if number == 2 else 0.5", 1), ahead=100)
    finish(training)
    assert (training.diverged, len(training.records)) == (True, 2)
    assert "made 1" in log_of(training)
    assert "made 2" not in log_of(training)


def test_what_was_said_to_a_function_that_has_ended_is_not_an_order(make: Make) -> None:
    body = COUNTS.replace("(4)", "(4 if len(counter) > 1 else 1)")
    with pytest.raises(FunctionError, match="returned after 1 of 4 reports"):
        finish(make(body, isolate=False, ahead=100))
    assert values(make(body, isolate=False, ahead=100)) == [0.2] * 4


def test_seconds_are_those_of_the_function_however_late_they_are_heard(make: Make) -> None:
    training = make(f"for _ in range(4):\n    time.sleep(0.2)\n    report({LAST})", ahead=100)
    training.run_epoch()
    time.sleep(4.0)  # one that is heard now would have taken more than 3 s
    seconds = [record.seconds for record in finish(training).records]
    assert all(0.2 <= one < 2.0 for one in seconds), seconds


def test_the_function_runs_in_the_main_thread_of_its_process_and_may_handle_signals(
    make: Make,
) -> None:
    body = f"""
        assert threading.current_thread() is threading.main_thread()
        caught = []
        signal.signal(signal.SIGUSR1, lambda number, frame: caught.append(number))
        os.kill(os.getpid(), signal.SIGUSR1)
        for _ in range(4):
            report({LAST.replace("0.5", "len(caught)", 1)})
    """
    assert values(make(body)) == [1.0] * 4


def test_prints_logging_warnings_and_what_libraries_write_go_to_the_log(make: Make) -> None:
    body = f"""
        for number in range(4):
            print("printed", number)
            logging.warning("logged")
            warnings.warn(f"warned {{number}}")
            os.write(2, b"written\\n")
            report({LAST})
    """
    training = make(body)
    training.run_epoch()
    said = log_of(training)  # while it runs, too
    for words in ("printed 0", "WARNING:root:logged", "UserWarning: warned 0", "written"):
        assert words in said
    assert re.match(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\] seed 3\n", said)
    finish(training)
    assert log_of(training).count("printed") == 4


def test_an_error_tells_the_line_of_the_users_own_file_and_the_log(make: Make) -> None:
    training = make("torch.ones(2) @ torch.ones(3)\n")
    with pytest.raises(FunctionError, match="line 4, in train") as caught:
        training.run_epoch()
    error = caught.value
    assert re.fullmatch(r".*mine\.py, line 4", error.place)
    assert error.line.startswith("RuntimeError: ")
    assert (error.status, error.log) == ("failed", training.log)


DEATHS = {
    "os._exit(1)": "ended with exit code 1",
    "ctypes.string_at(0)": "was ended by SIGSEGV",
    "os.kill(os.getpid(), signal.SIGKILL)": r"was ended by SIGKILL \(out of memory\?\)",
    "os.abort()": "was ended by SIGABRT",
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_death_ends_this_training_alone_and_says_how(make: Make, death: str) -> None:
    training = make(f"report({LAST})\n{death}\n", ahead=100)
    training.run_epoch()
    with pytest.raises(ProcessError, match=DEATHS[death]) as caught:
        training.run_epoch()
    assert caught.value.log == training.log
    assert values(make(COUNTS)) == [0.1] * 4  # the next one does not notice
    if "string_at" in death:
        assert 'mine.py", line 5 in train' in log_of(training)  # where it was, by faulthandler


def test_a_process_is_shared_no_longer_after_an_error(make: Make) -> None:
    body = COUNTS.replace(
        "append(1)", "append(1)\n    if len(counter) == 2: raise RuntimeError('CUDA')"
    )
    assert values(make(body, isolate=False)) == [0.1] * 4
    with pytest.raises(FunctionError, match="CUDA"):
        make(body, isolate=False).run_epoch()
    assert values(make(body, isolate=False)) == [0.1] * 4


def test_a_broken_gpu_is_told_by_what_it_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: torch.device) -> dict[str, Any]:
        raise RuntimeError("No CUDA GPUs are available")

    monkeypatch.setattr("trainables.user.server.hardware", fail)
    with pytest.raises(FunctionError, match="no such image") as caught:
        in_thread(failing)  # the function's own error comes first
    assert caught.value.line == "ValueError: no such image"
    with pytest.raises(FunctionError, match="No CUDA GPUs are available"):
        in_thread(descend)


def failing(schedule: Any, seed: int, report: Any) -> None:
    raise ValueError("no such image")


def test_a_death_at_import_says_how(make: Make, tmp_path: Path) -> None:
    (tmp_path / "dies.py").write_text("import os\nos._exit(7)\n")
    trial = user_trial(recipe={"model": f"{tmp_path / 'dies.py'}:train"})
    with pytest.raises(ProcessError, match="ended with exit code 7"):
        UserTraining(trial).run_epoch()


@pytest.mark.fault(
    "19", "a user's function hangs: ended after the seconds given, its log says where"
)
def test_a_hang_is_ended_after_the_seconds_given_and_its_log_says_where(make: Make) -> None:
    training = make(f"report({LAST})\ntime.sleep(1000)\n", patience=Patience(3.0))
    training.run_epoch()
    with pytest.raises(ProcessError, match=r"no report for 3 s \(max_report_seconds\)"):
        training.run_epoch()
    assert 'mine.py", line 5 in train' in log_of(training)


@pytest.mark.fault("19", "a user's function hangs and takes no signal: ended")
def test_a_hang_that_takes_no_signal_is_ended_too(make: Make) -> None:
    body = f"""
        report({LAST})
        print("pid", os.getpid(), flush=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGABRT, signal.SIGTERM])
        time.sleep(1000)
    """
    training = make(body, patience=Patience(3.0))
    training.run_epoch()
    with pytest.raises(ProcessError):
        training.run_epoch()
    (pid,) = re.findall(r"pid (\d+)", log_of(training))
    assert not is_there(int(pid))


def test_usual_times_are_this_trainings_or_the_longest_before_and_at_least_ten_minutes() -> None:
    assert Patience().limit() == FIRST_SECONDS  # nothing is known, and yet it ends
    assert Patience(math.inf).limit([1.0]) is None
    assert Patience(2.5).limit([100.0]) == 2.5
    assert Patience().limit([1.0, 100.0, 50.0]) == USUAL_TIMES * 50
    assert Patience().limit([1.0]) == MIN_SECONDS == 600
    patience = Patience()
    for seconds in (60.0, 90.0, 1.0):  # another config may be slow
        patience.note(seconds)
    assert patience.limit() == Patience(before=patience.before).limit() == USUAL_TIMES * 90
    assert Patience().limit() == FIRST_SECONDS  # of another run


@pytest.mark.parametrize("isolate", [True, False])
def test_an_abandoned_function_leaves_report_cleans_up_and_is_gone(
    make: Make, isolate: bool
) -> None:
    body = f"""
        print("pid", os.getpid())
        try:
            while True:
                report({LAST})
        except Exception:
            print("an except of the user's must not see it")
        finally:
            print("finally")
    """
    training = make(body, isolate=isolate)
    training.run_epoch()
    log = training.log
    del training
    said = Path(str(log)).read_text()
    assert said.splitlines()[-1] == "finally"
    assert "must not see" not in said
    (pid,) = re.findall(r"pid (\d+)", said)
    assert is_there(int(pid)) is not isolate
    values(make(COUNTS))  # in a process of its own: the other ends
    assert not is_there(int(pid))


def test_what_a_function_has_started_ends_with_it(make: Make) -> None:
    body = f"""
        child = os.fork()
        if child == 0:
            time.sleep(1000)
        print("pid", child)
        report({LAST})
        os._exit(1)
    """
    training = make(body)
    training.run_epoch()
    with pytest.raises(ProcessError):
        training.run_epoch()
    (pid,) = re.findall(r"pid (\d+)", log_of(training))
    deadline = time.monotonic() + 5
    while is_there(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_there(int(pid))


@pytest.mark.full
def test_a_function_that_cannot_be_imported_runs_with_its_globals(tmp_path: Path) -> None:
    accuracy = 0.25

    def function(schedule: Any, seed: int, report: Any) -> None:
        for _ in range(4):
            report(val_accuracy=accuracy, test_accuracy=0.5)

    training = UserTraining(user_trial(), trainable=lay_out(pickled(function)))
    assert values(training) == [0.25] * 4


def own_megabytes() -> float:
    """Memory of this process that lies in no file."""
    (kilobytes,) = re.findall(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) / 1000


@pytest.mark.full
def test_trainings_share_large_data_until_they_change_it() -> None:
    images, weights = np.ones(10, dtype=np.float32), torch.ones(10)

    def function(schedule: Any, seed: int, report: Any) -> None:
        mean = float(images.mean(dtype=np.float64) + weights.mean(dtype=torch.float64)) / 2
        own = own_megabytes()
        images[:1000], weights[:1000] = 3, 3
        for _ in range(4):
            report(val_accuracy=mean, test_accuracy=0.5, own=own)

    def own_after(handed: Handed) -> float:
        record = finish(UserTraining(user_trial(), trainable=handed)).records[-1]
        assert record.val_accuracy == 1.0  # nothing that another has changed
        assert record.metrics is not None
        return record.metrics["own"]

    little = own_after(lay_out(pickled(function)))
    images, weights = np.ones(50_000_000, dtype=np.float32), torch.ones(50_000_000)
    assert images.nbytes == weights.nbytes == 200e6
    handed = lay_out(pickled(function))
    assert [own_after(handed), own_after(handed)] == pytest.approx([little] * 2, abs=50)
    assert images[0] == weights[0] == 1


WORKER = """
import sys, time
from tests.trainables.user.test_user_training import user_trial
from trainables.user.adapter import UserTraining
training = UserTraining(user_trial(recipe={"model": sys.argv[1]}))
training.run_epoch()
time.sleep(1000)
"""


@pytest.mark.full
def test_a_killed_worker_takes_the_computing_child_along(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import os\ndef train(schedule, seed, report):\n"
        f"    print('pid', os.getpid(), flush=True)\n    report({LAST})\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, f"{path}:train"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert worker.stdout is not None
    pid = int(worker.stdout.readline().split()[1])
    assert is_there(pid)
    worker.send_signal(signal.SIGKILL)
    worker.wait(timeout=30)
    worker.stdout.close()
    deadline = time.monotonic() + 10
    while is_there(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_there(pid)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "ended with exit code 0"),
        (256, "ended with exit code 1"),
        (11, "was ended by SIGSEGV"),
        (None, "has died"),
    ],
)
def test_ends_in_words(status: int | None, words: str) -> None:
    assert describe_exit(status) == words
