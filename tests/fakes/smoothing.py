"""Oracles of explicit smoothing: closed forms, Hessians, the papers' levels, and niceness.

Legend: f_hat_delta(x) = E_u[f(x - delta u)], delta smoothing level, D dimension, kappa = E u_1^2,
c = E cos(k u_1) attenuation of a wave of frequency k; kinds of u as in
trainables/functions/smoothing.py.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from trainables import SMOOTHINGS
from trainables.functions.benchmark import FUNCTIONS, TWO_PI, Array

MIDPOINTS = 4096
CODED_LAST_LEVEL = 0.01


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


def _closed(value: Callable[..., Array], gradient: Callable[..., Array], *args: str) -> ClosedForm:
    return ClosedForm(functools.partial(value, *args), functools.partial(gradient, *args))


# (function, kind) -> its smoothed form; the other pairs are known by sampling only.
CLOSED_FORMS: dict[tuple[str, str], ClosedForm] = {
    **{
        ("rastrigin", kind): _closed(_rastrigin_value, _rastrigin_gradient, kind)
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


def coded_levels(num_levels: int = 50) -> Array:
    """The authors' levels: (M + 1 - i) / (M + 1) for i = 0 ... M - 1, then 0.01; M + 1 values.

    Source: ego.py of arXiv 2412.11501 ("nice", p = 1), whose m starts at 0 instead of 1.
    """
    i = np.arange(num_levels)
    return np.append((num_levels + 1.0 - i) / (num_levels + 1.0), CODED_LAST_LEVEL)


def theory_levels(num_levels: int = 50, p: float = 1.0) -> Array:
    """The paper's levels: delta_m = ((M - m + 1) / M)^p, m = 1 ... M + 1; the last is 0.

    Source: arXiv 2311.08745 Algorithm 1.
    """
    return np.asarray(((num_levels - np.arange(num_levels + 1.0)) / num_levels) ** p)


def geometric_levels(num_levels: int = 50, last: float = CODED_LAST_LEVEL) -> Array:
    """From 1 to `last` by one ratio, M + 1 values. Source: ego.py ("geo")."""
    return np.asarray(last ** (np.arange(num_levels + 1.0) / num_levels))


# (delta, center (D,), radius) -> smallest eigenvalue of the Hessian of f_hat_delta in that ball
Curvature = Callable[[float, Array, float], float]


def is_new_nice(
    min_curvature: Curvature,
    *,
    centers_MD: Array,
    delta_M: Array,
    sigma: float,
    radius_factor: float = 1.0,
) -> bool:
    """Is a function new sigma-nice along these levels?

    (i) |x*_m - x*_(m+1)| <= |delta_m| - |delta_(m+1)|: the minimizer moves less than the level;
    (ii) f_hat_delta_m is sigma-strongly convex on the ball of radius d |delta_m| around x*_m.

    Args:
        min_curvature: see Curvature.
        centers_MD: a minimizer x*_m of each smoothed function; delta_M: its levels, falling.
        sigma: > 0.
        radius_factor: d, from 1 to a / (sqrt(a^2 - 1) - 1), that is 1 over
            `search_spaces.theory.smallest_admissible_rate(a)`. No source gives its value.

    Source: arXiv 2311.08745 Definition 3.1.
    """
    level_M = np.abs(delta_M)
    rounding = 1e-12 * level_M.max()
    moved = np.linalg.norm(np.diff(centers_MD, axis=0), axis=1)
    follows = bool(np.all(moved <= -np.diff(level_M) + rounding))
    return follows and all(
        min_curvature(float(delta), center, float(radius_factor * delta)) >= sigma
        for center, delta in zip(centers_MD, level_M, strict=True)
    )


def rastrigin_min_curvature(kind: str) -> Curvature:
    """Curvature of smoothed Rastrigin: the smallest 2 + 40 pi^2 c cos(2 pi t) in the ball.

    Its Hessian is diagonal and coordinate i reaches every t in [center_i - r, center_i + r].
    """

    def min_curvature(delta: float, center: Array, radius: float) -> float:
        c = float(attenuation(kind, TWO_PI * delta, center.shape[-1]))
        turn = 0.5 if c > 0 else 0.0  # cos(2 pi t) is least (greatest for c < 0) at turn + integer
        nearest = center - turn - np.rint(center - turn)
        worst_t = turn + np.maximum(np.abs(nearest) - radius, 0.0)
        return float((2.0 + 10.0 * TWO_PI**2 * c * np.cos(TWO_PI * worst_t)).min())

    return min_curvature
