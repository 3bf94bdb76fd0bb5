"""The benchmark functions: minima, published values, gradients against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainables.functions.benchmark import FUNCTIONS, Array, parse_dimension
from trainables.functions.closed_forms import HESSIANS

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

# Functions whose finest wave needs its own step: Weierstrass' is 3^-20 wide.
STEPS = {name: 1e-6 for name in FUNCTIONS} | {"weierstrass": 1e-12}
TOLERANCES = {name: 1e-5 for name in FUNCTIONS} | {"weierstrass": 3e-2}
CONSTANTS = [0.0, 1.0, -1.0]


def points(name: str, dimension: int, num: int = 8) -> Array:
    """Seeded points of the function's box, (num, D)."""
    return np.random.default_rng(7).uniform(*FUNCTIONS[name].box, size=(num, dimension))


def central_differences(name: str, x: Array) -> Array:
    """Numerical gradient, shape as x."""
    value, step = FUNCTIONS[name].value, STEPS[name]
    gradient = np.empty_like(x)
    for i in range(x.shape[-1]):
        high, low = x.copy(), x.copy()
        high[..., i] += step
        low[..., i] -= step
        gradient[..., i] = (value(high) - value(low)) / (high[..., i] - low[..., i])
    return gradient


def test_the_sixteen_of_the_authors_are_there_with_their_step_size() -> None:
    theirs = [name for name, function in FUNCTIONS.items() if function.papers_lr is not None]
    assert len(theirs) == 16
    assert set(FUNCTIONS) - set(theirs) == {"weierstrass"}


@pytest.mark.parametrize("dimension", [2, 5, 50])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_minimum_is_zero_at_the_minimizer(name: str, dimension: int) -> None:
    function = FUNCTIONS[name]
    low, high = function.box
    minimizer = function.minimizer(dimension)
    assert low < minimizer[0] < high
    assert function.minimum == 0.0
    assert function.value(minimizer) == pytest.approx(0.0, abs=1e-11 * dimension)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_point_of_the_box_is_below_the_minimum(name: str) -> None:
    function = FUNCTIONS[name]
    near = function.minimizer(5) + np.random.default_rng(1).normal(0, 1e-3, (200, 5))
    assert function.value(points(name, 5, num=500)).min() > function.minimum
    assert function.value(near).min() > function.minimum


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_equal_central_differences(name: str) -> None:
    x = points(name, 6)
    numerical = central_differences(name, x)
    error = np.abs(FUNCTIONS[name].gradient(x) - numerical)
    scale = 1.0 + np.linalg.norm(numerical, axis=-1, keepdims=True)
    assert (error / scale).max() < TOLERANCES[name]


@pytest.mark.parametrize("name", HESSIANS)
def test_hessians_equal_differences_of_gradients(name: str) -> None:
    function, x, step = FUNCTIONS[name], points(name, 6), 1e-5
    slope = (function.gradient(x + step) - function.gradient(x - step)) / (2 * step)
    np.testing.assert_allclose(HESSIANS[name](x), slope, rtol=1e-5, atol=1e-4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("constant", CONSTANTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_finite_at_kinks_and_minimizers(name: str, constant: float) -> None:
    function = FUNCTIONS[name]
    kinks = np.full((3, 4), constant)
    kinks[1, 0] = 0.5
    kinks[2, 1:] = 0.0
    assert np.isfinite(function.gradient(kinks)).all()
    assert np.isfinite(function.gradient(function.minimizer(4))).all()
    assert np.isfinite(function.gradient(kinks * 1e-200)).all()


@pytest.mark.parametrize("name", ["salomon", "modridge", "hgbat", "happycat", "schwefel221"])
def test_the_subgradient_at_a_kinked_minimizer_is_zero(name: str) -> None:
    function = FUNCTIONS[name]
    np.testing.assert_array_equal(function.gradient(function.minimizer(4)), np.zeros(4))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rows_do_not_influence_each_other(name: str) -> None:
    function, x = FUNCTIONS[name], points(name, 5, num=6)
    values = [float(function.value(row)) for row in x]
    np.testing.assert_allclose(function.value(x), values, rtol=1e-12)
    np.testing.assert_allclose(function.value(x.reshape(2, 3, 5)).ravel(), values, rtol=1e-12)
    gradients = np.array([function.gradient(row) for row in x])
    assert function.gradient(x.reshape(2, 3, 5)).shape == (2, 3, 5)
    np.testing.assert_allclose(function.gradient(x), gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("rastrigin", [1.0] * 50, 50.0),
        ("ackley", [1.0, 1.0], 20.0 * (1.0 - math.exp(-0.2))),
        ("griewank", [math.pi, 0.0], math.pi**2 / 4000 + 2.0),
        ("drop_wave", [math.pi / 12, 0.0], 1.0),
        ("alpine1", [math.pi, -math.pi], 0.2 * math.pi),
        ("schwefel", [0.0, 0.0], 2 * 418.9828872724337),
        ("salomon", [3.0, 4.0], 0.5),
        ("happycat", [0.0] * 16, 2.0 + 0.5),
        ("hgbat", [0.0, 2.0], math.sqrt(12.0) + 0.5 * (2.0 + 2.0) + 0.5),
        ("schaffer_f7", [3.0, 4.0], 5.0 * (1.0 + math.sin(50.0 * 5.0**0.2) ** 2) ** 2),
        ("modridge", [-3.0, 1.0, 0.0], 5.0),
        ("ellipsoid", [1.0, 2.0, 3.0], 1.0 + 8.0 + 27.0),
        ("rot_hyper_ellipsoid", [1.0, 2.0, 3.0], 3.0 + 8.0 + 9.0),
        ("schwefel221", [1.0, -7.0, 3.0], 7.0),
        ("rosenbrock", [0.0, 0.0, 2.0], 1.0 + 1.0 + 400.0),
        ("sphere", [3.0, 4.0], 25.0),
        ("weierstrass", [0.5, 0.0], 2.0 * (2.0 - 0.5**20)),
    ],
)
def test_values_follow_from_the_formulas(name: str, x: list[float], expected: float) -> None:
    assert float(FUNCTIONS[name].value(np.array(x))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("path", "dimension"), [(None, 50), ("2", 2), (" 10000 ", 10_000)])
def test_a_dimension_is_read_from_the_path(path: str | None, dimension: int) -> None:
    assert parse_dimension(path) == dimension


@pytest.mark.parametrize("path", ["", "1", "10001", "2.5", "-3", "five", "\u0662"])
def test_a_dimension_out_of_range_is_refused_in_one_line(path: str) -> None:
    with pytest.raises(ValueError, match=r"dimension in 2\.\.10000") as error:
        parse_dimension(path)
    assert "\n" not in str(error.value)
