"""Trainings of the user's own that report losses: noisy descent of 3 + x^2 (nats)."""

from __future__ import annotations

from typing import Any

import numpy as np

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
