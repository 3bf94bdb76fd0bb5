"""What every decay family promises, asked of all that are registered."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from search_spaces import COMMON, FAMILIES, SPACES
from search_spaces.families import CURVE_PARAMETERS
from search_spaces.families.wsd import cooldown
from search_spaces.registry import allow_import, lookup
from search_spaces.space import (
    COMMON_PARAMS,
    EXTRA_PARAMS,
    INTEGER_PARAMS,
    SCHEDULE_PARAMS,
    SearchSpace,
)

C = [1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4, 0]  # the cosine at every quarter
U = np.linspace(0.0, 0.999, 1000)


def corners(name: str) -> list[dict[str, float]]:
    """The parameters at all ends of their ranges, and in the middle."""
    ranges = FAMILIES[name].ranges
    ends = ([axis.from_unit(u) for u in (0.0, 0.5, 1.0 - 1e-12)] for axis in ranges.values())
    return [dict(zip(ranges, values, strict=True)) for values in itertools.product(*ends)]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_curve_starts_at_one_and_never_rises_or_reaches_zero(name: str) -> None:
    for params in corners(name):
        d = FAMILIES[name](U, **params)
        assert d[0] == 1.0
        assert np.all(np.diff(d) <= 0)
        assert np.all(d > 0)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_the_space_of_its_name(name: str) -> None:
    space = SPACES[name]
    assert (space.name, space.family) == (name, name)
    assert list(space.ranges) == [*COMMON, *FAMILIES[name].parameters]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_says_where_it_comes_from_and_how_it_looks(name: str) -> None:
    assert FAMILIES[name].source
    assert FAMILIES[name].color


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_are_told_and_differ_from_those_of_every_space(name: str) -> None:
    for key, parameter in FAMILIES[name].parameters.items():
        assert key not in (*SCHEDULE_PARAMS, "factor")
        assert parameter.meaning
        assert not parameter.range.relative
        # One name is one column: whoever else has it means the same.
        column = CURVE_PARAMETERS[key]
        assert (parameter.meaning, parameter.unit) == (column.meaning, column.unit)
        assert set(parameter.natural_ends) <= {parameter.range.low, parameter.range.high}


@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_recipe_says_by_itself_are_the_curves_parameters(name: str) -> None:
    assert FAMILIES[name].recipe.keys() <= FAMILIES[name].parameters.keys()


def test_a_recipe_may_be_linear_without_a_parameter() -> None:
    recipes = {name: family.recipe for name, family in FAMILIES.items() if family.recipe}
    assert recipes == {"poly": {"p": 1.0}}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_tells_its_curve_in_one_line(name: str) -> None:
    assert " = " in FAMILIES[name].formula
    assert FAMILIES[name].formula.isprintable()


def test_a_users_own_name_may_be_a_family_or_its_curve() -> None:
    for name in ("FAMILY", "curve"):
        allow_import(f"search_spaces.families.poly:{name}")
        curve = lookup("family", f"search_spaces.families.poly:{name}", FAMILIES)
        np.testing.assert_array_equal(curve(U, p=0.5), (1.0 - U) ** 0.5)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("poly", {"p": 0.0}, r"`p > 0` must hold, but got \(p=0\.0\)"),
        ("wsd", {"f": 0.5, "p": 0.0}, r"`p > 0` must hold"),
        ("wsd", {"f": 0.0, "p": 1.0}, r"`0 < f <= 1` must hold"),
        ("wsd", {"f": 1.1, "p": 1.0}, r"`0 < f <= 1` must hold"),
        ("exp", {"end_ratio": 0.0}, r"`0 < end_ratio <= 1` must hold"),
        ("exp", {"end_ratio": 1.1}, r"`0 < end_ratio <= 1` must hold"),
        ("cosine_power", {"base": 0.9}, r"`base >= 1` must hold"),
        ("power_cool", {"q": 0.0}, r"`q > 0` must hold"),
        ("wsd_power_cool", {"q": -1.0, "f": 0.5}, r"`q > 0` must hold"),
        ("wsd_cosine", {"f": 1.5}, r"`0 < f <= 1` must hold"),
    ],
)
def test_parameters_outside_a_curves_domain_are_refused(
    name: str, params: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FAMILIES[name](U, **params)


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("poly", {"p": 2.0}, [1, 0.5625, 0.25, 0.0625, 0]),
        ("cosine", {}, C),
        ("exp", {"end_ratio": 0.0625}, [1, 0.5, 0.25, 0.125, 0.0625]),
        ("exp", {"end_ratio": 1.0}, [1, 1, 1, 1, 1]),
        ("wsd", {"f": 0.5, "p": 2.0}, [1, 1, 1, 0.25, 0]),
        ("cosine_power", {"base": 4.0}, [(4**c - 1) / 3 for c in C]),
        ("constant", {}, [1, 1, 1, 1, 1]),
        ("power_cool", {"q": 2.0}, [1, 1 - 1 / 16, 0.75, 1 - 9 / 16, 0]),
        ("power_cool", {"q": 0.5}, [1, 0.5, 1 - 0.5**0.5, 1 - 0.75**0.5, 0]),
        # Cooldowns: at the quarters of the last half stand v = 0, 1/2 and 1.
        ("wsd_power_cool", {"q": 0.5, "f": 0.5}, [1, 1, 1, 1 - 0.5**0.5, 0]),
        ("wsd_cosine", {"f": 0.5}, [1, 1, 1, 0.5, 0]),
        ("wsd_cosine", {"f": 1.0}, C),
    ],
)
def test_curves_by_their_formula(
    name: str, params: dict[str, float], expected: list[float]
) -> None:
    d = FAMILIES[name](np.array([0, 0.25, 0.5, 0.75, 1.0]), **params)
    np.testing.assert_allclose(d, expected, rtol=1e-14, atol=1e-16)


def test_any_family_may_be_the_shape_of_a_cooldown() -> None:
    u = np.linspace(0.0, 0.999, 500)
    poly = cooldown(FAMILIES["poly"])
    np.testing.assert_allclose(poly(u, f=0.3, p=0.7), FAMILIES["wsd"](u, f=0.3, p=0.7), rtol=1e-12)
    assert list(poly.parameters) == ["p", "f"]
    exp = cooldown(FAMILIES["exp"])(u, f=0.5, end_ratio=0.01)
    np.testing.assert_allclose(exp, 0.01 ** np.maximum(0.0, 2 * u - 1), rtol=1e-12)


def test_the_papers_cooldowns_are_spaces() -> None:
    # arXiv 2405.18392: 1 - (n - N_stable) / N_decay and 1 - sqrt of the same.
    u = np.linspace(0.0, 0.999, 500)
    v = np.maximum(0.0, (u - 0.8) / 0.2)
    expected = {"wsd_linear": 1 - v, "wsd_sqrt": 1 - np.sqrt(v)}
    for name, curve in expected.items():
        space = SPACES[name]
        shape = {n: value for n, value in space.fixed.items() if n not in SCHEDULE_PARAMS}
        d = FAMILIES[space.family](u, f=0.2, **shape)
        np.testing.assert_allclose(d, curve, rtol=1e-11, atol=1e-12)
        assert "f" in space.free


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_parameters_of_a_space_are_common_extra_or_of_its_curve(space: SearchSpace) -> None:
    of_curve = {*FAMILIES[space.family].parameters} | ({"factor"} & {*space.ranges})
    assert {*space.ranges} <= {*COMMON_PARAMS, *EXTRA_PARAMS, *of_curve}
    assert {n for n, axis in space.ranges.items() if axis.integer} == {*space.ranges} & {
        *INTEGER_PARAMS
    }
    assert SCHEDULE_PARAMS == (*COMMON_PARAMS, *EXTRA_PARAMS)
    # One way to say how far the noise falls, and one to say where it begins.
    assert len({"factor", "end_ratio"} & {*space.ranges}) == (space.family == "exp")
    assert len({"delta0", "lr0"} & {*space.ranges}) == 1


def test_every_extra_parameter_has_a_space_that_shows_it() -> None:
    names = {name for space in SPACES.values() for name in space.ranges}
    assert names - {*CURVE_PARAMETERS, "factor"} == {*SCHEDULE_PARAMS}
