"""After how many steps has the gradient become small? The papers' stopping rule.

The training ends when the mean of the batch gradient's norm over all steps so far has fallen to
every epsilon; the number of steps that this takes, by batch size, gives the critical batch.

Source: arXiv 2311.08745 appendix C.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from trainables.measurements.gradients import StepNorms
from trainables.measurements.probe import Probe, Subject


class CriticalProbe(Probe):
    """The running mean of the batch gradient's norm, and the steps until it fell to each epsilon.

    Args:
        epsilon: norms, > 0. min_epochs: after how many epochs they are first looked for, of
            whatever number of reports.
    """

    def __init__(self, *, epsilon: Sequence[float] = (0.5,), min_epochs: int = 11) -> None:
        self.epsilons, self.min_epochs = list(epsilon), min_epochs
        self.step_norms = StepNorms()
        self.norm_sum, self.norm_count = 0.0, 0
        self.steps_to: dict[str, int] = {}
        self.num_early: int | None = None  # steps of the first min_epochs

    def after_backward(self, model: nn.Module) -> None:
        """Note the norm of the step's gradient, before any clipping."""
        self.step_norms.note(model)

    def end_epoch(self, training: Subject, epoch: int) -> dict[str, Any]:
        """mean_batch_norm, since the training's start."""
        norm_T = self.step_norms.take()
        if self.num_early is None:
            table, limit = training.trial.schedule, self.min_epochs * len(training.train_set)
            self.num_early = sum(1 for _ in table.steps(0, limit))
        for part_T in np.split(norm_T, [max(0, self.num_early - self.norm_count)]):
            self._pass(part_T, is_late=self.norm_count >= self.num_early)
        return {"mean_batch_norm": self.norm_sum / self.norm_count}

    def _pass(self, norm_T: NDArray[np.float64], *, is_late: bool) -> None:
        """Count these steps; `is_late`: the rule is looked at."""
        for epsilon in self.epsilons if is_late else ():
            index = first_below(norm_T, epsilon, self.norm_sum, self.norm_count)
            if index is not None and str(epsilon) not in self.steps_to:
                self.steps_to[str(epsilon)] = self.norm_count + index + 1
        self.norm_sum += float(norm_T.sum())
        self.norm_count += len(norm_T)

    def end_training(self, training: Subject) -> dict[str, Any]:
        """steps_to_epsilon: JSON, null for an epsilon that was not reached."""
        reached = {str(epsilon): self.steps_to.get(str(epsilon)) for epsilon in self.epsilons}
        return {"steps_to_epsilon": json.dumps(reached)}

    @property
    def is_done(self) -> bool:
        """True when every epsilon was reached."""
        return all(str(epsilon) in self.steps_to for epsilon in self.epsilons)

    def state_dict(self) -> dict[str, Any]:
        """The sum and number of the norms, and the steps found."""
        return {
            "norm_sum": self.norm_sum,
            "norm_count": self.norm_count,
            "steps_to": dict(self.steps_to),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self.norm_sum, self.norm_count = state["norm_sum"], state["norm_count"]
        self.steps_to = dict(state["steps_to"])


def first_below(
    norms: NDArray[np.float64], threshold: float, before_sum: float, before_count: int
) -> int | None:
    """The first of these steps at which the mean gradient norm since step 0 is <= threshold.

    None if no step gets there; nan is never below, nor is any step after one. `before_sum` and
    `before_count`: of the norms of all earlier steps.

    Example:
        >>> first_below(np.array([4.0, 2.0, 0.0]), 2.0, before_sum=0.0, before_count=0)
        2
    """
    num_steps = before_count + np.arange(1, len(norms) + 1)
    means = (before_sum + np.cumsum(norms, dtype=np.float64)) / num_steps
    below = np.flatnonzero(means <= threshold)
    return int(below[0]) if len(below) else None
