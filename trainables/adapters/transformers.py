"""How does Transformers' Trainer follow a schedule? By its scheduler, its loader, a callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader, IterableDataset
from transformers import Trainer, TrainerCallback

from search_spaces.schedule import Schedule
from trainables.adapters.batch_sampler import ScheduleBatchSampler, check_one_process
from trainables.adapters.group_rates import check_length
from trainables.adapters.torch_scheduler import ScheduleLR


class ScheduleCallback(TrainerCallback):  # type: ignore[misc]
    """Keeps the scheduler at the Trainer's own count of steps, and tells the evaluation points.

    A step that fp16 skipped has used its samples: the next one takes the next lr all the same.
    """

    def __init__(self, scheduler: ScheduleLR, at_report: Callable[[], object] | None) -> None:
        self.scheduler, self.at_report = scheduler, at_report
        self.ends = frozenset(scheduler.rates.schedule.steps_at_reports)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before the first micro-batch of an optimizer step."""
        if self.scheduler.last_epoch != state.global_step:
            self.scheduler.go_to(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After an optimizer step."""
        if self.at_report is not None and state.global_step in self.ends:
            self.at_report()


def follow_schedule(
    trainer: Trainer,
    schedule: Schedule,
    *,
    seed: int = 0,
    base_lr: float | None = None,
    at_report: Callable[[], object] | None = None,
) -> ScheduleCallback:
    """Let this Trainer (or a subclass's) train along the schedule, each optimizer step of it.

    The optimizer is the Trainer's own, or the one it was given; lr of each parameter group is
    the table's times the group's factor, logged and saved by the Trainer as any scheduler's.
    Batches are the table's too, in the order of `ScheduleBatchSampler`, each cut into
    `gradient_accumulation_steps` micro-batches; the Trainer counts the whole training as one
    epoch. `train(resume_from_checkpoint=...)` goes on as without a schedule.

    Args:
        trainer: with max_steps=schedule.num_steps() and per_device_train_batch_size times
            gradient_accumulation_steps equal to the first batch of the schedule.
        schedule: the table.
        seed: of the order of samples. base_lr: see ScheduleLR; with the Trainer's own optimizer
            learning_rate is it, and its size has no influence.
        at_report: called at each evaluation point of the schedule.

    Raises:
        ValueError: what the Trainer would do differently from the table; one line.
    """
    args = trainer.args
    check_one_process(args.world_size)
    _check_trainer(trainer)
    check_length(schedule, args.max_steps, f"max_steps={schedule.num_steps()}")
    batch, first = args.train_batch_size * args.gradient_accumulation_steps, schedule.batch_size_S
    if batch != first[0]:
        raise ValueError(
            f"the schedule begins with batches of {first[0]}, but the training with "
            f"{args.train_batch_size} x gradient_accumulation_steps="
            f"{args.gradient_accumulation_steps}, which is {batch}: make them equal."
        )
    sampler = ScheduleBatchSampler(
        schedule,
        len(trainer.train_dataset),
        seed=seed,
        accumulation=args.gradient_accumulation_steps,
    )
    scheduler = ScheduleLR(trainer.create_optimizer(), schedule, base_lr=base_lr)
    callback = ScheduleCallback(scheduler, at_report)
    make_loader = trainer.get_train_dataloader
    trainer.lr_scheduler = scheduler
    trainer.get_train_dataloader = lambda: _with_batches(trainer, make_loader(), sampler)
    trainer.add_callback(callback)
    return callback


def _check_trainer(trainer: Trainer) -> None:
    """Refuse what takes scheduler, loader or count of steps out of our hands."""
    args, data = trainer.args, trainer.train_dataset
    refused = {
        "DeepSpeed or FSDP": trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled,
        "model_init": trainer.model_init is not None,
        "a scheduler of its own": trainer.lr_scheduler is not None,
        "auto_find_batch_size": args.auto_find_batch_size,
        "ignore_data_skip": args.ignore_data_skip,
        "a dataset without a length": isinstance(data, IterableDataset)
        or not hasattr(data, "__len__"),
    }
    for what, is_so in refused.items():
        if is_so:
            raise ValueError(f"a Trainer with {what} cannot follow a schedule: leave that out.")


def _with_batches(trainer: Trainer, loader: Any, sampler: ScheduleBatchSampler) -> Any:
    """The Trainer's own loader (columns, collator, workers) with these batches."""
    kept = ("collate_fn", "num_workers", "pin_memory", "persistent_workers", "worker_init_fn")
    options = {name: getattr(loader, name) for name in (*kept, "prefetch_factor", "in_order")}
    options["multiprocessing_context"] = loader.multiprocessing_context
    return trainer.accelerator.prepare(
        DataLoader(loader.dataset, batch_sampler=sampler, **options)
    )
