"""What does a tracker's process do? It hands the driver's lines to wandb, mlflow, TensorBoard."""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

from results.records.redaction import redact
from search_spaces.records import ENDED_WELL
from search_spaces.registry import allow_import, import_callable
from tuner.recording.tracking import LINGER_SECONDS, PROBLEM, Destination


def main(sink: str, parent: str) -> None:
    """A tracker's process: obeys lines until there are no more, then ends the open trials.

    The first line is the Destination; `parent` is the driver's process id.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # the driver gets them and ends us
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_after, args=(int(parent),), daemon=True).start()
    sys.stdout = sys.stderr = Redacted(sys.stderr)
    lines = os.fdopen(os.dup(0))  # processes of the client's must not hold the pipe
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        allow_import(sink)  # of TRACKERS
        tracker = import_callable(sink)(Destination(**json.loads(next(lines))))
        running: set[str] = set()
        for line in lines:
            order = json.loads(line)
            do, trial = order.pop("do"), order.pop("trial")
            getattr(tracker, do)(trial, **order)
            (running.discard if do == "end" else running.add)(trial)
        for trial in running:
            tracker.end(trial, "interrupted")
    except BaseException as error:
        traceback.print_exc()
        text = " ".join(str(error).split())[:200]  # one line
        print(PROBLEM + (text or type(error).__name__), file=sys.stderr, flush=True)
        os._exit(1)  # a client's exit hooks may wait for a network


class Redacted(io.TextIOBase):
    """A stream that drops passwords: clients tell the address that they cannot reach."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream, self.rest = stream, ""

    def write(self, text: str) -> int:
        """Line by line, for a secret may come in pieces."""
        *lines, self.rest = (self.rest + text).split("\n")
        self.stream.writelines(f"{redact(line)}\n" for line in lines)
        return len(text)

    def fileno(self) -> int:
        """Of the stream itself."""
        return self.stream.fileno()

    def flush(self) -> None:
        """What is no whole line yet, too."""
        text, self.rest = self.rest, ""
        self.stream.write(redact(text))
        self.stream.flush()


def _end_after(parent: int) -> None:
    """End this process some time after the driver."""
    while os.getppid() == parent:
        time.sleep(1)
    time.sleep(LINGER_SECONDS)
    os.killpg(0, signal.SIGKILL)


class _Wandb:
    """One wandb run a trial; a resumed trial goes on in its own."""

    def __init__(self, to: Destination) -> None:
        self.to, self.wandb = to, importlib.import_module("wandb")
        self.runs: dict[str, Any] = {}

    def start(self, trial: str, name: str, config: dict[str, Any]) -> None:
        self.runs[trial] = self.wandb.init(
            id=f"{self.to.run_id}-{trial}",
            resume="allow",
            reinit="create_new",
            name=name,
            group=self.to.run_id,
            job_type=config["role"],
            config=config,
            project=self.to.project or os.environ.get("WANDB_PROJECT", "gradtune"),
            entity=self.to.entity,
            mode=self.to.mode,
            dir=os.environ.get("WANDB_DIR", self.to.folder),
        )

    def log(self, trial: str, step: int, values: dict[str, float]) -> None:
        self.runs[trial].log(values, step=step)

    def end(self, trial: str, status: str) -> None:
        run = self.runs.pop(trial)
        run.summary["status"] = status
        run.finish(exit_code=0 if status in ENDED_WELL else 1)


class _Mlflow:
    """One mlflow run a trial; a resumed trial gets a new one, with all its epochs."""

    def __init__(self, to: Destination) -> None:
        mlflow = importlib.import_module("mlflow")
        self.run_id, self.entities = to.run_id, mlflow.entities
        uri = to.uri or os.environ.get("MLFLOW_TRACKING_URI")
        # Not a folder of files: mlflow 3.7 and later refuse it.
        self.client = mlflow.MlflowClient(uri or f"sqlite:///{to.folder}/mlflow.db")
        project = to.project or os.environ.get("MLFLOW_EXPERIMENT_NAME", "gradtune")
        existing = self.client.get_experiment_by_name(project)
        files = None if uri else f"{to.folder}/mlruns"
        created = None if existing else self.client.create_experiment(project, files)
        self.experiment = existing.experiment_id if existing else created
        self.runs: dict[str, str] = {}

    def start(self, trial: str, name: str, config: dict[str, Any]) -> None:
        tags = {"run_id": self.run_id, "trial_key": trial}
        run = self.client.create_run(self.experiment, run_name=name, tags=tags)
        self.runs[trial] = run.info.run_id
        params = [self.entities.Param(key, str(value)) for key, value in config.items()]
        self.client.log_batch(self.runs[trial], params=params)

    def log(self, trial: str, step: int, values: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        metrics = [self.entities.Metric(key, value, now, step) for key, value in values.items()]
        self.client.log_batch(self.runs[trial], metrics=metrics)

    def end(self, trial: str, status: str) -> None:
        states = dict.fromkeys(ENDED_WELL, "FINISHED") | {"interrupted": "KILLED"}
        self.client.set_tag(self.runs[trial], "status", status)
        self.client.set_terminated(self.runs.pop(trial), states.get(status, "FAILED"))


class _Tensorboard:
    """One folder of event files a trial."""

    def __init__(self, to: Destination) -> None:
        self.folder = Path(to.folder) / "tensorboard"
        self.make_writer = importlib.import_module("tensorboardX").SummaryWriter
        self.writers: dict[str, Any] = {}

    def start(self, trial: str, name: str, config: dict[str, Any]) -> None:
        # The name of an arm may hold a slash: nothing is written outside the folder.
        self.writers[trial] = self.make_writer(str(self.folder / name.replace("/", "_")))
        rows = "".join(f"\n| {key} | {value} |" for key, value in config.items())
        self.writers[trial].add_text("config", f"| key | value |\n|-|-|{rows}")

    def log(self, trial: str, step: int, values: dict[str, float]) -> None:
        for key, value in values.items():
            self.writers[trial].add_scalar(key, value, step)
        self.writers[trial].flush()

    def end(self, trial: str, status: str) -> None:
        self.writers[trial].add_text("status", status)
        self.writers.pop(trial).close()


if __name__ == "__main__":
    main(*sys.argv[1:])
