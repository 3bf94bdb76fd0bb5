"""What do the trainings of a run share, and what is one of them? As the configuration says."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from search_spaces import FAMILIES
from search_spaces.metric import make_metric
from search_spaces.noise_law import LAW_OF
from search_spaces.registry import lookup
from search_spaces.space import RECIPE_PARAMS, SCHEDULE_PARAMS, SearchSpace, tidy_interval
from search_spaces.trial import Recipe, Role, TrialConfig, derive_seed
from trainables.data.sources import SourceInfo
from tuner.config.schema import Config, ConfigError, show
from tuner.plan.checks import data_options
from tuner.plan.usercode import code_digest

OF_NOISE_LAW = ("c2", "k", "law", "source")  # keys of noise.* that measure nothing


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
    is_right = 1 <= num_val < pool or (num_val == 0 and config.dataset.val_fraction == 0)
    if is_network and not is_right:
        raise ConfigError(
            f"dataset.val_fraction={config.dataset.val_fraction}: leaves {num_val} of {pool} "
            "images to validate; at least 1, and 1 to train on"
        )
    if config.batch.initial > pool - num_val:
        raise ConfigError(
            f"batch.initial={config.batch.initial}: larger than the {pool - num_val:,} images "
            "trained on"
        )
    # C^2 where none is given: 1; for a function what makes delta 1 at the recipe's lr.
    unit_c2 = config.batch.initial / config.lr**2 if config.trainer == "function" else 1.0
    return Recipe(
        workload=config.workload,
        dataset=config.dataset.name,
        dataset_path=source.path,
        data_fingerprint=source.fingerprint,
        data_files=source.files,
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
        batch_ladder=config.batch.ladder,
        noise_law=config.noise.law or LAW_OF.get(config.optimizer.name, "sgd"),
        c2=unit_c2 if config.noise.c2 is None else config.noise.c2,
        k=config.noise.k or 0.0,
        c2_source=(config.noise.source or "given") if config.noise.c2 is not None else "unit",
        precision=config.precision,
        num_threads=max(1, int(config.resources.cpus_per_trial or 1)),
        micro_batch=config.micro_batch,
        code_digest=code_digest(config),
        trainer=config.trainer,
        smoothing=config.smoothing,
        objective=config.objective.name,
        goal=make_metric(config.objective.name, config.objective.goal).goal,
        measurements={name: _options(config, name) for name in config.measure},
        decay_after_warmup=config.warmup_epochs > 0,
        reports=config.reports,
        data_options=data_options(config).given(),
    )


def make_trial(
    config: Config,
    recipe: Recipe,
    space: SearchSpace,
    params: Mapping[str, float],
    *,
    role: Role = "search",
    replicate: int = 0,
) -> TrialConfig:
    """The training of these parameters; its seed depends on role and replicate alone.

    What they say of the recipe stands in the place of the run's: momentum so decides which lr0
    realises delta0.
    """
    own: dict[str, Any] = {n: params[n] for n in space.training if n in RECIPE_PARAMS}
    recipe = replace(recipe, **own)
    batch0 = int(params.get("batch0", recipe.batch0))
    if space.optimizer is not None:
        noise_law = config.noise.law or LAW_OF.get(space.optimizer, "sgd")
        recipe = replace(recipe, optimizer=space.optimizer, noise_law=noise_law)
    law = recipe.law
    if "lr0" in params:
        params = {**params, "delta0": law.delta(params["lr0"], batch0)}
    # 12 digits: the same lr whichever C labels its delta.
    lr0 = params["lr0"] if "lr0" in params else law.lr(params["delta0"], batch0)
    return TrialConfig(
        space=space.name,
        family=space.family,
        params={**params, "interval": tidy_interval(params["interval"])},
        lr0=float(f"{lr0:.12g}"),
        recipe=recipe,
        role=role,
        replicate=replicate,
        seed=derive_seed(config.seed, role, replicate),
        curve_digest=curve_digest(space.family, params, space.training),
        training=tuple(sorted(space.training)),
    )


def curve_digest(family: str, params: Mapping[str, float], training: Sequence[str] = ()) -> str:
    """Identifies a user's curve by its values; '' for the built-in families.

    training: names of the params that are not the curve's, nor of schedules in general.
    """
    if family in FAMILIES:
        return ""
    curve = lookup("family", family, FAMILIES)
    others = (*SCHEDULE_PARAMS, *training)
    curve_params = {k: v for k, v in params.items() if k not in others}
    try:
        values = np.asarray(curve(np.linspace(0, 0.999, 1000), **curve_params), dtype=float)
    except Exception as error:  # of the user's own code
        raise ConfigError(f"{family}: {type(error).__name__}: {show(error)}") from None
    return hashlib.sha256(np.round(values, 12).tobytes()).hexdigest()[:12]


def _options(config: Config, measurement: str) -> dict[str, Any]:
    """The keys of the section with its name (sampling reads those of noise); {} without one."""
    section = getattr(config, "noise" if measurement == "sampling" else measurement, None)
    options = {} if section is None else asdict(section)
    if options.get("batch_norm", "") is None:
        is_by_example = measurement == "noise" and options["estimator"] == "per_example"
        options["batch_norm"] = "eval" if is_by_example else "train"
    return {name: value for name, value in options.items() if name not in OF_NOISE_LAW}
