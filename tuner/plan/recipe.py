"""What do all trainings of a run share? The recipe that a configuration describes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from search_spaces.noise_law import LAW_OF
from search_spaces.trial import Recipe
from trainables.data.sources import SourceInfo
from tuner.config.schema import Config, ConfigError
from tuner.plan.usercode import code_digest


def make_recipe(config: Config, source: SourceInfo) -> Recipe:
    """Data, model, optimizer, length and arithmetic, as every trial of the run has them.

    Raises:
        ConfigError: more images asked for than there are, or none left to train on.
    """
    pool = config.dataset.train_examples or source.num_train
    is_network = config.trainer == "network"
    if is_network and pool > source.num_train:
        raise ConfigError(
            f"dataset.train_examples={pool}: {source.name} has only {source.num_train:,} "
            "training images"
        )
    num_val = round(pool * config.dataset.val_fraction) if is_network else 0
    if is_network and not 1 <= num_val < pool:
        raise ConfigError(
            f"dataset.val_fraction={config.dataset.val_fraction}: leaves {num_val} of {pool} "
            "images to validate; at least 1, and 1 to train on"
        )
    if config.batch.initial > pool - num_val:
        raise ConfigError(
            f"batch.initial={config.batch.initial}: larger than the {pool - num_val:,} images "
            "trained on"
        )
    return Recipe(
        workload=config.workload,
        dataset=config.dataset.name,
        dataset_path=source.path,
        data_fingerprint=source.fingerprint,
        pool_examples=pool,
        train_examples=pool - num_val,
        num_classes=source.num_classes,
        model=config.trainable or config.model.name,
        width=config.model.width,
        optimizer=config.optimizer.name,
        momentum=config.optimizer.momentum,
        nesterov=config.optimizer.nesterov,
        weight_decay=config.optimizer.weight_decay,
        clip_norm=config.optimizer.clip_norm,
        label_smoothing=config.label_smoothing,
        epochs=config.epochs,
        warmup_epochs=config.warmup_epochs,
        batch0=config.batch.initial,
        batch_max=config.batch.max,
        noise_law=config.noise.law or LAW_OF.get(config.optimizer.name, "sgd"),
        c2=config.noise.c2 if config.noise.c2 is not None else _unit_c2(config),
        k=config.noise.k,
        c2_source=(config.noise.source or "given") if config.noise.c2 is not None else "unit",
        precision=config.precision,
        num_threads=max(1, int(config.resources.cpus_per_trial)),
        micro_batch=config.micro_batch,
        code_digest=code_digest(config),
        trainer=config.trainer,
        smoothing=config.smoothing,
        measurements={name: _options(config, name) for name in config.measure},
    )


def _unit_c2(config: Config) -> float:
    """C^2 where none is given: 1; for a function what makes delta 1 at the recipe's lr."""
    return config.batch.initial / config.lr**2 if config.trainer == "function" else 1.0


def _options(config: Config, measurement: str) -> dict[str, Any]:
    """What the recipe says of one measurement."""
    if measurement == "sharpness":
        return asdict(config.sharpness)
    if measurement == "critical":
        return asdict(config.critical)
    noise = config.noise
    return {
        "estimator": noise.estimator,
        "batch_norm": noise.batch_norm,
        "batch": noise.batch,
        "pairs": noise.pairs,
        "every": noise.every,
    }
