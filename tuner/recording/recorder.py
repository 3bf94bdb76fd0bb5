"""How does what the workers report become durable? A Tune callback that never raises."""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray import tune

from results.records.redaction import error_text
from results.records.schema import epoch_row, trial_row
from results.records.store import RunStore
from search_spaces.records import EpochRecord, Outcome, Status
from search_spaces.trial import TrialConfig
from tuner.display.live import Display
from tuner.recording.tracking import trial_of

# What a paused training has taken so far: it stays taken, whatever becomes of the next rung.
SPENT = ("samples_seen", "optimizer_steps", "train_seconds", "wall_seconds")
LOGS = "logs"  # folder of a run
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
            self.problems.append(error_text(f"recorder: {type(error).__name__}: {error}"))
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
    """Writes every epoch and every trial through the store, and tells the display."""

    def __init__(self, store: RunStore, display: Display) -> None:
        self.store, self.display = store, display
        self.checkpoints = store.run_dir / "checkpoints"  # a trial's is removed when it has ended
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
        states = self.checkpoints.glob("shared-*/*.pt")
        return {path.parent.name.removeprefix("shared-") for path in states}

    def forget_shared(self, keys: Iterable[str] | None = None) -> None:
        """Remove states that no training begins from any more; None = all, of a finished run."""
        if keys is None:
            folders = self.checkpoints.glob("shared-*")
            keys = [path.name.removeprefix("shared-") for path in folders]
        for key in keys:
            shutil.rmtree(self.checkpoints / f"shared-{key}", ignore_errors=True)

    @property
    def storage_lost(self) -> bool:
        """True when nothing could be written for STORAGE_PATIENCE_SECONDS."""
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
        records = [EpochRecord(**fields) for fields in result["records"]]
        run_id, attempt = self.store.run_id, result["attempt"]
        self.store.add_epochs([epoch_row(run_id, trial, attempt, record) for record in records])
        for record in records:
            state.epochs_done = record.epoch
            self._show("epoch_ended", trial, record)
        if result["shared_samples"] and trial.trial_key not in self.shared_samples:
            self.shared_samples[trial.trial_key] = result["shared_samples"]
            self.store.update_manifest(shared_samples=self.num_shared_samples)
        if result["warning"] and not self.warned:
            self.warned = True
            self._show("say", f"warning: {result['warning']}; trained on without")
        if result["lost"]:
            why = error_text(result["lost"])
            self.store.event("lost", trial=trial.trial_key, why=why)
            self._show("say", f"{trial.space} trial {trial.trial_key}: {why}")
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
        error = error_text(error) if error else error
        self._write(trial, status, outcome=outcome, so_far=so_far, error=error)
        if error and not self.first_error:
            self.first_error = error.strip().splitlines()[-1][:300]
        self.open.pop(trial.trial_key, None)
        self._show("trial_ended", trial, status, outcome, error)
        durable = self.store.flush()
        if outcome is not None:
            # On a full disk too: the row needs the space more than the state of an ended trial.
            shutil.rmtree(self.checkpoints / trial.trial_key, ignore_errors=True)
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
