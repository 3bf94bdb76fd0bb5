"""How does what the workers report become durable? A Tune callback that never raises."""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ray import tune

from results.records.lock import TakenOver
from results.records.redaction import redact, redacted_error
from results.records.schema import epoch_row, trial_row
from results.records.segments import LOGS
from results.records.store import RunStore, describe_failure
from results.records.wall_time import now
from results.storage.mirror import Mirror
from search_spaces.records import EpochRecord, Outcome, Status, error_line
from search_spaces.trial import TrialConfig
from trainables.files import Folder, LocalFolder
from tuner.display.live import Display
from tuner.display.memory import MemoryUse
from tuner.recording.losses import Loss, loss_of
from tuner.recording.tracking import trial_of

# What a paused training has taken so far: it stays taken, whatever becomes of the next rung.
SPENT = ("samples_seen", "optimizer_steps", "train_seconds", "wall_seconds")
STATES = "checkpoints"  # folder of a run
SHARED = "shared-"  # begins the names of states that others begin from
# The run ends (exit 4) when nothing could be written for this long.
STORAGE_PATIENCE_SECONDS = 60.0
RETRY_SECONDS = 0.5  # at the end, where nothing else is waited for
# An end of a training writes what waits, and the loop waits for the disk, unless one just did.
CLEAN_SECONDS = 1.0


def _guarded(method: Callable[..., None]) -> Callable[..., None]:
    """An exception in a callback would end the whole run: note it and go on."""

    @functools.wraps(method)
    def call(self: Recorder, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            text = redact(error_line(str(error)))
            self.problems.append(f"recorder: {type(error).__name__}: {text}")
            print(f"error: {self.problems[-1]}", file=sys.stderr)

    return call


@dataclass
class TrialState:
    """What is known of a trial between its reports; survives the death of its worker."""

    attempt: int = 1
    epochs_done: int = 0
    host: str = ""
    spent: dict[str, Any] = field(default_factory=dict)
    started_at: datetime = field(default_factory=now)


class Recorder(tune.Callback):  # type: ignore[misc]
    """Writes every epoch and every trial through the store, and tells the display.

    mirror: copies the run to its bucket; None of a run whose folder is the run.
    """

    def __init__(self, store: RunStore, display: Display, mirror: Mirror | None = None) -> None:
        self.store, self.display, self.mirror = store, display, mirror
        # Of the trainings, a folder each; a trial's is removed when it has ended.
        self.states: Folder = LocalFolder(store.run_dir / STATES)
        if mirror is not None:
            self.states = mirror.home.folder(STATES)
            mirror.tell = lambda line: self.say(line)
        self.logs = store.run_dir / LOGS  # what the user's functions print, by trial
        self.problems: list[str] = []
        self.warned = False
        self.open: dict[str, TrialConfig] = {}
        self.state: dict[str, TrialState] = {}
        self.failing_since: float | None = None  # of the storage
        self.lost: str | None = None  # why the storage was given up
        # Trials whose state is needed until their row is durable, and the ticket of that.
        self.ended: dict[str, int] = {}
        self.cleaned = -math.inf  # when rows were last written for an end
        self.is_blind = False  # the display has failed
        self.shared_samples: dict[str, int] = {}  # not trained again, by trial
        self.first_error = ""  # last line of the first failed trial's
        self.causes: dict[str, str] = {}  # why we ended the worker of a trial, by its key
        self.memory = MemoryUse()

    def remember(self, rows: Iterable[Mapping[str, Any]], shared_samples: int = 0) -> None:
        """Take up an earlier run: attempts go on counting, epochs stay done."""
        self.shared_samples = {"": shared_samples}
        for row in rows:
            self.state[row["trial_key"]] = TrialState(
                attempt=row["attempt"],
                epochs_done=row["epochs_done"],
                host=row["host"] or "",
                started_at=row["started_at"],
                spent={name: row[name] for name in SPENT},
            )

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks, and nobody reads that pickle."""
        return {}

    @property
    def num_shared_samples(self) -> int:
        """Samples that were not trained again, because others had (search.share_prefix)."""
        return sum(self.shared_samples.values())

    def kept_for_others(self) -> set[str]:
        """Keys of the states that trainings have kept for others to begin from."""
        return {
            name.removeprefix(SHARED)
            for name in self._shared()
            if any(state.endswith(".pt") for state in self.states.folder(name).names())
        }

    def forget_shared(self, keys: Iterable[str] | None = None) -> None:
        """Remove states that no training begins from any more; None = all, of a finished run."""
        with contextlib.suppress(OSError):  # of a bucket: what is not removed lies there
            names = self._shared() if keys is None else [f"{SHARED}{key}" for key in keys]
            for name in names:
                self._remove(name)

    def _shared(self) -> list[str]:
        return [name for name in self.states.folders() if name.startswith(SHARED)]

    def _remove(self, name: str) -> None:
        """Remove the states of this name; in a bucket once what makes them needless is there."""
        folder = self.states.folder(name)
        if self.mirror is None:
            folder.remove_all()
        else:
            self.mirror.forget(folder)

    @property
    def storage_fails(self) -> bool:
        """True while nothing can be written: rows wait in memory."""
        return self.failing_since is not None

    def watch_storage(self) -> str | None:
        """Why the run has to end: nothing could be written for STORAGE_PATIENCE_SECONDS.

        Or another driver writes it now. When it begins to fail, and when it works again, the
        person is told at once.
        """
        error = self.store.error
        if self.mirror is not None and self.mirror.is_taken_over:
            self.lost = self.lost or str(self.mirror.error)
        if self.lost is not None:
            return self.lost
        if error is None:
            if self.failing_since is not None:
                self.failing_since = None
                self.say(f"{self.store.run_dir} can be written again; nothing is lost")
                self.clean()
            return None
        if isinstance(error, TakenOver):
            self.lost = error.strerror
            return self.lost
        why = describe_failure(error, self.store.run_dir)
        if self.failing_since is None:
            self.failing_since = time.monotonic()
            self.store.event("storage failed", why=why)
            self.say(
                f"warning: {why}: what ends is kept in memory and no training begins until it "
                f"can be written, for {STORAGE_PATIENCE_SECONDS:.0f} s"
            )
        lasts = time.monotonic() - self.failing_since
        if lasts > STORAGE_PATIENCE_SECONDS / 2:
            self.make_room()
        if lasts > STORAGE_PATIENCE_SECONDS:
            self.lost = why
        return self.lost

    @_guarded
    def on_trial_start(self, **event: Any) -> None:
        """A training begins, or begins again after its worker died."""
        trial = trial_of(event["trial"])
        self.open[trial.trial_key] = trial
        self.causes.pop(trial.trial_key, None)
        self._state(trial).started_at = now()
        self._write(trial, "running")
        self.show("trial_started", trial)

    @_guarded
    def on_trial_result(self, **event: Any) -> None:
        """One epoch, or all epochs after a restart; the last result has the outcome."""
        trial, result = trial_of(event["trial"]), event["result"]
        state = self._state(trial)
        state.attempt, state.host = max(state.attempt, result["attempt"]), result["host"]
        state.spent["wall_seconds"] = result["wall_seconds"]
        records = [EpochRecord(**fields) for fields in result["records"]]
        run_id, attempt = self.store.run_id, result["attempt"]
        self.store.add_epochs([epoch_row(run_id, trial, attempt, record) for record in records])
        for record in records:
            state.epochs_done = record.epoch
            self.show("epoch_ended", trial, record)
            self.memory.fitted(trial, record.batch_size)
        if result["shared_samples"] and trial.trial_key not in self.shared_samples:
            self.shared_samples[trial.trial_key] = result["shared_samples"]
            self.store.update_manifest(shared_samples=self.num_shared_samples)
        if result["warning"] and not self.warned:
            self.warned = True
            self.say(f"warning: {result['warning']}; trained on without")
        if result["lost"]:
            why = redacted_error(result["lost"])
            self.store.event("lost", trial=trial.trial_key, why=why)
            self.say(f"{trial.space} trial {trial.trial_key}: {why}")
        if result["done"]:
            outcome = Outcome(**result["outcome"]) if result["outcome"] else None
            error, so_far = (result["failure"] or {}).get("error"), result["so_far"]
            self._end(trial, result["status"], outcome=outcome, so_far=so_far, error=error)

    @_guarded
    def on_trial_recover(self, **event: Any) -> None:
        """A training whose worker was lost begins again from its newest state."""
        tune_trial, trial = event["trial"], trial_of(event["trial"])
        loss = self._loss(tune_trial, trial)
        retry = f"retry {tune_trial.run_metadata.num_failures} of {tune_trial.max_failures}"
        self.store.event("lost", trial=trial.trial_key, why=loss.line, text=loss.text)
        self.say(f"{trial.space} trial {trial.trial_key}: {loss.line} ({retry})")

    @_guarded
    def on_trial_error(self, **event: Any) -> None:
        """A training whose worker was lost more often than max_failures."""
        trial = trial_of(event["trial"])
        loss = self._loss(event["trial"], trial)
        self._end(trial, loss.status, error=loss.text)

    def _loss(self, tune_trial: Any, trial: TrialConfig) -> Loss:
        loss = loss_of(tune_trial, self.causes.pop(trial.trial_key, None))
        if loss.status == "oom":
            self.memory.exceeded(trial, self._state(trial).epochs_done)
        return loss

    @_guarded
    def interrupt(self) -> None:
        """Mark what is still running as interrupted; its checkpoints stay."""
        for trial in list(self.open.values()):
            self._write(trial, "interrupted")

    def _end(
        self,
        trial: TrialConfig,
        status: Status,
        *,
        outcome: Outcome | None = None,
        so_far: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        error = redacted_error(error) if error else error
        self._write(trial, status, outcome=outcome, so_far=so_far, error=error)
        if error and not self.first_error:
            self.first_error = error_line(error)
        self.open.pop(trial.trial_key, None)
        self.show("trial_ended", trial, status, outcome, error)
        if outcome is not None:
            self.ended[trial.trial_key] = self.store.ticket()
        if time.monotonic() - self.cleaned >= CLEAN_SECONDS:
            self.clean()
        else:
            self._sweep()

    def settle(self, *, in_a_hurry: Callable[[], bool]) -> str | None:
        """Wait until everything is written, or the storage is given up: see `watch_storage`."""
        self.clean()
        while (lost := self.watch_storage()) is None and self.storage_fails and not in_a_hurry():
            time.sleep(RETRY_SECONDS)
            self.clean()
        return lost

    def clean(self) -> None:
        """Write what waits, and remove the states of trainings whose rows are durable."""
        self.store.flush()
        self.cleaned = time.monotonic()
        self._sweep()

    def _sweep(self) -> None:
        """Remove the states of trainings whose rows are durable: the store writes by itself.

        Writing at the end of each of many short trainings held up Tune's loop by 10 ms and more,
        with all rows of a segment.
        """
        for key in [k for k, ticket in self.ended.items() if self.store.is_durable(ticket)]:
            self._remove(key)
            del self.ended[key]

    def make_room(self) -> None:
        """Rows need the space more than the states of trainings that have ended."""
        if self.mirror is not None:  # whose states are not on this disk
            return
        folders = [self.states.folder(key) for key in self.ended]
        for folder in (there := [folder for folder in folders if folder.names()]):
            folder.remove_all()
        if there:
            self.clean()

    def _write(
        self,
        trial: TrialConfig,
        status: Status,
        *,
        outcome: Outcome | None = None,
        so_far: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        state = self._state(trial)
        if so_far:
            state.spent = {name: so_far[name] for name in SPENT}
        self.store.add_trial(
            trial_row(
                self.store.run_id,
                trial,
                status=status,
                attempt=state.attempt,
                outcome=outcome,
                so_far=so_far or state.spent,
                epochs_done=state.epochs_done,
                host=state.host,
                started_at=state.started_at,
                ended_at=None if status == "running" else now(),
                error=error,
            )
        )

    def _state(self, trial: TrialConfig) -> TrialState:
        return self.state.setdefault(trial.trial_key, TrialState())

    def say(self, text: str) -> None:
        """A message for the person, also of a run whose display has failed."""
        if self.is_blind:
            print(text, file=sys.stderr)
        else:
            self.show("say", text)

    def show(self, method: str, *args: Any) -> None:
        """Call this of the display's; one that fails costs the sight, not the run."""
        try:
            getattr(self.display, method)(*args)
            if self.display.problem is not None:
                raise self.display.problem
        except Exception as error:
            failed, self.display, self.is_blind = self.display, Display({}, 1), True
            self.store.event("display failed", method=method, traceback=_text_of(error))
            with contextlib.suppress(Exception):
                failed.stop()
            text = f"{type(error).__name__}: {error_line(str(error))}"
            print(f"warning: nothing more is shown ({text}); the run goes on", file=sys.stderr)


def _text_of(error: Exception) -> str:
    return "".join(traceback.format_exception(error))
