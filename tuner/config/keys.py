"""What does each configuration key mean, in which unit, and which values are allowed?

One literal table: validation, `--help` and docs/keys.md all read it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, is_dataclass
from typing import Any

from search_spaces.noise_law import LAWS
from trainables import MEASUREMENTS, SMOOTHINGS, TRAINERS

ESTIMATORS = ("two_batch", "per_example")
SAMPLERS = ("tpe", "random", "qmc", "gp", "grid")
FIDELITIES = ("full", "squeezed", "prefix")
DISPLAYS = ("auto", "rich", "plain", "none")
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its unit, the allowed values in words and as a check, and its meaning.

    `check` is None where a later step of the validation knows more (names, paths).
    """

    unit: str
    allowed: str
    check: Callable[[Any], bool] | None
    meaning: str


def _at_least(low: float) -> Callable[[Any], bool]:
    return lambda x: math.isfinite(x) and x >= low


def _above(low: float) -> Callable[[Any], bool]:
    return lambda x: math.isfinite(x) and x > low


def _within(low: float, high: float) -> Callable[[Any], bool]:
    return lambda x: low <= x <= high


def _share(x: Any) -> bool:
    return bool(0 <= x < 1)


def _all_above(low: float) -> Callable[[Any], bool]:
    return lambda xs: bool(xs) and all(math.isfinite(x) and x > low for x in xs)


def _one_of(*names: str) -> tuple[str, Callable[[Any], bool]]:
    return " | ".join(names), lambda x: x in names


KEYS: dict[str, Key] = {
    "space": Key("names", "known space, list of them, or a .yaml/.py file", None, "arms searched"),
    "split": Key("share", "0 to 1", lambda x: 0 <= x <= 1, "1 decays lr, 0 grows the batch"),
    "workload": Key("name", "known workload", None, "dataset, model and recipe"),
    "preset": Key("name", "known preset", None, "a configuration that reproduces something"),
    "dataset.name": Key("name", "known dataset or package.module:callable", None, "the images"),
    "dataset.path": Key("path", "existing folder", None, "where the images lie"),
    "dataset.train_examples": Key(
        "images", ">= 10", _at_least(10), "training images used, validation included; null = all"
    ),
    "dataset.val_fraction": Key(
        "share", "above 0, below 1", lambda x: 0 < x < 1, "of the training images, to validate"
    ),
    "model.name": Key("name", "known model or package.module:callable", None, "the network"),
    "model.width": Key(
        "channels", "1 to 4,096", _within(1, 4096), "of the first stage; null = standard"
    ),
    "optimizer.name": Key(
        "name", "known optimizer or package.module:callable", None, "the optimizer"
    ),
    "optimizer.momentum": Key("", "0 to below 1", _share, "beta of heavy ball"),
    "optimizer.nesterov": Key("", "true | false", None, "Nesterov's form of momentum"),
    "optimizer.weight_decay": Key(
        "1/step/lr", ">= 0", _at_least(0), "L2 (sgd), decoupled (adamw)"
    ),
    "optimizer.clip_norm": Key("", "> 0", _above(0), "largest gradient norm; null = no clipping"),
    "lr": Key(
        "",
        "above 0, to 1e12",
        lambda x: 0 < x <= 1e12,
        "the recipe's initial lr; places the range of delta0",
    ),
    "batch.initial": Key("images", "1 to the training images", _at_least(1), "first batch size"),
    "batch.max": Key("images", ">= batch.initial", _at_least(1), "largest batch; null = no cap"),
    "noise.c2": Key(
        "",
        "above 0, to 1e24",
        lambda x: 0 < x <= 1e24,
        "C^2 of the noise law; null = 1, delta in units of C",
    ),
    "noise.k": Key("", "0 to 1e12", _within(0, 1e12), "K of the laws shb and nshb_a"),
    "noise.law": Key(
        "name", *_one_of(*LAWS), "how delta follows from lr, batch, momentum; null = optimizer's"
    ),
    "noise.source": Key(
        "name", *_one_of("given", "measured"), "of noise.c2; null = given where there is one"
    ),
    "noise.estimator": Key("name", *_one_of(*ESTIMATORS), "of C^2 (measure=[noise])"),
    "noise.batch_norm": Key("name", *_one_of("eval", "train"), "statistics while measuring"),
    "noise.batch": Key(
        "images", ">= 1", _at_least(1), "of a measuring batch; null = the first batch"
    ),
    "noise.pairs": Key("batches", "2 to 100,000", _within(2, 1e5), "pairs of measuring batches"),
    "noise.every": Key("epochs", ">= 1", _at_least(1), "between measurements; the last always"),
    "measure": Key("names", "list of " + ", ".join(MEASUREMENTS), None, "also measured"),
    "critical.epsilon": Key(
        "", "list of numbers > 0", _all_above(0), "mean gradient norms that end a training"
    ),
    "critical.min_epochs": Key("epochs", ">= 0", _at_least(0), "before the rule is looked at"),
    "sharpness.rho": Key("", "> 0", _above(0), "radius of the weights' box"),
    "sharpness.adaptive": Key("", "true | false", None, "the box is rho * |w|, not rho"),
    "sharpness.examples": Key("images", ">= 1", _at_least(1), "first training images"),
    "sharpness.batch": Key("images", ">= 1", _at_least(1), "of one maximisation"),
    "sharpness.iterations": Key("steps", "1 to 10,000", _within(1, 1e4), "of APGD"),
    "trainer": Key(
        "name",
        *_one_of(*TRAINERS),
        "a network, a known function (Algorithm 1), or your own training (trainable)",
    ),
    "trainable": Key(
        "name",
        "package.module:function",
        None,
        "your own training loop, train(schedule, seed, report); docs/any_training.md",
    ),
    "smoothing": Key("name", *_one_of(*SMOOTHINGS), "distribution of explicit smoothing"),
    "recipe.family": Key("name", "known family", None, "decay curve of the baseline"),
    "recipe.interval": Key(
        "epochs", "1 to epochs", _at_least(1), "decay interval of the baseline"
    ),
    "epochs": Key("epochs", "1 to 100,000", _within(1, 1e5), "length of a full training"),
    "warmup_epochs": Key("epochs", "0 to below epochs", _at_least(0), "linear warmup; 0 = none"),
    "label_smoothing": Key("share", "0 to below 1", _share, "of the training loss"),
    "precision": Key("name", *_one_of(*PRECISIONS), "auto = bf16 where the hardware has it"),
    "micro_batch": Key(
        "images", ">= 2", _at_least(2), "largest batch of one backward pass (BatchNorm sees it)"
    ),
    "trials": Key("configs", "1 to 1,000,000", _within(1, 1e6), "configs searched per space"),
    "seed": Key("", "0 to 2^63-1", _within(0, 2**63 - 1), "everything random derives from it"),
    "search.sampler": Key("name", *_one_of(*SAMPLERS), "how configs are suggested"),
    "search.fidelity": Key(
        "name",
        *_one_of(*FIDELITIES),
        "full = every config trained in full; squeezed = short complete trainings first; "
        "prefix = the first epochs of a full training first (ASHA)",
    ),
    "search.eta": Key(
        "", "2 to 100", _within(2, 100), "one config in eta is promoted to the next rung"
    ),
    "search.rungs": Key("rungs", "2 to 10", _within(2, 10), "the full training included"),
    "search.promote": Key(
        "name",
        *_one_of("late", "early"),
        "late = when all configs have started, ends better; early = at once, good sooner",
    ),
    "search.min_horizon": Key(
        "share",
        "above 0, below 1",
        lambda x: 0 < x < 1,
        "of a full training's samples at the lowest rung; null = eta^-(rungs-1)",
    ),
    "search.budget": Key("samples", "> 0", _above(0), "per space; replaces trials"),
    "search.startup": Key(
        "configs", ">= 0", _at_least(0), "Sobol points first; null = max(2*dims+1, trials/4)"
    ),
    "search.share_prefix": Key(
        "", "true | false", None, "trainings that begin alike continue from one state (grids)"
    ),
    "confirm.top_k": Key("configs", "1 to trials", _at_least(1), "of each arm to select among"),
    "confirm.seeds": Key(
        "seeds", "0 to 1,000", _within(0, 1000), "fresh paired seeds of the verdict"
    ),
    "confirm.until": Key(
        "name", *_one_of("seeds", "decided"), "seeds = confirm.seeds; decided = more where needed"
    ),
    "confirm.max_seeds": Key(
        "seeds", "3 to 1,000", _within(3, 1000), "the most that confirm.until=decided may use"
    ),
    "confirm.each": Key("", "true | false", None, "every config of a grid is an arm of its own"),
    "confirm.select_seeds": Key("seeds", ">= 1", _at_least(1), "to select with (top_k > 1)"),
    "baseline": Key("", "true | false", None, "confirm the recipe's own schedule as an arm"),
    "min_effect": Key(
        "share",
        "0 to below 1",
        _share,
        "that matters; null = 0.2 points or 2 test images",
    ),
    "max_concurrent": Key("trials", ">= 1", _at_least(1), "trained at once; null = what fits"),
    "max_failures": Key("retries", ">= 0", _at_least(0), "of a trial whose worker died"),
    "resources.cpus_per_trial": Key(
        "CPUs", "above 0, to 1,024", lambda x: 0 < x <= 1024, "also the threads of a trial"
    ),
    "resources.gpus_per_trial": Key(
        "GPUs", ">= 0", _at_least(0), "may be a fraction; null = 1 where the cluster has GPUs"
    ),
    "cluster.address": Key("", "auto | host:port", None, "running cluster; null = start one here"),
    "track": Key("names", "list of wandb, mlflow, tensorboard", None, "who else is told (extras)"),
    "tracking.project": Key(
        "name",
        "any",
        None,
        "wandb's project, mlflow's experiment; null = gradtune",
    ),
    "tracking.entity": Key("name", "any", None, "wandb's user or team; null = your default"),
    "tracking.mode": Key(
        "name", *_one_of("online", "offline", "disabled"), "of wandb; null = WANDB_MODE or online"
    ),
    "tracking.uri": Key(
        "uri",
        "any of mlflow's",
        None,
        "its store; null = in the run folder",
    ),
    "runs_dir": Key("path", "writable folder", None, "where run folders are made"),
    "name": Key("", "[A-Za-z0-9][A-Za-z0-9._-]{0,63}", None, "of the run; null = made up"),
    "resume": Key("path", "a run folder or its name", None, "go on with an earlier run"),
    "display": Key(
        "name", *_one_of(*DISPLAYS), "while it runs; auto = rich in a terminal, plain elsewhere"
    ),
    "report": Key("", "true | false", None, "write report.html into the run folder at the end"),
    "dry_run": Key("", "true | false", None, "print the plan and stop"),
}


def value_of(config: Any, key: str) -> Any:
    """The value at a dotted key."""
    for part in key.split("."):
        config = getattr(config, part)
    return config


def default_of(config_class: Any, key: str) -> Any:
    """The default at a dotted key; '???' where the workload decides."""
    head, _, rest = key.partition(".")
    field = config_class.__dataclass_fields__[head]
    if rest:
        assert is_dataclass(field.default_factory), "dotted keys are nested dataclasses"
        return default_of(field.default_factory, rest)
    if field.default is MISSING and callable(field.default_factory):
        return field.default_factory()
    return field.default
