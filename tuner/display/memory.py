"""What fits into memory, as a run's trainings have shown, and what to do where some did not?"""

from __future__ import annotations

from search_spaces.trial import TrialConfig


class MemoryUse:
    """The largest batches that fitted and the smallest that did not, in samples of one pass.

    A batch larger than micro_batch passes in parts of that size, which is what takes memory.
    """

    def __init__(self) -> None:
        self.largest = 0  # part that fitted
        self.lost: dict[str, int] = {}  # part that did not, by trial
        self.splits = True  # micro_batch has an effect

    def fitted(self, trial: TrialConfig, batch_size: int) -> None:
        """A batch of this size was trained."""
        self.largest = max(self.largest, _part(trial, batch_size))

    def exceeded(self, trial: TrialConfig, epochs_done: int) -> None:
        """A training ran out of memory after so many epochs, in one of the next batches."""
        self.lost[trial.trial_key] = _part(trial, batch_under_way(trial, epochs_done))
        self.splits = trial.recipe.trainer == "network"

    def advice(self) -> str:
        """What fits, and what to type; '' where all did."""
        if not self.lost:
            return ""
        smallest, largest = min(self.lost.values()), max(self.lost.values())
        sizes = f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
        count = f"{len(self.lost)} training{'s' if len(self.lost) > 1 else ''}"
        told = f"{count} ran out of memory at a batch of {sizes}"
        more = "fewer at once have more memory each (max_concurrent, resources.cpus_per_trial)"
        if self.largest >= smallest:
            return f"{told}, which fitted in others: {more}"
        size = self.largest or max(1, smallest // 2)
        plan = f"batch.max={size}"
        plan += f" or micro_batch={size}" if self.splits and size > 1 else ""
        if self.largest:
            return f"{told}; {size} fitted: {plan} in a new run does, or {more}"
        return f"{told}, and no other fitted: try {plan} in a new run, or {more}"


def batch_under_way(trial: TrialConfig, epochs_done: int) -> int:
    """The largest batch of the epoch that a training is in, after so many.

    Example: at batch 8 all along, 8; after the last epoch that epoch's.
    """
    table = trial.schedule
    report = min(epochs_done + 1, table.num_reports)
    return max(step.batch_size for step in table.report_steps(report))


def _part(trial: TrialConfig, batch_size: int) -> int:
    return min(batch_size, trial.recipe.micro_batch or batch_size)
