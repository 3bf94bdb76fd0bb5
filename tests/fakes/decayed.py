"""A user's training that is searched by numbers of its own; one file, as a user has it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from search_spaces.schedule import Schedule
from trainables.user.report import Report


def train(schedule: Schedule, seed: int, report: Report, params: Mapping[str, float]) -> None:
    """Noisy descent of x^2 / 2 along Adam's direction, v an average by beta2."""
    beta2, decay = params.get("beta2", 0.9), params.get("weight_decay", 0.0)
    generator = torch.Generator().manual_seed(seed)
    x, v = torch.ones(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    if report.state is not None:
        x, v = report.state["x"], report.state["v"]
        generator.set_state(report.state["rng"])
    for number in range(report.report + 1, schedule.num_reports + 1):
        for step in schedule.report_steps(number):
            noise = torch.randn(5, generator=generator, dtype=torch.float64)
            gradient = x + noise / math.sqrt(step.batch_size)
            v = beta2 * v + (1 - beta2) * gradient**2
            lr = 0.1 * float(schedule.lr_S[step.stage])
            x = x - lr * (gradient / (v.sqrt() + 0.1) + decay * x)
        loss = float((x**2).mean() / 2)
        state = {"x": x, "v": v, "rng": generator.get_state()}
        report(val_accuracy=math.exp(-loss), test_accuracy=math.exp(-2 * loss), state=state)
