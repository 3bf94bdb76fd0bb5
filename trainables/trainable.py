"""How does Ray Tune drive a training? One Tune trial is one training; one step is one epoch.

torch is imported by the worker that takes up a trial, not by the driver that names this class.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from search_spaces.trial import TrialConfig

if TYPE_CHECKING:  # both import torch
    from trainables.checkpoints import Checkpoints
    from trainables.loop import Training

# A state is saved when training since the last one took this many times what saving takes.
SAVE_PAYS = 20.0


class ScheduledTrainable(tune.Trainable):  # type: ignore[misc]
    """Runs a `Training`; every finished epoch is reported and checkpointed.

    Its config: `trial` (TrialConfig.to_dict() as JSON), `schedule` (table or None), `device`, and
    `checkpoints` (directory for the states of all trials, or None for no states of ours).
    A worker finds the newest good state of its trial by trial_key alone. A result holds
    `records` (all epochs on the first report after a load, else the last one), `attempt`,
    `host`, and at the end `outcome` (or `failure`) and done=True; `status` is interrupted until
    then, for that is what a trial is whose last result this was. `warning`: a state could not
    be saved.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take up the trial that the config describes."""
        from trainables.loop import NetworkTraining

        trial = TrialConfig.from_dict(json.loads(config["trial"]))
        self.training: Training = NetworkTraining(
            trial, schedule=config.get("schedule"), device=config.get("device", "cpu")
        )
        self.directory = Path(config["checkpoints"]) if config.get("checkpoints") else None
        self.trial_key = trial.trial_key
        self.checkpoints: Checkpoints | None = None
        self.num_reported = 0
        self.warning: str | None = None
        self.saved_at, self.save_seconds = time.monotonic(), 0.0

    def _take_up(self) -> None:
        """Claim the trial and go on from its newest state.

        Not in setup: Tune may start a worker for a trial and then hand the trial to an idle one;
        the worker that trains must be the last to claim.
        """
        from trainables.checkpoints import Checkpoints

        assert self.directory is not None, "only with a place for states"
        self.checkpoints = Checkpoints(self.directory / self.trial_key)
        state = self.checkpoints.load_newest()
        if state is not None:
            self.training.load_state_dict(state)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up another trial in the same process; nothing of the old one is left."""
        del self.training
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train and report one epoch."""
        import torch

        try:
            return self._step()
        except (torch.OutOfMemoryError, MemoryError) as error:
            return self._report(failure={"status": "oom", "error": str(error)})

    def _step(self) -> dict[str, Any]:
        if self.checkpoints is None and self.directory is not None:
            self._take_up()
        if not self.training.finished:
            self.training.run_epoch()
            self._save_state()
        outcome = asdict(self.training.outcome()) if self.training.finished else None
        return self._report(outcome=outcome)

    def _save_state(self) -> None:
        """Every epoch, unless saving would take over a twentieth of the time (90 MB: 0.2 s)."""
        start = time.monotonic()
        due = start - self.saved_at >= SAVE_PAYS * self.save_seconds
        if self.checkpoints is None or not (due or self.training.finished):
            return
        try:
            self.checkpoints.save(len(self.training.records), self.training.state_dict())
        except OSError as error:  # a full disk costs the state, not the training
            self.warning = f"no state of {self.trial_key} could be saved: {error}"
        self.saved_at = time.monotonic()
        self.save_seconds = self.saved_at - start

    def _report(
        self,
        *,
        outcome: dict[str, Any] | None = None,
        failure: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        ending = outcome or failure or {"status": "interrupted"}
        fresh = self.training.records[self.num_reported :]
        self.num_reported = len(self.training.records)
        return {
            "records": [asdict(record) for record in fresh],
            "attempt": self.checkpoints.attempt if self.checkpoints else 1,
            "host": socket.gethostname(),
            "status": ending["status"],
            "objective": ending.get("objective"),
            "outcome": outcome,
            "failure": failure,
            "warning": self.warning,
            "done": outcome is not None or failure is not None,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """For Tuners other than ours; ours keeps its own states."""
        import torch

        torch.save(self.training.state_dict(), Path(checkpoint_dir) / "state.pt")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Go on from `save_checkpoint`."""
        import torch

        state = torch.load(Path(checkpoint_dir) / "state.pt", weights_only=True)
        self.training.load_state_dict(state)
