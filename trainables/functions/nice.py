"""Is Rastrigin new sigma-nice, and do the iterates stay where the smoothed function is convex?

Legend: f_hat_delta smoothed by delta, x* minimizer of f, x*_m of f_hat at level delta_m, d radius
factor, N(x; r) the ball of radius r around x, c attenuation of Rastrigin's waves.

On N(0; r) the smallest curvature of a coordinate is 2 + 40 pi^2 c cos(2 pi min(r, 1/2)) for c > 0.
So it is at least sigma = 2 up to r = 1/4 and, as long as c is not 0, nowhere beyond: "new 2-nice"
holds exactly where d delta_1 <= 1/4, that is, of levels whose first ball is already inside the
valley of the global minimum.

Source: arXiv 2311.08745 Definition 3.1, arXiv 2412.11501 (Rastrigin is new 2-nice).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.functions.benchmark import FUNCTIONS, TWO_PI, Array
from trainables.functions.closed_forms import attenuation, closed_form

STEEPEST = 2.0 + 10.0 * TWO_PI**2  # the largest curvature of Rastrigin, at its minima


@dataclass(frozen=True, kw_only=True, slots=True)
class NiceLevels:
    """Explicit graduated optimization of Rastrigin, level by level; the last level is delta > 0.

    Attributes:
        delta_M: levels. curvature_M: the smallest in N(x*; d delta_m): f_hat is sigma-strongly
            convex there up to this sigma; below 0 it is not convex.
        inside_M: share of the starts that end the level in N(x*; d delta_m); kept_M: of those
            that were there when the level began, the share that are at its end; nan = none were.
        solved: share of starts in the valley of 0 after a last descent at delta = 0.
    """

    delta_M: Array
    curvature_M: Array
    inside_M: Array
    kept_M: Array
    solved: float


def nice_levels(
    delta_M: Array,
    *,
    kind: str,
    dimension: int,
    radius_factor: float,
    num_starts: int,
    steps: int,
    seed: int = 0,
) -> NiceLevels:
    """Descend on the closed form from uniform starts, `steps` a level at lr 1/largest curvature.

    Args:
        delta_M: falling, > 0. kind: of SMOOTHINGS. radius_factor: d > 0.

    Raises:
        ValueError: an unknown kind.
    """
    form, curvature = closed_form("rastrigin", kind), rastrigin_min_curvature(kind)
    rng = np.random.default_rng(seed)
    x_SD = rng.uniform(*FUNCTIONS["rastrigin"].box, size=(num_starts, dimension))
    x_SD = _descend(form.gradient, x_SD, delta_M[0], kind, steps)
    smallest, inside, kept = [], [], []
    for delta in delta_M.tolist():
        radius = radius_factor * delta
        was_S = np.linalg.norm(x_SD, axis=1) <= radius
        x_SD = _descend(form.gradient, x_SD, delta, kind, steps)
        is_S = np.linalg.norm(x_SD, axis=1) <= radius
        smallest.append(curvature(delta, np.zeros(dimension), radius))
        inside.append(float(is_S.mean()))
        kept.append(float(is_S[was_S].mean()) if was_S.any() else np.nan)
    x_SD = _descend(form.gradient, x_SD, 0.0, kind, 10 * steps)
    return NiceLevels(
        delta_M=delta_M,
        curvature_M=np.array(smallest),
        inside_M=np.array(inside),
        kept_M=np.array(kept),
        solved=float((np.abs(x_SD).max(axis=1) < 0.5).mean()),
    )


def _descend(
    gradient: Callable[[Array, float], Array], x_SD: Array, delta: float, kind: str, steps: int
) -> NDArray[np.float64]:
    c = float(attenuation(kind, TWO_PI * delta, x_SD.shape[1]))
    lr = 1.0 / (2.0 + (STEEPEST - 2.0) * abs(c))
    for _ in range(steps):
        x_SD = x_SD - lr * gradient(x_SD, delta)
    return x_SD


# (delta, center (D,), radius) -> smallest eigenvalue of the Hessian of f_hat_delta in that ball
Curvature = Callable[[float, Array, float], float]


def is_new_nice(
    min_curvature: Curvature,
    *,
    centers_MD: Array,
    delta_M: Array,
    sigma: float,
    radius_factor: float = 1.0,
    minimizer: Array | None = None,
) -> bool:
    """Is a function new sigma-nice along these levels?

    (i) |x*_m - x*_(m+1)| <= |delta_m| - |delta_(m+1)|: the minimizer moves less than the level;
    (ii) f_hat_delta_m is sigma-strongly convex on the ball of radius d |delta_m| around x*_m.

    Args:
        min_curvature: see Curvature.
        centers_MD: a minimizer x*_m of each smoothed function; delta_M: its levels, falling.
        sigma: > 0.
        minimizer: x* of f itself; where given, (ii) is asked of the ball around it too, which is
            what the propositions about iterates near x* use.
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
        for at_m, delta in zip(centers_MD, level_M, strict=True)
        for center in (at_m, *([] if minimizer is None else [minimizer]))
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
