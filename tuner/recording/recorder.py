"""How does what the workers report become durable? A Tune callback that never raises."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray import tune

from results.records.schema import epoch_row, trial_row
from results.records.store import RunStore
from results.storage.mirror import Mirror
from search_spaces.records import EpochRecord, Outcome, Status
from search_spaces.trial import TrialConfig
from trainables.files import Folder, LocalFolder
from tuner.display.live import Display
from tuner.recording.tracking import trial_of

# What a paused training has taken so far: it stays taken, whatever becomes of the next rung.
SPENT = ("samples_seen", "optimizer_steps", "train_seconds", "wall_seconds")
STATES, LOGS = "checkpoints", "logs"  # folders of a run
SHARED = "shared-"  # begins the names of states that others begin from
# The run ends (exit 4) when nothing could be written for this long.
STORAGE_PATIENCE_SECONDS = 60.0
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def _guarded(method: Callable[..., None]) -> Callable[..., None]:
    """An exception in a callback would end the whole run: note it and go on."""

    @functools.wraps(method)
    def call(self: Recorder, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.problems.append(f"recorder: {type(error).__name__}: {error}")
            print(f"error: {self.problems[-1]}", file=sys.stderr)

    return call


@dataclass
class TrialState:
    """What is known of a trial between its reports; survives the death of its worker."""

    attempt: int = 1
    epochs_done: int = 0
    host: str = ""
    spent: dict[str, Any] = field(default_factory=dict)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))


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
            mirror.tell = lambda line: self._show("say", line)
        self.logs = store.run_dir / LOGS  # what the user's functions print, by trial
        self.problems: list[str] = []
        self.warned = False
        self.open: dict[str, TrialConfig] = {}
        self.state: dict[str, TrialState] = {}
        self.failing_since: float | None = None
        self.shared_samples: dict[str, int] = {}  # not trained again, by trial
        self.first_error = ""  # last line of the first failed trial's

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
    def storage_lost(self) -> bool:
        """True when nothing could be written for STORAGE_PATIENCE_SECONDS.

        Or when another driver has taken over the run's place in its bucket.
        """
        if self.mirror is not None and self.mirror.is_taken_over:
            return True
        if self.store.error is None:
            self.failing_since = None
            return False
        self.failing_since = self.failing_since or time.monotonic()
        return time.monotonic() - self.failing_since > STORAGE_PATIENCE_SECONDS

    @_guarded
    def on_trial_start(self, **event: Any) -> None:
        """A training begins, or begins again after its worker died."""
        trial = trial_of(event["trial"])
        self.open[trial.trial_key] = trial
        self._state(trial).started_at = datetime.now(UTC)
        self._write(trial, "running")
        self._show("trial_started", trial)

    @_guarded
    def on_trial_result(self, **event: Any) -> None:
        """One epoch, or all epochs after a restart; the last result has the outcome."""
        trial, result = trial_of(event["trial"]), event["result"]
        state = self._state(trial)
        state.attempt, state.host = max(state.attempt, result["attempt"]), result["host"]
        state.spent["wall_seconds"] = result["wall_seconds"]
        for fields in result["records"]:
            record = EpochRecord(**fields)
            self.store.add_epoch(epoch_row(self.store.run_id, trial, result["attempt"], record))
            state.epochs_done = record.epoch
            self._show("epoch_ended", trial, record)
        if result["shared_samples"] and trial.trial_key not in self.shared_samples:
            self.shared_samples[trial.trial_key] = result["shared_samples"]
            self.store.update_manifest(shared_samples=self.num_shared_samples)
        if result["warning"] and not self.warned:
            self.warned = True
            self._show("say", f"warning: {result['warning']}; trained on without")
        if result["lost"]:
            self.store.event("lost", trial=trial.trial_key, why=result["lost"])
            self._show("say", f"{trial.space} trial {trial.trial_key}: {result['lost']}")
        if result["done"]:
            outcome = Outcome(**result["outcome"]) if result["outcome"] else None
            error, so_far = (result["failure"] or {}).get("error"), result["so_far"]
            self._end(trial, result["status"], outcome=outcome, so_far=so_far, error=error)

    @_guarded
    def on_trial_error(self, **event: Any) -> None:
        """A training whose worker died or raised more often than max_failures."""
        file, error = event["trial"].error_file, "the worker died"
        if file and Path(file).exists():  # the traceback that Tune kept
            error = ANSI.sub("", Path(file).read_text(errors="replace"))
        self._end(trial_of(event["trial"]), "failed", error=error)

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
        self._write(trial, status, outcome=outcome, so_far=so_far, error=error)
        if error and not self.first_error:
            self.first_error = error.strip().splitlines()[-1][:300]
        self.open.pop(trial.trial_key, None)
        self._show("trial_ended", trial, status, outcome, error)
        durable = self.store.flush()
        if outcome is not None:
            # On a full disk too: the row needs the space more than the state of an ended trial.
            self._remove(trial.trial_key)
            if not durable:
                self.store.flush()

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
                ended_at=None if status == "running" else datetime.now(UTC),
                error=error,
            )
        )

    def _state(self, trial: TrialConfig) -> TrialState:
        return self.state.setdefault(trial.trial_key, TrialState())

    def _show(self, method: str, *args: Any) -> None:
        """A display that fails costs the sight, not the record or the run; it is said once."""
        try:
            getattr(self.display, method)(*args)
        except Exception as error:
            failed, self.display = self.display, Display({}, 1)
            self.store.event("display failed", method=method, traceback=traceback.format_exc())
            with contextlib.suppress(Exception):  # a closed pipe, where nothing can be shown
                failed.stop()
                text = f"{type(error).__name__}: {error}"
                print(f"warning: nothing more is shown ({text}); the run goes on", file=sys.stderr)
