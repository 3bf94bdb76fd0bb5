"""What is trained: dataset, model and recipe of each workload, as literal configs.

A workload sets any key of the configuration; keys it leaves out keep their defaults. `lr` and
`batch.initial` are the recipe's reference: they place the default range of delta0 and, with
`recipe.family`, make the baseline that verdicts call "your default, not tuned".
"""

from __future__ import annotations

from typing import Any

from trainables.functions.benchmark import FUNCTIONS

CUSTOM = "custom"  # where a dataset or model is named and no workload

# SGD recipe common to the CIFAR models; the papers themselves use momentum 0, weight decay 0.
CIFAR_RECIPE: dict[str, Any] = {
    "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    "lr": 0.1,
    "batch": {"initial": 128},
    "epochs": 200,
}
CIFAR100 = CIFAR_RECIPE | {"dataset": "cifar100"}

# Explicit graduated optimization (arXiv 2412.11501): 50 levels of 20 steps of 100 directions.
NUM_LEVELS, DIRECTIONS = 50, 100


def _function_workload(name: str) -> dict[str, Any]:
    """Minimise a benchmark function; lr is the step size at smoothing level delta = 1."""
    return {
        "trainer": "function",
        "dataset": {"name": name},
        "model": "none",
        "optimizer": "graduated",
        "smoothing": "gaussian",
        "recipe": {"family": "constant"},
        "lr": FUNCTIONS[name].papers_lr or 0.01,
        "batch": {"initial": DIRECTIONS},
        "epochs": NUM_LEVELS,
        "precision": "fp32",
    }


# C^2 and K of a workload under an optimizer, where they are known; those of SGD stand with it.
# Under the laws shb and nshb_a they shape a schedule whose batch or momentum changes.
CONSTANTS: dict[tuple[str, str], dict[str, Any]] = {
    # arXiv 2412.11501, its authors' code.
    ("cifar100_resnet18", "shb"): {"c2": 25.318, "k": 1.77},
    ("cifar100_resnet18", "nshb"): {"c2": 128.0, "k": 4.5},
    ("cifar100_wrn28x10", "shb"): {"c2": 0.79, "k": 1.66},
    ("cifar100_wrn28x10", "nshb"): {"c2": 1.0, "k": 4.262},
    # Ours, along 15 epochs at lr 0.02, beta 0.9, batch 32, 5 seeds: 80.0 [68.2, 93.9].
    ("digits", "shb"): {"c2": 80.0, "k": 4.71, "source": "measured"},
}

# At which lr and momentum these, and the C^2 of SGD that stand with a workload, were measured.
MEASURED_AT: dict[tuple[str, str], tuple[float, float]] = {
    **{(f"cifar100_{net}", "sgd"): (0.1, 0.0) for net in ("resnet18", "wrn28x10")},
    **{
        (f"cifar100_{net}", name): (0.1, 0.9)
        for net in ("resnet18", "wrn28x10")
        for name in ("shb", "nshb")
    },
    ("digits", "shb"): (0.02, 0.9),
}

WORKLOADS: dict[str, dict[str, Any]] = {
    # Minutes on two CPU cores: 1,797 images of 1x8x8.
    "digits": {
        "dataset": {"name": "digits", "val_fraction": 0.2},
        "model": {"name": "resnet8", "width": 8},
        "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
        "lr": 0.1,
        "batch": {"initial": 32},
        "epochs": 15,
        "precision": "fp32",
        "trials": 16,
        "confirm": {"seeds": 3},
    },
    "cifar10_resnet20": CIFAR_RECIPE | {"dataset": "cifar10", "model": "resnet20"},
    "cifar10_resnet18": CIFAR_RECIPE | {"dataset": "cifar10", "model": "resnet18"},
    # C^2 of the two CIFAR-100 workloads: arXiv 2311.08745 Table 2 (lr 0.1) and its review.
    "cifar100_resnet18": CIFAR100 | {"model": "resnet18", "noise": {"c2": 1280.0}},
    "cifar100_wrn28x10": CIFAR100 | {"model": "wrn28x10", "noise": {"c2": 10.0}},
    "imagenet_resnet34": {
        "dataset": {"name": "imagenet", "val_fraction": 0.01},
        "model": "resnet34",
        "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4},
        "lr": 0.1,
        "batch": {"initial": 256},
        "epochs": 90,
    },
    # For machines without data: 32x32 images labelled by a fixed random teacher network.
    "synthetic": CIFAR_RECIPE | {"dataset": "synthetic", "model": "resnet20", "epochs": 30},
    # Whatever `dataset=` and `model=` say: no recipe is taken over from another workload.
    CUSTOM: {},
    # Your own training (`trainable=`), which knows its data and model: see docs/any_training.md.
    "user": {"trainer": "user", "dataset": "none", "model": "none", "precision": "fp32"},
    **{name: _function_workload(name) for name in FUNCTIONS},
}
