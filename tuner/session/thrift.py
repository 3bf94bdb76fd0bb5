"""What does Tune keep of a training that has ended? Almost nothing: the ledger has it.

By itself Tune keeps its config, its last result and statistics of every number in it, writes all
of that into a snapshot every ten seconds, and reads it once more at the end: 110 kB of the
driver's memory a trial, and a snapshot that grows with their number.
"""

from __future__ import annotations

from typing import Any


def forget_ended(controller: Any) -> None:
    """Takes the trials that have ended out of Tune's lists, where it never looks for one again.

    Args:
        controller: Tune's, when another trial is just ending.
    """
    controller._trials[:] = [trial for trial in controller._trials if not trial.is_finished()]
    controller._stopped_trials.clear()
    controller._failed_trials.clear()
    controller._trials_to_cache.clear()
    controller._trial_metadata.clear()
