"""Smoothed functions: sampling against closed forms and published numbers; levels; niceness."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gamma, jv

from search_spaces.theory import smallest_admissible_rate
from tests.fakes.smoothing import (
    coded_levels,
    geometric_levels,
    theory_levels,
)
from trainables import SMOOTHINGS
from trainables.functions.benchmark import FUNCTIONS, Array
from trainables.functions.closed_forms import CLOSED_FORMS, attenuation, second_moment
from trainables.functions.nice import is_new_nice, nice_levels, rastrigin_min_curvature
from trainables.functions.smoothing import sample_directions, smoothed

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

NUM = 4_000
STANDARD_ERRORS = 4.5  # a false alarm in 150,000 comparisons
LEVELS_R27 = [0.1, 0.2, 0.5, 1.0]


def directions(kind: str, dimension: int, num: int = NUM) -> Array:
    return sample_directions(kind, np.random.default_rng(5), num, dimension)


@pytest.mark.parametrize("dimension", [1, 2, 50])
def test_ball_samples_fill_the_ball_uniformly(dimension: int) -> None:
    r = np.linalg.norm(directions("ball", dimension), axis=1)
    assert r.max() <= 1.0
    square = dimension / (dimension + 2)
    variance = dimension / (dimension + 4) - square**2
    assert abs((r**2).mean() - square) < STANDARD_ERRORS * math.sqrt(variance / NUM)
    half = 0.5 ** (1.0 / dimension)  # the radius that holds half of the volume
    assert abs((r < half).mean() - 0.5) < STANDARD_ERRORS * math.sqrt(0.25 / NUM)


@pytest.mark.parametrize("kind", SMOOTHINGS)
@pytest.mark.parametrize("dimension", [2, 20])
def test_directions_are_centred_and_have_their_second_moment(kind: str, dimension: int) -> None:
    u = directions(kind, dimension)
    error = math.sqrt(second_moment(kind, dimension) / NUM)
    assert np.abs(u.mean(axis=0)).max() < STANDARD_ERRORS * error
    kappa = (u**2).mean(axis=0)
    np.testing.assert_allclose(kappa, second_moment(kind, dimension), rtol=0.12)


@pytest.mark.parametrize("kind", SMOOTHINGS)
def test_two_draws_equal_one_of_both(kind: str) -> None:
    rng = np.random.default_rng(5)
    parts = [sample_directions(kind, rng, num, 3) for num in (7, 5)]
    np.testing.assert_array_equal(np.concatenate(parts), directions(kind, 3, num=12))


def test_an_unknown_kind_is_told_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'gaussian'"):
        directions("gausian", 3)


@pytest.mark.parametrize(("name", "kind"), CLOSED_FORMS)
@pytest.mark.parametrize("delta", [0.15, 0.6])
def test_sampling_agrees_with_closed_forms(name: str, kind: str, delta: float) -> None:
    function, closed = FUNCTIONS[name], CLOSED_FORMS[name, kind]
    x = np.random.default_rng(3).uniform(-1, 1, size=(2, 4))
    u = directions(kind, 4).reshape(NUM, 1, 4)
    values, gradients = function.value(x - delta * u), function.gradient(x - delta * u)
    value_error = values.std(axis=0) / math.sqrt(NUM)
    assert np.all(
        np.abs(values.mean(axis=0) - closed.value(x, delta)) < STANDARD_ERRORS * value_error
    )
    gradient_error = gradients.std(axis=0) / math.sqrt(NUM)
    assert np.all(
        np.abs(gradients.mean(axis=0) - closed.gradient(x, delta))
        < STANDARD_ERRORS * gradient_error
    )


@pytest.mark.parametrize(("name", "kind"), CLOSED_FORMS)
def test_closed_gradients_are_those_of_the_closed_values(name: str, kind: str) -> None:
    closed, step = CLOSED_FORMS[name, kind], 1e-6
    x = np.random.default_rng(4).uniform(-2, 2, size=(3, 4))
    moved = x[:, None, :] + step * np.eye(4), x[:, None, :] - step * np.eye(4)
    numerical = (closed.value(moved[0], 0.3) - closed.value(moved[1], 0.3)) / (2 * step)
    np.testing.assert_allclose(closed.gradient(x, 0.3), numerical, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "kind"), CLOSED_FORMS)
def test_no_smoothing_is_the_function_itself(name: str, kind: str) -> None:
    x = np.random.default_rng(4).uniform(-2, 2, size=(3, 7))
    closed, function = CLOSED_FORMS[name, kind], FUNCTIONS[name]
    np.testing.assert_allclose(closed.value(x, 0.0), function.value(x), rtol=1e-12)
    np.testing.assert_allclose(closed.gradient(x, 0.0), function.gradient(x), rtol=1e-12)


@pytest.mark.parametrize("what", ["value", "gradient"])
def test_the_monte_carlo_mean_is_over_each_starts_own_directions(what: str) -> None:
    f = getattr(FUNCTIONS["ackley"], what)
    x = np.random.default_rng(3).uniform(-2, 2, size=(3, 5))
    u = directions("ball", 5, num=3 * 40).reshape(3, 40, 5)
    expected = f(x[:, None, :] - 0.7 * u).mean(axis=1)
    rng = np.random.default_rng(5)
    mean = smoothed(f, x, 0.7, kind="ball", num_samples=40, rng=rng)
    np.testing.assert_allclose(mean, expected, rtol=1e-12)


def test_chunks_change_rounding_only(monkeypatch: pytest.MonkeyPatch) -> None:
    f = FUNCTIONS["rastrigin"].gradient
    x = np.random.default_rng(3).uniform(-2, 2, size=(5, 4))
    means = []
    for chunk in (1, 50, 1 << 14):
        monkeypatch.setattr("trainables.functions.smoothing.CHUNK", chunk)
        rng = np.random.default_rng(5)
        means.append(smoothed(f, x, 0.7, kind="gaussian", num_samples=9, rng=rng))
    np.testing.assert_allclose(means[0], means[2], rtol=1e-12)
    np.testing.assert_allclose(means[1], means[2], rtol=1e-12)


def test_r27_smoothed_rastrigin_at_its_minimizer() -> None:
    closed = CLOSED_FORMS["rastrigin", "gaussian"]
    values = [float(closed.value(np.zeros(1), delta)) for delta in LEVELS_R27]
    expected = [1.801312826, 5.499592613, 10.178081166, 10.99999997]
    np.testing.assert_allclose(values, expected, rtol=1e-9)
    waves = [float(attenuation("gaussian", 2 * math.pi * delta, 1)) for delta in LEVELS_R27]
    np.testing.assert_allclose(waves, [0.820868717, 0.454040739, 0.007191883, 2.675e-9], rtol=2e-4)


def test_r28_one_dimensional_ball() -> None:
    waves = attenuation("ball", 2 * math.pi * np.array([0.1, 0.5, 1.0]), 1)
    np.testing.assert_allclose(waves, [0.935489284, 0.0, 0.0], atol=1e-7)
    assert second_moment("ball", 1) == pytest.approx(1 / 3)


@given(dimension=st.integers(2, 60), frequency=st.floats(0.01, 60.0))
def test_the_balls_attenuation_is_its_bessel_function(dimension: int, frequency: float) -> None:
    half = dimension / 2
    bessel = gamma(half + 1) * (2 / frequency) ** half * jv(half, frequency)
    assert attenuation("ball", frequency, dimension) == pytest.approx(bessel, rel=1e-9, abs=1e-9)


def test_in_high_dimension_the_ball_smooths_as_the_scaled_gaussian() -> None:
    waves = [float(attenuation(kind, 200.0, 10_000)) for kind in ("ball", "gaussian_scaled")]
    assert waves[1] == pytest.approx(math.exp(-2))
    assert waves[0] == pytest.approx(waves[1], rel=1e-3)


@pytest.mark.parametrize(("delta", "convex"), [(0.51745, True), (0.5174, False)])
def test_r27_rastrigin_is_convex_from_a_level_on(delta: float, convex: bool) -> None:
    everywhere = rastrigin_min_curvature("gaussian")(delta, np.zeros(3), 10.0)
    assert (everywhere >= 0) == convex


@pytest.mark.parametrize("kind", SMOOTHINGS)
@pytest.mark.parametrize("delta", [0.1, 0.4, 1.0, 2.0])
@pytest.mark.parametrize("radius", [0.0, 0.2, 0.7])
def test_curvature_is_the_least_on_a_grid_of_the_ball(
    kind: str, delta: float, radius: float
) -> None:
    center, step = np.array([0.3, -1.8]), 1e-4
    t = center + np.linspace(-radius, radius, 401)[:, None]
    gradient = CLOSED_FORMS["rastrigin", kind].gradient
    slope = (gradient(t + step, delta) - gradient(t - step, delta)) / (2 * step)
    least = rastrigin_min_curvature(kind)(delta, center, radius)
    assert least == pytest.approx(slope.min(), rel=1e-3, abs=1e-2)


@pytest.mark.parametrize("d", [1.0, 1.0 / smallest_admissible_rate(5.0)])
@pytest.mark.parametrize("levels", [theory_levels(50)[:-1], geometric_levels(50)])
def test_rastrigin_is_new_2_nice_on_levels_up_to_a_quarter(levels: Array, d: float) -> None:
    """2 + 40 pi^2 c cos(2 pi t) >= 2 wherever |t| <= d delta <= 1/4; all minimizers are 0."""
    nice = [
        is_new_nice(
            rastrigin_min_curvature("gaussian"),
            centers_MD=np.zeros((len(levels), 10)),
            delta_M=start * levels,
            sigma=2.0 - 1e-9,
            radius_factor=d,
        )
        for start in (0.25 / d, 0.3 / d)
    ]
    assert nice == [True, False]


def test_niceness_is_asked_of_the_balls_around_x_star_as_well() -> None:
    """x*_m at 0.05, its ball of 0.2 reaches 1/4; the minimizer at 0 is fine, one at 0.1 is not."""
    levels = np.array([0.2, 0.1])
    nice = [
        is_new_nice(
            rastrigin_min_curvature("gaussian"),
            centers_MD=np.full((2, 1), 0.05),
            delta_M=levels,
            sigma=2.0 - 1e-6,
            minimizer=None if at is None else np.array([at]),
        )
        for at in (None, 0.0, 0.1)
    ]
    assert nice == [True, True, False]


def test_iterates_near_a_minimum_stay_in_the_convex_region_and_far_ones_never_enter() -> None:
    """Levels up to 1/4 are new 2-nice, yet uniform starts are left in their own valleys."""
    levels = 0.25 * theory_levels(10)[:-1]
    few = {"kind": "gaussian", "radius_factor": 1.0, "num_starts": 200, "steps": 20}
    small = nice_levels(levels, dimension=1, **few)
    assert np.all(small.curvature_M >= 2.0 - 1e-9)
    # At delta = 1/4, c = exp(-pi^2/8) = .29: 11 valleys of a box of width 10.24 are left.
    assert 0.03 < small.solved < 0.25
    assert np.all(small.kept_M[~np.isnan(small.kept_M)] == 1.0)
    # From delta = 1 on there is one bowl, and no start is lost, though not all levels are 2-nice.
    large = nice_levels(theory_levels(50)[:-1], dimension=1, **few)
    assert large.solved == 1.0
    assert large.curvature_M.min() < 0


def test_minimizers_may_move_no_more_than_the_level_falls() -> None:
    levels = np.array([0.2, 0.1, 0.05])
    nice = [
        is_new_nice(
            rastrigin_min_curvature("ball"),
            centers_MD=np.array([[0.0], [move], [move]]),
            delta_M=levels,
            sigma=1.0,
        )
        for move in (0.1, 0.11)
    ]
    assert nice == [True, False]


def test_r26_levels_as_coded() -> None:
    levels = coded_levels(50)
    assert len(levels) == 51
    picked = levels[[0, 1, 2, 25, 49, 50]]
    expected = [1.0, 0.98039216, 0.96078431, 0.50980392, 0.03921569, 0.01]
    np.testing.assert_allclose(picked, expected, atol=5e-9)


def test_r26_geometric_levels() -> None:
    levels = geometric_levels(50)
    np.testing.assert_allclose(levels[1:] / levels[:-1], 0.9120108394, rtol=1e-9)
    assert (len(levels), levels[25]) == (51, pytest.approx(0.1))


def test_r9_levels_of_the_paper() -> None:
    levels = theory_levels(50)
    np.testing.assert_allclose(levels[[0, 1, 2, -2, -1]], [1, 0.98, 0.96, 0.02, 0], atol=1e-12)
    assert theory_levels(200, p=0.5)[199] == pytest.approx(0.07071067812)
