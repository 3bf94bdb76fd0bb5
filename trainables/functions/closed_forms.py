"""What does a function look like when it is smoothed, without sampling?

Legend: f_hat_delta(x) = E_u[f(x - delta u)], delta smoothing level, D dimension, kappa = E u_1^2,
c = E cos(k u_1) attenuation of a wave of frequency k; kinds of u as in `smoothing`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from search_spaces.registry import unknown_name
from trainables import SMOOTHINGS
from trainables.functions.benchmark import FUNCTIONS, TWO_PI, Array

MIDPOINTS = 4096


def _index(x: Array) -> Array:
    return np.broadcast_to(np.arange(1.0, x.shape[-1] + 1.0), x.shape)


# The diagonal of the Hessian (..., D), of functions where all else is 0.
HESSIANS: dict[str, Callable[[Array], Array]] = {
    "rastrigin": lambda x: 2.0 + 10.0 * TWO_PI**2 * np.cos(TWO_PI * x),
    "ellipsoid": lambda x: 2.0 * _index(x),
    "rot_hyper_ellipsoid": lambda x: 2.0 * _index(x)[..., ::-1],
    "sphere": lambda x: np.full_like(x, 2.0),
}


def second_moment(kind: str, dimension: int) -> float:
    """kappa = E u_1^2."""
    moments = {"ball": 1.0 / (dimension + 2), "gaussian": 1.0, "gaussian_scaled": 1.0 / dimension}
    return moments[kind]


def attenuation(kind: str, frequency: ArrayLike, dimension: int) -> Array:
    """c = E cos(k u_1), elementwise over k (1 at k = 0). Rastrigin's waves have k = 2 pi delta.

    gaussian exp(-k^2 / 2); ball Gamma(D/2 + 1) (2/k)^(D/2) J_(D/2)(k), which may be negative. For
    the ball by the midpoint rule in theta, u_1 = cos theta of density ~ sin^D theta: exact to
    1e-12 from D = 2 (1e-7 in D = 1) for k < 1000, while scipy's J and 0F1 fail from D ~ 300.
    """
    k = np.asarray(frequency, dtype=np.float64)
    if kind == "ball":
        theta = (np.arange(MIDPOINTS) + 0.5) * (math.pi / MIDPOINTS)
        density = np.sin(theta) ** dimension
        return np.asarray(np.cos(k[..., None] * np.cos(theta)) @ density / density.sum())
    return np.asarray(np.exp(-0.5 * second_moment(kind, dimension) * k**2))


@dataclass(frozen=True, slots=True)
class ClosedForm:
    """A smoothed function without sampling: value(x, delta) -> (...), gradient -> (..., D)."""

    value: Callable[[Array, float], Array]
    gradient: Callable[[Array, float], Array]


def _rastrigin_value(kind: str, x: Array, delta: float) -> Array:
    dimension = x.shape[-1]
    c = attenuation(kind, TWO_PI * delta, dimension)
    lift = delta**2 * second_moment(kind, dimension) + 10.0
    return np.asarray((x**2 + lift - 10.0 * c * np.cos(TWO_PI * x)).sum(axis=-1))


def _rastrigin_gradient(kind: str, x: Array, delta: float) -> Array:
    c = attenuation(kind, TWO_PI * delta, x.shape[-1])
    return np.asarray(2.0 * x + 10.0 * TWO_PI * c * np.sin(TWO_PI * x))


def _griewank_value(kind: str, x: Array, delta: float) -> Array:
    index = np.arange(1.0, x.shape[-1] + 1.0)
    spread = delta**2 * second_moment(kind, x.shape[-1])
    waves = math.exp(-0.5 * spread * (1.0 / index).sum()) * np.cos(x / np.sqrt(index)).prod(-1)
    return np.asarray((x**2 + spread).sum(axis=-1) / 4000.0 - waves + 1.0)


def _griewank_gradient(kind: str, x: Array, delta: float) -> Array:
    root = np.sqrt(np.arange(1.0, x.shape[-1] + 1.0))
    spread = delta**2 * second_moment(kind, x.shape[-1])
    c = math.exp(-0.5 * spread * (1.0 / root**2).sum())
    waves = np.cos(x / root).prod(axis=-1, keepdims=True)
    return np.asarray(x / 2000.0 + c * waves * np.tan(x / root) / root)


def _quadratic_value(name: str, kind: str, x: Array, delta: float) -> Array:
    """Only lifted: f + delta^2 kappa trace(H) / 2."""
    lift = 0.5 * delta**2 * second_moment(kind, x.shape[-1]) * HESSIANS[name](x).sum(axis=-1)
    return np.asarray(FUNCTIONS[name].value(x) + lift)


def _quadratic_gradient(name: str, x: Array, delta: float) -> Array:
    return FUNCTIONS[name].gradient(x)


def _rosenbrock_value(kind: str, x: Array, delta: float) -> Array:
    """From the second and fourth moments of a coordinate of u."""
    dimension = x.shape[-1]
    spread = delta**2 * second_moment(kind, dimension)
    # E u_1^4: 3 kappa^2 of a normal coordinate, 3/((D+2)(D+4)) of the ball's.
    shrink = (dimension + 2) / (dimension + 4) if kind == "ball" else 1.0
    here = x[..., :-1]
    valley = x[..., 1:] - here**2
    steep = valley**2 - 2.0 * valley * spread + (1.0 + 4.0 * here**2) * spread
    steep = steep + 3.0 * shrink * spread**2
    return np.asarray((100.0 * steep + (1.0 - here) ** 2 + spread).sum(axis=-1))


def _rosenbrock_gradient(kind: str, x: Array, delta: float) -> Array:
    spread = delta**2 * second_moment(kind, x.shape[-1])
    here = x[..., :-1]
    valley = x[..., 1:] - here**2
    gradient = np.zeros_like(x)
    gradient[..., :-1] = -400.0 * here * (valley - 3.0 * spread) - 2.0 * (1.0 - here)
    gradient[..., 1:] += 200.0 * (valley - spread)
    return gradient


def _closed(value: Callable[..., Array], gradient: Callable[..., Array], *args: str) -> ClosedForm:
    return ClosedForm(functools.partial(value, *args), functools.partial(gradient, *args))


# (function, kind) -> its smoothed form; the other pairs are known by sampling only.
CLOSED_FORMS: dict[tuple[str, str], ClosedForm] = {
    **{
        ("rastrigin", kind): _closed(_rastrigin_value, _rastrigin_gradient, kind)
        for kind in SMOOTHINGS
    },
    **{
        ("rosenbrock", kind): _closed(_rosenbrock_value, _rosenbrock_gradient, kind)
        for kind in SMOOTHINGS
    },
    # Not for ball: there the coordinates, whose cosines are multiplied, depend on each other.
    **{
        ("griewank", kind): _closed(_griewank_value, _griewank_gradient, kind)
        for kind in ("gaussian", "gaussian_scaled")
    },
    **{
        (name, kind): ClosedForm(
            functools.partial(_quadratic_value, name, kind),
            functools.partial(_quadratic_gradient, name),
        )
        for name in ("sphere", "ellipsoid", "rot_hyper_ellipsoid")
        for kind in SMOOTHINGS
    },
}


def closed_form(name: str, kind: str) -> ClosedForm:
    """The smoothed form of this function.

    Raises:
        ValueError: it is known by sampling only, or there is no such smoothing.
    """
    if kind not in SMOOTHINGS:
        raise unknown_name("smoothing", kind, SMOOTHINGS)
    if (name, kind) not in CLOSED_FORMS:
        known = ", ".join(dict.fromkeys(f for f, k in CLOSED_FORMS if k == kind))
        raise ValueError(f"smoothing={kind}: {name} has no closed form under it (known: {known})")
    return CLOSED_FORMS[name, kind]
