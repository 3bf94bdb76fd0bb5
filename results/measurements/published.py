"""What did the papers measure, and on which schedules? To set a run of one's own beside."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path

from search_spaces.families import FAMILIES
from search_spaces.schedule import Schedule, make_schedule

POWERS = (0.1, 0.5, 0.9, 1.0, 2.0, 4.0, 8.0)
DATA = Path(__file__).parent.parent / "data" / "arxiv_2311_08745_fig.json"

# Epochs before the authors' code looks at its stopping rule: `epoch > 10` of epochs from 0.
AUTHORS_MIN_EPOCHS = 11


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedCurve:
    """One schedule's published training: ResNet18 on CIFAR100, batch 128, lr 0.1, 200 epochs.

    Attributes:
        label: the schedule as the paper calls it.
        family: name in FAMILIES; None where the paper gives no formula (`linear C=...`).
        params: as the paper counts them: p; k per epoch (exp's end_ratio = k^200; the paper
            gives no k, 0.94 fits its losses and 0.9 does not); C of the linear decay.
        last_test_accuracy: after epoch 200, in [0, 1]; best_test_accuracy: of the best epoch,
            chosen on test data.
        last_train_loss: mean of batch means, in train mode; train_loss_at: the same by
            completed epochs, empty where unknown.
        num_runs: trainings averaged; no spread was published.
    """

    label: str
    family: str | None
    params: dict[str, float]
    last_test_accuracy: float
    best_test_accuracy: float
    last_train_loss: float
    train_loss_at: dict[int, float]
    num_runs: int


def published_curves() -> list[PublishedCurve]:
    """The twelve published schedules, best last test accuracy first.

    Source: arXiv 2311.08745, a figure of its authors read back from its drawing commands.
    """
    curves = json.loads(DATA.read_text(encoding="utf-8"))["curves"]
    for curve in curves:
        losses = curve["train_loss_at"]
        curve["train_loss_at"] = {int(epoch): loss for epoch, loss in losses.items()}
    return [PublishedCurve(**curve) for curve in curves]


def published_schedules(
    *, epochs: int = 200, lr: float = 0.1, batch_size: int = 128, train_examples: int = 50_000
) -> dict[str, Schedule]:
    """The schedules of the papers' figures, decayed by lr every epoch (the step's: 5 stages).

    Args:
        epochs: >= 5; the exponential keeps its 0.94 per epoch, all others their shape.

    Source: arXiv 2311.08745 Figs 4-7, 13 and 14. Their captions' numbers are lost: 0.94 fits
    the published losses, base 10 is Hundt et al.'s, 1/sqrt(2) the papers' own common decay.
    """
    stage = epochs // 5
    curves = {f"p={p:g}": ("poly", {"p": p}, 1) for p in POWERS} | {
        "cosine": ("cosine", {}, 1),
        "exp": ("exp", {"end_ratio": 0.94**epochs}, 1),
        "cosine_power": ("cosine_power", {"base": 10.0}, 1),
        "step": ("exp", {"end_ratio": math.sqrt(0.5) ** (epochs / stage)}, stage),
    }
    return {
        name: make_schedule(
            functools.partial(FAMILIES[family], **params),
            epochs=epochs,
            train_examples=train_examples,
            interval=interval,
            lr0=lr,
            batch0=batch_size,
        )
        for name, (family, params, interval) in curves.items()
    }
