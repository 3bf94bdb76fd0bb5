"""The papers' calculators: their printed values, and what they promise beyond it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.theory import (
    c2_bound,
    c2_bound_nshb,
    c2_bound_shb,
    check_decay_rates,
    critical_batch,
    delta_minus,
    largest_admissible_a,
    poly_decay_rates,
    radius_factor_range,
    smallest_admissible_rate,
)
from tests.fakes.papers import (
    critical_batch_size,
    papers_num_steps,
    probability_of_delta_minus,
    radius_factor,
    smallest_nice_delta,
)

ROOT_2, ROOT_3 = math.sqrt(2), math.sqrt(3)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.5, {1: 0.9974968672, 2: 0.9974842727, 100: 0.9950371902, 199: 0.7071067812, 200: 0.0}),
        (1.0, {1: 0.995, 2: 0.9949748744, 100: 0.9900990099, 199: 0.5}),
        (2.0, {1: 0.990025, 199: 0.25}),
    ],
)
def test_poly_decay_rates_equal_r7(p: float, expected: dict[int, float]) -> None:
    gamma = poly_decay_rates(200, p)
    for m, value in expected.items():
        assert gamma[m - 1] == pytest.approx(value, rel=1e-9, abs=1e-12)


def test_poly_decay_rates_equal_r8() -> None:
    np.testing.assert_allclose(poly_decay_rates(5, 1.0), [0.8, 0.75, 2 / 3, 0.5, 0.0])
    assert poly_decay_rates(50, 1.0)[1] == pytest.approx(0.9795918367)


@pytest.mark.parametrize("p", [0.3, 1.0, 2.5])
def test_products_of_decay_rates_telescope_r9(p: float) -> None:
    k = np.arange(1, 51)
    np.testing.assert_allclose(np.cumprod(poly_decay_rates(50, p)), ((50 - k) / 50) ** p)


@pytest.mark.parametrize(
    ("n", "batches", "stages", "steps"),
    [
        (50_000, [128], [200], 78_200),
        (50_000, [16, 32, 64, 128, 256], [40] * 5, 242_280),
        (50_000, [32, 64, 128, 256, 512], [40] * 5, 121_200),
        (50_000, [32, 48, 72, 108, 162], [40] * 5, 162_880),
        (50_000, [8, 16, 32, 64, 128], [40] * 5, 484_440),
        (50_000, [32, 64, 128, 256, 512], [41, 40, 40, 40, 39], 122_665),
        (50_000, [32, 48, 72, 108, 162], [41, 40, 40, 40, 39], 164_134),
        (1_281_167, [256], [200], 1_001_000),
        (1_281_167, [32, 64, 128, 256, 512], [40] * 5, 3_102_960),
        (1_281_167, [32, 48, 72, 108, 162], [40] * 5, 4_171_760),
    ],
)
def test_the_papers_loader_takes_the_steps_of_r13(
    n: int, batches: list[int], stages: list[int], steps: int
) -> None:
    assert papers_num_steps(n, batches, stages) == steps


@pytest.mark.parametrize(
    ("lr", "epsilon", "c2", "batch"),
    [
        (0.01, 1.0, 12_800, 128),
        (0.05, 0.5, 1280, 256),
        (0.1, 0.5, 1280, 512),
        (0.5, 0.5, 256, 512),
    ],
)
def test_critical_batches_equal_r16(lr: float, epsilon: float, c2: float, batch: float) -> None:
    assert critical_batch_size(c2, lr, epsilon) == pytest.approx(batch)
    assert c2_bound(batch, lr, epsilon) == pytest.approx(c2)


@pytest.mark.parametrize(
    ("a", "bound"),
    [(1.5, 0.0786893), (2, 0.3660254), (3, 0.6094757), (10, 0.8949874), (100, 0.98995)],
)
def test_admissible_bound_equals_r24(a: float, bound: float) -> None:
    assert smallest_admissible_rate(a) == pytest.approx(bound, rel=1e-5)


# a = 2, r = 1: the ball is met for q in [sqrt(3), 2], where q - sqrt(q^2 - 3) = sqrt(3) ... 1.
BALL = {"distance": 2.0, "noise_norm": 1.0, "radius": 1.0, "a": 2.0}


@pytest.mark.parametrize(
    ("cosine", "expected"), [(1.0, 1.0), (ROOT_3 / 2, ROOT_3), (-1.0, 3.0), (0.9, 1.8 - 0.24**0.5)]
)
def test_delta_minus_is_where_the_noise_meets_the_ball(cosine: float, expected: float) -> None:
    assert delta_minus(**BALL, cos_angle=cosine) == pytest.approx(expected, abs=1e-7)


def test_noise_that_misses_the_ball_has_no_delta_minus() -> None:
    with pytest.raises(ValueError, match=r"1\.6 < 1\.73205.*misses the ball"):
        delta_minus(**BALL, cos_angle=0.8)


@given(a=st.floats(1.42, 50), position=st.floats(0, 1), radius=st.floats(0.01, 100))
def test_radius_factors_lie_in_their_range(a: float, position: float, radius: float) -> None:
    tangent = math.sqrt(a * a - 1)
    cosine = (tangent + position * (a - tangent)) / a
    delta = delta_minus(
        distance=a * radius, noise_norm=1.0, cos_angle=min(1.0, cosine), radius=radius, a=a
    )
    low, high = radius_factor_range(a)
    assert low < radius_factor(a=a, radius=radius, delta=delta) < high


def test_radius_factor_of_a_2_lies_between_1_and_its_bound() -> None:
    assert radius_factor(a=2.0, radius=1.0, delta=-1.0) == 2.0
    assert radius_factor_range(2.0) == (1.0, pytest.approx(2 / (ROOT_3 - 1)))


@pytest.mark.parametrize(
    ("distance", "a", "expected"),
    [(2.0, ROOT_2, 2 / 3), (ROOT_2, ROOT_2, 0.5), (1.0, ROOT_2, 0.0), (1.0, 2.0, 0.0)],
)
def test_probability_of_delta_minus_is_the_share_of_angles(
    distance: float, a: float, expected: float
) -> None:
    probability = probability_of_delta_minus(distance=distance, noise_norm=1.0, radius=1.0, a=a)
    assert probability == pytest.approx(expected, abs=1e-7)


def test_probability_equals_the_share_of_uniform_angles_that_have_a_delta_minus() -> None:
    # cos(pi/6) = sqrt(3)/2 meets the ball of a = 2 just so: angles up to 30 of 90 degrees.
    assert probability_of_delta_minus(**BALL) == pytest.approx(1 / 3)


@given(gamma=st.floats(0, 0.999))
def test_largest_admissible_a_inverts_the_bound(gamma: float) -> None:
    assert smallest_admissible_rate(largest_admissible_a(gamma)) == pytest.approx(gamma, abs=1e-9)


def test_the_smallest_admissible_rate_is_zero_at_root_two() -> None:
    assert smallest_admissible_rate(5 / 3) == pytest.approx((4 / 3 - 1) / (5 / 3))
    assert smallest_admissible_rate(ROOT_2) == pytest.approx(0, abs=1e-12)


def test_decay_rates_on_the_bound_or_above_one_are_not_admissible() -> None:
    bound = smallest_admissible_rate(2.0)
    rates = [1.0, 0.9, bound, bound - 1e-9, bound + 1e-9, 1.1, 0.0]
    expected = [True, True, False, False, True, False, False]
    assert check_decay_rates(rates, 2.0).tolist() == expected


def test_each_rate_is_checked_against_its_own_a() -> None:
    assert check_decay_rates([0.5, 0.5], [2.43, 2.44]).tolist() == [True, False]
    with pytest.raises(ValueError, match=r"len\(a\) == len\(rates\)"):
        check_decay_rates([0.5, 0.5], [2.0])


def test_nice_delta_grows_with_the_larger_gradient_and_the_rate() -> None:
    nice_delta = smallest_nice_delta(grad_norm=0.1, next_grad_norm=0.3, sigma=2.0, gamma=0.5)
    assert nice_delta == pytest.approx(2 * 0.3 / (2.0 * 0.5))


def test_the_cheapest_batch_is_critical_and_of_equals_the_smaller() -> None:
    best, samples = critical_batch({64: 10, 8: 60, 16: 30, 32: 16})
    assert best == 8
    assert samples == {8: 480, 16: 480, 32: 512, 64: 640}


def test_c2_of_normalized_heavy_ball_without_momentum_is_that_of_sgd() -> None:
    # b* eps^2/eta = 64 * .25/.1
    assert c2_bound_nshb(64, 0.1, 0.5, beta=0.0) == c2_bound(64, 0.1, 0.5) == pytest.approx(160)


@pytest.mark.parametrize("bound", [c2_bound_shb, c2_bound_nshb])
@pytest.mark.parametrize("name", ["critical_batch", "lr", "epsilon"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_bound_of_c2_needs_positive_numbers(
    bound: Callable[..., float], name: str, value: float
) -> None:
    given = {"critical_batch": 64, "lr": 0.1, "epsilon": 0.5, "beta": 0.5}
    with pytest.raises(ValueError, match=rf"^`{name} > 0` must hold"):
        bound(**given | {name: value})


@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_c2_bounds_of_momentum_are_shares_of_that_of_sgd(beta: float) -> None:
    sgd = c2_bound(64, 0.1, 0.5)
    assert c2_bound_nshb(64, 0.1, 0.5, beta=beta) == pytest.approx(sgd * (1 - beta))
    beta_hat = beta * (beta**2 - beta + 1) / (1 - beta) ** 2
    assert c2_bound_shb(64, 0.1, 0.5, beta=beta) == pytest.approx(sgd * beta**2 / beta_hat)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: smallest_admissible_rate(1.4), r"`a >= sqrt\(2\)`"),
        (lambda: smallest_admissible_rate(math.inf), r"`a >= sqrt\(2\)`"),
        (lambda: largest_admissible_a(1.0), r"`0 <= gamma < 1`"),
        (lambda: delta_minus(**BALL, cos_angle=1.5), r"`-1 <= cos_angle <= 1`"),
        (lambda: radius_factor(a=2.0, radius=1.0, delta=0.0), r"`delta > 0`"),
        (
            lambda: smallest_nice_delta(grad_norm=-1, next_grad_norm=1, sigma=1, gamma=0.5),
            r"`grad_norm >= 0`",
        ),
        (
            lambda: smallest_nice_delta(grad_norm=1, next_grad_norm=1, sigma=1, gamma=1.0),
            r"`0 <= gamma < 1`",
        ),
        (lambda: critical_batch({}), "^`steps_by_batch` must hold at least one batch"),
        (lambda: critical_batch({8: 0}), r"`steps > 0`"),
        (lambda: c2_bound_shb(64, 0.1, 0.5, beta=0.0), r"`0 < beta < 1`"),
        (lambda: c2_bound_nshb(64, 0.1, 0.5, beta=1.0), r"`0 <= beta < 1`"),
        (lambda: critical_batch({0: 8}), r"`batch > 0`"),
        (lambda: c2_bound_shb(64, 0.1, 0.5, beta=1.0), r"`0 < beta < 1`"),
    ],
)
def test_calculators_refuse_what_their_formulas_do_not_cover(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
