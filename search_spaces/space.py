"""Which values of which parameters does an arm of the search try?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from search_spaces.clock import STEP, STEP_NAME

# Names of the arm that is the recipe's own schedule, as it is or searched like the others; a name
# that the user gave it follows a colon.
BASELINE, TUNED_BASELINE = "baseline", "baseline_tuned"
# Parameters every space has besides those of its family's curve.
COMMON_PARAMS = ("interval", "delta0", "split")
# Parameters any space may add: momentum_share (share of the decay that momentum does), batch0
# (replaces the recipe's first batch), lr0 (replaces delta0), radius0 (explicit smoothing), warmup
# (share of the training in which lr rises; replaces the recipe's warmup_epochs), end (share of
# its start to which the curve falls).
EXTRA_PARAMS = ("momentum_share", "batch0", "lr0", "radius0", "warmup", "end")
# Numbers of the recipe that a space may give or search in their place. Of a user's own training
# any other name: a parameter that is handed to it.
RECIPE_PARAMS = (
    *("weight_decay", "momentum", "clip_norm", "label_smoothing", "width", "batch_max"),
)
# Those of them that shape the schedule, which tells them to the training.
OF_TABLE = ("momentum", "batch_max")
INTEGER_PARAMS = ("interval", "batch0", "width", "batch_max")
# Everything about the schedule that is not a parameter of the curve itself.
SCHEDULE_PARAMS = (*COMMON_PARAMS, *EXTRA_PARAMS)


def param_text(name: str, value: float, form: str = "{:.4g}") -> str:
    """A parameter's value as it is told and typed: "0.9", "step"."""
    return STEP_NAME if name == "interval" and value == STEP else form.format(value)


def read_interval(value: Any) -> Any:
    """The number that the word step stands for; anything else, and lists of it, as they are."""
    if isinstance(value, list | tuple):
        return [read_interval(item) for item in value]
    return STEP if value == STEP_NAME else value


def tidy_interval(value: float) -> float:
    """Whole epochs as an int, as they always were; fractions as they are."""
    return int(value) if float(value).is_integer() else float(value)


def is_baseline(space: str) -> bool:
    """True for a name of the arm that is the recipe's own schedule."""
    return space.partition(":")[0] in (BASELINE, TUNED_BASELINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """The values one parameter may take: an interval, a list of choices, or one fixed value.

    Attributes:
        low, high: inclusive bounds.
        log: sample uniformly in the logarithm (needs low > 0, excludes step).
        step: distance between allowed values, counted from low.
        choices: the allowed values; excludes low and high.
        value: one fixed value; excludes everything else.
        integer: whole numbers only.
        relative: numbers are multiples of a reference of the run (`interval`: its epochs,
            `delta0`: the recipe's noise level, `lr0` and `batch0`: the recipe's own);
            `resolve` makes them absolute.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[float, ...] | None = None
    value: float | None = None
    integer: bool = False
    relative: bool = False

    def __post_init__(self) -> None:
        numbers = [self.low, self.high, self.step, self.value, *(self.choices or ())]
        for number in numbers:
            if number is not None and not math.isfinite(number):
                raise ValueError(f"bounds must be finite, but got {number}.")
        if self.value is not None:
            return
        if self.choices is not None:
            if not self.choices:
                raise ValueError("`choices` must hold at least one value, but got [].")
            if len(set(self.choices)) < len(self.choices):
                raise ValueError(f"`choices` must differ, but got {list(self.choices)}.")
            return
        if self.low is None or self.high is None:
            raise ValueError("one of low and high, choices, or value must be given.")
        if self.low > self.high or (self.low == self.high and not self.integer):
            raise ValueError(
                f"`low < high` must hold, but got (low={self.low}, high={self.high})."
            )
        if self.log and self.low <= 0 and not self.relative:
            raise ValueError(f"`low > 0` must hold for log=true, but got (low={self.low}).")
        if self.step is not None and (self.log or self.step <= 0):
            raise ValueError(
                f"`step > 0` and log=false must hold, but got (step={self.step}, log={self.log})."
            )

    def replaced(self, fields: Mapping[str, Any], name: str = "") -> Range:
        """This range of the parameter `name` with these fields on top; None stays as it is.

        `value` and `choices` exclude the others. They start anew, as do bounds on top of a
        fixed value or of a relative range; a `step` without `log` ends the log scale. An
        interval may be given as fractions of an epoch, or as the word step (value, choices).

        Raises:
            ValueError: excluded fields together, or no whole numbers where the range has them.
        """
        given = {key: value for key, value in fields.items() if value is not None}
        exclusive = [key for key in ("value", "choices") if key in given]
        if exclusive and len(given) > 1:
            raise ValueError(f"{exclusive[0]} excludes the others, but got {', '.join(given)}.")
        if "choices" in given:
            given["choices"] = tuple(given["choices"])
        numbers = [given[key] for key in ("low", "high", "step", "value") if key in given]
        numbers += given.get("choices", ())
        is_whole = all(float(number).is_integer() for number in numbers)
        if self.integer and not is_whole and name != "interval":
            raise ValueError("whole numbers only.")
        if name == "interval" and given.get("low", 1) <= 0:
            raise ValueError(f"`low > 0` must hold; {STEP_NAME} is a value or one of choices.")
        if not given:
            return self
        integer = self.integer and is_whole
        if exclusive or self.low is None or self.relative:
            return Range(**given, integer=integer)
        if "step" in given:
            given = {"log": False} | given
        return replace(self, **given, integer=integer)

    @property
    def is_fixed(self) -> bool:
        """True when exactly one value is allowed."""
        if self.choices is not None:
            return len(self.choices) == 1
        return self.value is not None or self.low == self.high

    @property
    def fixed_value(self) -> float:
        """The one allowed value of a fixed range."""
        assert self.is_fixed, "only a fixed range has a fixed value"
        value = self.choices[0] if self.choices else self.low if self.value is None else self.value
        assert value is not None
        return self._typed(value)

    def from_unit(self, u: float) -> float:
        """The value at quantile u in [0, 1) of this range (log-uniform when log=True)."""
        is_uniform = self.step is not None or (self.integer and not self.log)
        if self.is_fixed or self.choices is not None or is_uniform:
            values = self.grid()
            return values[min(int(u * len(values)), len(values) - 1)]
        assert self.low is not None
        assert self.high is not None
        low, high = self.low, self.high
        if self.integer:
            low, high = low - 0.5, high + 0.5
        x = low * (high / low) ** u if self.log else low + u * (high - low)
        if self.integer:
            x = round(x)
        return self._typed(min(max(x, self.low), self.high))

    def grid(self) -> tuple[float, ...]:
        """Every allowed value.

        Raises:
            ValueError: the range is continuous.
        """
        if self.is_fixed:
            return (self.fixed_value,)
        if self.choices is not None:
            return tuple(self._typed(c) for c in self.choices)
        assert self.low is not None
        assert self.high is not None
        if self.step is None and not self.integer:
            raise ValueError(
                "a grid needs `choices`, `step` or `value`, but got a continuous range."
            )
        step = self.step or 1
        count = int((self.high - self.low) / step + 1e-9) + 1
        # 12 digits: 0.1 + 2 * 0.1 is to be 0.3, and never above high.
        return tuple(self._typed(float(f"{self.low + step * i:.12g}")) for i in range(count))

    def is_on_edge(self, x: float, tolerance: float = 0.02) -> bool:
        """True when x lies within `tolerance` of the range's width of one of its ends."""
        if self.is_fixed or self.choices is not None:
            return False
        assert self.low is not None
        assert self.high is not None
        scale = math.log if self.log else float
        position = (scale(x) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return not tolerance < position < 1 - tolerance

    def _typed(self, x: float) -> float:
        return round(x) if self.integer else float(x)


EVERY_STEP = Range(value=STEP, integer=True)  # as an interval


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace:
    """An arm: a family of curves and the ranges of its parameters.

    Attributes:
        name: the arm's name; one study, one budget, one verdict.
        family: name in FAMILIES, or `package.module:curve`.
        ranges: by parameter: `interval` (epochs; 0 = every step), `delta0` (initial noise
            level), `split` (1 = all decay by lr, 0 = all by batch), and the family's own; `factor`
            (noise per stage over that of the stage before) may replace exp's end_ratio.
            Any of `EXTRA_PARAMS` may join; `lr0` takes the place of delta0.
        optimizer: this arm's own optimizer; None = the recipe's.
        training: those of the ranges that are the training's and no schedule's: of
            `RECIPE_PARAMS`, or what a user's own training is handed.
    """

    name: str
    family: str
    ranges: Mapping[str, Range]
    optimizer: str | None = None
    training: tuple[str, ...] = ()

    @property
    def free(self) -> dict[str, Range]:
        """The ranges that are really searched, in a fixed order."""
        return {k: r for k, r in sorted(self.ranges.items()) if not r.is_fixed}

    @property
    def fixed(self) -> dict[str, float]:
        """The parameters with one value."""
        return {k: r.fixed_value for k, r in sorted(self.ranges.items()) if r.is_fixed}

    def grid(self) -> list[dict[str, float]]:
        """Every combination of the free ranges' values, last parameter fastest.

        Raises:
            ValueError: a free range is continuous; the message names it.
        """
        axes = []
        for name, axis in self.free.items():
            try:
                axes.append(axis.grid())
            except ValueError as error:
                raise ValueError(f"spaces.{self.name}.{name}: {error}") from None
        return [dict(zip(self.free, point, strict=True)) for point in itertools.product(*axes)]

    def points(self) -> list[SearchSpace]:
        """Every config of a grid as an arm of its own, named `space param=value,...`.

        Values are told in 4 digits, or in all where 4 do not keep the names apart.

        Raises:
            ValueError: a free range is continuous; the message names it.
        """
        points = self.grid()
        labels = [_label(point, "{:.4g}") for point in points]
        if len(set(labels)) < len(labels):
            labels = [_label(point, "{!r}") for point in points]
        return [
            replace(
                self,
                name=f"{self.name} {label}".rstrip(),
                ranges={
                    name: Range(value=point[name], integer=axis.integer) if name in point else axis
                    for name, axis in self.ranges.items()
                },
            )
            for point, label in zip(points, labels, strict=True)
        ]

    def resolve(
        self, *, epochs: int, delta_ref: float, lr_ref: float = 1.0, batch_ref: int = 1
    ) -> SearchSpace:
        """The same space with every relative range made absolute.

        Args:
            epochs: length of the training; unit of a relative `interval`.
            delta_ref, lr_ref, batch_ref: noise level, lr and first batch (samples) of the
                workload's recipe; units of a relative `delta0`, `lr0` and `batch0`.
        """
        units = {"interval": epochs, "delta0": delta_ref, "lr0": lr_ref, "batch0": batch_ref}
        ranges = {
            name: _absolute(axis, float(units[name])) if axis.relative else axis
            for name, axis in self.ranges.items()
        }
        axis = self.ranges.get("interval")
        if axis is not None and axis.relative:
            per_stage = "factor" in self.ranges
            ranges["interval"] = _absolute_interval(axis, float(epochs), per_stage=per_stage)
        return replace(self, ranges=ranges)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON form; `from_dict` is its inverse."""
        ranges = {}
        for name, axis in self.ranges.items():
            fields = {k: v for k, v in asdict(axis).items() if v is not None and v is not False}
            ranges[name] = fields | ({"choices": list(axis.choices)} if axis.choices else {})
        own = {"optimizer": self.optimizer, "training": list(self.training)}
        given = {name: value for name, value in own.items() if value}
        return {"name": self.name, "family": self.family, "ranges": ranges, **given}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SearchSpace:
        """The space that `to_dict` described."""
        ranges = {}
        for name, fields in data["ranges"].items():
            choices = {"choices": tuple(fields["choices"])} if "choices" in fields else {}
            ranges[name] = Range(**fields | choices)
        training = tuple(data.get("training", ()))
        return cls(**{**data, "ranges": ranges, "training": training})


def _label(point: Mapping[str, float], form: str) -> str:
    return ",".join(f"{name}={param_text(name, value, form)}" for name, value in point.items())


def _absolute_interval(axis: Range, epochs: float, *, per_stage: bool) -> Range:
    """In whole epochs; every step, or fractions, where whole ones would leave nothing to decay.

    `per_stage`: the decay is given as a factor per stage, so stages keep their share.
    """
    whole = _absolute(axis, epochs)
    longest = axis.high or axis.value or max(axis.choices or (0,))
    lowest = whole.low or whole.value or min(whole.choices or (0,))
    if longest >= 1 or lowest < epochs:
        return whole
    return _absolute(replace(axis, integer=False), epochs) if per_stage else EVERY_STEP


def _absolute(axis: Range, unit: float) -> Range:
    def scaled(x: float) -> float:
        return max(1, round(x * unit)) if axis.integer else x * unit

    bounds = {"low": axis.low, "high": axis.high, "value": axis.value}
    changes: dict[str, Any] = {k: scaled(x) for k, x in bounds.items() if x is not None}
    if axis.choices:
        changes["choices"] = tuple(map(scaled, axis.choices))
    return replace(axis, **changes, relative=False)
