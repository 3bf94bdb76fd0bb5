"""Published trainings by formula, in the files and columns that benchmarks/published.py reads."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

LRS = (1e-3, 2e-3, 3e-3)
SHARES = (0.1, 0.8)  # of wsd's cooldown
LENGTHS = (15_000, 25_000, 35_000, 50_000)
STEPS = {"early": (0, 100, 150), "late": (0, 100, 200)}
SPREAD = (-0.002, -0.001, 0.0, 0.001, 0.002, 0.003)  # of the six seeds of an arm
GAP = 0.05  # nats that the arm `late` lies above `early` at equal steps


def complete_loss(lr: float, share: float, length: int) -> float:
    """A small lr and a small share are best, at every length."""
    return 3 + 10 * lr + 1e-3 * share + 1000 / length


def prefix_loss(lr: float, share: float, iteration: int) -> float:
    """On the way it is the other way round."""
    return 5 - 10 * lr - 1e-3 * share - iteration / 1e5


def write_published(folder: Path) -> None:
    """All three files."""
    folder.mkdir(parents=True, exist_ok=True)
    runs, curves = [], []
    for lr in LRS:
        runs.append(_run(lr, 0.0, 50_000, name="trunk", loss=9.0))
        curves += _curve(runs[-1], range(0, 50_000, 5_000))
        for share in SHARES:
            for length in LENGTHS:
                runs.append(_run(lr, share, length, loss=complete_loss(lr, share, length)))
                curves += _curve(runs[-1], range(round((1 - share) * length), length, 5_000))
    best = LRS[0], SHARES[0]
    # Left out: a cosine whose end is not told, and another model. Both would spoil the order.
    runs.append(_run(*best, 15_000, name="untold", loss=99.0) | {"scheduler": "cos"})
    runs.append(_run(*best, 15_000, name="other", loss=99.0) | {"n_layer": 24})
    # A repeat, 0.001 nats above: their standard deviation is 0.001 / sqrt(2).
    runs.append(_run(*best, 50_000, name="again", loss=complete_loss(*best, 50_000) + 0.001))
    pq.write_table(pa.Table.from_pylist(runs), folder / "llm_schedules_runs.parquet")
    pq.write_table(pa.Table.from_pylist(curves), folder / "llm_schedules_curves.parquet")
    with (folder / "speedrun_losses.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["arm", "seed", "step", "val_loss"])
        for arm, steps in STEPS.items():
            for seed, extra in enumerate(SPREAD):
                rows.writerows([arm, seed, step, arm_loss(arm, step) + extra] for step in steps)


def arm_loss(arm: str, step: int) -> float:
    """Of a seed without luck; `late` is at its end where `early` was, 50 steps before."""
    return 3.5 - 0.001 * step + (GAP if arm == "late" else 0.0)


def _run(lr: float, share: float, length: int, *, loss: float, name: str = "") -> dict[str, Any]:
    return {
        "run": f"{name} {lr} {share} {length}",
        "group": "main",
        "n_layer": 12,
        "n_embd": 768,
        "dataset": "slimpajama",
        "sequences_per_step": 200,
        "sequence_length": 512,
        "iterations": length,
        "warmup_steps": 300,
        "scheduler": "wsd",
        "cooldown_share": share,
        "cooldown_shape": "linear",
        "cos_final_lr": None,
        "lr": lr,
        "weight_decay": 0.1,
        "final_val_loss": loss,
    }


def _curve(run: dict[str, Any], iterations: range) -> list[dict[str, Any]]:
    """A trunk's does not know the share."""
    lr, share = run["lr"], run["cooldown_share"]
    return [
        {"run": run["run"], "iteration": i, "val_loss": prefix_loss(lr, share, i)}
        for i in iterations
    ]
