"""`tuner.search` from Python: the command line's engine, errors as exceptions, any function."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import results
import tuner
from search_spaces.schedule import Schedule
from tests.conftest import ROOT, ClusterProcess
from tests.fakes.processes import ready
from trainables.user.report import Report
from tuner.api import _named
from tuner.config.schema import ConfigError, value_of
from tuner.plan.usercode import code_digest
from tuner.run import make_request
from tuner.session.cluster import ENVIRONMENT

SMALL: dict[str, Any] = {"lr": 0.5, "epochs": 3, "trials": 3, "max_concurrent": 1}
SETTINGS = {"dataset.train_examples": 60, "batch.initial": 6, "confirm.seeds": 2}

# A script with a training of its own; prints what is asked for after the run.
SCRIPT = """
import math, sys
import numpy, torch, tuner

SLOPE = 0.5
ONES = numpy.ones(20)

def train(schedule, seed, report):
    generator = torch.Generator().manual_seed(seed)
    x = torch.ones(20) if report.state is None else report.state["x"]
    for epoch in range(report.epoch + 1, schedule.num_epochs + 1):
        for step in schedule.epoch_steps(epoch):
            noise = torch.randn(20, generator=generator) / math.sqrt(step.batch_size)
            x = x - SLOPE * float(schedule.lr_S[step.stage]) * (x + noise)
        report(val_accuracy=torch.exp(-x.norm()), test_correct=x.abs() < 0.3, state={"x": x},
               writeable=float(ONES.flags.writeable))

def broken(schedule, seed, report):
    report(val_accuracy=50)

SMALL = dict(lr=0.5, epochs=3, trials=3, max_concurrent=1)
SETTINGS = {"dataset.train_examples": 60, "batch.initial": 6, "confirm.seeds": 2,
            "cluster.address": sys.argv[1]}
"""


def run_script(tail: str, folder: Path, address: str) -> subprocess.CompletedProcess[str]:
    """Run the script above with this end, in an empty folder."""
    path = folder / "script.py"
    path.write_text(SCRIPT + textwrap.dedent(tail))
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    return ready.run(str(path), address, cwd=folder, env=environment)


def train(schedule: Schedule, seed: int, report: Report) -> None:
    for _ in range(schedule.num_epochs):
        report(val_accuracy=0.5, test_accuracy=0.5)


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        ({"lr": 1}, "lr", 1.0),
        ({"lr": np.float32(0.5)}, "lr", 0.5),
        ({"epochs": np.int64(3)}, "epochs", 3),
        ({"baseline": False}, "baseline.kind", "false"),
        ({"noise.c2": None}, "noise.c2", None),
        ({"space": ["poly", "cosine"]}, "space", ["poly", "cosine"]),
        ({"critical.epsilon": (0.5, 1)}, "critical.epsilon", [0.5, 1.0]),
        ({"batch": {"initial": 8}}, "batch.initial", 8),
        ({"dataset": "synthetic", "workload": "digits"}, "dataset.name", "synthetic"),
        ({"runs_dir": Path("/a/b c")}, "runs_dir", "/a/b c"),
        ({"runs_dir": r"/tmp/it's, a=b {\x} [y]"}, "runs_dir", r"/tmp/it's, a=b {\x} [y]"),
        ({"runs_dir": "${oc.env:HOME}"}, "runs_dir", "${oc.env:HOME}"),
        ({"name": "null"}, "name", "null"),
    ],
)
def test_values_arrive_as_they_are(given: dict[str, Any], key: str, value: Any) -> None:
    arrived = value_of(make_request(given).config, key)
    assert arrived == value
    assert type(arrived) is type(value)


def test_the_earlier_name_of_trainable_says_so_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys = {"lr": 1, "epochs": 2, "batch.initial": 1}
    config = make_request({"train": "tests.tuner.test_api:train", **keys}).config
    assert config.trainable == "tests.tuner.test_api:train"
    assert capsys.readouterr().err == "note: train= is now called trainable=\n"


def test_an_importable_function_is_told_by_name_and_any_other_travels() -> None:
    def inner(schedule: Schedule, seed: int, report: Report) -> None: ...

    assert _named(train) == ("tests.tuner.test_api:train", None)
    name, function = _named(inner)
    assert function is inner
    assert name is not None
    assert name.startswith("tests.tuner.test_api:test_an_importable_function")


def test_the_digest_of_a_function_follows_its_source() -> None:
    def digest(function: object) -> str:
        given = {"trainable": "__main__:f", "lr": 1, "epochs": 2, "batch.initial": 1}
        return code_digest(make_request(given, None, function).config)  # type: ignore[arg-type]

    typed: list[dict[str, Any]] = [{}, {}, {}]
    for names, body in zip(typed, ("1", "1", "2"), strict=True):
        exec(f"def f(s, seed, report):\n    return [x + {body} for x in (lambda: s)()]", names)
    one, same, other = (digest(names["f"]) for names in typed)
    assert one == same != other
    assert digest(train) != digest(run_script)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"space": "poli"}, "unknown space 'poli'; did you mean 'poly'?"),
        ({"trainable": train, "workload": "digits"}, "workload=digits trains by itself"),
        ({"train": train, "workload": "digits"}, "workload=digits trains by itself"),
        ({"trainable": train, **SMALL}, "batch.initial: no value"),
        ({"trainable": "nosuch.module:train", **SMALL, "settings": SETTINGS}, "cannot import"),
        (
            {"trainable": train, **SMALL, "settings": SETTINGS | {"spaces.poly.beta2.value": 1}},
            "takes no argument `params`, by which beta2 would be handed to it",
        ),
        ({"trainable": 3}, "give a function train"),
        ({"trials": 1.5}, "trials=1.5: allowed is a whole number, 1 to 1,000,000"),
        ({"baseline": "maybe"}, "baseline.kind=maybe: allowed is true | false | tuned"),
        ({"lr": [0.1]}, "lr=[0.1]: allowed is a number, above 0"),
        ({"batch": {"intial": 3}}, "unknown key 'batch.intial'; did you mean 'batch.initial'?"),
        ({"trails": 3}, "unknown key 'trails'; did you mean 'trials'?"),
        ({"settings": {"model.widht": 3}}, "did you mean 'model.width'?"),
        ({"trainable": train, "lr": -1, "epochs": 2, "settings": SETTINGS}, "lr=-1.0: allowed is"),
        ({"dry_run": True}, "only the command line has it"),
        ({"resume": "nowhere"}, "no run there"),
    ],
)
def test_bad_input_raises_the_command_lines_sentence(
    keys: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.session.cluster.check_ray", lambda: None)
    with pytest.raises(ConfigError) as caught:
        tuner.search(**keys)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_importing_tuner_is_cheap_and_ray_imported_too_early_is_refused() -> None:
    code = (
        "import sys, tuner; heavy = {'ray', 'torch', 'optuna', 'yaml', 'numpy'}; "
        "assert not heavy & set(sys.modules), sys.modules.keys() & heavy; "
        "import ray; tuner.search(space='poly')"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ENVIRONMENT}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith("tuner.config.schema.ConfigError: ray was imported before tuner.search")
    )


@pytest.mark.slow
def test_a_function_of_a_script_is_searched_and_the_run_returned(
    tmp_path: Path, cluster: ClusterProcess
) -> None:
    done = run_script(
        """
        run = tuner.search(["poly", "cosine"], train, display="plain", settings=SETTINGS,
                           **SMALL | {"trials": 1})
        print("verdict:", run.compare().verdict)
        again = tuner.search(resume=run.dirs[0], trainable=train, trials="+1",
                             settings={"cluster.address": sys.argv[1]}, display="none")
        print("grown:", len(again.trials) - len(run.trials))
        """,
        tmp_path,
        cluster.address,
    )
    assert done.returncode == 0, done.stderr
    assert "verdict: " in done.stdout
    # One more search trial an arm, and new confirm trials where another config won.
    assert int(done.stdout.rpartition("grown: ")[2]) in (2, 4, 6)
    (run_dir,) = (tmp_path / "runs").iterdir()
    run = results.load(run_dir)
    rows = run.trials.to_pylist()
    assert {row["status"] for row in rows} == {"completed"}
    assert {row["model"] for row in rows} == {"__main__:train"}
    assert {dict(row["metrics"])["writeable"] for row in rows} == {1.0}
    assert {row["role"] for row in rows if row["test_accuracy"] is not None} == {"confirm"}
    for epoch in run.epochs.to_pylist():
        assert epoch["num_steps"] == 10


@pytest.mark.full
@pytest.mark.slow
def test_a_run_that_fails_raises_and_a_changed_function_cannot_go_on(
    tmp_path: Path, cluster: ClusterProcess
) -> None:
    done = run_script(
        """
        common = dict(display="none", settings=SETTINGS, **SMALL)
        try:
            tuner.search("poly", broken, name="failed", **common)
        except RuntimeError as error:
            print("failed:", error)

        def broken(schedule, seed, report):
            train(schedule, seed, report)

        for function in (None, train, broken):
            try:
                tuner.search(resume="runs/failed", trainable=function)
            except tuner.config.schema.ConfigError as error:
                print("refused:", error)
        """,
        tmp_path,
        cluster.address,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("failed: the first 5 trials all failed; everything finished")
    assert [line.partition(": ")[0] for line in lines[1:]] == ["refused"] * 3
    assert "repeat trainable=__main__:broken to allow it" in lines[1]
    assert "trainable=__main__:train: cannot change when resuming" in lines[2]
    assert "your code changed since the run began (__main__:broken); code=accept" in lines[3]
    errors = results.load(tmp_path / "runs" / "failed").trials["error"].to_pylist()
    assert all("`0 <= val_accuracy <= 1` must hold" in error for error in errors if error)
    assert len([error for error in errors if error]) >= 5


@pytest.mark.full
@pytest.mark.slow
def test_ctrl_c_raises_keyboard_interrupt_and_the_process_goes_on(
    tmp_path: Path, cluster: ClusterProcess
) -> None:
    done = run_script(
        """
        import os, pathlib, signal, time

        DRIVER, MARK = os.getpid(), str(pathlib.Path("mark").resolve())

        def interrupting(schedule, seed, report):
            if not os.path.exists(MARK):
                open(MARK, "w").close()
                os.kill(DRIVER, signal.SIGINT)
            time.sleep(0.1)
            train(schedule, seed, report)

        common = dict(display="none", settings=SETTINGS, **SMALL)
        try:
            tuner.search("poly", interrupting, name="cut", **common)
        except KeyboardInterrupt as error:
            print("interrupted:", error)
        print("handler:", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        run = tuner.search(resume="runs/cut", trainable=interrupting, display="none",
                           settings={"cluster.address": sys.argv[1]})
        print("statuses:", set(run.trials["status"].to_pylist()), len(run.trials))
        """,
        tmp_path,
        cluster.address,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("interrupted: everything finished is kept in ")
    # 3 searched, 2 confirm seeds of the winner and of the default.
    assert lines[1:] == ["handler: True", "statuses: {'completed'} 7"]
