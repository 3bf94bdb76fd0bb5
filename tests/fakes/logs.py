"""Logs of somebody's trainings: losses fall in a straight line, seeds differ by a bit."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

STEPS = (0, 50, 100)
# Loss at the last step of each seed; it falls from 4 in a straight line.
ENDS = {"cosine": (3.0, 3.1, 2.9, 3.05, 2.95), "wsd": (2.8, 2.9, 2.7, 2.86, 2.74)}


def rows(ends: Mapping[str, Sequence[float]] = ENDS) -> list[tuple[str, int, int, float]]:
    """(arm, seed, step, loss) of every evaluation."""
    return [
        (arm, seed, step, 4.0 + (end - 4.0) * step / STEPS[-1])
        for arm, own in ends.items()
        for seed, end in enumerate(own)
        for step in STEPS
    ]


def write_csv(path: Path, lines: Iterable[Sequence[object]], header: str) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *lines])
    return path


def write_log(path: Path, ends: Mapping[str, Sequence[float]] = ENDS) -> Path:
    return write_csv(path, rows(ends), "arm,seed,step,val_loss")


def write_events(folder: Path, tag: str = "val/loss") -> None:
    """A TensorBoard folder, a run for each arm and seed."""
    writers = pytest.importorskip("tensorboardX")
    for arm, seed in dict.fromkeys((arm, seed) for arm, seed, *_ in rows()):
        with writers.SummaryWriter(str(folder / arm / f"seed{seed}")) as writer:
            for step, loss in [(r[2], r[3]) for r in rows() if r[:2] == (arm, seed)]:
                writer.add_scalar(tag, loss, step)
                writer.add_scalar("lr", 0.1, step)


def drawn(
    seed: int, means: Mapping[str, float], n: int, sd: float = 0.1
) -> dict[str, list[float]]:
    """Normal ends by arm."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(mean, sd, n).tolist() for name, mean in means.items()}
