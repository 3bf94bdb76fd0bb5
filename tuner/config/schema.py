"""What can be asked for? The configuration's keys, types and defaults.

compose.py makes a `Config` of a command line, keys.py says what each key means,
tuner/plan/plan.py checks the values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


class ConfigError(ValueError):
    """A mistake in the user's input; its text is one line: what, where, what is allowed."""


@dataclass
class RangeConfig:
    """One parameter's range as the user may override it; null = the space's default."""

    low: float | None = None
    high: float | None = None
    log: bool | None = None
    step: float | None = None
    choices: list[float] | None = None
    value: float | None = None


@dataclass
class DatasetConfig:
    """The images."""

    name: str = MISSING
    path: str | None = None
    train_examples: int | None = None
    val_fraction: float = 0.1


@dataclass
class ModelConfig:
    """The network."""

    name: str = MISSING
    width: int | None = None


@dataclass
class OptimizerConfig:
    """The optimizer apart from its lr."""

    name: str = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    clip_norm: float | None = None


@dataclass
class BatchConfig:
    """Batch sizes in samples."""

    initial: int = MISSING
    max: int | None = None


@dataclass
class NoiseConfig:
    """The noise law and its constants."""

    c2: float | None = None
    k: float = 0.0
    law: str | None = None
    source: str | None = None
    estimator: str = "two_batch"
    batch_norm: str = "eval"
    batch: int | None = None
    pairs: int = 32
    every: int = 1


@dataclass
class CriticalConfig:
    """The stopping rule that the critical batch size is found with."""

    epsilon: list[float] = field(default_factory=lambda: [0.5])
    min_epochs: int = 10


@dataclass
class SharpnessConfig:
    """Worst-case sharpness of the final weights."""

    rho: float = 0.0002
    adaptive: bool = True
    examples: int = 1024
    batch: int = 128
    iterations: int = 20


@dataclass
class RecipeConfig:
    """The schedule the workload's users would take without a search."""

    family: str = "cosine"
    interval: int = 1


@dataclass
class SearchConfig:
    """How an arm's configs are chosen."""

    sampler: str = "tpe"
    fidelity: str = "full"
    budget: int | None = None
    startup: int | None = None
    eta: int = 3
    rungs: int = 3
    min_horizon: float | None = None
    promote: str = "late"
    share_prefix: bool = False


@dataclass
class ConfirmConfig:
    """How the chosen configs are judged."""

    top_k: int = 1
    seeds: int = 5
    select_seeds: int = 2
    each: bool = False
    until: str = "seeds"
    max_seeds: int = 30


@dataclass
class ResourcesConfig:
    """What one trial occupies; null = found out from the cluster."""

    cpus_per_trial: float = 1.0
    gpus_per_trial: float | None = None


@dataclass
class ClusterConfig:
    """Where to run."""

    address: str | None = None


@dataclass
class TrackingConfig:
    """Where the trackers put the run; null = their own environment variables."""

    project: str | None = None
    entity: str | None = None
    mode: str | None = None
    uri: str | None = None


@dataclass
class Config:
    """All keys of `python -m tuner.run`."""

    defaults: list[Any] = field(
        default_factory=lambda: [
            "_self_",
            {"workload": "digits"},
            {"preset": "none"},
            {"space": ["poly"]},
        ]
    )
    workload: str = "digits"
    preset: str = "none"
    space: list[str] = field(default_factory=list)
    spaces: dict[str, Any] = field(default_factory=dict)
    split: float | None = None
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    lr: float = MISSING
    batch: BatchConfig = field(default_factory=BatchConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    measure: list[str] = field(default_factory=list)
    critical: CriticalConfig = field(default_factory=CriticalConfig)
    sharpness: SharpnessConfig = field(default_factory=SharpnessConfig)
    trainer: str = "network"
    trainable: str | None = None
    smoothing: str = "ball"
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    epochs: int = MISSING
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    precision: str = "auto"
    micro_batch: int | None = None
    trials: int = 20
    seed: int = 0
    search: SearchConfig = field(default_factory=SearchConfig)
    confirm: ConfirmConfig = field(default_factory=ConfirmConfig)
    baseline: bool = True
    min_effect: float | None = None
    max_concurrent: int | None = None
    max_failures: int = 3
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    track: list[str] = field(default_factory=list)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    runs_dir: str = "runs"
    name: str | None = None
    resume: str | None = None
    display: str = "auto"
    report: bool = True
    dry_run: bool = False
    user_spaces: dict[str, Any] = field(default_factory=dict)  # from files; not a key
    user_function: Any = None  # tuner.search(train=...) where it cannot be imported; not a key
