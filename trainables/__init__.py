"""HOW one trial is trained: the registries of models, datasets and optimizers.

They name import paths, so that a name can be checked without importing torch; `lookup` in
search_spaces/registry.py imports what is used.
"""

from __future__ import annotations

from search_spaces.registry import DOWNLOADS

# factory(*, num_classes, in_channels, width) -> nn.Module
MODELS: dict[str, str] = {
    "resnet8": "trainables.models:resnet8",
    "resnet20": "trainables.models:resnet20",
    "resnet18": "trainables.models:resnet18",
    "resnet34": "trainables.models:resnet34",
    "wrn28x10": "trainables.models:wrn28x10",
}

# source(path) -> ImageData; source.describe(path) -> SourceInfo, without torch
DATASETS: dict[str, str] = {
    "digits": "trainables.data.digits:digits",
    "synthetic": "trainables.data.synthetic:synthetic",
    "cifar10": "trainables.data.cifar:cifar10",
    "cifar100": "trainables.data.cifar:cifar100",
    "parquet": "trainables.data.encoded.parquet:parquet",
    "imagefolder": "trainables.data.encoded.folders:imagefolder",
    "imagenet": "trainables.data.encoded.folders:imagenet",
}

# find(name) -> source, for the names that begin so
HUBS: dict[str, str] = dict.fromkeys(DOWNLOADS, "trainables.data.encoded.downloads:find_download")

# factory(named_parameters, *, lr, momentum, nesterov, weight_decay) -> torch.optim.Optimizer
OPTIMIZERS: dict[str, str] = {
    "sgd": "trainables.optimizers:sgd",
    "shb": "trainables.optimizers:shb",
    "nshb": "trainables.optimizers:nshb",
    "adamw": "trainables.optimizers:adamw",
}

# How a benchmark function is minimised, for the trainer `function`.
SOLVERS = (
    *("graduated", "gradient_descent", "random_restarts", "dual_annealing", "basin_hopping"),
    "implicit",
)

NUM_STARTS = 30  # independent repetitions of such a trial, each from a random point

# training(trial, *, schedule, device) -> Training
TRAINERS: dict[str, str] = {
    "network": "trainables.loop:NetworkTraining",
    "function": "trainables.functions.explicit:ExplicitTraining",
    "user": "trainables.user.adapter:UserTraining",
}

# Reports that come within so many seconds travel to the driver together.
REPORT_SECONDS = 0.1
# So many a function of the user's may make while the worker saves, or speaks with the driver.
REPORTS_AHEAD = 1000

# Distribution of explicit smoothing: unit ball, N(0, I), N(0, I/P) in P dimensions.
SMOOTHINGS = ("ball", "gaussian", "gaussian_scaled")

# What can be measured along the minimisation of a known function, by name alone.
FUNCTION_MEASUREMENTS = ("equivalence",)

# probe(**options) -> Probe: what can be measured along a network's training (`measure=[...]`)
MEASUREMENTS: dict[str, str] = {
    "noise": "trainables.measurements.noise:NoiseProbe",
    "sampling": "trainables.measurements.sampling:SamplingProbe",
    "critical": "trainables.measurements.critical:CriticalProbe",
    "sharpness": "trainables.measurements.sharpness:SharpnessProbe",
}
