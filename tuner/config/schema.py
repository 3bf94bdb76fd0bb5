"""What can be asked for? Every key with its type, default, unit, allowed values and meaning.

The fields are the only place where a key is written down: validation, `--help` and docs/keys.md
read `KEYS`, which is derived from them.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, NamedTuple

from search_spaces.clock import STEP_NAME
from search_spaces.families import CURVE_PARAMETERS
from search_spaces.metric import NAME
from search_spaces.noise_law import LAWS
from search_spaces.registry import nearest
from search_spaces.space import RECIPE_PARAMS, SCHEDULE_PARAMS, read_interval, tidy_interval
from trainables import FUNCTION_MEASUREMENTS, MEASUREMENTS, SMOOTHINGS, TRAINERS

MISSING: Any = "???"  # the workload decides, or the user must
SAMPLERS = ("tpe", "random", "qmc", "gp", "grid")
FIDELITIES = ("full", "squeezed", "prefix")
# Shorthands for `<key>.name=...`.
NAMED = ("dataset", "model", "optimizer", "objective")
SHORTHANDS = {**{key: f"{key}.name" for key in NAMED}, "baseline": "baseline.kind"}
# Earlier names of keys, which go on working.
ALIASES = {"train": "trainable"}
# The keys of the numbers of the recipe that a space may search too, by their name there.
RECIPE_KEYS = {
    **{name: f"optimizer.{name}" for name in ("weight_decay", "momentum", "clip_norm")},
    **{"label_smoothing": "label_smoothing", "width": "model.width", "batch_max": "batch.max"},
}
# Which of them trainings of our own take; a user's is handed whatever it is searched by.
SEARCHED = {"network": RECIPE_PARAMS, "function": ("batch_max",)}
# What never is the training's, for it says something of schedules.
OF_SCHEDULES = (*SCHEDULE_PARAMS, *CURVE_PARAMETERS, "factor")
# Name -> the package it needs, and what its process calls with the Destination.
TRACKERS = {
    "wandb": ("wandb", "tuner.recording.trackers:_Wandb"),
    "mlflow": ("mlflow", "tuner.recording.trackers:_Mlflow"),
    "tensorboard": ("tensorboardX", "tuner.recording.trackers:_Tensorboard"),
}
MAX_LENGTH = 100  # characters of a value in a message
ENDLESS = re.compile(r"(\S{100})\S{300,}(\S{100})")  # longer than a path is
MAX_BITS = 2048  # of a whole number; Python refuses to write one of 4,300 digits as text
YES, NO = ("true", "yes", "on", "y", "1"), ("false", "no", "off", "n", "0")


class ConfigError(ValueError):
    """A mistake in the user's input; its text is one line: what, where, what is allowed.

    Whatever a name in it holds, the line ends, is printable, and leaves out the middle of what
    nobody would read.
    """

    def __init__(self, text: str) -> None:
        line = re.sub(r"\s*\n\s*", " ", text)
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
        super().__init__(ENDLESS.sub(r"\1...\2", line))


class StorageError(RuntimeError):
    """The disk of a run is full or gone; its text is one line: what, and where."""


@contextlib.contextmanager
def refusing(
    where: str = "", kinds: tuple[type[Exception], ...] = (ValueError,)
) -> Iterator[None]:
    """Makes a ConfigError, whose text begins with `where`, of such an error raised inside."""
    try:
        yield
    except kinds as error:
        raise ConfigError(f"{where}{error}") from None


@contextlib.contextmanager
def refusing_paths() -> Iterator[None]:
    """Makes a ConfigError of a path that the system refuses: too long, no permission."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise ConfigError(f"{where}{error.strerror or error}") from None


class Allowed(NamedTuple):
    """Which values of its type a key takes: in words, as a check, and the names if few.

    `check` is None where a later step of the validation knows more (names, paths).
    """

    text: str
    check: Callable[[Any], object] | None = None
    names: tuple[str, ...] = ()


class Key(NamedTuple):
    """One key; `kind` is int | float | Interval | bool | str | list[str] | list[float]."""

    kind: str
    optional: bool  # null is allowed
    default: Any  # MISSING where the workload decides
    unit: str
    allowed: Allowed
    meaning: str


def _key(default: Any, unit: str = "", allowed: Allowed | str = "", meaning: str = "") -> Any:
    """A field of the schema that is a key."""
    return field(default=default, metadata=_about(unit, allowed, meaning))


def _about(unit: str, allowed: Allowed | str, meaning: str) -> dict[str, Any]:
    return {"key": (unit, Allowed(allowed) if isinstance(allowed, str) else allowed, meaning)}


def _at_least(low: int, text: str = "") -> Allowed:
    return Allowed(text or f">= {low}", lambda x: low <= x < math.inf)


def _above(low: int) -> Allowed:
    return Allowed(f"> {low}", lambda x: low < x < math.inf)


def _above_to(high: float, text: str = "") -> Allowed:
    return Allowed(f"above 0, to {text or f'{high:,}'}", lambda x: 0 < x <= high)


def _within(low: int, high: int, text: str = "") -> Allowed:
    return Allowed(f"{low} to {text or f'{high:,}'}", lambda x: low <= x <= high)


def _one_of(*names: str) -> Allowed:
    return Allowed(" | ".join(names), lambda x: x in names, names)


BELOW_1 = Allowed("0 to below 1", lambda x: 0 <= x < 1)
INSIDE = Allowed("above 0, below 1", lambda x: 0 < x < 1)
EPSILONS = Allowed("list of numbers > 0", lambda xs: xs and all(0 < x < math.inf for x in xs))
INTERVALS = Allowed("step | above 0, to epochs", lambda x: 0 <= x < math.inf, (STEP_NAME,))
SWITCH = Allowed("true | false")
ARM_NAME = Allowed(
    "up to 40 letters, digits, spaces and . , _ / % + - ( )",
    re.compile(r"[A-Za-z0-9][A-Za-z0-9 .,_/%+()-]{0,39}").fullmatch,
)
WANTED = {"int": "a whole number", "float": "a number", "str": "text"}  # of a type
Interval = float  # as a type: a number of epochs, whole ones as int, or the word step


# fmt: off
@dataclass
class RangeConfig:
    """One parameter's range as the user may override it; null = the space's default."""

    low: float | None = _key(None)
    high: float | None = _key(None)
    log: bool | None = _key(None, allowed=SWITCH)
    step: float | None = _key(None)
    choices: list[float] | None = field(default=None, metadata=_about("", "list of numbers", ""))
    value: float | None = _key(None)


@dataclass
class DatasetConfig:
    """The images."""

    name: str = _key(MISSING, "name", "known dataset, hf:owner/name or package.module:callable",
        "the images; of the hub at @revision, the newest by default; torchvision:MNIST and others")
    path: str | None = _key(None, "path", "existing folder",
        "where the images lie; null = where downloads are kept")
    train_examples: int | None = _key(None, "images", _at_least(10),
        "training images used, validation included; null = all")
    val_fraction: float = _key(0.1, "share", BELOW_1,
        "of the training images, to validate; 0 where nothing is selected (arms without a free "
        "parameter, confirmed at once)")
    image_size: int | None = _key(None, "pixels", _within(1, 4096),
        "rows and columns of the images of folders and Parquet; the central square is resized to "
        "them, and kept decoded; null = as they are, of folders a random piece in 224")
    channels: int | None = _key(None, "", Allowed("1 | 3", lambda x: x in (1, 3)),
        "gray or RGB; null = 1 where all images are gray")
    on_bad_image: str = _key("error", "", _one_of("error", "skip"),
        "skip: an image that cannot be decoded is replaced by the next of its class, at most 1 %")
    image_column: str | None = _key(None, "name", "column of image files' bytes",
        "in Parquet; null = img, image, jpg, jpeg, png, webp or bytes")
    label_column: str | None = _key(None, "name", "column of numbers or words",
        "in Parquet or metadata.csv; null = label, labels, fine_label, coarse_label, class or cls")


@dataclass
class ModelConfig:
    """The network."""

    name: str = _key(MISSING, "name", "known model or package.module:callable", "the network")
    width: int | None = _key(None, "channels", _within(1, 4096),
        "of the first stage; null = standard")


@dataclass
class OptimizerConfig:
    """The optimizer apart from its lr."""

    name: str = _key("sgd", "name", "known optimizer or package.module:callable", "the optimizer")
    momentum: float = _key(0.0, "", BELOW_1, "beta of heavy ball")
    nesterov: bool = _key(False, "", SWITCH, "Nesterov's form of momentum")
    weight_decay: float = _key(0.0, "1/step/lr", _at_least(0), "L2 (sgd), decoupled (adamw)")
    clip_norm: float | None = _key(None, "", _above(0),
        "largest gradient norm; null = no clipping")


@dataclass
class BatchConfig:
    """Batch sizes in samples."""

    initial: int = _key(MISSING, "images", _at_least(1, "1 to the training images"),
        "first batch size")
    max: int | None = _key(None, "images", _at_least(1, ">= batch.initial"),
        "largest batch; null = no cap, on a GPU what fits into its memory (our models)")
    ladder: int | None = _key(None, "sizes", _within(1, 64),
        "batch sizes in a doubling of the batch, for a GPU; delta stays exact; null = any size")


@dataclass
class NoiseConfig:
    """The noise law and its constants."""

    c2: float | None = _key(None, "", _above_to(1e24, "1e24"),
        "C^2 of the noise law; null = 1, delta in units of C")
    k: float | None = _key(None, "", _within(0, 10**12, "1e12"),
        "K of the laws shb and nshb_a; null = 0, not known")
    law: str | None = _key(None, "name", _one_of(*LAWS),
        "how delta follows from lr, batch, momentum; null = optimizer's")
    source: str | None = _key(None, "name", _one_of("given", "measured"),
        "of noise.c2; null = given where there is one")
    estimator: str = _key("two_batch", "name", _one_of("two_batch", "per_example"),
        "of C^2 (measure=[noise])")
    batch_norm: str | None = _key(None, "name", _one_of("train", "eval"),
        "statistics while measuring: train = the batch's, as the training's own steps have them; "
        "eval = the running ones, another thing early in a training; null = train, of per_example "
        "eval")
    batch: int | None = _key(None, "images", _at_least(1),
        "of a measuring batch; null = the batch in use (batch_norm=eval: the first)")
    pairs: int = _key(32, "batches", _within(2, 100_000), "pairs of measuring batches")
    every: int = _key(1, "reports", _at_least(1),
        "between measurements (a report is an epoch's end, unless reports= is given); the last "
        "always")


@dataclass
class CriticalConfig:
    """The stopping rule that the critical batch size is found with."""

    epsilon: list[float] = field(default_factory=lambda: [0.5],
        metadata=_about("", EPSILONS, "mean gradient norms that end a training"))
    min_epochs: int = _key(11, "epochs", _at_least(0),
        "of samples before the rule is looked at (11: as the papers' authors)")


@dataclass
class SharpnessConfig:
    """Worst-case sharpness of the final weights."""

    rho: float = _key(0.0002, "", _above(0), "radius of the weights' box")
    adaptive: bool = _key(True, "", SWITCH, "the box is rho * |w|, not rho")
    examples: int = _key(1024, "images", _at_least(1), "first training images")
    batch: int = _key(128, "images", _at_least(1), "of one maximisation")
    iterations: int = _key(20, "steps", _within(1, 10_000), "of APGD")


@dataclass
class ObjectiveConfig:
    """What the search ranks by."""

    name: str = _key("val_accuracy", "name", "val_accuracy | val_loss, or a name that your own "
        "training reports", "what the search ranks by and, on test data, the verdict judges")
    goal: str | None = _key(None, "", _one_of("min", "max"),
        "which way is better; null = as the name says (a loss: min, an accuracy: max)")


@dataclass
class RecipeConfig:
    """The schedule the workload's users would take without a search."""

    family: str = _key("cosine", "name", "known family or package.module:curve",
        "decay curve of the baseline")
    interval: Interval | None = field(default=None, metadata=_about("epochs", INTERVALS,
        "decay interval of the baseline; null = 1, or step where epochs=1"))
    end: float = _key(0.0, "share", BELOW_1, "of its initial lr, where the baseline ends")
    params: dict[str, float] = field(default_factory=dict)  # of the curve: recipe.<param>


@dataclass
class BaselineConfig:
    """The arm that is the recipe's own schedule."""

    kind: str = _key("true", "name", _one_of("true", "false", "tuned"),
        "confirm the recipe's own schedule as an arm; tuned = searched as other arms are")
    name: str | None = _key(None, "", ARM_NAME, "of this arm; null = your default")

    @property
    def is_wanted(self) -> bool:
        """True where the run has this arm."""
        return self.kind != "false"

    @property
    def is_tuned(self) -> bool:
        """True where it is searched."""
        return self.kind == "tuned"


@dataclass
class SearchConfig:
    """How an arm's configs are chosen."""

    sampler: str = _key("tpe", "name", _one_of(*SAMPLERS), "how configs are suggested")
    fidelity: str = _key("full", "name", _one_of(*FIDELITIES),
        "full = every config trained in full; squeezed = short complete trainings first; prefix "
        "= the first epochs of a full training first (ASHA)")
    budget: int | None = _key(None, "samples", _above(0), "per space; replaces trials")
    hours: float | None = _key(None, "device-hours", _above(0),
        "of all arms' searches together, after which no config begins; null = no limit")
    startup: int | None = _key(None, "configs", _at_least(0),
        "Sobol points first; null = max(2*dims+1, trials/4)")
    eta: int = _key(3, "", _within(2, 100), "one config in eta is promoted to the next rung")
    rungs: int = _key(3, "rungs", _within(2, 10), "the full training included")
    min_horizon: float | None = _key(None, "share", INSIDE,
        "of a full training's samples at the lowest rung; null = eta^-(rungs-1), or what 20 steps "
        "need")
    promote: str = _key("late", "name", _one_of("late", "early"),
        "late = when all configs have started, ends better; early = at once, good sooner")
    share_prefix: bool = _key(False, "", SWITCH,
        "trainings that begin alike continue from one state, exactly")


@dataclass
class ConfirmConfig:
    """How the chosen configs are judged."""

    top_k: int = _key(1, "configs", _at_least(1, "1 to trials"), "of each arm to select among")
    seeds: int = _key(5, "seeds", _within(0, 1000), "fresh paired seeds of the verdict")
    hours: float | None = _key(None, "device-hours", _above(0),
        "of the confirm trainings, after which no round of seeds begins; null = no limit")
    select_seeds: int = _key(2, "seeds", _at_least(1), "to select with (top_k > 1)")
    each: bool = _key(False, "", SWITCH, "every config of a grid is an arm of its own")
    until: str = _key("seeds", "name", _one_of("seeds", "decided"),
        "seeds = confirm.seeds; decided = more where needed")
    max_seeds: int = _key(30, "seeds", _within(3, 1000),
        "the most that confirm.until=decided may use")


@dataclass
class ResourcesConfig:
    """What one trial occupies; null = found out from the cluster."""

    cpus_per_trial: float | None = _key(None, "CPUs", _above_to(1024),
        "also the threads of a trial; null = those of its machine over the trials there at once, "
        "on a cluster 1; a resume keeps the threads")
    gpus_per_trial: float | None = _key(None, "GPUs",
        Allowed("0 to 1, a user's: whole ones too", lambda x: 0 <= x <= 1 or x % 1 == 0 < x),
        "a fraction: several trials on a GPU, none on two; null = 1 where the cluster has GPUs")


@dataclass
class ClusterConfig:
    """Where to run."""

    address: str | None = _key(None, "", "auto | host:port",
        "running cluster; null = start one here")
    auth: str = _key("token", "name", _one_of("token", "disabled"),
        "disabled = also join a cluster that asks for no token, where whoever reaches it runs "
        "code as you")


@dataclass
class TrackingConfig:
    """Where the trackers put the run; null = their own environment variables."""

    project: str | None = _key(None, "name", "any",
        "wandb's project, mlflow's experiment; null = gradtune")
    entity: str | None = _key(None, "name", "any", "wandb's user or team; null = your default")
    mode: str | None = _key(None, "name", _one_of("online", "offline", "disabled"),
        "of wandb; null = WANDB_MODE or online")
    uri: str | None = _key(None, "uri", "any of mlflow's", "its store; null = in the run folder")


@dataclass
class Config:
    """All keys of `python -m tuner.run`, and what comes with them."""

    workload: str = _key("digits", "name", "known workload", "dataset, model and recipe")
    preset: str = _key("none", "name", "known preset", "a configuration that reproduces something")
    space: list[str] = field(default_factory=lambda: ["poly"], metadata=_about(
        "names", "known space, list of them, or a .yaml/.py file", "arms searched"))
    spaces: dict[str, dict[str, Any]] = field(default_factory=dict)  # family, RangeConfigs
    split: float | None = _key(None, "share", Allowed("0 to 1", lambda x: 0 <= x <= 1),
        "1 decays lr, 0 grows the batch")
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    lr: float = _key(MISSING, "", _above_to(1e12, "1e12"),
        "the recipe's initial lr; places the range of delta0")
    batch: BatchConfig = field(default_factory=BatchConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    measure: list[str] = field(default_factory=list,
        metadata=_about("names", f"list of {', '.join((*MEASUREMENTS, *FUNCTION_MEASUREMENTS))}",
            "also measured"))
    critical: CriticalConfig = field(default_factory=CriticalConfig)
    sharpness: SharpnessConfig = field(default_factory=SharpnessConfig)
    trainer: str = _key("network", "name", _one_of(*TRAINERS),
        "a network, a known function (Algorithm 1), or your own training (trainable)")
    trainable: str | None = _key(None, "name", "package.module:function",
        "your own training loop, train(schedule, seed, report); docs/any_training.md")
    smoothing: str = _key("ball", "name", _one_of(*SMOOTHINGS),
        "distribution of explicit smoothing")
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    epochs: int = _key(MISSING, "epochs", _within(1, 100_000), "length of a full training")
    warmup_epochs: float = _key(0.0, "epochs", _at_least(0, "0 to below epochs"),
        "linear warmup, after which the decay begins; 0 = none")
    reports: int | None = _key(None, "points", _within(1, 100_000),
        "evaluations of a full training; null = one an epoch")
    unit: str | None = _key(None, "name", _one_of("samples", "images", "sequences", "tokens"),
        "what a sample is called on screen and in figures; null = images of a network, or samples")
    label_smoothing: float = _key(0.0, "share", BELOW_1, "of the training loss")
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    precision: str = _key("auto", "name", _one_of("auto", "fp32", "bf16"),
        "auto = bf16 where the hardware has it; fp32 is no TF32, on a GPU neither")
    micro_batch: int | None = _key(None, "images", _at_least(2),
        "largest batch of one backward pass (BatchNorm sees it)")
    trials: int = _key(20, "configs", _within(1, 1_000_000), "configs searched per space")
    seed: int = _key(0, "", _within(0, 2**63 - 1, "2^63-1"), "everything random derives from it")
    search: SearchConfig = field(default_factory=SearchConfig)
    confirm: ConfirmConfig = field(default_factory=ConfirmConfig)
    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    min_effect: float | None = _key(None, "objective's", _at_least(0),
        "difference that matters; null = 0.2 points or 2 test images of an accuracy, else none")
    max_concurrent: int | None = _key(None, "trials", _at_least(1),
        "trained at once; null = what fits, as nodes come and go; given, a cluster that scales "
        "brings nodes for so many")
    max_failures: int = _key(3, "retries", _at_least(0),
        "of a trial whose process died or hung; one, where it ran out of memory")
    isolate: bool | None = _key(None, "", SWITCH,
        "a fresh process for each training; null = true for trainable=, else false")
    max_report_seconds: float | None = _key(None, "s", _above(0),
        "without a report, after which a training counts as hanging; null = 20 x its usual time, "
        "at least 600 s; 4 h before the first report of all")
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    track: list[str] = field(default_factory=list,
        metadata=_about("names", f"list of {', '.join(TRACKERS)}", "who else is told (extras)"))
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    runs_dir: str = _key("runs", "path", "writable folder, or s3:// or gs://BUCKET/FOLDER",
        "where run folders are made (docs/storage.md)")
    name: str | None = _key(None, "", "[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
        "of the run; null = made up")
    resume: str | None = _key(None, "path", "a run folder, also in a bucket, or its name",
        "go on with an earlier run")
    code: str = _key("same", "name", _one_of("same", "accept"),
        "accept = a resumed run goes on although your own code changed; the verdict says so")
    display: str = _key("auto", "name", _one_of("auto", "rich", "plain", "none"),
        "while it runs; auto = rich in a terminal, one line in a notebook, plain elsewhere")
    display_log: bool = _key(False, "", SWITCH,
        "show the last line that each running training of your own has printed")
    report: bool = _key(True, "", SWITCH, "write report.html into the run folder at the end")
    dry_run: bool = _key(False, "", SWITCH, "print the plan and stop")
    # Not keys: spaces from files and presets, a trainable that cannot be imported, keys typed.
    user_spaces: dict[str, Any] = field(default_factory=dict)
    trainable_function: Any = None
    given: frozenset[str] = frozenset()

    @property
    def isolates(self) -> bool:
        """True where each training gets a fresh process."""
        return self.trainer == "user" if self.isolate is None else self.isolate
# fmt: on


NOT_KEYS = ("user_spaces", "trainable_function", "given")


def _make_key(item: Any) -> Key:
    kind, _, optional = item.type.partition(" | ")
    default = item.default if item.default is not NO_DEFAULT else item.default_factory()
    return Key(kind, bool(optional), default, *item.metadata["key"])


def _keys(schema: Any, prefix: str = "") -> Iterator[tuple[str, Key]]:
    for item in fields(schema):
        if is_dataclass(item.default_factory):
            yield from _keys(item.default_factory, f"{prefix}{item.name}.")
        elif item.metadata:
            yield f"{prefix}{item.name}", _make_key(item)


KEYS: dict[str, Key] = dict(_keys(Config))
RANGE_KEYS = {item.name: _make_key(item) for item in fields(RangeConfig)}


def range_key(param: str, name: str) -> Key:
    """The key `spaces.<space>.<param>.<name>`; an interval also takes the word step."""
    key = RANGE_KEYS[name]
    if param != "interval" or name not in ("value", "choices"):
        return key
    text = f"{STEP_NAME} | a number above 0"
    allowed = Allowed(text if name == "value" else f"list of {text}", names=(STEP_NAME,))
    return key._replace(kind=key.kind.replace("float", "Interval"), allowed=allowed)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values by full dotted key; an earlier name is told of on stderr, a shorthand written out."""
    for name, value in settings.items():
        key = f"{prefix}{name}"
        if key in ALIASES:
            print(f"note: {key}= is now called {ALIASES[key]}=", file=sys.stderr)
            key = ALIASES[key]
        if isinstance(value, Mapping) and key not in KEYS:
            yield from flatten(value, f"{key}.")
        else:
            yield SHORTHANDS.get(key, key), value


def check_text(what: str, text: object) -> None:
    """Raise ConfigError for a text that no file, table or other process can hold.

    Args:
        what: it is, as in key=value. text: anything that is no text is none of this.
    """
    if isinstance(text, str) and ("\0" in text or not _is_unicode(text)):
        raise ConfigError(f"{what}={ascii(text)[:MAX_LENGTH]}: is no UTF-8 text; rename it")


def _is_unicode(text: str) -> bool:
    """False of a file name in another encoding, whose bytes Python hides in its text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def convert(name: str, key: Key, value: Any) -> Any:
    """The value as the key's type, from what was typed, given in Python or read from YAML."""
    if value is None and key.optional:
        return None
    if value == "" and "str" in key.kind:
        raise ConfigError(f"{name}=: may not be empty")
    for text in value if isinstance(value, list | tuple) else [value]:
        check_text(name, text)
    if key.unit == "path" and isinstance(value, str | os.PathLike):
        value = os.path.expanduser(str(value))  # no shell does, after an equals sign
    if YES[0] in key.allowed.names and str(value).lower() in (*YES, *NO):
        value = YES[0] if str(value).lower() in YES else NO[0]
    try:
        return _converted(key.kind, value)
    except (TypeError, ValueError, OverflowError):
        allowed = ", ".join(filter(None, (WANTED.get(key.kind), key.allowed.text)))
        raise ConfigError(
            f"{name}={show(value)}: allowed is {allowed}{_nearest(key, value)}"
        ) from None


def _converted(kind: str, value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        value = value.tolist()
    if kind.startswith("list"):
        items = value if isinstance(value, list | tuple) else [value]
        return [_converted(kind[5:-1], item) for item in items]
    if value is None or isinstance(value, list | tuple | Mapping):
        raise TypeError
    if kind == "bool":
        return (*YES, *NO).index(str(value).lower()) < len(YES)
    if kind == "str":
        return str(value)
    if isinstance(value, bool) or (kind == "int" and isinstance(value, float)):
        raise TypeError
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise OverflowError
    if kind == "Interval":
        return tidy_interval(read_interval(value))
    return int(value) if kind == "int" else float(value)


def check_value(name: str, value: Any) -> None:
    """Raise ConfigError unless the key allows this value of its type."""
    allowed = KEYS[name].allowed
    if value is not None and allowed.check is not None and not allowed.check(value):
        near = _nearest(KEYS[name], value)
        raise ConfigError(f"{name}={show(value)}: allowed is {allowed.text}{near}")


def _nearest(key: Key, value: Any) -> str:
    names = YES[:1] + NO[:1] if key.kind == "bool" else key.allowed.names
    items = value if isinstance(value, list | tuple) else [value]
    texts = (item for item in items if isinstance(item, str) and item not in names)
    hints = (nearest(text, names) for text in texts)
    return next(filter(None, hints), "")


def show(value: Any, *, most: int = MAX_LENGTH) -> str:
    """A value in a message: one line, of so many characters at most, without a password."""
    from results.records.redaction import redact  # late: pyarrow

    if isinstance(value, list | tuple):
        value = f"[{','.join(map(show, value))}]"
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        value = f"a number of {value.bit_length():,} bits"
    text = "null" if value is None else redact(" ".join(str(value).split()))
    text = text.lower() if isinstance(value, bool) else text
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= most else f"{text[:most]}..."


def make_config(values: Mapping[str, Any]) -> Config:
    """The configuration with these values at their dotted keys, and defaults elsewhere."""
    config = Config()
    for name, value in values.items():
        section, _, last = name.rpartition(".")
        setattr(value_of(config, section) if section else config, last, value)
    return config


def is_of_training(name: str, trainer: str) -> bool:
    """True for a parameter of a space that this trainer's trainings take besides a schedule."""
    if trainer == "user":
        return bool(NAME.fullmatch(name)) and name not in (*OF_SCHEDULES, "family")
    return name in SEARCHED.get(trainer, ())


def value_of(config: Any, key: str) -> Any:
    """The value at a dotted key."""
    for part in key.split("."):
        config = getattr(config, part)
    return config


def plain(config: Config) -> dict[str, Any]:
    """Every key of the configuration as plain values, nested."""
    values = asdict(replace(config, trainable_function=None))  # no copy of what it holds
    return {name: value for name, value in values.items() if name not in NOT_KEYS}
