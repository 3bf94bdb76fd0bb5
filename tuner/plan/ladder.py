"""How long does a training of the search last, rung by rung, and what does it cost?

squeezed: every rung is a complete training, the whole schedule in fewer samples. prefix: every
rung is the beginning of the full training, which goes on where it stopped. full: one rung.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from search_spaces.clock import report_samples, samples_at
from search_spaces.schedule import MIN_RUNG_STEPS
from search_spaces.trial import TrialConfig
from tuner.config.schema import Config, ConfigError

HORIZON_DIGITS = 4  # of the smallest horizon allowed; rounded up


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The rungs of a search, equal for all arms."""

    horizons: tuple[float, ...] = (1.0,)  # shares of all samples, increasing; the last is 1
    eta: int = 3  # one config in eta is promoted, at least 2
    keep: int = 1  # configs trained in full at least (where there are as many)
    fidelity: str = "full"  # full | squeezed | prefix
    epochs: int = 1  # of a full training
    train_examples: int = 1
    reports: int | None = None  # evaluation points of a full training; None = one an epoch

    @property
    def top(self) -> int:
        """Index of the rung of full trainings."""
        return len(self.horizons) - 1

    @property
    def full_samples(self) -> int:
        """Samples of a full training."""
        return self.epochs * self.train_examples

    @functools.cached_property
    def until_K(self) -> tuple[int, ...]:
        """Reports (epochs, without `reports`) after which a prefix ends, by rung."""
        reports = self.epochs if self.reports is None else self.reports
        return tuple(max(1, math.ceil(h * reports - 1e-9)) for h in self.horizons)

    def sizes(self, num_configs: int) -> list[int]:
        """Trainings on each rung when this many configs start.

        Example:
            >>> Ladder(horizons=(1 / 9, 1 / 3, 1.0)).sizes(20)
            [20, 6, 2]
        """
        sizes = [num_configs]
        for _ in self.horizons[1:]:
            sizes.append(min(sizes[-1], max(self.keep, sizes[-1] // self.eta)))
        return sizes

    def samples_on(self, rung: int) -> int:
        """Samples that a config's score on this rung is based on."""
        if self.fidelity == "prefix":
            spacing = report_samples(self.epochs, self.train_examples, self.reports)
            return samples_at(self.until_K[rung], spacing)
        return math.ceil(self.full_samples * self.horizons[rung] - 1e-6)

    def cost(self, rung: int) -> int:
        """Samples trained on to get a config from the rung below to the end of this one."""
        before = self.samples_on(rung - 1) if self.fidelity == "prefix" and rung else 0
        return self.samples_on(rung) - before

    def samples(self, num_configs: int) -> int:
        """Samples of the search of one arm that starts this many configs.

        Example:
            >>> ladder = Ladder(horizons=(1 / 9, 1 / 3, 1.0), fidelity="squeezed", epochs=9)
            >>> ladder.samples(27)  # 27 trainings of 1 epoch, 9 of 3, 3 of 9
            81
        """
        return sum(n * self.cost(rung) for rung, n in enumerate(self.sizes(num_configs)))

    def affordable(self, budget: int) -> int:
        """The most configs (at least 1) whose search stays within this many samples."""
        few, many = 1, max(1, budget // self.cost(0)) + 1
        while many - few > 1:
            middle = (few + many) // 2
            few, many = (middle, many) if self.samples(middle) <= budget else (few, middle)
        return few

    def place(self, trial: TrialConfig, rung: int) -> TrialConfig:
        """The training of this config on this rung."""
        if self.fidelity == "squeezed":
            return replace(trial, horizon=self.horizons[rung])
        if self.fidelity == "prefix":
            return replace(trial, until=None if rung == self.top else self.until_K[rung])
        return trial

    def rung_of(self, trial: TrialConfig) -> int:
        """The rung of a training that `place` made."""
        if self.fidelity == "prefix":
            return self.top if trial.until is None else self.until_K.index(trial.until)
        distances = [abs(h - trial.horizon) for h in self.horizons]
        return distances.index(min(distances))

    def describe(self, num_configs: int) -> str:
        """ "27 configs squeezed to 1/9, 9 to 1/3, 3 in full"."""
        if self.fidelity == "full":
            return f"{num_configs} configs x {self.epochs:,} epoch{'s' * (self.epochs != 1)}"
        if self.fidelity == "prefix":
            point = "epoch" if self.reports is None else "report"
            first, lengths = "trained ", [f"to {point} {until}" for until in self.until_K]
        else:
            first, lengths = "squeezed ", [f"to {share(h)}" for h in self.horizons[:-1]]
            lengths.append("in full")
        sizes = self.sizes(num_configs)
        later = [f", {n} {length}" for n, length in zip(sizes[1:], lengths[1:], strict=True)]
        return f"{num_configs} configs {first}{lengths[0]}" + "".join(later)


def share(horizon: float) -> str:
    """A share of the full training's samples: "1/9", or "0.15"."""
    inverse = 1 / horizon
    return f"1/{round(inverse)}" if abs(inverse - round(inverse)) < 1e-6 else f"{horizon:.3g}"


def geometric_horizons(
    rungs: int, eta: int, min_horizon: float | None = None
) -> tuple[float, ...]:
    """`rungs` horizons in equal ratios from min_horizon (default eta^-(rungs-1)) to 1.

    Example:
        >>> [round(1 / h) for h in geometric_horizons(3, 3)]
        [9, 3, 1]
    """
    lowest = eta ** -(rungs - 1) if min_horizon is None else min_horizon
    shares = [lowest ** ((rungs - 1 - k) / (rungs - 1)) for k in range(rungs - 1)]
    return (*shares, 1.0)


def make_ladder(config: Config, train_examples: int) -> Ladder:
    """The rungs that the configuration asks for."""
    search = config.search
    ladder = Ladder(
        eta=search.eta,
        keep=config.confirm.top_k,
        fidelity=search.fidelity,
        epochs=config.epochs,
        train_examples=train_examples,
        reports=config.reports,
    )
    if search.fidelity == "full":
        return ladder
    _check_search(config)
    horizons = geometric_horizons(search.rungs, search.eta, search.min_horizon)
    ladder = replace(ladder, horizons=horizons)
    if search.fidelity == "prefix" and len(set(ladder.until_K)) < len(ladder.until_K):
        lengths = ", ".join(map(str, ladder.until_K))
        points = "epochs" if config.reports is None else "reports"
        raise ConfigError(
            f"search.rungs={search.rungs}: prefixes of {lengths} {points} do not differ; take "
            f"fewer rungs, a smaller search.eta, or more {points}"
        )
    return ladder


def _check_search(config: Config) -> None:
    where = f"search.fidelity={config.search.fidelity}"
    if config.search.sampler == "gp":
        raise ConfigError(f"{where}: search.sampler=gp knows full trainings only; take tpe")
    if config.trainer == "function":
        raise ConfigError(f"{where}: a known function has no shorter training")
    if "critical" in config.measure:
        raise ConfigError(f"{where}: measure=critical needs search.fidelity=full")


def lowest_horizon(ladder: Ladder, trials: Iterable[TrialConfig], *, is_given: bool) -> float:
    """The lowest squeezed rung; raised to what says something, where nobody has named one.

    Args:
        trials: configs in full, at the corners of the spaces; read for squeezed rungs only.
        is_given: the user has named the ladder's lowest rung.

    Raises:
        ConfigError: the rung named is too short, or no shorter training says anything.
    """
    lowest = ladder.horizons[0]
    if ladder.fidelity != "squeezed":
        return lowest
    needed = [(_smallest(trial), trial) for trial in trials if not _fits(trial, lowest)]
    if not needed:
        return lowest
    allowed, trial = max(needed, key=lambda pair: pair[0])
    if allowed < 1 and not is_given:
        return allowed
    free = ", ".join(f"{name}={value:.4g}" for name, value in sorted(trial.params.items()))
    if allowed > 1:
        raise ConfigError(
            f"search.fidelity=squeezed: {trial.space} with {free} has fewer than "
            f"{MIN_RUNG_STEPS} optimizer steps in all; take a smaller batch, more epochs or "
            "search.fidelity=full"
        )
    epoch = "one epoch of samples and " if ladder.reports is None and ladder.epochs > 1 else ""
    raise ConfigError(
        f"search.min_horizon={lowest:.{HORIZON_DIGITS}g}: the lowest rung needs {epoch}"
        f"{MIN_RUNG_STEPS} optimizer steps; the smallest allowed value is "
        f"{allowed:.{HORIZON_DIGITS}f} ({trial.space} with {free})"
    )


def _smallest(trial: TrialConfig) -> float:
    """The smallest horizon that this config allows, rounded up; 2 = none."""
    try:
        if trial.schedule.num_steps() < MIN_RUNG_STEPS:
            return 2.0
    except ValueError:
        return 0.0  # no training at all: that is said where single values are checked
    low, high, unit = 0.0, 1.0, 10.0**-HORIZON_DIGITS
    while high - low > unit / 4:
        middle = (low + high) / 2
        low, high = (low, middle) if _fits(trial, middle) else (middle, high)
    return min(1.0, math.ceil(high / unit) * unit)


def _fits(trial: TrialConfig, horizon: float) -> bool:
    try:
        return replace(trial, horizon=horizon).schedule.num_steps() >= MIN_RUNG_STEPS
    except ValueError:
        return False
