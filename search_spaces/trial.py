"""What identifies one training? A TrialConfig: schedule, recipe, and which repetition."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from search_spaces import FAMILIES
from search_spaces.clock import STEP, report_samples, samples_at
from search_spaces.metric import Metric, make_metric
from search_spaces.noise_law import NoiseLaw
from search_spaces.registry import lookup
from search_spaces.schedule import Schedule, make_schedule
from search_spaces.space import SCHEDULE_PARAMS

Role = Literal["search", "select", "confirm"]
KEY_LENGTH = 16
STOPPING = ("critical",)  # measurements that may end a training
# Fields of Recipe younger than schema version 1, and what older records mean by their absence.
LATER_FIELDS: dict[str, Any] = {
    "trainer": "network",
    "smoothing": "ball",
    "measurements": {},
    "decay_after_warmup": False,
    "reports": None,
    "objective": "val_accuracy",
    "goal": "max",
    "data_options": {},
    "data_files": "",
    "batch_ladder": None,
}
# Of them, those that a record leaves out at their defaults: as records of before were written.
UNWRITTEN = (
    *("decay_after_warmup", "reports", "objective", "goal", "data_options", "data_files"),
    "batch_ladder",
)


def canonical_json(data: Mapping[str, Any]) -> str:
    """Sorted, compact JSON: equal data gives equal text."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def derive_seed(*parts: object) -> int:
    """A 31-bit seed that depends on all parts and on nothing else."""
    digest = hashlib.sha256(json.dumps([str(p) for p in parts]).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def sample_word(unit: str | None, trainer: str) -> str:
    """What samples are called: as the user does (`unit`), else the images of a network."""
    return unit or ("images" if trainer == "network" else "samples")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All that the trials of a run share: data, model, optimizer, length, arithmetic.

    But for what a config gives itself (`TrialConfig.training`).

    Attributes:
        dataset: name in DATASETS or `package.module:callable`; dataset_path where it needs one.
        data_fingerprint: identifies the data's content; stands for the path in trial keys.
        pool_examples: training images used, validation included.
        train_examples: N, images trained on per epoch (the pool without its validation part).
        batch0, batch_max: first and largest batch (samples; batch_max None = N).
        c2, k, noise_law: see NoiseLaw; c2_source: given | measured | unit.
        precision: fp32 (IEEE's, no TF32) | bf16 (autocast).
        micro_batch: largest batch of one backward pass; None = all.
        code_digest: of the user's own model, dataset, optimizer or training; '' without any.
        trainer: name in TRAINERS: network, function (explicit smoothing of a known function), or
            user (a training of the user's own, which `model` names).
        smoothing: ball | gaussian | gaussian_scaled; distribution of explicit smoothing.
        measurements: options by name of what is measured along the way (`measure=`).
        decay_after_warmup: the curve begins where the warmup ends; False in records of before.
        reports: evaluation points of a full training; None = one an epoch.
        objective: name of the metric that the search ranks by; goal: min | max.
        data_options: how images are taken, where not as by default (`DataOptions`).
        data_files: by which the files of the data are known (`SourceInfo.files`); of records of
            before data_fingerprint is this.
        batch_ladder: batch sizes in a doubling of the batch; None = any.
    """

    workload: str
    dataset: str
    dataset_path: str | None
    data_fingerprint: str
    pool_examples: int
    train_examples: int
    num_classes: int
    model: str
    width: int | None
    optimizer: str
    momentum: float
    nesterov: bool
    weight_decay: float
    clip_norm: float | None
    label_smoothing: float
    epochs: int
    warmup_epochs: float
    batch0: int
    batch_max: int | None
    noise_law: str = "sgd"
    c2: float = 1.0
    k: float = 0.0
    c2_source: str = "unit"
    precision: str = "fp32"
    num_threads: int = 1
    micro_batch: int | None = None
    code_digest: str = ""
    trainer: str = "network"
    smoothing: str = "ball"
    measurements: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    decay_after_warmup: bool = False
    reports: int | None = None
    objective: str = "val_accuracy"
    goal: str = "max"
    data_options: Mapping[str, Any] = field(default_factory=dict)
    data_files: str = ""
    batch_ladder: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Its fields by name; as `dataclasses.asdict`, which copies deeply (15 times slower)."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def identity(self) -> dict[str, Any]:
        """The fields that a training depends on.

        Not where the data lies, nor what is only measured; C^2 and K not where they merely label
        delta (for a known function delta is the radius of its smoothing). Fields that came later
        are left out at their defaults: they did not exist for the keys of older records.
        """
        left_out = {"dataset_path", "data_files", "c2_source"}
        if self.law.is_scale_free and self.trainer == "network":
            left_out |= {"c2", "k"}
        stopping = {k: v for k, v in self.measurements.items() if k in STOPPING}
        known = self.as_dict() | {"measurements": stopping}
        left_out |= {name for name, default in LATER_FIELDS.items() if known[name] == default}
        return {name: value for name, value in known.items() if name not in left_out}

    @property
    def num_reports(self) -> int:
        """Evaluation points of a full training."""
        return self.epochs if self.reports is None else self.reports

    def samples_at(self, report: int) -> int:
        """Samples of a full training at this evaluation point (from 1)."""
        return samples_at(report, report_samples(self.epochs, self.train_examples, self.reports))

    def point_at(self, samples: int) -> int:
        """The last evaluation point of a full training that these samples have reached; or 0."""
        spacing = report_samples(self.epochs, self.train_examples, self.reports)
        point = min(self.num_reports, int(samples / spacing) + 1)
        return point if samples_at(point, spacing) <= samples else point - 1

    @property
    def title(self) -> str:
        """What is trained on what; a known function and a user's own training lack one of them."""
        return " on ".join(name for name in (self.model, self.dataset) if name != "none")

    @property
    def chance(self) -> float:
        """Accuracy of guessing; 0 where there are no classes."""
        return 1.0 / self.num_classes if self.num_classes else 0.0

    @property
    def metric(self) -> Metric:
        """What the search ranks by."""
        return make_metric(self.objective, self.goal)

    @property
    def diverged_objective(self) -> float | None:
        """What a diverged training counts as: chance for accuracies, else nothing."""
        return self.chance if self.metric.is_accuracy else None

    @property
    def law(self) -> NoiseLaw:
        """The noise law of this recipe's optimizer."""
        return NoiseLaw(name=self.noise_law, c2=self.c2, k=self.k, momentum=self.momentum)


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """One training: a schedule, a recipe, and a repetition. Nothing else influences its result.

    Attributes:
        space: the arm; family: its curve (name or `package.module:curve`).
        params: the suggested values in the space's terms: interval, delta0, split, and the
            curve's (or `factor`); those of the training.
        lr0: initial lr that realises delta0 at the first batch.
        horizon: share of the full training's samples, in (0, 1].
        role, replicate: search | select | confirm, and the seed index that pairs arms.
        seed: of initial weights, validation split, data order and augmentation.
        until: stop after this report for now (a rung of a search by prefixes); None = train to
            the end. No part of the identity: the same training goes on later.
        training: names of the params that are the training's and no schedule's; where the recipe
            has a field of that name, it holds the value.
    """

    space: str
    family: str
    params: Mapping[str, float]
    lr0: float
    recipe: Recipe
    role: Role = "search"
    replicate: int = 0
    seed: int = 0
    horizon: float = 1.0
    curve_digest: str = field(default="")
    until: int | None = None
    training: tuple[str, ...] = ()

    @property
    def interval(self) -> float:
        """Epochs between decays; 0 = every optimizer step."""
        return self.params["interval"]

    @property
    def warmup(self) -> float:
        """Share of the training in which lr rises: the config's own, or the recipe's."""
        return self.params.get("warmup", self.recipe.warmup_epochs / self.recipe.epochs)

    @property
    def warmup_epochs(self) -> float:
        """The same in epochs."""
        share = self.params.get("warmup")
        return self.recipe.warmup_epochs if share is None else share * self.recipe.epochs

    @property
    def batch0(self) -> int:
        """First batch (samples): the config's own, else the recipe's."""
        return int(self.params.get("batch0", self.recipe.batch0))

    @property
    def num_reports(self) -> int:
        """Evaluation points of this training, or where it stops for now; a squeezed one has fewer.

        Without `reports` its epochs. Fewer where one batch passes several of them.
        """
        whole = max(1, math.ceil(self.horizon * self.recipe.num_reports - 1e-9))
        return whole if self.until is None else min(whole, self.until)

    @property
    def is_full(self) -> bool:
        """True for a training to the end over all samples, which alone can be compared."""
        return self.horizon == 1.0 and self.until is None

    @property
    def curve_params(self) -> dict[str, float]:
        """The curve's own parameters; a `factor` per stage is told as exp's end_ratio."""
        others = (*SCHEDULE_PARAMS, *self.training)
        params = {k: v for k, v in self.params.items() if k not in others}
        if "factor" in params:
            recipe = self.recipe
            interval = self.interval
            if interval == STEP:
                interval = self.batch0 / recipe.train_examples
            decaying = recipe.epochs - (self.warmup_epochs if self._decays_after_warmup else 0)
            params["end_ratio"] = params.pop("factor") ** (decaying / interval)
        return params

    @property
    def training_params(self) -> dict[str, float]:
        """What this config gives to the training besides a schedule; what a user's is handed."""
        return {name: self.params[name] for name in self.training}

    @property
    def _decays_after_warmup(self) -> bool:
        return self.recipe.decay_after_warmup or "warmup" in self.params

    @property
    def curve(self) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """The family's curve with this config's parameters, without its floor."""
        return functools.partial(lookup("family", self.family, FAMILIES), **self.curve_params)

    @property
    def decays(self) -> bool:
        """False where a curve falls too late for its stages: all of them read 1.

        The last stage begins at u; a cooldown (f of wsd) must begin before it.
        """
        epochs = self.recipe.epochs
        interval = self.interval or self.batch0 / self.recipe.train_examples
        last = (math.ceil(epochs / interval - 1e-9) - 1) * interval / epochs
        if self._decays_after_warmup:
            warmup = self.warmup_epochs / epochs
            last = max(0.0, (last - warmup) / (1 - warmup))
        at_last, near_end = self.curve(np.array([last, 1.0 - 1e-9])).tolist()
        return last == 0 or at_last != 1 or near_end == 1

    @functools.cached_property
    def schedule(self) -> Schedule:
        """The table this training follows."""
        return self._make_schedule()

    @functools.cached_property
    def table_key(self) -> str:
        """Identifies what is trained: configs with one table differ in name only.

        Everything that a search training depends on but its seed; parameters by their table.
        The table itself is not kept: a million steps hold 50 MB.
        """
        table = self._make_schedule()
        digest = hashlib.sha256(canonical_json(self.recipe.identity()).encode())
        radius0 = self.params.get("radius0", 0.0)  # of explicit smoothing
        digest.update(repr([radius0, self.lr0, self.batch0] if radius0 else []).encode())
        if self.training:
            digest.update(canonical_json(self.training_params).encode())
        for name in ("start_S", "lr_S", "batch_size_S", "momentum_S", "delta_S"):
            digest.update(np.ascontiguousarray(getattr(table, name)).data)
        return digest.hexdigest()[:KEY_LENGTH]

    def _make_schedule(self) -> Schedule:
        recipe = self.recipe
        return make_schedule(
            self.curve,
            epochs=recipe.epochs,
            train_examples=recipe.train_examples,
            interval=self.interval,
            lr0=self.lr0,
            batch0=self.batch0,
            split=self.params["split"],
            momentum_share=self.params.get("momentum_share", 0.0),
            end=self.params.get("end", 0.0),
            batch_max=recipe.batch_max,
            batch_ladder=recipe.batch_ladder,
            law=recipe.law,
            warmup_epochs=self.warmup_epochs,
            after_warmup=self._decays_after_warmup,
            horizon=self.horizon,
            reports=recipe.reports,
        )

    @functools.cached_property
    def config_key(self) -> str:
        """Identifies the config: everything but seed, replicate, role and horizon."""
        return _key(self._identity(("role", "replicate", "seed", "horizon")))

    @functools.cached_property
    def trial_key(self) -> str:
        """Identifies the training: all fields, with the data's fingerprint for its path.

        delta0 and C^2 only label delta and stay out where the noise law allows it; lr0
        holds what they mean. See Recipe.identity.
        """
        return _key(self._identity(()))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON form; `from_dict` is its inverse."""
        recipe = self.recipe.as_dict()
        for name in UNWRITTEN:
            if recipe[name] == LATER_FIELDS[name]:
                del recipe[name]
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain |= {"params": dict(self.params), "recipe": recipe}
        if not self.training:  # as records of before were written
            del plain["training"]
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrialConfig:
        """The trial that `to_dict` described."""
        training = tuple(data.get("training", ()))
        return cls(**{**data, "recipe": Recipe(**data["recipe"]), "training": training})

    def _identity(self, without: tuple[str, ...]) -> dict[str, Any]:
        recipe = self.recipe.identity()
        is_label = "c2" not in recipe
        params = {k: v for k, v in self.params.items() if not (k == "delta0" and is_label)}
        unnamed = () if self.training else ("training",)  # did not exist for older keys
        names = {item.name for item in fields(self)} - {"until", *unnamed, *without}
        values = {name: getattr(self, name) for name in names}
        return values | {"params": params, "recipe": recipe}


def _key(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:KEY_LENGTH]
