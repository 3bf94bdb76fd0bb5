"""A small realistic run, written through RunStore: the fixture of all tests about results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from results.records.schema import epoch_row, trial_row
from results.records.segments import read_manifest, write_manifest
from results.records.store import RunStore
from search_spaces import SPACES
from search_spaces.records import EpochRecord, Outcome, Status
from search_spaces.space import SearchSpace
from search_spaces.trial import Recipe, Role, TrialConfig, derive_seed

START = datetime(2026, 11, 21, 7, 15, tzinfo=UTC)
NUM_TEST_IMAGES = 360
# True accuracy of each arm at its best setting; the fake training adds noise.
SKILL = {"poly": 0.93, "cosine": 0.92, "baseline": 0.90}
# What a confirm seed adds to every arm, and to one arm.
SEED_LUCK = (0.006, -0.004, 0.001, 0.003, -0.006)
ARM_LUCK = (0.003, -0.002, -0.004, 0.001)


def make_recipe(**changes: object) -> Recipe:
    recipe = Recipe(
        workload="digits",
        dataset="digits",
        dataset_path=None,
        data_fingerprint="f00d",
        pool_examples=1437,
        train_examples=1200,
        num_classes=10,
        model="mlp",
        width=32,
        optimizer="sgd",
        momentum=0.9,
        nesterov=False,
        weight_decay=5e-4,
        clip_norm=None,
        label_smoothing=0.0,
        epochs=6,
        warmup_epochs=0.0,
        batch0=32,
        batch_max=None,
    )
    return replace(recipe, **changes)  # type: ignore[arg-type]


RECIPE = make_recipe()
LR_REF = 0.05
DELTA_REF = RECIPE.law.delta(LR_REF, RECIPE.batch0)


def make_space(name: str, recipe: Recipe = RECIPE) -> SearchSpace:
    return SPACES[name].resolve(epochs=recipe.epochs, delta_ref=DELTA_REF)


def make_trial(
    space: str = "poly",
    params: Mapping[str, float] | None = None,
    *,
    role: Role = "search",
    replicate: int = 0,
    recipe: Recipe = RECIPE,
    horizon: float = 1.0,
    run_seed: int = 0,
) -> TrialConfig:
    family = "cosine" if space == "baseline" else SPACES[space].family
    curve_params = {"p": 0.9} if family == "poly" else {}
    values = {"interval": 1, "delta0": DELTA_REF, "split": 1.0, **curve_params, **(params or {})}
    return TrialConfig(
        space=space,
        family=family,
        params=values,
        lr0=recipe.law.lr(values["delta0"], recipe.batch0),
        recipe=recipe,
        role=role,
        replicate=replicate,
        seed=derive_seed(run_seed, role, replicate),
        horizon=horizon,
    )


def make_epochs(trial: TrialConfig, accuracy: float) -> list[EpochRecord]:
    """Curves that rise to `accuracy`, with the schedule's own lr, batch and delta."""
    table, records, seen = trial.schedule, [], 0
    rng = np.random.default_rng(trial.seed)
    for epoch in range(1, table.num_epochs + 1):
        steps = list(table.steps(seen, table.epoch_end(epoch)))
        stage, seen = steps[-1].stage, steps[-1].first_sample + steps[-1].batch_size
        reached = accuracy * (1 - math.exp(-4 * epoch / table.num_epochs))
        value = float(np.clip(reached + rng.normal(0, 0.004), 0.1, 1))
        records.append(
            EpochRecord(
                epoch=epoch,
                stage=stage,
                lr=float(table.lr_S[stage]),
                batch_size=int(table.batch_size_S[stage]),
                batch_capped=bool(table.capped_S[stage]),
                momentum=trial.recipe.momentum,
                delta=float(table.delta_S[stage]),
                decay_rate=float(table.decay_rate_S[stage]),
                num_steps=len(steps),
                samples_seen=seen,
                train_loss=2.3 * (1 - value) + 0.05,
                train_accuracy=min(1.0, value + 0.02),
                val_loss=2.3 * (1 - value) + 0.1,
                val_accuracy=value,
                seconds=0.5,
                eval_seconds=0.05,
                images_per_second=2400.0,
            )
        )
    return records


def make_outcome(
    trial: TrialConfig, records: list[EpochRecord], *, status: Status, test: float
) -> Outcome:
    confirm = trial.role == "confirm"
    correct = np.arange(NUM_TEST_IMAGES) < round(test * NUM_TEST_IMAGES)
    last = records[-1]
    return Outcome(
        status=status,
        objective=(
            trial.recipe.diverged_objective
            if status == "diverged"
            else last.value(trial.recipe.objective)
        ),
        best_val_accuracy=max(r.val_accuracy for r in records),
        val_loss=last.val_loss,
        final_train_loss=0.1,
        final_train_accuracy=0.98,
        test_loss=0.3 if confirm else None,
        test_accuracy=test if confirm else None,
        test_correct=np.packbits(correct).tobytes() if confirm else None,
        samples_seen=last.samples_seen,
        optimizer_steps=sum(r.num_steps for r in records),
        train_seconds=sum(r.seconds for r in records),
        num_params=4810,
        peak_memory_bytes=150_000_000,
        device="cpu",
    )


def edit_manifest(run_dir: Path, **changes: object) -> None:
    """Other fields in a run's manifest, as if it had been written with them."""
    write_manifest(run_dir, read_manifest(run_dir) | changes)


def write_trial(
    store: RunStore,
    trial: TrialConfig,
    *,
    accuracy: float = 0.9,
    status: Status = "completed",
    attempt: int = 0,
    started_at: datetime = START,
    epochs: int | None = None,
    seconds: float = 4.0,
    balanced: float | None = None,
) -> None:
    """Record a trial from its start to its end, as the driver's callback does.

    A test accuracy equals `accuracy`; epochs cuts the curve of an unfinished trial; seconds: of
    this start, whose epochs took 0.55 each; balanced: its balanced test accuracy.
    """
    common = {"attempt": attempt, "host": "fakehost", "started_at": started_at}
    store.add_trial(
        trial_row(
            store.run_id, trial, status="running", outcome=None, epochs_done=0, ended_at=None,
            error=None, **common,  # type: ignore[arg-type]
        )
    )  # fmt: skip
    records = make_epochs(trial, accuracy)[:epochs]
    for record in records:
        store.add_epochs([epoch_row(store.run_id, trial, attempt, record)])
    if status == "running":
        return
    measured = status in ("completed", "diverged")
    outcome = make_outcome(trial, records, status=status, test=accuracy) if measured else None
    if outcome is not None:
        outcome = replace(outcome, test_balanced_accuracy=balanced)
    error = None if measured else f"RuntimeError: {status}"
    store.add_trial(
        trial_row(
            store.run_id, trial, status=status, outcome=outcome, epochs_done=len(records),
            ended_at=started_at + timedelta(seconds=seconds), error=error, **common,  # type: ignore[arg-type]
        )
    )  # fmt: skip


def suggest(space: SearchSpace, count: int, seed: int = 0) -> list[dict[str, float]]:
    rng = np.random.default_rng(derive_seed(seed, space.name))
    return [
        space.fixed | {k: r.from_unit(float(rng.uniform())) for k, r in space.free.items()}
        for _ in range(count)
    ]


def skill(trial: TrialConfig) -> float:
    """A smooth fake objective with its best near p=0.9 and the recipe's delta0."""
    miss = math.log(trial.params["delta0"] / DELTA_REF) ** 2 / 60
    miss += math.log(trial.params.get("p", 0.9) / 0.9) ** 2 / 40
    return SKILL.get(trial.space, 0.9) - miss


def write_run(
    run_dir: Path,
    *,
    arms: Iterable[str] = ("poly", "cosine"),
    trials: int = 8,
    seeds: int = 3,
    recipe: Recipe = RECIPE,
    run_seed: int = 0,
    baseline: bool = True,
) -> Path:
    """A finished run: `trials` search configs per arm, then `seeds` confirm trials each."""
    spaces = {name: make_space(name, recipe) for name in arms}
    manifest = {
        "status": "completed",
        "num_test": NUM_TEST_IMAGES,
        "spaces": [space.to_dict() for space in spaces.values()],
        "config": {"epochs": recipe.epochs, "recipe": asdict(recipe)},
    }
    with RunStore.create(run_dir, manifest, f"epochs: {recipe.epochs}\n") as store:
        chosen = {}
        for name, space in spaces.items():
            configs = [
                make_trial(name, params, recipe=recipe, run_seed=run_seed)
                for params in suggest(space, trials, run_seed)
            ]
            for trial in configs:
                write_trial(store, trial, accuracy=skill(trial))
            if configs:
                chosen[name] = max(configs, key=skill)
        if baseline:
            chosen["baseline"] = make_trial("baseline", recipe=recipe)
        for name, best in chosen.items():
            for replicate in range(seeds):
                trial = replace(
                    best,
                    role="confirm",
                    replicate=replicate,
                    seed=derive_seed(run_seed, "confirm", replicate),
                )
                luck = SEED_LUCK[replicate] + ARM_LUCK[(replicate + ord(name[0])) % len(ARM_LUCK)]
                write_trial(store, trial, accuracy=skill(best) + luck)
    return run_dir
