"""timm's scheduler, with the layer decay of timm's own optimizer factory."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch

from search_spaces.schedule import Schedule
from tests.fakes.followed import (
    FACTORS,
    decaying,
    group_lrs,
    growing,
    head_and_backbone,
    losing_momentum,
    lr_by_step,
    two_groups,
)

torch.set_num_threads(1)
DECAY = 0.5
pytestmark = pytest.mark.slow  # importing timm takes seconds


def follow(optimizer: torch.optim.Optimizer, table: Schedule) -> Any:
    """timm is imported by the first test of this file, not by everybody who collects it."""
    pytest.importorskip("timm")
    return importlib.import_module("trainables.adapters.timm").TimmScheduleLR(optimizer, table)


@pytest.fixture(scope="module")
def layers() -> torch.optim.Optimizer:
    """AdamW on a tiny vision transformer, each layer at half the lr of the next."""
    timm, optim = pytest.importorskip("timm"), pytest.importorskip("timm.optim")
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, embed_dim=12, depth=2, num_heads=2, num_classes=3
    )
    return optim.create_optimizer_v2(model, "adamw", lr=0.2, layer_decay=DECAY)


def train_like_timm(
    optimizer: torch.optim.Optimizer, scheduler: Any, first: int, last: int, by_epoch: int
) -> list[list[float]]:
    """lr of each group at each update, called as timm's train.py calls a scheduler."""
    seen = []
    for num_updates in range(first + 1, last + 1):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step_update(num_updates=num_updates, metric=1.0)
        if num_updates % by_epoch == 0:
            scheduler.step(num_updates // by_epoch, metric=1.0)
    return seen


@pytest.mark.parametrize("table", [decaying(), growing()], ids=["decaying", "growing"])
def test_layer_decay_multiplies_the_tables_lr_at_every_update(
    table: Schedule, layers: torch.optim.Optimizer
) -> None:
    scales = [group["lr_scale"] for group in layers.param_groups]
    assert {DECAY**2, DECAY, 1.0} <= set(scales)
    seen = train_like_timm(layers, follow(layers, table), 0, table.num_steps(), 8)
    np.testing.assert_allclose(seen, group_lrs(table, tuple(scales)), rtol=1e-14)


def test_groups_of_ones_own_and_a_restart_by_the_count_of_updates() -> None:
    table, optimizer = decaying(), two_groups(head_and_backbone())
    train_like_timm(optimizer, follow(optimizer, table), 0, 10, 8)
    resumed = two_groups(head_and_backbone())
    resumed.load_state_dict(optimizer.state_dict())
    scheduler = follow(resumed, table)
    scheduler.step_update(10)
    seen = train_like_timm(resumed, scheduler, 10, table.num_steps(), 8)
    np.testing.assert_allclose(seen, group_lrs(table)[10:], rtol=1e-14)
    assert FACTORS[1] != 1
    scheduler.load_state_dict(scheduler.state_dict())
    with pytest.raises(ValueError, match="has 24 optimizer steps"):
        scheduler.step_update(26)


def test_momentum_is_set_where_the_schedule_lowers_it() -> None:
    table, optimizer = losing_momentum(), two_groups(head_and_backbone(), momentum=0.9)
    scheduler = follow(optimizer, table)
    scheduler.step_update(table.num_steps() - 1)
    assert {g["momentum"] for g in optimizer.param_groups} == {float(table.momentum_S[-1])}
    assert optimizer.param_groups[0]["lr"] == lr_by_step(table)[-1]
