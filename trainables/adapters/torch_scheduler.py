"""How does torch's optimizer follow a schedule? An LRScheduler whose step is an optimizer step."""

from __future__ import annotations

from typing import Any

from torch import Tensor, optim
from torch.optim.lr_scheduler import LRScheduler

from search_spaces.schedule import Schedule
from trainables.adapters.group_rates import GroupRates

OURS = ("optimizer", "rates")  # no part of the state: made anew from what the scheduler is given


class ScheduleLR(LRScheduler):
    """lr of every parameter group (its own factor times the table's), once per optimizer step.

    Call `step()` after every `optimizer.step()`, as for torch's own by batch. After the last
    optimizer step lr stays; a further `step()` is a ValueError. The state is the number of steps
    done and plain numbers. Of a growing batch it sets the lr alone: `ScheduleBatchSampler` the
    sizes.

    Args:
        optimizer: each group with the lr that it has at the schedule's `base_lr`.
        schedule: the table.
        base_lr: the lr that the schedule's takes the place of, > 0; None = the optimizer's own.
        last_epoch: optimizer steps done before, less 1, where the optimizer goes on from a state
            saved under this scheduler; -1 = none.

    Raises:
        ValueError: see `group_factors` and `GroupRates`.

    Example:
        >>> optimizer = torch.optim.SGD([{"params": head}, {"params": body, "lr": 0.01}], lr=0.1)
        >>> scheduler = ScheduleLR(optimizer, schedule)  # schedule.lr_S[0] is 0.5
        >>> scheduler.get_last_lr()
        [0.5, 0.05]
    """

    def __init__(
        self,
        optimizer: optim.Optimizer,
        schedule: Schedule,
        *,
        base_lr: float | None = None,
        last_epoch: int = -1,
    ) -> None:
        self.rates = GroupRates(schedule, optimizer, base_lr)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Of each group at the step that comes next."""
        self.rates.set_momentum(self.last_epoch)
        return [*self.rates.lrs(self.last_epoch)]

    def go_to(self, number: int) -> None:
        """Set what optimizer step `number` (from 0) uses, whatever was called before."""
        self.last_epoch = number - 1
        self.step()

    def state_dict(self) -> dict[str, Any]:
        """Steps done and lr of the groups; `torch.load(weights_only=True)` reads it."""
        return {name: value for name, value in vars(self).items() if name not in OURS}
