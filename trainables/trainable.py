"""How does Ray Tune drive a training? One Tune trial is one training; one step is one epoch.

torch is imported by the worker that takes up a trial, not by the driver that names this class.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import pickle
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import ray
from ray import cloudpickle, tune

from search_spaces.records import error_line, error_text, score_on_test, so_far, wall_seconds
from search_spaces.registry import allow_import, lookup
from search_spaces.trial import TrialConfig
from trainables import REPORT_SECONDS, REPORTS_AHEAD, TRAINERS
from trainables.failures import (
    NUM_REMEMBERED,
    FunctionError,
    OutOfMemoryError,
    Patience,
    ProcessError,
    lasting,
)
from trainables.files import Folder, LocalFolder, folder_at
from trainables.user.handed import Bytes, Handed, lay_out, tensor_apart

if TYPE_CHECKING:  # both import torch
    from trainables.checkpoints import Checkpoints
    from trainables.training import Training

# PyTorch's settings of its allocator: free blocks grow as batches do, instead of lying idle.
ALLOCATOR, GROWING = "PYTORCH_ALLOC_CONF", "expandable_segments:True"
OLD_ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"
OF_SHARE = 0.9  # of a part of a GPU; the rest for CUDA's context and the libraries' workspaces
# A state is saved when training since the last one took this many times what saving takes.
SAVE_PAYS = 20.0
COPY_SECONDS = 60.0  # between two copies of a log that others cannot read where it is
MAX_LOG = 2**20  # bytes of such a copy: the last ones


class ScheduledTrainable(tune.Trainable):  # type: ignore[misc]
    """Runs a `Training`; every finished epoch is reported and checkpointed.

    Its config: `trial` (TrialConfig.to_dict() as JSON), `schedule` (table or None), `device`,
    `imports` (names of code that the driver's user has given: no others are imported),
    `checkpoints` (folder for the states of all trials, a path or a `Folder`, or None for no states
    of ours), `pause_seconds` (the least between two states), `logs` (directory of what the
    functions of all trials print), `log_copies` (a `Folder` for copies of them, where this
    machine's files are its own), `isolate`, `max_report_seconds`, `max_failures`, and `function`
    (Ray's reference to a pickled training that cannot be imported, or None).
    A worker finds the newest good state of its trial by trial_key alone. A result holds
    `records` (all epochs on the first report after a load, else the last one), `attempt`,
    `host`, and at the end `outcome` (or `failure`) and done=True; `status` is interrupted until
    then, for that is what a trial is whose last result this was. A trial with `until` ends as
    paused after that epoch, and goes on from its state when it is handed out with a later one.
    `share` in its config: after which epochs to keep the state for others, and which to begin
    from; `shared_samples` came from there, `kept` are the keys of those it has kept. `warning`: a
    state could not be saved. `lost`: why the training begins again from its newest state, or goes
    on from an older one.
    """

    report_seconds, reports_ahead = REPORT_SECONDS, REPORTS_AHEAD
    times: ClassVar[deque[float]] = deque(maxlen=NUM_REMEMBERED)  # a worker serves one run

    def setup(self, config: dict[str, Any]) -> None:
        """Make ready for the trial that the config describes; the first step takes it up."""
        self.folder = os.getcwd()
        allow_import(*config.get("imports", ()))
        if config.get("device", "cpu") != "cpu":
            resources = self.trial_resources
            held = resources.required_resources.get("GPU", 1.0) if resources else 1.0
            set_allocator(held)
        self.trial = TrialConfig.from_dict(json.loads(config["trial"]))
        self.training: Training | None = None
        self.checkpoints: Checkpoints | None = None
        self.num_reported = 0
        self.shared_samples = 0
        self.kept: list[str] = []
        self.warning: str | None = None
        self.fallen_back: str | None = None
        self.num_lost = 0
        self.raised: Exception | None = None
        self.saved_at, self.save_seconds = time.monotonic(), 0.0
        self.copied_at = time.monotonic()
        self.noted_at = time.monotonic()

    def make_training(self, config: dict[str, Any]) -> Training:
        """The training of this config, at its start."""
        train = lookup("trainer", self.trial.recipe.trainer, TRAINERS)
        self.noted_at = time.monotonic()  # imported: what begins now is the training
        options = {"schedule": config.get("schedule"), "device": config.get("device", "cpu")}
        if self.trial.recipe.trainer == "user":
            logs, function = config.get("logs"), config.get("function")
            options |= {
                "isolate": config.get("isolate", True),
                "log": str(self._log) if logs else None,
                "patience": Patience(config.get("max_report_seconds"), self.times),
                "trainable": _fetch(function) if function else None,
                "ahead": self.reports_ahead,
            }
        training: Training = train(self.trial, **options)
        return training

    def reset(self, *args: Any, **options: Any) -> bool:
        """As Tune does, which asks for the working directory: in a job Ray's copy of a folder.

        Another node of this machine unpacks it anew, at the same place, and removes the old one.
        """
        os.chdir(self.folder)
        return bool(super().reset(*args, **options))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Make ready for another trial in the same process; nothing of the old one is left."""
        self.setup(new_config)
        self.config = new_config
        return True

    def step(self) -> dict[str, Any]:
        """Train and report an epoch, or several short ones.

        What a new process would not cure is reported as failed; a training whose process is lost
        begins again here, in another.

        Raises:
            OutOfMemoryError: it does not fit, for now: whoever drives this decides what then, and
                this process is not used again.
        """
        if self.raised is not None:
            raise self.raised
        try:
            training = self.training or self._take_up()
            begun = time.monotonic()
            while not (training.finished or self._is_paused(training)):
                record = training.run_epoch()
                training.records[-1] = replace(record, wall_seconds=self._time_passed())
                self._keep_beginning(training)
                self._save_state(training)
                if time.monotonic() - begun >= self.report_seconds:
                    break
            has_ended = training.finished and not self._is_paused(training)
            outcome = asdict(training.outcome()) if has_ended else None
            if outcome is not None:
                outcome["wall_seconds"] = self._time_spent(training)
        except ProcessError as error:
            return self._lose(error, str(error))
        except FunctionError as error:
            if error.status is None:
                return self._lose(error, error.line)
            if error.status == "oom":
                return self._raise(OutOfMemoryError(self._describe(error)))
            return self._fail(error, error.status)
        except Exception as error:
            status = lasting(error)
            if status == "oom":
                return self._raise(OutOfMemoryError(self._describe(error)))
            return self._raise(error) if status is None else self._fail(error, status)
        told, self.fallen_back = self.fallen_back, None
        return self._report(outcome=outcome, is_paused=self._is_paused(training), lost=told)

    def _raise(self, error: Exception) -> dict[str, Any]:
        """Raise it, in the next step where epochs of this one are not reported yet."""
        self.raised = error
        if self.training is None or len(self.training.records) == self.num_reported:
            raise error
        return self._report()

    def _lose(self, error: ProcessError | FunctionError, why: str) -> dict[str, Any]:
        """Begin again from the newest state, max_failures times."""
        self.num_lost += 1
        retries = self.config.get("max_failures", 0)
        if self.num_lost > retries:
            return self._fail(error, "failed")
        log = f"; log: {error.log}" if error.log else ""
        why = f"{error_line(why)} (retry {self.num_lost} of {retries}){log}"
        result = self._report(lost=why)
        self.training, self.num_reported = None, 0
        return result

    def _fail(self, error: Exception, status: str) -> dict[str, Any]:
        return self._report(failure={"status": status, "error": self._describe(error)})

    def _describe(self, error: Exception) -> str:
        """What is recorded begins with the log, and ends with the exception's own line."""
        if not isinstance(error, ProcessError | FunctionError):
            return error_text(traceback.format_exc())
        return error_text(f"log: {error.log}\n{error}" if error.log else str(error))

    def _is_paused(self, training: Training) -> bool:
        """True when the training has passed the report that it is to stop after for now.

        A batch may pass several reports at once, and the end of the training with them: then
        the longer rungs have nothing left to train.
        """
        until, records = self.trial.until, training.records
        if until is None or not records or training.diverged:
            return False
        return records[-1].samples_seen >= self.trial.recipe.samples_at(until)

    def _take_up(self) -> Training:
        """Build the training, claim the trial and go on from its newest state.

        Not in setup: Tune may start a worker for a trial and then hand the trial to an idle one,
        and the worker that trains must be the last to claim.
        """
        self._fetch_log()
        self.training = self.make_training(self.config)
        if self.config.get("checkpoints"):
            try:
                self._go_on(self.training)
            except OSError as error:  # a bucket that is silent costs the states, not the training
                self._train_without(error)
        return self.training

    def _go_on(self, training: Training) -> None:
        """Claim the trial, and load its newest state."""
        from trainables.checkpoints import Checkpoints, read_good, read_newest

        states = self._states
        folder = states.folder(self.trial.trial_key)
        if isinstance(states, LocalFolder) and not states.path.parent.is_dir():
            # Of a node that came after all were looked at.
            where = f"{states.path.parent} is not on {socket.gethostname()}"
            self.warning = f"{where}: states saved there are lost with that node"
        try:
            self.checkpoints = Checkpoints(folder)
        except OSError as error:  # a full disk costs new states; the newest can be read
            if not isinstance(states, LocalFolder):  # has been asked for long enough
                raise
            self._train_without(error)
        state, lost = read_good(folder)
        if lost:
            begin = f"report {len(state['records'])}" if state else "its start"
            self.fallen_back = f"{', '.join(lost)}; it goes on from {begin}"
        if state is None and self._share.get("begin"):
            state = read_newest(self._shared_states(self._share["begin"]))
            self._relabel(state["records"] if state else [])
        if state is not None:
            training.load_state_dict(state)

    def _train_without(self, error: OSError) -> None:
        self.checkpoints = None
        self.warning = f"no state of {self.trial.trial_key} can be saved: {error}"

    def _relabel(self, records: list[dict[str, Any]]) -> None:
        """Records of another's beginning: it used the same, but may have cut stages elsewhere."""
        table = self.config.get("schedule") or self.trial.schedule
        for record in records:
            stage = table.stage_at(record["samples_seen"] - record["batch_size"])
            record |= {"stage": stage, "decay_rate": float(table.decay_rate_S[stage])}
            record["wall_seconds"] = 0.0  # another's time
        self.shared_samples = table.report_end(len(records))

    def _time_passed(self) -> float:
        """Seconds since this was asked before, or the training's start."""
        before, self.noted_at = self.noted_at, time.monotonic()
        return self.noted_at - before

    def _time_spent(self, training: Training | None) -> float:
        """Seconds of the whole training until now; what is no epoch's is asked for once."""
        return (wall_seconds(training.records if training else []) or 0.0) + self._time_passed()

    @property
    def _share(self) -> dict[str, Any]:
        """Which states other trainings begin from, and which one this does."""
        share: dict[str, Any] = self.config.get("share") or {}
        return share

    @property
    def _states(self) -> Folder:
        """Where the states of all trials are."""
        return folder_at(self.config["checkpoints"])

    def _shared_states(self, key: str) -> Folder:
        return self._states.folder(f"shared-{key}")

    def _keep_beginning(self, training: Training) -> None:
        """Keep the state after an epoch that others continue from."""
        key = self._share.get("keep", {}).get(len(training.records))
        if key is None or training.finished or self.checkpoints is None:
            return
        state = training.state_dict()
        if not state["records"]:  # a training of the user's own that hands over no state
            return
        from trainables.checkpoints import Checkpoints

        try:
            states = Checkpoints(self._shared_states(key))
            states.save(len(training.records), state)
            self.kept.append(key)
        except OSError as error:  # they train it themselves
            self.warning = f"no state for others could be kept: {error}"

    def _save_state(self, training: Training) -> None:
        """Every epoch, unless saving would take over a twentieth of the time (90 MB: 0.2 s).

        The last state too; but where each is a request, a training of seconds is trained again.
        """
        start, least = time.monotonic(), self.config.get("pause_seconds", 0.0)
        due = start - self.saved_at >= max(SAVE_PAYS * self.save_seconds, least)
        due = due or self._is_paused(training) or (training.finished and not least)
        if self.checkpoints is None or not due:
            return
        try:
            self.checkpoints.save(len(training.records), training.state_dict())
        except OSError as error:  # a full disk costs the state, not the training
            self.warning = f"no state of {self.trial.trial_key} could be saved: {error}"
        self.saved_at = time.monotonic()
        self.save_seconds = self.saved_at - start

    @property
    def _log(self) -> Path:
        return Path(self.config["logs"]) / f"{self.trial.trial_key}.txt"

    def _fetch_log(self) -> None:
        """What the training printed on another machine; it goes on in the same log."""
        copies: Folder | None = self.config.get("log_copies")
        if copies is None or self._log.exists():
            return
        with contextlib.suppress(OSError):  # there is none, or it is not worth a training
            data = copies.read(self._log.name)
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._log.write_bytes(data)

    def _copy_log(self, *, is_end: bool) -> None:
        """Put it where others find it: now and then, and at the end."""
        copies, now = self.config.get("log_copies"), time.monotonic()
        is_due = is_end or now - self.copied_at >= COPY_SECONDS
        if copies is None or not is_due or not self._log.exists():
            return
        self.copied_at = now
        try:
            copies.write(self._log.name, self._log.read_bytes()[-MAX_LOG:])
        except OSError as error:
            self.warning = f"the log of {self.trial.trial_key} could not be copied: {error}"

    def _report(
        self,
        *,
        outcome: dict[str, Any] | None = None,
        failure: dict[str, Any] | None = None,
        is_paused: bool = False,
        lost: str | None = None,
    ) -> dict[str, Any]:
        records = self.training.records if self.training else []
        metric = self.trial.recipe.metric
        ending = outcome or failure or {"status": "interrupted"}
        if is_paused:
            ending = {"status": "paused", **so_far(records, metric)}
        fresh, self.num_reported = records[self.num_reported :], len(records)
        seconds = outcome["wall_seconds"] if outcome else wall_seconds(records) or 0.0
        if failure is not None:
            seconds = self._time_spent(self.training)
        is_end = is_paused or outcome is not None or failure is not None
        self._copy_log(is_end=is_end)
        return {
            "records": [record.as_dict() for record in fresh],
            "attempt": self.checkpoints.attempt if self.checkpoints else 1,
            "host": socket.gethostname(),
            "status": ending["status"],
            "objective": ending.get("objective"),
            "test_score": score_on_test(ending, metric),
            "outcome": outcome,
            "failure": failure,
            "so_far": so_far(records, metric) if is_paused else None,
            "num_epochs": len(records),
            "shared_samples": self.shared_samples,
            "kept": self.kept,
            "samples_seen": records[-1].samples_seen if records else 0,
            "wall_seconds": seconds,
            "warning": self.warning,
            "lost": lost,
            "done": is_end,
        }


def set_allocator(gpus: float) -> None:
    """How this process, which has not begun to, and its children use the memory of their GPU.

    Neighbours on a GPU leave each other their parts. Settings of the user's own stay. Untested on
    a GPU.

    Args:
        gpus: that a training holds, > 0.
    """
    if ALLOCATOR in os.environ or OLD_ALLOCATOR in os.environ:
        return
    part = f",per_process_memory_fraction:{OF_SHARE * gpus:g}" if gpus < 1 else ""
    os.environ[ALLOCATOR] = GROWING + part


class Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
    """cloudpickle's, with the bytes of large tensors apart, as NumPy keeps those of arrays."""

    def reducer_override(self, value: Any) -> Any:
        """How the value is pickled."""
        apart = tensor_apart(value)
        return super().reducer_override(value) if apart is None else apart


def pickled(function: Callable[..., object]) -> list[Bytes]:
    """A function that cannot be imported, with the globals it refers to, for any process.

    The pickle, then the bytes of its arrays and tensors, not copied; see `lay_out`.
    """
    stream, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(function)
    parts = (stream.getbuffer(), *(buffer.raw() for buffer in buffers))
    return [np.frombuffer(part, dtype=np.uint8) for part in parts]


@functools.cache
def _fetch(reference: ray.ObjectRef) -> Handed:
    """The pickled function; it may hold much, and is fetched once per process."""
    return lay_out(ray.get(reference))
