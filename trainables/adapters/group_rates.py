"""Which lr and momentum does each parameter group of an optimizer use at a step of a schedule?"""

from __future__ import annotations

import numpy as np
from torch import optim

from search_spaces.schedule import Schedule
from trainables.parameter_groups import group_factors, set_lrs, set_momentum


class GroupRates:
    """A schedule's lr times each group's own factor, by optimizer step.

    Groups that have a momentum get the schedule's: the recipe's, a searched one, or one that falls
    (momentum_share). A schedule that names none (0 throughout) leaves them theirs.

    Attributes:
        factor_G: of each parameter group; see `group_factors`, which takes optimizer and base_lr.

    Raises:
        ValueError: as `group_factors`, or a schedule that lowers the momentum of an optimizer
            without any.
    """

    def __init__(
        self, schedule: Schedule, optimizer: optim.Optimizer, base_lr: float | None = None
    ) -> None:
        self.schedule, self.optimizer = schedule, optimizer
        self.factor_G = group_factors(optimizer, base_lr)
        self.sets_momentum = bool(np.any(schedule.momentum_S > 0))
        falls = bool(np.any(schedule.momentum_S != schedule.momentum_S[0]))
        if falls and not any("momentum" in g for g in optimizer.param_groups):
            raise ValueError(
                f"the schedule lowers momentum, but {type(optimizer).__name__} has none: take SGD "
                "with momentum, or a schedule without momentum_share."
            )

    def lrs(self, number: int) -> list[float]:
        """Of each group at optimizer step `number` (from 0); past the last step the last one's.

        Raises:
            ValueError: more than one step past the last: the training is longer than the schedule.
        """
        lr = float(self.schedule.lr_S[self._stage(number)])
        return [lr * factor for factor in self.factor_G]

    def set_momentum(self, number: int) -> None:
        """Write that of optimizer step `number`, where the schedule has one."""
        if self.sets_momentum:
            momentum = self.schedule.momentum_S[self._stage(number)]
            set_momentum(self.optimizer, float(momentum))

    def set(self, number: int) -> None:
        """Write what optimizer step `number` uses into the optimizer's groups."""
        set_lrs(self.optimizer, self.lrs(number))
        self.set_momentum(number)

    def _stage(self, number: int) -> int:
        num_steps = self.schedule.num_steps()
        if number > num_steps:
            raise ValueError(
                f"the schedule has {num_steps} optimizer steps, but the training goes on: end it "
                "there, or take the schedule at another length (results export RUN steps=...)."
            )
        return self.schedule.step_at(min(number, num_steps - 1)).stage


def check_length(schedule: Schedule, num_steps: float, how: str) -> None:
    """Refuse a training of another number of optimizer steps; `how`: what makes it equal."""
    if num_steps != schedule.num_steps():
        raise ValueError(
            f"the schedule has {schedule.num_steps()} optimizer steps, but the training has "
            f"{num_steps}: {how}, or take the schedule at this length "
            f"(results export RUN steps={num_steps})."
        )
