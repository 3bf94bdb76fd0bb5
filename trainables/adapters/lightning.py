"""How does Lightning's Trainer follow a schedule? A callback beside the loader's batch sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch

from trainables.adapters.batch_sampler import ScheduleBatchSampler, check_one_process
from trainables.adapters.group_rates import GroupRates, check_length


class ScheduleCallback(lightning.pytorch.Callback):  # type: ignore[misc]
    """Sets what each optimizer step uses, and tells the evaluation points.

    `configure_optimizers` returns the optimizer alone, without a scheduler. The whole training is
    one epoch of Lightning's (max_epochs=1). A training resumed by `ckpt_path` goes on with the
    sample and the lr where it was.

    Args:
        sampler: of the train loader, with accumulation=accumulate_grad_batches.
        base_lr: see ScheduleLR.
        at_report: called with the module at each evaluation point of the schedule.

    Raises:
        ValueError: as the training starts, what it would do differently from the table; one line.
    """

    def __init__(
        self,
        sampler: ScheduleBatchSampler,
        *,
        base_lr: float | None = None,
        at_report: Callable[[Any], object] | None = None,
    ) -> None:
        self.sampler, self.base_lr, self.at_report = sampler, base_lr, at_report
        self.ends = frozenset(sampler.schedule.steps_at_reports)
        self.rates: GroupRates | None = None

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """The loader goes on where the training was."""
        self.sampler.first_step = checkpoint["global_step"]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Check that loader, length and optimizer are the table's, and set the first lr."""
        schedule = self.sampler.schedule
        check_one_process(trainer.world_size)
        _check_parts(trainer, self.sampler)
        check_length(schedule, trainer.estimated_stepping_batches, "max_epochs=1 and no max_steps")
        (optimizer,) = trainer.optimizers
        for group in optimizer.param_groups:
            if trainer.global_step and "initial_lr" not in group:
                raise ValueError("the checkpoint was made without this callback: start anew.")
            group.setdefault("initial_lr", group["lr"])
        self.rates = GroupRates(schedule, optimizer, self.base_lr)
        self.rates.set(trainer.global_step)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Set the next optimizer step's lr; at an evaluation point call `at_report`."""
        assert self.rates is not None, "training has started"
        self.rates.set(trainer.global_step)
        is_stepped = trainer.fit_loop.total_batch_idx % self.sampler.accumulation == (
            self.sampler.accumulation - 1
        )
        if self.at_report is not None and is_stepped and trainer.global_step in self.ends:
            self.at_report(pl_module)


def _check_parts(trainer: Any, sampler: ScheduleBatchSampler) -> None:
    if getattr(trainer.train_dataloader, "batch_sampler", None) is not sampler:
        raise ValueError("the train loader must have batch_sampler=sampler, the callback's own.")
    if trainer.accumulate_grad_batches != sampler.accumulation:
        raise ValueError(
            f"the sampler has accumulation={sampler.accumulation}, but the trainer "
            f"accumulate_grad_batches={trainer.accumulate_grad_batches}: make them equal."
        )
    if trainer.lr_scheduler_configs or len(trainer.optimizers) != 1:
        raise ValueError(
            "a schedule sets the lr of one optimizer, but configure_optimizers returns "
            f"{len(trainer.optimizers)} with {len(trainer.lr_scheduler_configs)} schedulers: "
            "return one optimizer alone."
        )
