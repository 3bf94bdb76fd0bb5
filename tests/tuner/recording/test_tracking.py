"""Trackers get what the record holds, and their trouble stays theirs."""

from __future__ import annotations

import functools
import io
import json
import sqlite3
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.records import EpochRecord, Outcome
from search_spaces.trial import TrialConfig
from tests.conftest import ROOT
from tests.fakes.trials import small_trial
from tuner.config.effects import check_trackers
from tuner.recording import tracking
from tuner.recording.tracking import (
    TRACKERS,
    Destination,
    make_trackers,
    readable_config,
)

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

PATIENCE_SECONDS = 60.0


class Notebook:
    """A tracker that writes down what it is told."""

    def __init__(self, to: Destination) -> None:
        self.file = Path(to.folder) / "notes.jsonl"

    def note(self, *what: object) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps(what) + "\n")

    def start(self, trial: str, name: str, config: dict[str, Any]) -> None:
        self.note("start", trial, name, config["lr0"])

    def log(self, trial: str, step: int, values: dict[str, float]) -> None:
        self.note("log", trial, step, values)

    def end(self, trial: str, status: str) -> None:
        self.note("end", trial, status)


class Broken(Notebook):
    """Raises at its second epoch."""

    def log(self, trial: str, step: int, values: dict[str, float]) -> None:
        if step == 2:
            raise ConnectionError("the network\nis down")
        super().log(trial, step, values)


class Hanging(Notebook):
    """Sticks in its first epoch, longer than the run's end waits."""

    def log(self, trial: str, step: int, values: dict[str, float]) -> None:
        time.sleep(4.0 if step == 1 else 0.0)


@functools.cache
def poly(replicate: int = 0) -> TrialConfig:
    """A trial; lazily, for the trackers' processes import this file too."""
    return small_trial(space="poly", replicate=replicate)


class TuneTrial:
    """What a callback reads of Tune's trial."""

    def __init__(self, trial: TrialConfig) -> None:
        self.config = {"trial": json.dumps(trial.to_dict())}


def epoch(number: int) -> dict[str, Any]:
    """A record of this epoch; its lr falls."""
    measured = dict.fromkeys(tracking.EPOCH_METRICS, 0.5) | {"noise_c2": None}
    return measured | {"epoch": number, "lr": 1 / number, "seconds": 0.1}


def result(*epochs: int, **ending: Any) -> dict[str, Any]:
    """What a worker reports."""
    report = {"records": [epoch(e) for e in epochs], "status": "interrupted"}
    return report | {"outcome": None, "failure": None} | ending


def completed(objective: float) -> dict[str, Any]:
    outcome = {"objective": objective, "test_accuracy": 0.75, "test_loss": None}
    return {"outcome": outcome, "status": "completed"}


class Run:
    """A callback as Tune drives it, and what came of it."""

    def __init__(self, folder: Path, *names: str, **options: Any) -> None:
        self.folder = folder / "tracking"
        self.callback = make_trackers(
            names, Destination(run_id="run-1", folder=str(self.folder), **options)
        )[0]

    def start(self, trial: TrialConfig) -> None:
        self.callback.on_trial_start(iteration=1, trials=[], trial=TuneTrial(trial))

    def report(self, trial: TrialConfig, report: dict[str, Any]) -> None:
        self.callback.on_trial_result(
            iteration=1, trials=[], trial=TuneTrial(trial), result=report
        )

    def fail(self, trial: TrialConfig) -> None:
        self.callback.on_trial_error(iteration=1, trials=[], trial=TuneTrial(trial))

    def finish(self) -> None:
        """Wait for the trackers as long as it takes."""
        self.callback.close(PATIENCE_SECONDS)

    def notes(self) -> list[list[Any]]:
        text = (self.folder / "notes.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for fake in (Notebook, Broken, Hanging):
        name = fake.__name__.lower()
        monkeypatch.setitem(
            TRACKERS, name, ("json", f"tests.tuner.recording.test_tracking:{fake.__name__}")
        )


def test_what_is_told_of_epochs_and_outcomes_is_recorded() -> None:
    assert set(tracking.EPOCH_METRICS) <= {field.name for field in fields(EpochRecord)}
    assert set(tracking.FINAL_METRICS) <= {field.name for field in fields(Outcome)}


def test_without_names_there_is_no_callback(tmp_path: Path) -> None:
    assert make_trackers([], Destination(run_id="r", folder=str(tmp_path))) == []


def test_an_unknown_tracker_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown tracker 'wandv'; did you mean 'wandb'\?"):
        check_trackers(["wandv"])


def test_a_tracker_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="each may be named once"):
        check_trackers(["tensorboard", "tensorboard"])


def test_a_missing_package_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "absent_package").mkdir()  # as wandb leaves a folder `wandb` behind
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(TRACKERS, "absent", ("absent_package", "x:y"))
    with pytest.raises(ValueError, match="track") as caught:
        check_trackers(["absent"])
    assert str(caught.value) == (
        "track=[absent]: needs the package absent_package; pip install 'gradtune[absent]'"
    )


def test_checking_names_imports_neither_ray_nor_a_tracker() -> None:
    code = (
        "import sys; from tuner.config.effects import check_trackers;"
        "check_trackers(['tensorboard']);"
        "print({'ray', 'wandb', 'mlflow', 'tensorboardX', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_the_config_is_flat_and_without_the_path_of_the_data() -> None:
    config = readable_config(poly())
    assert config["p"] == poly().params["p"]
    assert config["recipe.batch0"] == poly().recipe.batch0
    assert config["role"] == "search"
    assert config["trial_key"] == poly().trial_key
    assert not any(isinstance(value, dict | list) for value in config.values())
    assert not any("path" in name for name in config)


@pytest.mark.usefixtures("fakes")
def test_every_epoch_is_told_once_also_after_a_restart(tmp_path: Path) -> None:
    run = Run(tmp_path, "notebook")
    run.start(poly())
    run.report(poly(), result(1))
    run.start(poly())
    run.report(poly(), result(1, 2, 3))
    run.report(poly(), result(**completed(0.9)))
    run.finish()
    key, final = poly().trial_key, {"objective": 0.9, "test_accuracy": 0.75}
    names = [name for name in tracking.EPOCH_METRICS if name != "noise_c2"]  # not measured
    epochs = [{name: epoch(e)[name] for name in names} for e in (1, 2, 3)]
    assert run.notes() == [
        ["start", key, f"poly-{key[:8]}", poly().lr0],
        *[["log", key, e, values] for e, values in enumerate(epochs, start=1)],
        ["log", key, 3, final],
        ["end", key, "completed"],
    ]


@pytest.mark.usefixtures("fakes")
def test_trials_end_as_they_ended(tmp_path: Path) -> None:
    run = Run(tmp_path, "notebook")
    trials = [poly(number) for number in range(5)]
    for trial in trials[:-1]:
        run.start(trial)
    run.fail(trials[0])
    run.fail(trials[4])  # whose worker never started
    run.report(trials[1], result(1, failure={"status": "oom"}, status="oom"))
    run.report(trials[3], result(1, status="paused"))
    run.finish()
    ends = {note[1]: note[2] for note in run.notes() if note[0] == "end"}
    assert {note[1] for note in run.notes() if note[0] == "start"} == {*ends}
    statuses = ("failed", "oom", "interrupted", "paused", "failed")
    assert ends == {t.trial_key: s for t, s in zip(trials, statuses, strict=True)}


@pytest.mark.usefixtures("fakes")
def test_a_broken_tracker_is_dropped_with_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path, "broken")
    for trial in (poly(), poly(1)):
        run.start(trial)
        for number in range(1, 50):
            run.report(trial, result(number))
    run.finish()
    run.report(poly(), result(51))
    run.callback.on_experiment_end(trials=[])
    assert capfd.readouterr().err == (
        f"warning: track=broken: the network is down (log: {run.folder / 'broken.log'})\n"
    )
    assert "ConnectionError" in (run.folder / "broken.log").read_text()


@pytest.mark.usefixtures("fakes")
def test_one_trackers_trouble_is_not_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path, "broken", "notebook")
    run.start(poly())
    run.report(poly(), result(2, 3, **completed(0.5)))
    run.finish()
    assert ["end", poly().trial_key, "completed"] in run.notes()
    assert capfd.readouterr().err.count("warning") == 1


@pytest.mark.usefixtures("fakes")
def test_a_hanging_tracker_holds_up_neither_run_nor_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "CLOSE_SECONDS", 0.5)
    monkeypatch.setattr(tracking, "BACKLOG", 2000)
    run = Run(tmp_path, "hanging")
    run.start(poly())
    for number in range(1, 1001):  # far more than a pipe holds
        run.report(poly(), result(number))
    run.callback.on_experiment_end(trials=[])
    assert "not done yet" in capfd.readouterr().err
    stuck = run.callback.trackers[0].thread
    assert stuck.is_alive()
    stuck.join()
    assert run.notes()[-1] == ["end", poly().trial_key, "interrupted"]


@pytest.mark.usefixtures("fakes")
def test_a_report_that_cannot_be_read_costs_the_trackers_only(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path, "notebook")
    run.start(poly())
    run.report(poly(), {"records": [{}]})
    run.report(poly(), {"records": [{}]})
    run.finish()
    assert capfd.readouterr().err.count("warning: track=notebook: KeyError") == 1


@pytest.mark.usefixtures("fakes")
def test_a_folder_that_cannot_be_made_costs_the_tracker_only(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path / "missing", "notebook")
    run.start(poly())
    run.finish()
    assert capfd.readouterr().err.count("warning: track=notebook") == 1


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("closed file")])
def test_a_closed_terminal_costs_the_warning_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def gone(text: str) -> int:
        raise error

    stream = io.StringIO()
    monkeypatch.setattr(stream, "write", gone)
    monkeypatch.setattr(sys, "stderr", stream)
    run = Run(tmp_path / "missing", "notebook")
    run.start(poly())
    run.finish()
    (tracker,) = run.callback.trackers
    assert tracker.dropped


@pytest.mark.usefixtures("fakes")
def test_the_trials_of_a_killed_driver_are_ended(tmp_path: Path) -> None:
    code = f"""
import os, pathlib, tests.tuner.recording.test_tracking as t
t.TRACKERS["notebook"] = ("json", "tests.tuner.recording.test_tracking:Notebook")
run = t.Run(pathlib.Path({str(tmp_path)!r}), "notebook")
run.start(t.poly())
run.report(t.poly(), t.result(1))
while not (run.folder / "notes.jsonl").exists() or len(run.notes()) < 2:
    t.time.sleep(0.05)
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    notes = tmp_path / "tracking" / "notes.jsonl"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "interrupted" not in notes.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert json.loads(notes.read_text().splitlines()[-1])[2] == "interrupted"


def track_two_trials(run: Run) -> None:
    """One trial of three epochs whose losses become NaN, and one that is interrupted."""
    for trial in (poly(), poly(1)):
        run.start(trial)
        run.report(trial, result(1))
        run.report(trial, result(2))
    lost = epoch(3) | {"val_loss": float("nan")}
    run.report(poly(), result() | {"records": [lost]} | completed(0.9))
    run.finish()


def test_tensorboard_gets_event_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path, "tensorboard")
    track_two_trials(run)
    assert capfd.readouterr().err == ""
    folders = sorted((run.folder / "tensorboard").iterdir())
    assert [f.name for f in folders] == sorted(
        f"poly-{t.trial_key[:8]}" for t in (poly(), poly(1))
    )
    scalars = read_events(run.folder / "tensorboard" / f"poly-{poly().trial_key[:8]}")
    assert scalars["lr"] == {1: 1.0, 2: 0.5, 3: pytest.approx(1 / 3)}
    assert scalars["objective"] == {3: pytest.approx(0.9)}


@pytest.mark.full
def test_an_arm_with_a_slash_in_its_name_stays_in_the_folder(tmp_path: Path) -> None:
    trial = replace(poly(), space="baseline:to 1/../../../10")  # as baseline.name may be
    run = Run(tmp_path, "tensorboard")
    run.start(trial)
    run.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["tracking"]
    (folder,) = (run.folder / "tensorboard").iterdir()
    assert folder.name == f"baseline:to 1_.._.._.._10-{trial.trial_key[:8]}"


def read_events(folder: Path) -> dict[str, dict[int, float]]:
    """Scalars of the only event file, by name and step."""
    import struct

    from tensorboardX.proto.event_pb2 import Event

    (file,) = folder.iterdir()
    data, scalars = file.read_bytes(), {}
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        data = data[12 + length + 4 :]
        for value in event.summary.value:
            scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    return scalars


def test_mlflow_gets_a_run_per_trial(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = Run(tmp_path, "mlflow", project="digits")
    track_two_trials(run)
    assert capfd.readouterr().err == ""
    store = sqlite3.connect(run.folder / "mlflow.db")
    runs = dict(store.execute("SELECT name, status FROM runs").fetchall())
    assert runs == {
        f"poly-{poly().trial_key[:8]}": "FINISHED",
        f"poly-{poly(1).trial_key[:8]}": "KILLED",
    }
    lrs = store.execute(
        "SELECT step, value FROM metrics WHERE key = 'lr' ORDER BY step"
    ).fetchall()
    assert lrs == [(1, 1.0), (1, 1.0), (2, 0.5), (2, 0.5), (3, 1 / 3)]
    assert store.execute("SELECT name FROM experiments WHERE name = 'digits'").fetchall()
    seen = store.execute("SELECT value FROM tags WHERE key = 'run_id'").fetchall()
    assert seen == [("run-1",)] * 2
    store.close()


def test_wandb_works_offline_without_a_login(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_DIR", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    run = Run(tmp_path, "wandb", mode="offline", project="digits")
    track_two_trials(run)
    assert capfd.readouterr().err == ""
    folders = sorted((run.folder / "wandb").glob("offline-run-*"))
    assert sorted(f.name.rpartition("-run-1-")[2] for f in folders) == sorted(
        t.trial_key for t in (poly(), poly(1))
    )
    assert all(b"val_accuracy" in next(f.glob("*.wandb")).read_bytes() for f in folders)


def test_wandb_online_without_a_login_is_dropped_with_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    run = Run(tmp_path, "wandb", mode="online")
    track_two_trials(run)
    err = capfd.readouterr().err
    assert err.startswith("warning: track=wandb: No API key configured")
    assert err.count("\n") == 1
