"""Who else watches the run? wandb, mlflow and TensorBoard: copies for the eye, never the record.

Tune's callback turns what the workers report into lines of JSON; one process per tracker reads
them and calls the tracker's client. A process, because wandb without a network holds up the end
of the process it lives in (33 s measured), and retries, threads and output stay out of the driver.
Not Ray's WandbLoggerCallback: its two actors per trial cost 2.5 s of Tune's loop each time.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from results.records.redaction import redacted_error
from search_spaces.trial import TrialConfig
from tuner.config.schema import TRACKERS

# Where measured; see EpochRecord and Outcome.
EPOCH_METRICS = (
    *("lr", "batch_size", "momentum", "delta", "train_loss", "train_accuracy", "val_loss"),
    *("val_accuracy", "samples_seen", "noise_c2", "gradient_norm", "max_gradient_norm"),
    *("mean_batch_norm", "max_step_norm", "val_balanced_accuracy"),
)
FINAL_METRICS = (
    *("objective", "test_accuracy", "test_balanced_accuracy", "test_loss"),
    *("sharpness_loss", "sharpness_error"),
)
CLOSE_SECONDS = 3.0  # the run's end waits this long for all trackers together
LINGER_SECONDS = 60.0  # a tracker may outlive the driver by this, to finish an upload
NUM_REMEMBERED = 1024  # trials that may be under way at once
BACKLOG = 100_000  # lines of about 300 bytes that may wait for a tracker
PROBLEM = "problem: "
# Of a tracker's process; the user's environment wins.
ENVIRONMENT = {
    "WANDB_CONSOLE": "off",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_INIT_TIMEOUT": "30",
    "WANDB__DISABLE_STATS": "true",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """Where a run is tracked.

    Attributes:
        run_id: groups the trials (wandb's group, mlflow's tag `run_id`).
        folder: of what stays on this machine: `tracking` in the run folder.
        project: wandb's project, mlflow's experiment; None = WANDB_PROJECT or
            MLFLOW_EXPERIMENT_NAME, else gradtune.
        entity: wandb's; None = the user's default.
        mode: wandb's, online | offline | disabled; None = WANDB_MODE, else online.
        uri: mlflow's; None = MLFLOW_TRACKING_URI, else mlflow.db in the folder.
    """

    run_id: str
    folder: str
    project: str | None = None
    entity: str | None = None
    mode: str | None = None
    uri: str | None = None


def make_trackers(names: Sequence[str], to: Destination) -> list[Any]:
    """A callback for Tune that feeds these trackers, whose processes it starts; none for none."""
    if not names:
        return []
    from ray import tune

    class Callback(Tracking, tune.Callback):  # type: ignore[misc]
        """As Tune wants it: whoever only checks names needs no ray."""

    return [Callback([Tracker(name, to) for name in names])]


class Tracker:
    """A tracker's process, as the driver sees it. Nothing raises, nothing but `join` waits.

    What goes wrong is said once on stderr; the run goes on, the tracker gets no more.
    """

    def __init__(self, name: str, to: Destination) -> None:
        self.name, self.to = name, to
        self.log = Path(to.folder) / f"{name}.log"
        self.dropped = False
        self.dropping = threading.Lock()
        self.lines: queue.Queue[str | None] = queue.Queue(BACKLOG)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def send(self, line: str | None) -> None:
        """Queue a line for the process; None is the end."""
        if self.dropped and line is not None:
            return
        try:
            self.lines.put_nowait(line)
        except queue.Full:
            self.drop("does not keep up")

    def join(self, seconds: float) -> None:
        """Wait for the process to end, this long at most."""
        if not self.dropped:
            self.thread.join(max(seconds, 0.0))
        if self.thread.is_alive():
            self.drop(f"not done yet; goes on by itself for {LINGER_SECONDS:g} s at most")

    def drop(self, reason: str) -> None:
        """Say why, the first time, where there is still somebody to hear it."""
        with self.dropping:
            if not self.dropped:
                told = f"warning: track={self.name}: {redacted_error(reason)} (log: {self.log})"
                with contextlib.suppress(OSError, ValueError):  # a closed terminal
                    print(told, file=sys.stderr)
                self.dropped = True  # said by now: nobody waits for the process any more

    def _run(self) -> None:
        try:
            self.log.parent.mkdir(exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            with open(os.open(self.log, flags, 0o666), "w") as log, self._start(log) as process:
                assert process.stdin is not None, "it is a pipe"
                with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                    pipe.write(json.dumps(asdict(self.to)) + "\n")
                    while (line := self.lines.get()) is not None:
                        pipe.write(line)
                        pipe.flush()
            if process.returncode != 0:
                self.drop(self._last_words())
        except Exception as error:
            self.drop(str(error))

    def _start(self, log: IO[str]) -> subprocess.Popen[str]:
        """In a session of its own: Ctrl-C is for the driver. A uri may hold a password: piped."""
        path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
        words = ["-P", "-m", "tuner.recording.trackers", TRACKERS[self.name][1], str(os.getpid())]
        return subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=ENVIRONMENT | os.environ | {"PYTHONPATH": path},
            start_new_session=True,
            text=True,
        )

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        problems = [line for line in lines if line.startswith(PROBLEM)]
        return problems[-1].removeprefix(PROBLEM) if problems else "its process ended early"


class Tracking:
    """Tells the trackers what Tune says of the trials, each epoch once; never raises."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = trackers
        self.epochs: dict[str, int] = {}  # told, by key of the trials that have started
        self.paused: dict[str, TrialConfig] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks, and nobody reads that pickle."""
        return {}

    def on_trial_start(self, **event: Any) -> None:
        """A training begins, or begins again after its worker died."""
        with self._guard():
            trial = trial_of(event["trial"])
            self.paused.pop(trial.trial_key, None)
            self._begin(trial)

    def on_trial_result(self, **event: Any) -> None:
        """One epoch, or all epochs after a restart; the last result has the outcome."""
        with self._guard():
            trial, result = trial_of(event["trial"]), event["result"]
            for record in result["records"]:
                if record["epoch"] > self.epochs[trial.trial_key]:
                    self.epochs[trial.trial_key] = record["epoch"]
                    values = _numbers(record, EPOCH_METRICS) | (record.get("metrics") or {})
                    self._tell(trial, "log", step=record["epoch"], values=values)
            if outcome := result["outcome"]:
                values = _numbers(outcome, FINAL_METRICS) | (outcome.get("metrics") or {})
                self._tell(trial, "log", step=self.epochs[trial.trial_key], values=values)
            if outcome or result["failure"]:
                self._tell(trial, "end", status=result["status"])
            elif result["status"] == "paused":
                self.paused[trial.trial_key] = trial

    def on_trial_error(self, **event: Any) -> None:
        """A training whose worker died or raised more often than max_failures."""
        with self._guard():
            trial = trial_of(event["trial"])
            self._begin(trial)  # of some no worker ever started
            self._tell(trial, "end", status="failed")

    def on_experiment_end(self, **event: Any) -> None:
        """No more will come: wait for the trackers, but not long."""
        self.close(CLOSE_SECONDS)

    def close(self, seconds: float) -> None:
        """End the trackers; wait this long at most, for all together."""
        deadline = time.monotonic() + seconds
        with self._guard():
            for trial in self.paused.values():
                self._tell(trial, "end", status="paused")
        for tracker in self.trackers:
            tracker.send(None)
        for tracker in self.trackers:
            tracker.join(deadline - time.monotonic())

    def _begin(self, trial: TrialConfig) -> None:
        if trial.trial_key not in self.epochs:
            self.epochs[trial.trial_key] = 0
            name = f"{trial.space}-{trial.trial_key[:8]}"
            self._tell(trial, "start", name=name, config=readable_config(trial))

    def _tell(self, trial: TrialConfig, do: str, **details: Any) -> None:
        line = json.dumps({"do": do, "trial": trial.trial_key, **details}) + "\n"
        for tracker in self.trackers:
            tracker.send(line)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """An exception in a callback would end the whole run."""
        try:
            yield
        except Exception as error:
            for tracker in self.trackers:
                tracker.drop(f"{type(error).__name__}: {error}")


def trial_of(tune_trial: Any) -> TrialConfig:
    """The training that our searcher put into its config, decoded once for all callbacks."""
    return _decode(tune_trial.config["trial"])


@functools.lru_cache(maxsize=NUM_REMEMBERED)
def _decode(text: str) -> TrialConfig:
    return TrialConfig.from_dict(json.loads(text))


def readable_config(trial: TrialConfig) -> dict[str, Any]:
    """A trial as flat names and values; without the path of its data, which is private."""
    fields = trial.to_dict()
    params, recipe = fields.pop("params"), fields.pop("recipe")
    fields.pop("training", None)  # names of some params
    del recipe["dataset_path"]
    recipe["measurements"] = json.dumps(recipe["measurements"])
    return {
        **fields,
        **params,
        **{f"recipe.{name}": value for name, value in recipe.items()},
        "trial_key": trial.trial_key,
        "config_key": trial.config_key,
    }


def _numbers(fields: dict[str, Any], names: Sequence[str]) -> dict[str, float]:
    return {name: fields[name] for name in names if fields.get(name) is not None}
