"""Lightning's Trainer: lr of every group, every batch, accumulation, resume, what is refused."""

from __future__ import annotations

import csv
import functools
import importlib
import itertools
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from search_spaces.schedule import Schedule
from tests.fakes.followed import (
    NUM_EXAMPLES,
    decaying,
    group_lrs,
    growing,
    head_and_backbone,
    two_groups,
)
from trainables.adapters import ScheduleBatchSampler
from trainables.data.stream import SampleStream

torch.set_num_threads(1)
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
SEED = 3
BOTH = pytest.mark.parametrize("table", [decaying(), growing()], ids=["decaying", "growing"])
pytestmark = [
    pytest.mark.slow,  # importing lightning takes seconds
    pytest.mark.filterwarnings(
        "ignore:The 'train_dataloader' does not have many workers",
        "ignore:You're resuming from a checkpoint that ended before the epoch ended",
        "ignore:Trying to infer the `batch_size`",
        "ignore:Checkpoint directory .* exists and is not empty",
        "ignore:.*LeafSpec.* is deprecated",
        "ignore:Be aware that when using `ckpt_path`, callbacks",
    ),
]


@functools.cache
def lightning() -> Any:
    """The package: imported by the first test of this file, not by everybody who collects it."""
    return pytest.importorskip("lightning.pytorch")


@functools.cache
def net_class() -> Any:
    class Net(lightning().LightningModule):  # type: ignore[misc]
        """Two parameter groups; notes the samples of every batch and the lr of every step."""

        def __init__(self, scheduled: bool = False) -> None:
            super().__init__()
            self.layers = head_and_backbone()
            self.scheduled = scheduled
            self.seen: list[list[int]] = []
            self.used: list[list[float]] = []

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            number, x = batch
            self.seen.append(number.tolist())
            return nn.functional.cross_entropy(self.layers(x), number % 2)

        def configure_optimizers(self) -> Any:
            optimizer = two_groups(self.layers)
            optimizer.register_step_pre_hook(
                lambda optimizer, *_: self.used.append([g["lr"] for g in optimizer.param_groups])
            )
            if self.scheduled:
                return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)]
            return optimizer

    return Net


def follow(loader: DataLoader[Any], **options: Any) -> Any:
    lightning()
    adapter = importlib.import_module("trainables.adapters.lightning")
    return adapter.ScheduleCallback(loader.batch_sampler, **options)


def save_every_5(folder: Path) -> Any:
    return lightning().callbacks.ModelCheckpoint(
        folder, "{step}", every_n_train_steps=5, save_top_k=-1
    )


def make_loader(table: Schedule, accumulation: int) -> DataLoader[Any]:
    data = TensorDataset(torch.arange(NUM_EXAMPLES), torch.randn(NUM_EXAMPLES, 4))
    sampler = ScheduleBatchSampler(table, NUM_EXAMPLES, seed=SEED, accumulation=accumulation)
    return DataLoader(data, batch_sampler=sampler)


def make_trainer(folder: Path, *callbacks: Any, **options: Any) -> Any:
    settings: dict[str, Any] = {
        **{"max_epochs": 1, "accelerator": "cpu", "devices": 1, "logger": False},
        **{"enable_progress_bar": False, "enable_model_summary": False},
        **{"enable_checkpointing": False, "default_root_dir": folder},
    }
    return lightning().Trainer(callbacks=[*callbacks], **(settings | options))


def numbers(table: Schedule) -> list[list[int]]:
    stream = SampleStream(SEED, NUM_EXAMPLES)
    return [stream.take(s.first_sample, s.batch_size).index_B.tolist() for s in table.steps()]


@BOTH
@pytest.mark.parametrize("accumulation", [1, 2])
def test_every_group_and_every_batch_follow_the_table(
    table: Schedule, accumulation: int, tmp_path: Path
) -> None:
    loader, net, told = make_loader(table, accumulation), net_class()(), []
    callback = follow(loader, at_report=lambda module: told.append(module.global_step))
    trainer = make_trainer(tmp_path, callback, accumulate_grad_batches=accumulation)
    trainer.fit(net, loader)
    np.testing.assert_allclose(net.used, group_lrs(table), rtol=1e-14)
    pieces = [net.seen[first::accumulation] for first in range(accumulation)]
    whole = [list(itertools.chain(*parts)) for parts in zip(*pieces, strict=True)]
    assert whole == numbers(table)
    assert told == np.cumsum([len(table.report_steps(k)) for k in (1, 2, 3)]).tolist()


@BOTH
def test_a_training_resumed_from_its_checkpoint_ends_with_the_same_weights(
    table: Schedule, tmp_path: Path
) -> None:
    def fit(ckpt_path: str | None = None) -> Any:
        torch.manual_seed(0)
        loader, net = make_loader(table, 2), net_class()()
        saves = save_every_5(tmp_path)
        trainer = make_trainer(
            tmp_path,
            *(follow(loader), saves),
            accumulate_grad_batches=2,
            enable_checkpointing=True,
        )
        trainer.fit(net, loader, ckpt_path=ckpt_path, weights_only=True)
        return net

    whole = fit()
    resumed = fit(str(tmp_path / "step=5.ckpt"))
    np.testing.assert_allclose(resumed.used, group_lrs(table)[5:], rtol=1e-14)
    assert resumed.seen == whole.seen[10:]
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_epochs": 2}, "24 optimizer steps, but the training has 48: max_epochs=1"),
        ({"max_steps": 20}, "24 optimizer steps, but the training has 20: max_epochs=1"),
        ({"limit_train_batches": 8}, "but the training has 8"),
        ({"accumulate_grad_batches": 2}, "accumulation=1, but the trainer accumulate_grad_"),
    ],
)
def test_what_differs_from_the_table_is_refused_in_one_line(
    options: dict[str, Any], told: str, tmp_path: Path
) -> None:
    loader = make_loader(decaying(), 1)
    trainer = make_trainer(tmp_path, follow(loader), **options)
    with pytest.raises(ValueError, match=re.escape(told)) as error:
        trainer.fit(net_class()(), loader)
    assert "\n" not in str(error.value)


def test_another_loader_and_a_scheduler_of_its_own_are_refused(tmp_path: Path) -> None:
    loader, other = make_loader(decaying(), 1), make_loader(decaying(), 1)
    trainer = make_trainer(tmp_path, follow(other))
    with pytest.raises(ValueError, match="the callback's own"):
        trainer.fit(net_class()(), loader)
    trainer = make_trainer(tmp_path, follow(loader))
    with pytest.raises(ValueError, match="returns 1 with 1 schedulers: return one optimizer"):
        trainer.fit(net_class()(scheduled=True), loader)


def test_a_checkpoint_made_without_the_callback_is_refused(tmp_path: Path) -> None:
    table = decaying()
    saves = save_every_5(tmp_path / "plain")
    make_trainer(tmp_path, saves, enable_checkpointing=True).fit(
        net_class()(), make_loader(table, 1)
    )
    loader = make_loader(table, 1)
    trainer = make_trainer(tmp_path, follow(loader))
    with pytest.raises(ValueError, match="made without this callback"):
        trainer.fit(net_class()(), loader, ckpt_path=tmp_path / "plain" / "step=5.ckpt")


def test_lightnings_own_monitor_tells_the_lr_of_the_step(tmp_path: Path) -> None:
    table, loader = decaying(), make_loader(decaying(), 1)
    logger = lightning().loggers.CSVLogger(tmp_path)
    callbacks = (lightning().callbacks.LearningRateMonitor("step"), follow(loader))
    trainer = make_trainer(tmp_path, *callbacks, logger=logger, log_every_n_steps=1)
    trainer.fit(net_class()(), loader)
    rows = list(csv.DictReader((Path(logger.log_dir) / "metrics.csv").read_text().splitlines()))
    told = [[float(row["lr-SGD/pg1"]), float(row["lr-SGD/pg2"])] for row in rows]
    np.testing.assert_allclose(told, group_lrs(table), rtol=1e-6)
