"""SGD's mean path against descent on the smoothed function: exact where theory says so."""

from __future__ import annotations

import numpy as np
import pytest

from trainables import SMOOTHINGS
from trainables.functions.benchmark import FUNCTIONS
from trainables.functions.closed_forms import closed_form, second_moment
from trainables.functions.equivalence import NUM_PATHS, NUM_STARTS, Equivalence

DIMENSION = 3


def paths(
    name: str, kind: str = "gaussian_scaled", *, lr: float, delta: float, steps: int, seed: int = 0
) -> Equivalence:
    rng = np.random.default_rng(seed)
    starts = rng.uniform(*FUNCTIONS[name].box, size=(NUM_STARTS, DIMENSION))
    made = Equivalence(name, kind, starts, seed=seed)
    for number in range(steps):
        made.step(number, lr=lr, delta=delta)
    return made


@pytest.mark.parametrize("kind", SMOOTHINGS)
@pytest.mark.parametrize("name", ["sphere", "ellipsoid", "rot_hyper_ellipsoid"])
def test_on_a_quadratic_the_mean_path_is_that_of_smoothed_descent(name: str, kind: str) -> None:
    """A linear gradient: E y_t = z_t after any number of steps, and both are those of descent."""
    made = paths(name, kind, lr=0.05, delta=0.5, steps=60)
    np.testing.assert_allclose(made.smoothed_SD, made.plain_SD, rtol=1e-12)
    mean_SD = made.noisy_SPD.mean(axis=1)
    error_SD = made.noisy_SPD.std(axis=1, ddof=1) / np.sqrt(NUM_PATHS)
    z_SD = (mean_SD - made.smoothed_SD) / error_SD
    # 30 numbers of Student's t with 99 degrees of freedom: variance 99/97, mean square 1 +- 0.26.
    assert np.abs(z_SD).max() < 4.0
    assert np.square(z_SD).mean() == pytest.approx(1.02, abs=3.5 * 0.26)
    told = made.told()["equivalence"]
    assert told["covered"] >= 24 / 30  # 28.5 expected, sd 1.2
    assert abs(told["gap"]) < 3 * told["spread"] / NUM_PATHS


@pytest.mark.parametrize("kind", SMOOTHINGS)
def test_on_a_quadratic_the_spread_is_that_of_added_noise(kind: str) -> None:
    """v <- q (v + delta^2 kappa), q = (1 - lr h)^2 on curvatures h = 2, 4, 6."""
    lr, delta = 0.05, 0.5
    made = paths("ellipsoid", kind, lr=lr, delta=delta, steps=200)
    q = (1.0 - lr * np.array([2.0, 4.0, 6.0])) ** 2
    expected_D = delta**2 * second_moment(kind, DIMENSION) * q / (1.0 - q)
    # Of 10 starts and 100 paths a variance has a relative standard error of about 0.045.
    np.testing.assert_allclose(
        made.noisy_SPD.var(axis=1, ddof=1).mean(axis=0), expected_D, rtol=0.2
    )
    assert made.told()["equivalence"]["spread"] == pytest.approx(expected_D.mean(), rel=0.15)
    assert made.told()["equivalence"]["level"] == pytest.approx(
        delta**2 * second_moment(kind, DIMENSION)
    )


@pytest.mark.parametrize("name", ["rastrigin", "griewank", "rosenbrock"])
def test_one_step_from_a_point_is_a_step_on_the_smoothed_function(name: str) -> None:
    """E[y_1 | y_0] = y_0 - lr grad f_hat(y_0), whatever f; of many steps it says nothing."""
    made = paths(name, lr=0.001, delta=0.4, steps=1, seed=3)
    expected = made.start_SD - 0.001 * closed_form(name, "gaussian_scaled").gradient(
        made.start_SD, 0.4
    )
    np.testing.assert_allclose(made.smoothed_SD, expected, rtol=1e-12)
    z_SD = (made.noisy_SPD.mean(axis=1) - expected) / made.noisy_SPD.std(axis=1, ddof=1)
    assert np.abs(z_SD * np.sqrt(NUM_PATHS)).max() < 4.5


@pytest.mark.slow
def test_on_rastrigin_it_holds_where_a_bowl_is_left_and_breaks_between() -> None:
    """Per coordinate delta/sqrt(3) of a normal: convex from 0.517 on, so delta = 1 is a bowl."""
    bowl = paths("rastrigin", lr=0.0025, delta=1.0, steps=1500).told()["equivalence"]
    assert bowl["covered"] >= 24 / 30
    assert bowl["plain_gap"] > 100 * abs(bowl["gap"])  # descent without noise stays where it was
    # At .3/sqrt(3) = .17 half of the wave is left: smoothed descent stays in its valley, SGD,
    # whose noise adds up, does not.
    waves = paths("rastrigin", lr=0.0025, delta=0.3, steps=1500).told()["equivalence"]
    assert waves["covered"] < 0.5
    assert waves["gap"] > 0.1 * waves["scale"]
    assert waves["spread"] > 10 * waves["level"]


def test_paths_go_on_as_if_they_had_not_been_saved() -> None:
    whole = paths("rastrigin", lr=0.0025, delta=0.3, steps=6)
    half = paths("rastrigin", lr=0.0025, delta=0.3, steps=3)
    other = paths("rastrigin", lr=0.0025, delta=0.3, steps=0)
    other.load_state_dict(half.state_dict())
    for number in range(3, 6):
        other.step(number, lr=0.0025, delta=0.3)
    np.testing.assert_array_equal(whole.noisy_SPD, other.noisy_SPD)
    assert whole.told() == other.told()


def test_what_leaves_the_finite_numbers_is_told_as_nothing() -> None:
    told = paths("rosenbrock", lr=1.0, delta=1.0, steps=20).told()["equivalence"]
    assert told["gap"] is None
    assert told["noisy_value"] is None


def test_without_a_closed_form_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"smoothing=ball: griewank has no closed form under it"):
        closed_form("griewank", "ball")


@pytest.mark.slow
def test_equal_means_are_told_apart_as_seldom_as_a_verdict_says() -> None:
    """On a sphere E y = z: of 200 measurements of 60 coordinates 3.0 % miss more than 10 %."""
    covered = [
        paths("sphere", lr=0.05, delta=0.5, steps=12, seed=seed).told()["equivalence"]["covered"]
        for seed in range(400)
    ]
    verdicts = np.array(covered).reshape(200, 2).mean(axis=1) < 0.90  # 60 = 2 x 10 starts x 3
    assert verdicts.mean() == pytest.approx(0.030, abs=4 * np.sqrt(0.03 * 0.97 / 200))


def test_how_many_were_compared_is_recorded() -> None:
    told = paths("sphere", lr=0.05, delta=0.5, steps=1).told()["equivalence"]
    assert (told["coordinates"], told["paths"]) == (NUM_STARTS * DIMENSION, NUM_PATHS)
