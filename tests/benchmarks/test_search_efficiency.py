"""Replaying search methods on a pool of trainings: hand-made pools, numbers by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.search_efficiency import score
from benchmarks.search_efficiency.methods import (
    METHODS,
    Method,
    Model,
    Step,
    best_combined,
    best_of_highest,
    distance,
    halving_search,
    one_epoch_first,
)
from benchmarks.search_efficiency.pool import EPOCHS, WORKLOADS, Pool, load_pools, make_pool

THIRDS = (1 / 3, 1.0)
COSINE = WORKLOADS["digits"].space("cosine")


def tiny_pool(full_C: list[float], third_C: list[float], num_arms: int = 1) -> Pool:
    """Three seeds alike, three epochs; epoch 1 shows the opposite of the squeezed training."""
    num_configs = len(full_C)
    score_SCH = np.stack([np.asarray([full_C, third_C]).T] * 3)
    curve_CE = np.stack([1 - np.asarray(third_C), np.full(num_configs, 0.5), full_C], axis=1)
    return Pool(
        name="tiny",
        spaces=(COSINE,) * num_arms,
        arm_C=np.arange(num_configs) % num_arms,
        params_C=tuple(
            {"delta0": 0.0125 * 100 ** (c / num_configs), "interval": 1.0, "split": 1.0}
            for c in range(num_configs)
        ),
        horizons_H=(1.0, 1 / 3),
        score_SCH=score_SCH,
        cost_SCH=np.broadcast_to(np.asarray([1.0, 1 / 3]), score_SCH.shape).copy(),
        diverged_SCH=np.zeros(score_SCH.shape, dtype=np.bool_),
        curve_SCE=np.stack([curve_CE] * 3),
        held_out_SC=np.stack([full_C] * 3),
    )


def thirds(steps: list[Step]) -> list[int]:
    """Samples spent, in thirds of a full training."""
    return [round(3 * step.spent) for step in steps]


SIX = tiny_pool([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_a_lone_lucky_full_training_does_not_win() -> None:
    short = {0: 0.90, 1: 0.99, 2: 0.95}
    assert best_of_highest([short, {0: 0.999}]) == 0
    assert best_combined([short, {0: 0.999}]) == 1


def test_random_trains_every_config_once_and_keeps_the_best() -> None:
    steps = halving_search()(SIX, 0, 0)
    assert [step.spent for step in steps] == [1, 2, 3, 4, 5, 6]
    best = [step.config for step in steps]
    assert best == sorted(best)
    assert best[-1] == 5


def test_promotions_come_first_or_last() -> None:
    promote = halving_search(THIRDS, order="promote")(SIX, 0, 0)
    ask = halving_search(THIRDS, order="ask")(SIX, 0, 0)
    assert thirds(promote)[:4] == [1, 2, 3, 6]
    assert thirds(ask) == [1, 2, 3, 4, 5, 6, 9, 12]
    assert thirds(promote)[-1] == 12


def test_a_prefix_that_goes_on_pays_only_the_rest() -> None:
    steps = halving_search(THIRDS, order="ask", fidelity="prefix")(SIX, 0, 0)
    assert thirds(steps) == [1, 2, 3, 4, 5, 6, 8, 10]
    assert steps[-1].config == 1, "the first epoch is best for configs 0 and 1"


def test_squeezed_trainings_show_their_own_score() -> None:
    assert halving_search(THIRDS)(SIX, 0, 0)[-1].config == 5


def test_arms_take_turns_by_samples() -> None:
    pool = tiny_pool([0.1, 0.9, 0.2, 0.8], [0.1, 0.9, 0.2, 0.8], num_arms=2)
    steps = halving_search(recommend=lambda rungs: list(rungs[0])[-1])(pool, 0, 0)
    assert [step.config % 2 for step in steps] == [0, 1, 0, 1]


def test_a_diverged_training_costs_what_it_saw_and_is_not_promoted() -> None:
    diverged = np.zeros((3, 6, 2), dtype=np.bool_)
    diverged[:, 5] = True
    cost = SIX.cost_SCH.copy()
    cost[:, 5] = 0.1
    pool = replace(SIX, diverged_SCH=diverged, cost_SCH=cost)
    steps = halving_search(THIRDS, order="ask")(pool, 0, 0)
    assert steps[-1].spent == pytest.approx(5 / 3 + 0.1 + 2)
    assert steps[-1].config == 4


def test_a_diverged_prefix_costs_no_more_than_the_training() -> None:
    diverged, cost = SIX.diverged_SCH.copy(), SIX.cost_SCH.copy()
    diverged[:, 0, 0], cost[:, 0, 0] = True, 0.2
    pool = replace(SIX, diverged_SCH=diverged, cost_SCH=cost)
    seen = pool.train(0, 0, 1 / 3, fidelity="prefix")
    assert (seen.cost, seen.diverged) == (pytest.approx(0.2), True)
    assert pool.train(0, 0, 1.0, fidelity="prefix", paid=1 / 3).cost == 0


def test_one_epoch_first_goes_on_with_the_best_of_the_first_epoch() -> None:
    steps = one_epoch_first(SIX, 0, 0)
    assert thirds(steps) == [1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18]
    assert [step.config for step in steps[5:]] == [0, 0, 1, 2, 3, 4, 5]


def test_a_refused_length_costs_nothing_and_its_config_is_out() -> None:
    refused = SIX.score_SCH.copy()
    refused[0, 5, 1] = np.nan
    steps = halving_search(THIRDS, order="ask")(replace(SIX, score_SCH=refused), 0, 0)
    assert steps[-1] == Step(pytest.approx(5 / 3 + 2), 4)


@pytest.mark.parametrize(("num_refused", "allowed"), [(1, True), (2, False)])
def test_a_length_is_allowed_when_nine_in_ten_trainings_are(
    num_refused: int, allowed: bool
) -> None:
    refused = SIX.score_SCH.copy()  # of 18 trainings
    refused[:num_refused, 2, 1] = np.nan
    assert replace(SIX, score_SCH=refused).allows(1 / 3) is allowed


def test_the_model_tries_every_config_once() -> None:
    model = Model(SIX, 0, 0)
    asked = []
    for _ in range(6):
        asked.append(model.ask())
        model.tell(asked[-1], 1.0, SIX.score_SCH[0, asked[-1], 0])
    assert sorted(asked) == [0, 1, 2, 3, 4, 5]


def test_distance_is_in_the_unit_cube() -> None:
    a = {"delta0": 0.0125, "interval": 1, "split": 1.0}
    b = {"delta0": 0.125, "interval": 9, "split": 0.0}
    assert distance(COSINE, a, b) == pytest.approx(math.sqrt(0.5**2 + 1 + 1))


def test_regret_is_judged_on_the_other_seeds() -> None:
    held_out = np.asarray([[0.9, 0.1], [0.5, 0.7], [0.7, 0.7]])
    pool = replace(tiny_pool([0.1, 0.2], [0.1, 0.2]), held_out_SC=held_out)
    assert pool.regrets(0) == pytest.approx([10, 0])
    assert pool.standard_error(0) == pytest.approx(0)
    assert pool.standard_error(1) == pytest.approx(10)  # best: 0.9 and 0.7


STEPS = [Step(1, 0), Step(2, 1), Step(3, 2), Step(5, 1)]
REGRETS = np.asarray([3.0, 0.1, 0.5, 4.4])


def test_regret_over_time_begins_with_a_draw_by_lot() -> None:
    curve = score.regret_over_time(STEPS, REGRETS, np.asarray([0.5, 1, 2.5, 4.9, 5, 9]))
    assert curve.tolist() == [2.0, 3.0, 0.1, 0.5, 0.1, 0.1]


@pytest.mark.parametrize(("tolerance", "start"), [(0.05, math.inf), (0.2, 5), (0.5, 2), (3, 1)])
def test_stays_from_looks_back_from_the_end(tolerance: float, start: float) -> None:
    assert score.stays_from(STEPS, REGRETS, tolerance) == start


def test_first_lasting_and_first_reached_differ_where_a_curve_rises() -> None:
    curve, times = np.asarray([3.0, 1.0, 2.0, 1.0]), np.arange(4.0)
    assert score.first_reached(curve, 1.5, times) == 1
    assert score.first_lasting(curve, 1.5, times) == 3
    assert score.first_lasting(curve, 0.5, times) == math.inf


def test_samples_to_match_random() -> None:
    times = np.arange(5.0)
    method, random = np.asarray([[3.0, 1, 1, 1, 1]] * 2), np.asarray([[4.0, 3, 2, 1, 0.5]] * 2)
    draws = np.zeros((4, 2), dtype=np.int64)
    needed, ratio = score.samples_to_match(method, random, 3, times, draws)
    assert (needed.value, needed.low, needed.high) == (1, 1, 1)
    assert ratio.value == 3
    never, ratio = score.samples_to_match(method, random, 4, times, draws)
    assert (never.text(1), ratio.value) == ("never [never, never]", 0)


def test_resampling_draws_seeds_then_their_replays() -> None:
    draws = score.resample(np.asarray([0, 1, 2] * 10), np.random.default_rng(0))
    assert draws.shape == (score.NUM_RESAMPLES, 30)
    num_seeds = {len(set((row % 3).tolist())) for row in draws}
    assert num_seeds == {1, 2, 3}


def test_rank_correlations_leave_out_configs_without_the_look() -> None:
    truth = np.asarray([[1.0, 2, 3, 4]] * 2)
    look = np.asarray([[4.0, 3, np.nan, 1]] * 2)
    rho = score.rank_correlations(look, truth, np.random.default_rng(0))
    assert rho is not None
    assert rho.value == pytest.approx(-1)
    assert score.rank_correlations(look[:, 2:], truth[:, 2:], np.random.default_rng(0)) is None


def digits_row(config: int, seed: int, horizon: float, status: str = "completed") -> dict:
    """A row of the pool's file."""
    ended = {"samples": round(9693 * horizon), "val_accuracy": 0.9, "test_accuracy": 0.8}
    refused = {"samples": None, "val_accuracy": None, "test_accuracy": None}
    return {
        "workload": "digits",
        "config": config,
        "space": "cosine",
        "params": '{"delta0": 0.1, "interval": 2, "split": 1.0}',
        "seed": seed,
        "horizon": horizon,
        "status": status,
        "val_accuracy_E": [0.5] * round(EPOCHS * horizon),
        **(refused if status.startswith("refused") else ended),
    }


def test_a_pool_is_made_of_whole_seeds() -> None:
    rows = [digits_row(c, s, h) for c in (0, 1) for s in (0, 1) for h in (1.0, 1 / 27)]
    rows[-1] = digits_row(1, 1, 1 / 27, "refused: too few steps")
    pool = make_pool([*rows, digits_row(0, 2, 1.0)], "digits")
    assert (pool.num_seeds, pool.num_configs, pool.horizons_H) == (2, 2, (1.0, 1 / 27))
    assert np.isnan(pool.score_SCH).sum() == 1
    assert pool.held_out_SC[0, 0] == pytest.approx((1078 * 0.9 + 360 * 0.8) / 1438)
    assert pool.cost_SCH[0, 0].tolist() == pytest.approx([1, 359 / 9693])


def test_every_config_of_the_file_lies_in_its_space() -> None:
    for pool in load_pools():
        for arm, params in zip(pool.arm_C, pool.params_C, strict=True):
            free = pool.spaces[arm].free
            assert params.keys() == free.keys()
            assert all(
                free[name].low <= params[name] <= free[name].high
                for name in free
                if name != "split"
            )


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_methods_say_the_same_again(method: Method) -> None:
    pool = replace(SIX, horizons_H=(1.0, 1 / 9), curve_SCE=np.repeat(SIX.curve_SCE, 9, axis=2))
    assert method(pool, 1, 4) == method(pool, 1, 4)
