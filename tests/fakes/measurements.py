"""Runs with the papers' measurements, of known size: fixtures of the tests about them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr

import results
from results.records.schema import epoch_row, trial_row
from results.records.store import RunStore
from search_spaces.records import Status
from search_spaces.trial import TrialConfig
from tests.fakes.results import START, make_epochs, make_outcome, make_recipe, make_trial

T_2 = 4.302652729911275  # 97.5% quantile of Student's t with 2 degrees of freedom
MEASUREMENTS = {
    "sharpness": {"rho": 2e-4, "adaptive": True, "examples": 64, "batch": 32, "iterations": 20},
    "noise": {"every": 2, "estimator": "two_batch", "batch_norm": "eval"},
    "critical": {"epsilon": [0.5, 1.0], "min_epochs": 1},
}
EDGES = np.linspace(-5.0, 5.0, 82)
NUM_PARAMS = 10_000


def constant_trial(
    lr: float = 0.1, batch: int = 32, *, replicate: int = 0, **recipe: object
) -> TrialConfig:
    """One training at constant lr and batch; every (lr, batch) is an arm of its own."""
    made = make_recipe(measurements=MEASUREMENTS, **{"momentum": 0.0, **recipe})
    trial = make_trial("lr_batch", role="confirm", replicate=replicate, recipe=made)
    delta = lr / math.sqrt(batch)
    return replace(
        trial,
        space=f"lr_batch batch0={batch},lr0={lr:g}",
        params={"interval": 1, "delta0": delta, "split": 1.0, "lr0": lr, "batch0": batch},
        lr0=lr,
    )


def record(
    store: RunStore,
    trial: TrialConfig,
    *,
    status: Status = "completed",
    accuracy: float = 0.9,
    epochs: Mapping[int, Mapping[str, Any]] | None = None,
    **measured: object,
) -> None:
    """Record a trial with what was measured: by epoch, and of the whole training."""
    records = make_epochs(trial, accuracy)
    for row in records:
        measured_row = replace(row, **(epochs or {}).get(row.epoch, {}))
        store.add_epochs([epoch_row(store.run_id, trial, 0, measured_row)])
    outcome = replace(make_outcome(trial, records, status=status, test=accuracy), **measured)
    store.add_trial(
        trial_row(
            store.run_id, trial, status=status, attempt=0, outcome=outcome,
            epochs_done=len(records), host="fakehost", started_at=START, ended_at=START,
            error=None,
        )
    )  # fmt: skip


def noise(c2: float, norm: float = 1.0, largest: float = 2.0) -> dict[str, float]:
    return {
        "noise_c2": c2,
        "noise_c2_low": 0.5 * c2,
        "noise_c2_high": 1.5 * c2,
        "gradient_norm": norm,
        "max_gradient_norm": largest,
    }


def sample(
    norm: float = 1.0, batch: int = 32, scale: float = 1.0, kurtosis: float = 0.0, ks: float = 0.0
) -> dict[str, str]:
    """Two mini-batches whose components are normal, `scale` times as wide as they should be."""
    counts = 2 * NUM_PARAMS * np.diff(ndtr(EDGES / scale))
    statistics = {
        "batch_size": batch,
        "num_params": NUM_PARAMS,
        "gradient_norm": 3.0,
        "norm_M": [norm, norm],
        "skewness_M": [0.1, -0.1],
        "excess_kurtosis_M": [kurtosis - 0.01, kurtosis + 0.01],
        "ks_M": [ks, ks],
        "edges": EDGES.tolist(),
        "counts": counts.tolist(),
    }
    return {"noise_sample": json.dumps(statistics)}


def write_steps(
    path: Path, steps: Mapping[int, Sequence[int | None]], **recipe: object
) -> results.Run:
    """A run at lr 0.1 with these steps to epsilon = 0.5, by batch and seed."""
    with RunStore.create(path, {}, "") as store:
        for batch, seeds in steps.items():
            for replicate, count in enumerate(seeds):
                trial = constant_trial(0.1, batch, replicate=replicate, **recipe)
                record(store, trial, steps_to_epsilon=json.dumps({"0.5": count}))
    return results.load(path)


def write_measured(path: Path) -> results.Run:
    """Three batches and two lrs, three seeds and a diverged one, everything measured."""

    with RunStore.create(path, {}, "") as store:
        for lr in (0.1, 0.5):
            for batch in (8, 32, 128):
                for seed in range(3):
                    c2 = 100.0 * batch + seed
                    record(
                        store,
                        constant_trial(lr, batch, replicate=seed),
                        accuracy=0.8 + 0.01 * seed + 0.02 * lr,
                        epochs={
                            2: noise(c2) | sample(seed + 1, batch),
                            6: noise(3 * c2) | sample(seed + 2, batch, kurtosis=9, ks=0.2),
                        },
                        sharpness_loss=1e-3 * batch / lr * (1 + 0.1 * seed),
                        steps_to_epsilon=json.dumps({"0.5": 20_000 // batch + seed, "1.0": None}),
                    )
        record(store, constant_trial(0.1, 8, replicate=3), status="diverged")
    return results.load(path)
