"""Small schedules to follow, and what a training that follows one uses at each step."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from search_spaces.noise_law import NoiseLaw
from search_spaces.schedule import Schedule, make_schedule

NUM_EXAMPLES = 64


def decaying(**changes: object) -> Schedule:
    """lr falls at every step after a warmup of 6, batches of 8: 24 steps in 3 epochs."""
    settings = {"epochs": 3, "interval": 0, "warmup_epochs": 0.75, "lr0": 0.5, "batch0": 8}
    return make_schedule(
        lambda u: 0.1 + 0.9 * (1 - u) ** 2, train_examples=NUM_EXAMPLES, **(settings | changes)
    )


def growing(**changes: object) -> Schedule:
    """Batches of 8, 16, 32 in 3 epochs, lr times 1/sqrt(2) with each doubling: 14 steps."""
    settings = {"epochs": 3, "interval": 1, "lr0": 0.5, "batch0": 8, "split": 0.5}
    return make_schedule(
        lambda u: 2.0 ** (-3 * u), train_examples=NUM_EXAMPLES, **(settings | changes)
    )


def losing_momentum() -> Schedule:
    """Momentum falls from 0.9, lr stays."""
    law = NoiseLaw(momentum=0.9)
    return growing(split=1.0, momentum_share=1.0, law=law)


def lr_by_step(table: Schedule) -> list[float]:
    """Of the table, walked through."""
    return [float(table.lr_S[step.stage]) for step in table.steps()]


def batch_by_step(table: Schedule) -> list[int]:
    return [step.batch_size for step in table.steps()]


def head_and_backbone() -> nn.Module:
    """Two layers for two parameter groups."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def two_groups(model: nn.Module, **kwargs: object) -> torch.optim.SGD:
    """The head at the optimizer's lr, the backbone at a tenth of it."""
    backbone, _, head = model
    groups = [
        {"params": [*head.parameters()]},
        {"params": [*backbone.parameters()], "lr": 0.02},
    ]
    return torch.optim.SGD(groups, **({"lr": 0.2} | kwargs))


FACTORS = (1.0, 0.02 / 0.2)  # of its groups


def group_lrs(table: Schedule, factors: tuple[float, ...] = FACTORS) -> np.ndarray:
    """lr of each group at each step: the table times the group's factor."""
    return np.outer(lr_by_step(table), factors)
