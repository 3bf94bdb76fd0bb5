"""What do the papers' figures need? Runs of fixed arms, each on several paired seeds.

A preset is a workload, settings and arms; `<name>_cpu` is the same on the built-in digits, small
enough for two CPU cores in five minutes, and not the paper's scale. Anything may be overridden:
`preset=p1_methods workload=cifar100_wrn28x10 epochs=60 confirm.seeds=5`. docs/papers.md says
which figure each one makes. Arms without a free parameter are not searched but confirmed:
lr and batch change at the same sample, validation and test images are apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from search_spaces import BATCH, HYBRID, LR, PAPER_STAGES
from search_spaces.space import Range, SearchSpace
from trainables import SOLVERS
from tuner.config.schema import KEYS, Config, flatten, value_of
from tuner.config.workloads import CONSTANTS, WORKLOADS

PAPERS_POWERS = (0.1, 0.5, 0.9, 1.0, 2.0, 4.0, 8.0)
PAPERS_LRS = (0.01, 0.05, 0.1, 0.5)
POWERS_OF_2 = tuple(2**k for k in range(14))  # batch sizes


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A run that reproduces something published."""

    shows: str  # figure and claim
    figure: str = ""  # which has exactly these settings
    assumed: str = ""  # of these settings, what none of our sources tells
    settings: dict[str, Any] = field(default_factory=dict)  # nested keys, over the workload's
    arms: tuple[SearchSpace, ...] = ()  # searched where the user names no space
    cpu: dict[str, Any] = field(default_factory=dict)  # over `settings`; empty = no CPU form
    cpu_arms: tuple[SearchSpace, ...] = ()  # the CPU form's where they differ


def _fixed(value: float, *, relative: bool = False, integer: bool = False) -> Range:
    return Range(value=value, relative=relative, integer=integer)


# The recipe's own noise level, lowered every epoch by lr alone.
REFERENCE = {"delta0": _fixed(1.0, relative=True), "interval": _fixed(1, integer=True),
             "split": LR}  # fmt: skip
STAGES = {**REFERENCE, **PAPER_STAGES}
# Every config of a grid on a few seeds, no baseline.
GRID: dict[str, Any] = {"baseline": False, "search": {"sampler": "grid"}, "confirm": {"seeds": 3}}
# arXiv 2311.08745: SGD without momentum or weight decay, all training images, float32.
P1_RECIPE: dict[str, Any] = GRID | {
    "workload": "cifar100_resnet18",
    "dataset": {"val_fraction": 0.0},  # nothing is selected
    "precision": "fp32",
    "optimizer": {"name": "sgd", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
    "lr": 0.1,
    "batch": {"initial": 128},
    "epochs": 200,
}
DIGITS: dict[str, Any] = {
    "workload": "digits",
    "epochs": WORKLOADS["digits"]["epochs"],
    "batch": {"initial": 32},
    "dataset": {"val_fraction": 0.2},
    "confirm": {"seeds": 5},
}
WRN: dict[str, Any] = {"workload": "cifar100_wrn28x10"}
# Their first batches in P1 Figs 10-12 are not in our copy; a public review says that on ImageNet
# the method batch starts at 32 and lr at 256. All begin at the default of the authors' code here,
# so that they share one path of delta, which from 32 and 256 they would not (by sqrt(8)).
FIRST_BATCH: dict[str, Any] = {"batch": {"initial": 32}}
ASSUMED_BATCH = "batch 32 at first in every method"
ASSUMED_CURVES = "exp's 0.94 an epoch and base 10 of cosine_power"
IMAGENET: dict[str, Any] = {"workload": "imagenet_resnet34", "batch": {"initial": 256}}
EACH = {"confirm": {"seeds": 3, "each": True}}
DIGITS_EACH = DIGITS | {"confirm": {"seeds": 5, "each": True}}
HALF = _fixed(0.5)


def _arm(name: str, family: str, **ranges: Range) -> SearchSpace:
    return SearchSpace(name=name, family=family, ranges={**REFERENCE, **ranges})


def _poly(name: str, p: float, **ranges: Range) -> SearchSpace:
    return _arm(name, "poly", p=_fixed(p), **ranges)


def _constants(batches: tuple[int, ...], *lrs: float) -> SearchSpace:
    """Constant lr and batch: every pair of these; without `lrs` the recipe's lr."""
    lr0 = Range(choices=lrs) if lrs else _fixed(1.0, relative=True)
    pairs = {"lr0": lr0, "batch0": Range(choices=batches, integer=True)}
    ranges = {"interval": REFERENCE["interval"], "split": LR, **pairs}
    return SearchSpace(name="lr_batch", family="constant", ranges=ranges)


def _heavy_ball(name: str, law: str) -> dict[str, Any]:
    """Its C^2 and K are the workload's (CONSTANTS in workloads.py)."""
    return P1_RECIPE | {
        "optimizer": {"name": name, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
        "noise": {"law": law},
    }


CURVE_ARMS = (
    _arm("poly", "poly", p=Range(choices=PAPERS_POWERS)),
    _arm("cosine", "cosine"),
    _arm("cosine_power", "cosine_power", base=_fixed(10.0)),
    _arm("exp", "exp", end_ratio=_fixed(0.94**200)),
    SearchSpace(name="step", family="exp", ranges=STAGES),
)
METHOD_ARMS = (
    _arm("constant", "constant"),
    SearchSpace(name="lr", family="exp", ranges=STAGES),
    SearchSpace(name="batch", family="exp", ranges=STAGES | {"split": BATCH}),
    SearchSpace(name="hybrid", family="exp", ranges=STAGES | {"split": HYBRID}),
)
POWER_ARMS = (
    _arm("constant", "constant"),
    _arm("poly", "poly", p=Range(choices=(0.5, 0.9, 1.0, 2.0))),
    _arm("cosine", "cosine"),
)

PAPER_PRESETS: dict[str, Preset] = {
    "p1_schedules": Preset(
        shows="2311.08745 Figs 4-7, 13: eleven decay curves; p <= 1 is claimed best",
        figure="2311.08745 Figs 4-7, 13",
        assumed=ASSUMED_CURVES,
        settings=P1_RECIPE | EACH,
        arms=CURVE_ARMS,
        cpu=DIGITS_EACH,
    ),
    "p1_schedules_wrn": Preset(
        shows="2311.08745 Fig 14: the same on WideResNet-28-10",
        figure="2311.08745 Fig 14",
        assumed=ASSUMED_CURVES,
        settings=P1_RECIPE | EACH | WRN,
        arms=CURVE_ARMS,
    ),
    "p1_methods": Preset(
        shows="2311.08745 Fig 10: constant, lr, batch, hybrid on one path of delta",
        figure="2311.08745 Fig 10",
        assumed=ASSUMED_BATCH,
        settings=P1_RECIPE | FIRST_BATCH,
        arms=METHOD_ARMS,
        cpu=DIGITS | {"batch": {"initial": 16}},
    ),
    "p1_methods_wrn": Preset(
        shows="2311.08745 Fig 11: the same on WideResNet-28-10",
        figure="2311.08745 Fig 11",
        assumed=ASSUMED_BATCH,
        settings=P1_RECIPE | FIRST_BATCH | WRN,
        arms=METHOD_ARMS,
    ),
    "p1_methods_imagenet": Preset(
        shows="2311.08745 Fig 12: the same with ResNet-34 on ImageNet",
        figure="2311.08745 Fig 12",
        assumed=ASSUMED_BATCH,
        settings=P1_RECIPE | IMAGENET | FIRST_BATCH,
        arms=METHOD_ARMS,
    ),
    "p1_noise": Preset(
        figure="2311.08745 Fig 8",
        shows="2311.08745 Fig 8: distribution of the gradient noise at one point",
        settings=P1_RECIPE | EACH | {"epochs": 2, "measure": ["sampling", "noise"]},
        arms=(_constants((8, 32, 128), 0.1),),
        cpu=DIGITS | EACH | {"epochs": 8, "noise": {"every": 4}},
    ),
    "p1_sharpness": Preset(
        figure="2311.08745 Fig 9",
        shows="2311.08745 Fig 9: sharpness, noise level and accuracy over lr x batch",
        settings=P1_RECIPE | EACH | {"measure": ["sharpness"]},
        arms=(_constants(POWERS_OF_2[1:], *PAPERS_LRS),),
        cpu=DIGITS | EACH | {"measure": ["sharpness", "noise"],
                             "noise": {"every": 5, "pairs": 8}},
        cpu_arms=(_constants((16, 32, 128, 256), *PAPERS_LRS),),
    ),
    "p1_critical": Preset(
        figure="2311.08745 Table 2",
        shows="2311.08745 appendix C, Table 2: critical batch size, and the bound of C^2 from it",
        settings=P1_RECIPE
        | EACH
        | {"measure": ["critical"], "critical": {"epsilon": [0.5, 0.7, 1.0]}},
        arms=(_constants(POWERS_OF_2[3:], *PAPERS_LRS),),
        cpu=DIGITS
        | EACH
        | {"epochs": 30, "critical": {"epsilon": [1.0, 1.5], "min_epochs": 2}},
        cpu_arms=(_constants(POWERS_OF_2[5:9], *PAPERS_LRS),),
    ),
    "aaai_explicit": Preset(
        figure="2412.11501 Fig 2",
        shows="2412.11501 Fig 2: explicit smoothing of a network's loss does not help",
        settings=P1_RECIPE | EACH,
        arms=(
            _arm("constant", "constant"),
            _poly("poly", 0.9),
            _poly("explicit", 0.9, radius0=Range(choices=(0.1, 0.3, 1.0, 3.0))),
        ),
        cpu=DIGITS_EACH,
    ),
    "aaai_functions": Preset(
        figure="2412.11501, functions",
        shows="2412.11501: explicit graduated optimization against other global methods",
        settings=GRID
        | {"workload": "rastrigin", "confirm": {"seeds": 1, "each": True}},
        arms=(
            _arm("poly", "poly", p=Range(choices=(0.5, 1.0, 2.0))),
            _arm("geometric", "exp", end_ratio=_fixed(0.01)),
            # Other ways to minimise, with as many evaluations at most; lr falls linearly.
            *(replace(_poly(name, 1.0), optimizer=name) for name in SOLVERS[1:-1]),
        ),
        cpu={"epochs": 25, "batch": {"initial": 10},
             "dataset": {"path": "10", "train_examples": 200}},
    ),
    "aaai_shb": Preset(
        shows="2412.11501 Fig 6: decay curves under SHB, ResNet-34 on ImageNet, 100 epochs; "
        "p <= 1 is claimed best",
        figure="2412.11501 Fig 6",
        settings=_heavy_ball("shb", "shb") | EACH | IMAGENET | {"epochs": 100},
        arms=POWER_ARMS,
        cpu=DIGITS_EACH | {"lr": 0.02},
    ),
    "aaai_nshb": Preset(
        shows="2412.11501: the same under NSHB with ResNet-18 on CIFAR-100 (noise.law=nshb_a for "
        "the other formula)",
        figure="2412.11501, NSHB",
        settings=_heavy_ball("nshb", "nshb_b") | EACH,
        arms=POWER_ARMS,
        cpu=DIGITS_EACH,
    ),
    "aaai_algorithm6": Preset(
        figure="2412.11501 Figs 3, 4",
        assumed="how lr, batch and momentum share the path of delta",
        shows="2412.11501 Figs 3, 4: SHB with lr, batch and momentum sharing one path of delta",
        settings=_heavy_ball("shb", "shb"),
        arms=(
            _arm("constant", "constant"),
            _poly("lr_only", 0.9),
            _poly("lr_batch", 0.9, split=HALF),
            _poly("beta", 0.9, momentum_share=_fixed(1.0)),
            _poly("lr_beta", 0.9, momentum_share=HALF),
            _poly("batch_beta", 0.9, momentum_share=HALF, split=BATCH),
            _poly("lr_batch_beta", 0.9, momentum_share=HALF, split=HALF),
        ),
        cpu=DIGITS | {"lr": 0.02},
    ),
}  # fmt: skip


# What `python -m tuner.measure` runs, on any workload.
# Just above half, and rounded: of any number of epochs never three stages.
HALF_TIME = {"interval": Range(value=0.51, integer=True, relative=True)}
LR_DROPS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)  # log2 of what lr is divided by at half time
BATCH_DROPS = (1.0, 2.0, 3.0)  # log2 of what the batch is multiplied by there
MEASURE_PRESETS: dict[str, Preset] = {
    "measure_noise": Preset(
        shows="C^2 and K along the recipe's own training",
        settings=GRID | {"baseline": True, "measure": ["noise"]},
        arms=(_arm("constant", "constant"),),
    ),
    "measure_sampling": Preset(
        shows="distribution of the gradient noise at one point, by batch size",
        settings=GRID | EACH | {"measure": ["sampling", "noise"]},
        arms=(_constants((8, 32, 128)),),
    ),
    "measure_sharpness": Preset(
        shows="worst-case sharpness over lr x batch",
        settings=GRID | EACH | {"measure": ["sharpness"]},
        arms=(_constants((4, 16, 64, 256), *PAPERS_LRS),),
    ),
    "measure_critical": Preset(
        shows="2311.08745 appendix C: critical batch size and the bound of C^2",
        settings=GRID
        | EACH
        | {"measure": ["critical"], "epochs": 100, "recipe": {"family": "constant"}},
        arms=(_constants(POWERS_OF_2[3:]),),
    ),
    "measure_exchange": Preset(
        shows="how far lr must fall to do what a doubled batch does",
        settings=GRID
        | {"noise": {"law": "sgd"}, "confirm": {"seeds": 8, "each": True}},
        arms=(
            _arm("lr", "exp", **HALF_TIME, factor=Range(choices=tuple(2.0**-x for x in LR_DROPS))),
            _arm("batch", "exp", **HALF_TIME, split=BATCH,
                 factor=Range(choices=tuple(2.0 ** (-k / 2) for k in BATCH_DROPS))),
        ),
    ),
    # delta = share of lr / sqrt(share of batch): nine pairs of 1/64 to 4; 1/4 is made by three.
    "measure_equivalence": Preset(
        shows="does SGD on a function move as gradient descent on its smoothed form?",
        settings=GRID
        | {
            "workload": "rastrigin", "optimizer": "implicit", "smoothing": "gaussian_scaled",
            "measure": ["equivalence"], "dataset": {"path": "2", "train_examples": 256},
            "epochs": 20, "batch": {"initial": 16}, "confirm": {"seeds": 3, "each": True},
        },
        arms=(
            SearchSpace(name="lr_batch", family="constant", ranges={
                "interval": REFERENCE["interval"], "split": LR,
                "lr0": Range(choices=(1 / 16, 1 / 4, 1.0), relative=True),
                "batch0": Range(choices=(1, 16, 256), integer=True),
            }),
        ),
    ),
    "measure_implicit": Preset(
        shows="SGD's own noise as the smoothing: by p and by split, against explicit smoothing",
        settings=GRID
        | {
            "workload": "rastrigin", "optimizer": "implicit", "smoothing": "gaussian_scaled",
            "epochs": 25, "batch": {"initial": 16}, "confirm": {"seeds": 1, "each": True},
            "dataset": {"path": "10", "train_examples": 1600},
        },
        arms=(
            _arm("poly", "poly", p=Range(choices=(0.5, 1.0, 2.0)),
                 split=Range(choices=(0.0, 0.5, 1.0))),
            _arm("constant", "constant"),
            replace(_poly("graduated", 1.0), optimizer="graduated"),
            replace(_poly("gradient_descent", 1.0), optimizer="gradient_descent"),
        ),
    ),
}  # fmt: skip


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on `base`, dict by dict."""
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        if isinstance(value, dict) and isinstance(inner, dict):
            value = merged(inner, value)
        result[key] = value
    return result


def _cpu_form(preset: Preset) -> Preset:
    return Preset(
        shows=f"{preset.shows} (small, not the paper's scale)",
        settings=merged(preset.settings, preset.cpu),
        arms=preset.cpu_arms or preset.arms,
    )


PRESETS: dict[str, Preset] = {
    "none": Preset(shows="nothing published"),
    **PAPER_PRESETS,
    **MEASURE_PRESETS,
    **{f"{name}_cpu": _cpu_form(p) for name, p in PAPER_PRESETS.items() if p.cpu},
}


# What decides whether a run is a figure's: what is trained, how, and how much of it.
SCALE = ("trainer", "dataset", "model", "optimizer", "lr", "batch", "epochs")
OF_ALL = ("warmup_epochs", "label_smoothing", "split", "precision")
# Measurements that are what a figure shows, each with a section of its own.
SHOWN = ("sharpness", "critical")


def scale_of(config: Config, precision: str | None = None) -> str:
    """Is this run of a published experiment's size, and of which? '' where it reproduces none.

    Derived, figure by figure, from workload, training images, epochs, seeds, precision and arms:
    told is the preset's own figure, or that of another with these arms whose network and data
    are the run's, where it differs less. What the figure measures must be measured, as it does;
    more seeds, fewer arms and further measurements change nothing. What had to be assumed is told.

    Args:
        precision: as it was settled for the machine; None = as configured.
    """
    asked = PAPER_PRESETS.get(config.preset.removesuffix("_cpu"))
    if asked is None:
        return ""
    alike = [preset for preset in PAPER_PRESETS.values() if preset.arms == asked.arms]
    trained = (config.dataset.name, config.model.name)
    differences = {
        preset.figure: _differences(config, preset, precision or config.precision)
        for preset in (asked, *alike)
        if preset is asked or _trained(preset) == trained
    }
    figure = min(differences, key=lambda name: len(differences[name]))
    if differences[figure]:
        return f"not the paper's scale ({figure}): {', '.join(differences[figure])}"
    assumed = next(preset.assumed for preset in alike if preset.figure == figure)
    return f"the paper's scale ({figure}){f': assumed is {assumed}' if assumed else ''}"


def _trained(preset: Preset) -> tuple[str, str]:
    """Data and network of the published experiment."""
    published = dict(flatten(WORKLOADS[preset.settings["workload"]]))
    return published["dataset.name"], published["model.name"]


def _differences(config: Config, preset: Preset, precision: str) -> list[str]:
    """`key=value (published)` wherever this run is not what the figure shows."""
    workload, settings = preset.settings["workload"], dict(flatten(preset.settings))
    constants = CONSTANTS.get((workload, settings.get("optimizer.name", "")), {})
    published = dict(flatten(WORKLOADS[workload])) | settings
    published |= {f"noise.{name}": value for name, value in constants.items()}
    wanted = published.get("measure", [])
    sections = {key.partition(".")[0] for key in published} & {*SCALE}
    sections |= {*wanted} & {*SHOWN}
    known = {
        key: published.get(key, schema.default)
        for key, schema in KEYS.items()
        if key.partition(".")[0] in sections
        or key in OF_ALL
        or (key in published and key.startswith("noise."))
    }
    if config.trainer == "network":
        del known["dataset.path"]  # where it lies; of a function it is the dimension
    used = {key: value_of(config, key) for key in known} | {"precision": precision}
    differences = [
        f"{key.removesuffix('.name')}={used[key]} ({value})"
        for key, value in known.items()
        if used[key] != value
    ]
    missing = [name for name in wanted if name not in config.measure]
    differences += [f"no measure={name}" for name in missing]
    seeds, least = config.confirm.seeds, published["confirm.seeds"]
    differences += [f"confirm.seeds={seeds} ({least})"] if seeds < least else []
    arms = {arm.name: arm for arm in preset.arms}
    others = [name for name in config.space if config.user_spaces.get(name) != arms.get(name)]
    return [*differences, *(f"arm {name} is another" for name in others)]
