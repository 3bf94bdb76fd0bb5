"""What does Tune keep of a training that has ended? Almost nothing: the ledger has it.

By itself Tune keeps its config, its last result and statistics of every number in it, writes all
of that into a snapshot every ten seconds, and reads it once more at the end: 110 kB of the
driver's memory a trial, and a snapshot that grows with their number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ray import tune
from ray.tune.execution.tune_controller import TuneController


class Thrift(tune.Callback):  # type: ignore[misc]
    """Lets Tune forget; must be the last of its callbacks, for the others read what is lost."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks, and nobody reads that pickle."""
        return {}

    def on_trial_complete(self, **event: Any) -> None:
        """Whoever asks for it later finds it empty."""
        trial = event["trial"]
        told = trial.run_metadata
        told.last_result, told.metric_analysis, told.metric_n_steps = {}, {}, {}
        trial.config, trial.evaluated_params, trial.experiment_tag = {}, {}, ""

    on_trial_error = on_trial_complete

    def on_experiment_end(self, **event: Any) -> None:
        """Tune would make a table of what it has forgotten."""
        event["trials"].clear()


@contextlib.contextmanager
def small_snapshots() -> Iterator[None]:
    """Within, Tune's snapshots name no trials: we resume from the ledger, never from them."""
    before = TuneController._get_trial_checkpoints
    TuneController._get_trial_checkpoints = _no_trials
    try:
        yield
    finally:
        TuneController._get_trial_checkpoints = before


def _no_trials(controller: TuneController) -> dict[str, str]:
    controller._trials_to_cache.clear()
    return {}
