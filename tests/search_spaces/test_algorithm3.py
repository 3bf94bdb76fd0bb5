"""Algorithm 3 of the papers: its constants, its levels, and the table they make."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from search_spaces.algorithm3 import (
    MAX_LEVELS,
    algorithm3,
    alpha_0,
    hazan,
    inner_steps,
    num_levels,
)
from search_spaces.schedule import make_schedule


@pytest.mark.parametrize(
    ("delta1", "l_f", "d_bar", "sigma", "expected"),
    [
        (0.5, 1.0, 1.0, 2.0, 0.25),  # 1/(4*.5*2) against 1/(2*.5)
        (0.5, 0.01, 1.0, 8.0, 0.5),  # 1/(4*.01*.5*2) against 1/(4*.5)
    ],
)
def test_alpha_0_is_the_smaller_of_its_two_terms(
    delta1: float, l_f: float, d_bar: float, sigma: float, expected: float
) -> None:
    assert alpha_0(delta1, l_f=l_f, d_bar=d_bar, sigma=sigma) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("alpha0", "epsilon", "p", "expected"),
    [
        (1.0, 0.2, 1.0, 5),
        (1.0, 0.2, 0.5, 25),
        (0.5, 0.3, 1.0, 7),  # 1/.15 = 6.67
        (0.1, 0.1, 0.5, 10_000),
        (10.0, 1.0, 1.0, 1),
    ],
)
def test_num_levels_solves_its_equation_in_whole_levels(
    alpha0: float, epsilon: float, p: float, expected: int
) -> None:
    assert num_levels(alpha0, epsilon=epsilon, p=p) == expected


def test_inner_steps_equal_the_formula_rounded_up() -> None:
    # eps = (2 * .5)^2 = 1; 8/(1 - 2*.1) = 10 and 9/.8 = 11.25.
    assert inner_steps(0.5, 0.1, sigma=2.0, h3=2.0, h4=8.0) == 10
    assert inner_steps(0.5, 0.1, sigma=2.0, h3=2.0, h4=9.0) == 12
    assert inner_steps(0.5, 0.1, sigma=2.0, h3=0.0, h4=0.0) == 1


# delta_1 = .1*5/sqrt(16) = 1/8, alpha_0 = min(1/(4*.125*2), 1/(sqrt(2)*.125)) = 1, M^p = 5.
PLAN = {
    "epsilon": 0.2,
    "p": 1.0,
    "d_bar": 1.0,
    "l_f": 1.0,
    "sigma": 1.0,
    "c": 5.0,
    "lr": 0.1,
    "batch_size": 16,
}


def test_algorithm_3_runs_down_its_levels_to_zero() -> None:
    plan = algorithm3(**PLAN)
    assert plan.alpha0 == pytest.approx(1.0)
    assert plan.num_levels == 5
    np.testing.assert_allclose(plan.delta_L, [0.125, 0.1, 0.075, 0.05, 0.025, 0], atol=1e-15)
    np.testing.assert_allclose(plan.gamma_M, [0.8, 0.75, 2 / 3, 0.5, 0])
    np.testing.assert_allclose(plan.lr_L, [0.1, 0.08, 0.06, 0.04, 0.02, 0], atol=1e-15)
    assert plan.batch_L.tolist() == [16.0] * 6
    assert plan.inner_steps_L is None


@pytest.mark.parametrize("split", [0.0, 0.4, 1.0])
def test_lr_and_batch_of_algorithm_3_follow_their_factors_to_the_same_levels(
    split: float,
) -> None:
    plan = algorithm3(**PLAN, split=split)
    np.testing.assert_allclose(plan.kappa_M / np.sqrt(plan.lambda_M), plan.gamma_M, rtol=1e-14)
    np.testing.assert_allclose(plan.lr_L[1:], plan.kappa_M * plan.lr_L[:-1], rtol=1e-12)
    np.testing.assert_allclose(plan.batch_L[1:], plan.lambda_M * plan.batch_L[:-1], rtol=1e-12)
    np.testing.assert_allclose(plan.delta_L, plan.lr_L * 5 / np.sqrt(plan.batch_L), rtol=1e-12)
    assert np.all(plan.kappa_M <= 1)
    assert np.all(plan.lambda_M >= 1)


@pytest.mark.parametrize("split", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(("epsilon", "p"), [(0.2, 1.0), (0.2, 0.5), (0.011, 0.9), (3.0, 0.3)])
def test_the_table_of_algorithm_3_has_exactly_its_levels(
    split: float, epsilon: float, p: float
) -> None:
    plan = algorithm3(**PLAN | {"epsilon": epsilon, "p": p}, split=split)
    M = plan.num_levels
    table = plan.schedule(epochs=M, train_examples=1000)
    np.testing.assert_allclose(table.delta_S, plan.delta_L[:-1], rtol=1e-12)
    expected = 0.125 * ((M - np.arange(M)) / M) ** p
    np.testing.assert_allclose(table.delta_S, expected, rtol=1e-12)
    np.testing.assert_allclose(table.decay_rate_S[1:], plan.gamma_M[:-1], rtol=1e-12)


def test_inner_steps_of_algorithm_3_grow_as_the_levels_fall() -> None:
    # eps_m = delta_m^2 = 1/64, ..., 1/1600: 1/eps_m steps, and M+1 repeats M.
    plan = algorithm3(**PLAN, h3=0.0, h4=1.0)
    assert plan.inner_steps_L is not None
    assert plan.inner_steps_L.tolist() == [64, 100, 178, 400, 1600, 1600]


def test_levels_with_inner_steps_last_as_long_as_their_samples() -> None:
    plan = algorithm3(**PLAN, split=0.0, h3=0.0, h4=1.0)
    # Steps 64, 100, 178, 400, 1600 with batches 16 * (1, 5/4, 5/3, 5/2, 5)^2.
    batch_M = 16 * np.array([1, 5 / 4, 5 / 3, 5 / 2, 5]) ** 2
    ends_M = np.cumsum([64, 100, 178, 400, 1600] * batch_M)
    ends_M /= ends_M[-1]
    np.testing.assert_allclose(plan.decay(ends_M[:-1]), [0.8, 0.6, 0.4, 0.2])
    np.testing.assert_allclose(plan.decay(ends_M - 1e-6), [1.0, 0.8, 0.6, 0.4, 0.2])
    assert plan.decay(np.array([1.0])) == pytest.approx(0.2)


@pytest.mark.parametrize(("split", "lost"), [(0.0, [2, 3, 4]), (0.5, [2]), (1.0, [])])
def test_no_level_with_inner_steps_is_lost(split: float, lost: list[int]) -> None:
    # M = 1/.125 = 8 levels of 1/eps_m steps: samples ~ (8/(9-m))^(4 - 2 split). Read once an
    # epoch those are lost that begin and end within one: under split 0 at .05, .12, .27 and .56.
    plan = algorithm3(**PLAN | {"epsilon": 0.125}, split=split, h3=0.0, h4=1.0)
    table = plan.schedule(epochs=200, train_examples=1000)
    assert plan.lost_levels(table) == []
    used = table.delta_S[[step.stage for step in table.steps()]]
    np.testing.assert_allclose(np.unique(used)[::-1], 0.125 * np.arange(8, 0, -1) / 8, rtol=1e-12)
    coarse = make_schedule(
        plan.decay, epochs=200, train_examples=1000, interval=1, lr0=0.1, batch0=16, split=split
    )
    assert plan.lost_levels(coarse) == lost


@pytest.mark.parametrize("split", [0.0, 1.0])
def test_levels_take_the_shares_of_their_inner_steps(split: float) -> None:
    plan = algorithm3(**PLAN, split=split, h3=0.0, h4=1.0)
    table = plan.schedule(epochs=200, train_examples=1000)
    taken = np.zeros(5)
    for step in table.steps():
        level = round(5 * (1 - table.delta_S[step.stage] / 0.125))
        taken[level] += step.batch_size
    steps_M = np.array([64, 100, 178, 400, 1600])
    samples_M = steps_M * 16 * (1 / np.array([1, 0.8, 0.6, 0.4, 0.2])) ** (2 * (1 - split))
    np.testing.assert_allclose(
        taken / taken.sum(), samples_M / samples_M.sum(), atol=400 / 200_000
    )  # within a batch


def test_a_training_too_short_for_its_levels_is_refused() -> None:
    plan = algorithm3(**PLAN | {"epsilon": 0.02}, split=1.0)  # 50 levels of one step of 16 each
    assert plan.schedule(epochs=1, train_examples=800).num_stages == 50
    message = r"every level must have a step, but got \(25 of 50 levels without: .*Train 2 epochs"
    with pytest.raises(ValueError, match=message):
        plan.schedule(epochs=1, train_examples=400)


def test_levels_of_hazan_halve_down_to_where_algorithm_3_ends() -> None:
    plan = hazan(delta1=1.0, last_delta=0.1, sigma=2.0)
    assert plan.delta_M.tolist() == [1.0, 0.5, 0.25, 0.125, 0.0625]
    np.testing.assert_allclose(plan.accuracy_M * 16, [1.0, 1 / 4, 1 / 16, 1 / 64, 1 / 256])
    assert hazan(delta1=1.0, last_delta=0.125, sigma=1.0).delta_M[-1] == 0.125
    with pytest.raises(ValueError, match=r"`last_delta > 0` must hold"):
        hazan(delta1=1.0, last_delta=0.0, sigma=1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epsilon": 0.0}, r"`epsilon > 0` must hold, but got \(epsilon=0\.0\)"),
        ({"p": 1.1}, r"`0 < p <= 1` must hold"),
        ({"p": 0.0}, r"`0 < p <= 1` must hold"),
        ({"d_bar": -1.0}, r"`d_bar > 0` must hold"),
        ({"l_f": float("inf")}, r"`l_f > 0` must hold"),
        ({"sigma": 0.0}, r"`sigma > 0` must hold"),
        ({"c": float("nan")}, r"`c > 0` must hold"),
        ({"lr": 0.0}, r"`lr > 0` must hold"),
        ({"batch_size": 0.9}, r"`batch_size >= 1` must hold"),
        ({"split": 1.5}, r"`0 <= split <= 1` must hold"),
        ({"h3": 1.0}, "must be given together"),
        ({"h3": -1.0, "h4": 1.0}, r"`h3 >= 0`"),
        ({"p": 0.1}, r"`M <= 1000000` must hold, but got \(M=9765625\)"),
        ({"p": 0.01}, r"`M <= 1e15` must hold, but got \(M=1e70"),
        # Level 3 is the first: eps = .075^2 and .1 * lr = .1 * .06.
        (
            {"h3": 0.1, "h4": 1.0},
            r"`sigma\^2 delta\^2 > h3 \* lr` must hold, but got \(0\.005625 <= 0\.006\)",
        ),
    ],
)
def test_impossible_inputs_of_algorithm_3_are_refused(
    changes: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        algorithm3(**PLAN | changes)


def test_the_first_batch_may_be_one_image() -> None:
    # delta_1 = .125/1 = 1/8 again.
    plan = algorithm3(**PLAN | {"lr": 0.125, "c": 1.0, "batch_size": 1})
    np.testing.assert_allclose(plan.delta_L, [0.125, 0.1, 0.075, 0.05, 0.025, 0], atol=1e-15)


def test_as_many_levels_are_made_as_a_table_may_have() -> None:
    assert algorithm3(**PLAN | {"epsilon": 1e-6}).num_levels == MAX_LEVELS == 1_000_000


def test_the_number_of_levels_is_told_up_to_where_a_float_is_exact() -> None:
    assert num_levels(1.0, epsilon=1e-15, p=1.0) == pytest.approx(1e15, rel=1e-8)
    with pytest.raises(ValueError, match=r"`M <= 1e15` must hold"):
        num_levels(1.0, epsilon=0.9e-15, p=1.0)


def test_an_accuracy_that_h3_just_uses_up_is_refused() -> None:
    with pytest.raises(ValueError, match=r"but got \(0\.25 <= 0\.25\)"):
        inner_steps(0.5, 0.5, sigma=1.0, h3=0.5, h4=1.0)


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (alpha_0, {"delta1": 0.5, "l_f": 1.0, "d_bar": 1.0, "sigma": 2.0}),
        (num_levels, {"alpha0": 1.0, "epsilon": 0.2}),
        (inner_steps, {"delta": 0.5, "lr": 0.1, "sigma": 2.0}),
    ],
)
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_constants_must_be_positive_numbers(
    function: Callable[..., float], given: dict[str, float], value: float
) -> None:
    rest = {num_levels: {"p": 1.0}, inner_steps: {"h3": 0.0, "h4": 1.0}}.get(function, {})
    for name in given:
        with pytest.raises(ValueError, match=rf"^`{name} > 0` must hold"):
            function(**given | {name: value}, **rest)


@pytest.mark.parametrize("name", ["h3", "h4"])
@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_constants_of_the_theorem_are_finite_and_not_negative(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=r"^`h3 >= 0` and `h4 >= 0` must hold"):
        inner_steps(0.5, 0.1, sigma=2.0, **{"h3": 0.0, "h4": 1.0} | {name: value})
