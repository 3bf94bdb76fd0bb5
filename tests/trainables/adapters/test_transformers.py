"""Transformers' Trainer: lr of every group, every batch, accumulation, resume, what is refused."""

from __future__ import annotations

import functools
import importlib
import itertools
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from search_spaces.schedule import Schedule
from tests.fakes.followed import (
    NUM_EXAMPLES,
    batch_by_step,
    decaying,
    group_lrs,
    growing,
    head_and_backbone,
    lr_by_step,
    two_groups,
)
from trainables.adapters import ScheduleLR
from trainables.data.stream import SampleStream

torch.set_num_threads(1)
SEED = 3
pytestmark = pytest.mark.slow  # importing transformers takes seconds
BOTH = pytest.mark.parametrize("table", [decaying(), growing()], ids=["decaying", "growing"])


class Numbered(Dataset[dict[str, Tensor]]):
    """Samples that say which they are."""

    def __len__(self) -> int:
        return NUM_EXAMPLES

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(index)
        return {"number": torch.tensor(index), "x": torch.randn(4, generator=generator)}


class Net(nn.Module):
    """Notes the samples of every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = head_and_backbone()
        self.seen: list[list[int]] = []

    def forward(self, number: Tensor, x: Tensor) -> dict[str, Tensor]:
        self.seen.append(number.tolist())
        logits = self.layers(x)
        return {"loss": nn.functional.cross_entropy(logits, number % 2), "logits": logits}


@functools.cache
def transformers() -> Any:
    """The package: imported by the first test of this file, not by everybody who collects it."""
    pytest.importorskip("accelerate")
    return pytest.importorskip("transformers")


@functools.cache
def trainer_class() -> Any:
    """A subclass, as one writes for a loss of one's own."""
    return type("Subclass", (transformers().Trainer,), {})


def follow_schedule(trainer: Any, table: Schedule, **options: Any) -> Any:
    adapter = importlib.import_module("trainables.adapters.transformers")
    return adapter.follow_schedule(trainer, table, **options)


class Trained:
    """A Trainer with two parameter groups, and the lr of each at each optimizer step."""

    def __init__(self, folder: Path, **options: Any) -> None:
        settings: dict[str, Any] = {
            **{"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
            **{"report_to": "none", "disable_tqdm": True, "use_cpu": True},
            **{"save_strategy": "no", "logging_steps": 1, "dataloader_pin_memory": False},
            **{"max_steps": 24, "max_grad_norm": 0.0},
        }
        args = transformers().TrainingArguments(str(folder), **(settings | options))
        self.model = Net()
        self.optimizer = two_groups(self.model.layers)
        self.trainer = trainer_class()(
            self.model, args, train_dataset=Numbered(), optimizers=(self.optimizer, None)
        )
        self.used: list[list[float]] = []
        self.optimizer.register_step_pre_hook(
            lambda optimizer, *_: self.used.append([g["lr"] for g in optimizer.param_groups])
        )


def numbers(table: Schedule) -> list[list[int]]:
    stream = SampleStream(SEED, NUM_EXAMPLES)
    return [stream.take(s.first_sample, s.batch_size).index_B.tolist() for s in table.steps()]


@BOTH
def test_accumulation_two_groups_and_every_batch_follow_the_table(
    table: Schedule, tmp_path: Path
) -> None:
    trained = Trained(tmp_path, max_steps=table.num_steps())
    told: list[int] = []
    follow_schedule(
        trained.trainer,
        table,
        seed=SEED,
        at_report=lambda: told.append(trained.trainer.state.global_step),
    )
    trained.trainer.train()
    np.testing.assert_allclose(trained.used, group_lrs(table), rtol=1e-14)
    seen = trained.model.seen
    assert len(seen) == 2 * table.num_steps()
    pairs = zip(seen[::2], seen[1::2], strict=True)
    assert [a + b for a, b in pairs] == numbers(table)
    assert [len(a) for a in seen[::2]] == [b // 2 for b in batch_by_step(table)]
    logged = [row["learning_rate"] for row in trained.trainer.state.log_history[:-1]]
    assert logged == lr_by_step(table)  # what the Trainer tells its trackers
    assert told == np.cumsum([len(table.report_steps(k)) for k in (1, 2, 3)]).tolist()


@BOTH
def test_a_trainer_resumed_from_its_checkpoint_ends_with_the_same_weights(
    table: Schedule, tmp_path: Path
) -> None:
    options = {"max_steps": table.num_steps(), "save_strategy": "steps", "save_steps": 5}
    whole = Trained(tmp_path, **options)
    follow_schedule(whole.trainer, table, seed=SEED)
    whole.trainer.train()
    resumed = Trained(tmp_path, **options)
    follow_schedule(resumed.trainer, table, seed=SEED)
    resumed.trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    np.testing.assert_allclose(resumed.used, group_lrs(table)[5:], rtol=1e-14)
    assert resumed.model.seen == whole.model.seen[10:]
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_trainers_own_optimizer_uses_the_table_whatever_its_learning_rate(
    tmp_path: Path,
) -> None:
    args = transformers().TrainingArguments(
        str(tmp_path),
        **{"per_device_train_batch_size": 8, "max_steps": 24, "learning_rate": 0.123},
        **{"weight_decay": 0.1, "report_to": "none", "disable_tqdm": True, "use_cpu": True},
        **{"save_strategy": "no", "logging_steps": 1, "dataloader_pin_memory": False},
        **{"dataloader_num_workers": 1, "dataloader_prefetch_factor": 4},
    )
    trainer = transformers().Trainer(Net(), args, train_dataset=Numbered())
    follow_schedule(trainer, decaying())
    trainer.train()
    assert len(trainer.optimizer.param_groups) == 2  # with and without weight decay
    logged = [row["learning_rate"] for row in trainer.state.log_history[:-1]]
    assert logged == lr_by_step(decaying())


def test_a_step_that_was_skipped_takes_its_place_in_the_table(tmp_path: Path) -> None:
    # As after an overflow in fp16: the Trainer counts the step, but not the scheduler.
    trained = Trained(tmp_path)
    callback = follow_schedule(trained.trainer, decaying())
    trained.optimizer.step()
    state = SimpleNamespace(global_step=7)
    callback.on_step_begin(trained.trainer.args, state, None)
    lrs = [group["lr"] for group in trained.optimizer.param_groups]
    assert lrs == pytest.approx(group_lrs(decaying())[7].tolist())


class Stream(IterableDataset[Any]):
    """The same samples, again and again, without a length."""

    def __iter__(self) -> Any:
        return (Numbered()[index % NUM_EXAMPLES] for index in itertools.count())


def test_a_stream_without_a_length_follows_lr_alone(tmp_path: Path) -> None:
    trained = Trained(tmp_path)
    trained.trainer.train_dataset = Stream()
    trained.trainer.lr_scheduler = ScheduleLR(trained.optimizer, decaying())
    trained.trainer.train()
    np.testing.assert_allclose(trained.used, group_lrs(decaying()), rtol=1e-14)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_steps": 20}, "24 optimizer steps, but the training has 20: max_steps=24"),
        ({"max_steps": -1}, "24 optimizer steps, but the training has -1: max_steps=24"),
        ({"per_device_train_batch_size": 8}, "batches of 8, but the training with 8 x "),
        ({"gradient_accumulation_steps": 1}, "which is 4: make them equal"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size cannot follow a schedule"),
        ({"ignore_data_skip": True}, "ignore_data_skip cannot follow a schedule"),
    ],
)
def test_what_differs_from_the_table_is_refused_in_one_line(
    options: dict[str, Any], told: str, tmp_path: Path
) -> None:
    trained = Trained(tmp_path, **options)
    with pytest.raises(ValueError, match=re.escape(told)) as error:
        follow_schedule(trained.trainer, decaying())
    assert "\n" not in str(error.value)


def test_what_takes_the_scheduler_or_the_loader_away_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Trained(tmp_path)
    trained.trainer.train_dataset = Stream()
    with pytest.raises(ValueError, match="a dataset without a length"):
        follow_schedule(trained.trainer, decaying())
    trained.trainer.train_dataset = Numbered()
    for attribute, words in {
        "is_deepspeed_enabled": "DeepSpeed or FSDP cannot follow",
        "is_fsdp_enabled": "DeepSpeed or FSDP cannot follow",
        "model_init": "model_init cannot follow",
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(trained.trainer, attribute, True)
            with pytest.raises(ValueError, match=words):
                follow_schedule(trained.trainer, decaying())
    follow_schedule(trained.trainer, decaying())
    with pytest.raises(ValueError, match="a scheduler of its own"):
        follow_schedule(trained.trainer, decaying())
    several = SimpleNamespace(args=SimpleNamespace(world_size=2))
    with pytest.raises(ValueError, match="one process, but this training has 2"):
        follow_schedule(several, decaying())


def test_batches_that_accumulation_does_not_divide_are_refused(tmp_path: Path) -> None:
    odd = growing(batch0=6, split=0.2)
    assert odd.batch_size_S[0] == 6
    assert np.any(odd.batch_size_S % 2)
    options = {"per_device_train_batch_size": 3, "max_steps": odd.num_steps()}
    with pytest.raises(ValueError, match="a multiple of the 2 batches that are accumulated"):
        follow_schedule(Trained(tmp_path, **options).trainer, odd)
