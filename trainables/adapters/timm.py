"""How does timm's training follow a schedule? A scheduler that counts optimizer updates."""

from __future__ import annotations

from typing import Any

import timm.scheduler.scheduler
from torch import optim

from search_spaces.schedule import Schedule
from trainables.adapters.group_rates import GroupRates
from trainables.parameter_groups import set_lrs


class TimmScheduleLR(timm.scheduler.scheduler.Scheduler):  # type: ignore[misc]
    """timm's `step_update(num_updates)` sets what the next update uses; `step(epoch)` nothing.

    Layer decay (`lr_scale`) and an lr of a group's own multiply the table's. Nothing is kept but
    what it is given: `step_update(done)` after a restart is all (timm's train.py does so).

    Arguments and errors as of ScheduleLR.
    """

    def __init__(
        self, optimizer: optim.Optimizer, schedule: Schedule, *, base_lr: float | None = None
    ) -> None:
        super().__init__(optimizer, param_group_field="lr", t_in_epochs=False)
        self.rates = GroupRates(schedule, optimizer, base_lr)
        self.step_update(0)

    def _get_lr(self, t: int) -> list[float]:
        """Of each group after `t` updates, `lr_scale` included."""
        self.rates.set_momentum(t)
        return self.rates.lrs(t)

    def update_groups(self, values: list[float]) -> None:
        """Write each group's lr, which holds its `lr_scale` already."""
        set_lrs(self.optimizer, values)

    def state_dict(self) -> dict[str, Any]:
        """Plain values; the schedule and the groups' factors are made anew."""
        return {k: v for k, v in super().state_dict().items() if k != "rates"}
