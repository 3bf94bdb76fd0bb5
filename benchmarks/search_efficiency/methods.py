"""What does each search method recommend, and after how many samples? One replay of one method.

All see one seed of the pool, one training at a time. Arms take turns by samples spent, as in the
product. A method is a function (pool, seed, replay number) -> steps; equal replay numbers give
equal orders of configs, so methods are compared in pairs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from benchmarks.search_efficiency.pool import Fidelity, Pool, Training
from results.statistics.worth import worths
from search_spaces.space import Range, SearchSpace
from tuner.campaign.halving import Halving
from tuner.campaign.suggest import Suggester
from tuner.plan.ladder import Ladder

Order = Literal["promote", "ask"]  # first: a promotion that is earned, or another config
Recommend = Callable[[Sequence[dict[int, float]]], int]


@dataclass(frozen=True, slots=True)
class Step:
    """After `spent` full trainings' samples this config is recommended."""

    spent: float
    config: int


Method = Callable[[Pool, int, int], list[Step]]


def best_combined(rungs: Sequence[Mapping[int, float]]) -> int:
    """The config of highest worth over all rungs, as the product; ties: the lower number."""
    worth = worths(rungs)
    return max(sorted(worth), key=lambda config: worth[config])


def best_of_highest(rungs: Sequence[Mapping[int, float]]) -> int:
    """The best config of the highest rung on which any training has ended, as ASHA does."""
    highest = [rung for rung in rungs if rung][-1]
    return max(sorted(highest), key=lambda config: highest[config])


@dataclass
class Log:
    """What a method has seen of all arms, by rung, and recommended after each training."""

    recommend: Recommend
    rungs: list[dict[int, float]]
    spent: float = 0.0
    steps: list[Step] = field(default_factory=list)

    def add(self, rung: int, config: int, training: Training) -> None:
        """A training has ended."""
        self.rungs[rung][config] = training.score
        self.spent += training.cost
        self.steps.append(Step(self.spent, self.recommend(self.rungs)))


class RandomOrder:
    """Configs of one arm in random order."""

    def __init__(self, configs: Sequence[int], *seed: int) -> None:
        self.left = np.random.default_rng(seed).permutation(np.asarray(configs)).tolist()

    def ask(self) -> int:
        """The next config."""
        return int(self.left.pop(0))

    def tell(self, config: int, horizon: float, score: float) -> None:
        """Nothing is learned."""


class Model:
    """The product's Suggester; a suggestion becomes the nearest config of the pool not tried."""

    def __init__(self, pool: Pool, arm: int, replay: int) -> None:
        self.pool, self.space = pool, pool.spaces[arm]
        self.left = np.flatnonzero(pool.arm_C == arm).tolist()
        self.num_asked = 0
        self.suggester = Suggester(
            self.space, seed=replay, sampler="tpe", trials=len(self.left), startup=None
        )

    def ask(self) -> int:
        """The config nearest to what the model suggests."""
        wish = self.suggester.ask(self.num_asked, lambda params: False)
        assert wish is not None, "nothing is refused as known"
        self.num_asked += 1
        params = self.pool.params_C
        config = min(self.left, key=lambda c: distance(self.space, wish, params[c]))
        self.left.remove(config)
        self.suggester.attach(str(config), params[config])
        return int(config)

    def tell(self, config: int, horizon: float, score: float) -> None:
        """A training has ended; lengths are told in parts per million."""
        self.suggester.tell(str(config), round(horizon * 1e6), score, is_full=horizon == 1)


def distance(space: SearchSpace, a: dict[str, float], b: dict[str, float]) -> float:
    """Between two configs in the unit cube of the space's free parameters; unlike choices: 1."""
    return math.sqrt(math.fsum(_gap(axis, a[k], b[k]) ** 2 for k, axis in space.free.items()))


def _gap(axis: Range, a: float, b: float) -> float:
    if axis.choices is not None:
        return float(a != b)
    assert axis.low is not None
    assert axis.high is not None
    scale = math.log if axis.log else float
    return abs(scale(a) - scale(b)) / (scale(axis.high) - scale(axis.low))


@dataclass
class _Arm:
    """One space's part of a search."""

    proposer: RandomOrder | Model
    halving: Halving
    spent: float = 0.0

    def next(self, order: Order) -> tuple[int, int] | None:
        """(config, rung) of the next training, None when all are done."""
        can_ask = len(self.halving.rungs[0]) < self.halving.num_configs
        if order == "promote" or not can_ask:
            earned = self.halving.promotion(closed=not can_ask)
            if earned is not None:
                return int(earned[0]), earned[1]
        return (self.proposer.ask(), 0) if can_ask else None


def halving_search(
    horizons: Sequence[float] = (1.0,),
    *,
    fidelity: Fidelity = "squeezed",
    eta: int = 3,
    model: bool = False,
    order: Order = "promote",
    recommend: Recommend = best_of_highest,
    pooled: bool = False,
) -> Method:
    """Successive halving by the product's `Halving`; one rung = every config in full.

    Args:
        fidelity: squeezed = every rung is a training of its own, paid in full; prefix = a
            promoted training goes on, only the further epochs are paid.
        model: configs are suggested by TPE, otherwise they come in random order.
        recommend: the config recommended, from the scores of each rung.
        pooled: all configs are one arm.
    """
    ladder = Ladder(horizons=tuple(horizons), eta=eta)
    assert not (model and pooled), "a model belongs to one space"

    def method(pool: Pool, seed: int, replay: int) -> list[Step]:
        groups = [list(range(pool.num_configs))]
        if not pooled:
            groups = [np.flatnonzero(pool.arm_C == a).tolist() for a in range(len(pool.spaces))]
        arms = [
            _Arm(
                Model(pool, number, replay) if model else RandomOrder(group, replay, number),
                Halving(ladder, len(group)),
            )
            for number, group in enumerate(groups)
        ]
        log = Log(recommend, [{} for _ in horizons])
        while arms:
            arm = min(arms, key=lambda arm: arm.spent)
            step = arm.next(order)
            if step is None:
                arms.remove(arm)
                continue
            config, rung = step
            paid = horizons[rung - 1] if rung else 0.0
            training = pool.train(seed, config, horizons[rung], fidelity=fidelity, paid=paid)
            arm.halving.start(str(config), rung)
            arm.halving.end(str(config), rung, training.score, stuck=training.diverged)
            arm.proposer.tell(config, horizons[rung], training.score)
            arm.spent += training.cost
            log.add(rung, config, training)
        return log.steps

    return method


# As the product searches: the lowest rung is filled first, rungs are combined.
squeezed = functools.partial(halving_search, order="ask", recommend=best_combined)


def one_epoch_first(pool: Pool, seed: int, replay: int) -> list[Step]:
    """Every config for one epoch; then the rest of the full training, the best one first."""
    horizon = 1 / pool.curve_SCE.shape[2]
    log = Log(best_of_highest, [{}, {}])
    for config in RandomOrder(range(pool.num_configs), replay).left:
        log.add(0, config, pool.train(seed, config, horizon, fidelity="prefix"))
    first = log.rungs[0]
    for config in sorted(first, key=lambda config: -first[config]):
        training = pool.train(seed, config, 1.0, fidelity="prefix", paid=horizon)
        log.add(1, config, training)
    return log.steps


NINTHS = (1 / 9, 1 / 3, 1.0)
SHORTEST = 1 / 27
METHODS: dict[str, Method] = {
    "random, in full": halving_search(),
    "TPE, in full": halving_search(model=True),
    "one epoch, then the best": one_epoch_first,
    "prefixes, promote first (ASHA)": halving_search(NINTHS, fidelity="prefix"),
    "prefixes, ask first": halving_search(NINTHS, fidelity="prefix", order="ask"),
    "prefixes, promote first, TPE": halving_search(NINTHS, fidelity="prefix", model=True),
    "squeezed": squeezed(NINTHS),
    "squeezed, TPE": squeezed(NINTHS, model=True),
    "squeezed, TPE, promote first": squeezed(NINTHS, order="promote", model=True),
}
VARIANTS: dict[str, Method] = {
    "best of the highest rung": squeezed(NINTHS, recommend=best_of_highest),
    "promote first": squeezed(NINTHS, order="promote"),
    "promote first, highest rung": squeezed(NINTHS, order="promote", recommend=best_of_highest),
    "pooled arms": squeezed(NINTHS, pooled=True),
    "eta 2": squeezed(NINTHS, eta=2),
    "eta 4": squeezed(NINTHS, eta=4),
    "eta 5": squeezed(NINTHS, eta=5),
    "rungs 1/9, 1": squeezed((1 / 9, 1.0)),
    "rungs 1/9, 1, eta 5": squeezed((1 / 9, 1.0), eta=5),
    "rungs 1/9, 1, promote first": squeezed((1 / 9, 1.0), order="promote"),
    "rungs 1/3, 1": squeezed((1 / 3, 1.0)),
    "prefixes, combined": squeezed(NINTHS, fidelity="prefix"),
    "prefixes, ask first, pooled arms": halving_search(
        NINTHS, fidelity="prefix", order="ask", pooled=True
    ),
    "random, pooled arms": halving_search(pooled=True),
}
# Where (nearly) every config of the workload can be squeezed that far.
SHORT_VARIANTS: dict[str, Method] = {
    "rungs 1/27, 1/9, 1/3, 1": squeezed((SHORTEST, *NINTHS)),
    "rungs 1/27, 1/9, 1": squeezed((SHORTEST, 1 / 9, 1.0)),
    "rungs 1/27, 1/3, 1": squeezed((SHORTEST, 1 / 3, 1.0)),
    "rungs 1/27, 1": squeezed((SHORTEST, 1.0)),
}
