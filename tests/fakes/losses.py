"""Trainings of the user's own: noisy descents, by a loss of 3 + x^2 (nats) or by accuracy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

ENTROPY = 3.0  # nats; what is left at the minimum


def fall(schedule: Any, seed: int, report: Any) -> None:
    """Reports val_loss and test_loss, and a number of its own (the distance)."""
    rng = np.random.default_rng(seed)
    x = 1.0
    for epoch in range(1, schedule.num_epochs + 1):
        for step in schedule.epoch_steps(epoch):
            noise = rng.normal() / np.sqrt(step.batch_size)
            with np.errstate(over="ignore", invalid="ignore"):
                x -= float(schedule.lr_S[step.stage]) * (x + noise)
        with np.errstate(over="ignore", invalid="ignore"):
            loss = ENTROPY + x * x
        report(val_loss=loss, test_loss=loss + 0.01, distance=abs(x))


def fall_silently(schedule: Any, seed: int, report: Any) -> None:
    """Never says what its objective is."""
    report(val_losss=3.0)


def descend(schedule: Any, seed: int, report: Any) -> None:
    """Noisy gradient descent of x^2 / 2 with heavy ball; the accuracy is exp(-x^2 / 2)."""
    generator = torch.Generator().manual_seed(seed)
    x, velocity = torch.ones(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    if report.state is not None:
        x, velocity = report.state["x"], report.state["velocity"]
        generator.set_state(report.state["rng"])
    for epoch in range(report.epoch + 1, schedule.num_epochs + 1):
        for step in schedule.epoch_steps(epoch):
            noise = torch.randn(5, generator=generator, dtype=torch.float64)
            velocity *= float(schedule.momentum_S[step.stage])
            velocity += x + noise / math.sqrt(step.batch_size)
            x -= float(schedule.lr_S[step.stage]) * velocity
        loss = float((x**2).mean() / 2)
        report(
            val_accuracy=math.exp(-loss),
            val_loss=loss,
            train_loss=loss,
            train_accuracy=math.exp(-loss),
            test_correct=x.abs() < 0.5,
            test_loss=2 * loss,
            state={"x": x, "velocity": velocity, "rng": generator.get_state()},
        )
