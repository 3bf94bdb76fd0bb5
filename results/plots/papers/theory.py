"""What do the papers' formulas look like, without any training?

Legend: a radius factor of strong convexity, d_m = a r/|delta^-| how far, in levels delta, the
smoothed function is convex around x*; L(a) smallest admissible decay rate; f_hat_delta(x) =
E_u[f(x - delta u)]. Arrays: A values of a, X points, L levels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from results.plots.style import BLACK, BLUE, GREEN, ORANGE, PALETTE, RED, ordered_looks, subplots
from search_spaces.theory import delta_minus, radius_factor_range, smallest_admissible_rate

Array = NDArray[np.float64]

FIRST_A, LAST_A = 1.45, 60.0  # L(a) = .035 and .967
NUM_A = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class RadiusFactors:
    """d_m over a.

    Attributes:
        a_A: radius factors of strong convexity, above sqrt(2).
        largest_A: the upper bound 1/L(a); the lower one is 1.
        touching_A: d_m where the noise only touches the ball; head_on_A: where it points at x*
            from a distance of a r.
        marked: a -> L(a), of the values asked for.
    """

    a_A: Array
    largest_A: Array
    touching_A: Array
    head_on_A: Array
    marked: dict[float, float]


def radius_factors(marked: Sequence[float]) -> RadiusFactors:
    """d_m over a from 1.45 to 60, or as far as the largest value marked.

    Raises:
        ValueError: a value below sqrt(2).

    Source: arXiv 2311.08745 Proposition B.1 and eq (8).
    """
    last = max(LAST_A, *marked) if marked else LAST_A
    a_A = np.geomspace(FIRST_A, last, NUM_A)
    return RadiusFactors(
        a_A=a_A,
        largest_A=np.array([radius_factor_range(a)[1] for a in a_A.tolist()]),
        touching_A=np.array([_factor(a, math.sqrt(a * a - 1.0)) for a in a_A.tolist()]),
        head_on_A=np.array([_factor(a, a) for a in a_A.tolist()]),
        marked={a: smallest_admissible_rate(a) for a in marked},
    )


def _factor(a: float, distance: float) -> float:
    """d_m of noise that points at x* from this distance, in radii r."""
    return a / delta_minus(distance=distance, noise_norm=1.0, cos_angle=1.0, radius=1.0, a=a)


def draw_radius_factors(info: RadiusFactors, figure: Figure) -> None:
    """Left d_m with its bounds, right the smallest decay rate that they admit."""
    left, right = subplots(figure, 4.6, 1, 2)
    left.fill_between(info.a_A, 1.0, info.largest_A, color=GREEN, alpha=0.13, linewidth=0)
    left.plot(info.a_A, info.largest_A, color=GREEN, label="upper bound 1/L(a)")
    left.plot(info.a_A, info.head_on_A, color=BLUE, label="noise points at x*: a/(a-1)")
    touching = "noise touches the ball: a/sqrt(a^2-1)"
    left.plot(info.a_A, info.touching_A, color=ORANGE, linestyle="--", label=touching)
    left.set(xscale="log", ylim=(0.9, 6.0), ylabel="radius factor d_m = a r / |delta^-|")
    rate_A = 1.0 / info.largest_A
    right.plot(info.a_A, rate_A, color=GREEN)
    right.fill_between(info.a_A, rate_A, 1.0, color=GREEN, alpha=0.13, linewidth=0)
    right.set(xscale="log", ylim=(0.0, 1.02), ylabel="smallest admissible decay rate L(a)")
    for a, rate in info.marked.items():
        right.plot([a], [rate], "o", color=RED, zorder=4)
        right.annotate(f"a = {a:g}: {rate:.3f}", (a, rate), (6, -12), textcoords="offset points")
    for axes in (left, right):
        ticks = [1.5, 2, 3, 5, 10, 20, 50]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("radius factor a of strong convexity")
    left.legend(frameon=False, fontsize=9)
    figure.suptitle("What a permits: the convex region of a level, and the decay to the next")


@dataclass(frozen=True, kw_only=True, slots=True)
class SmoothedLevel:
    """One smoothed function of one variable.

    Attributes:
        delta: its level. value_X: f_hat at the points. minimizer: found by descent from the
            minimizer of the level before.
    """

    delta: float
    value_X: Array
    minimizer: float


def draw_levels(name: str, x_X: Array, levels: Sequence[SmoothedLevel], figure: Figure) -> None:
    """The idea of graduated optimization: from the smoothest level down, each from the last."""
    axes = subplots(figure, 5.0)
    for level, look in zip(levels, ordered_looks(len(levels))[::-1], strict=True):
        axes.plot(x_X, level.value_X, color=look.color, label=f"delta = {level.delta:g}")
        at = np.interp(level.minimizer, x_X, level.value_X)
        axes.plot([level.minimizer], [at], "o", color=look.color, markeredgecolor=BLACK, zorder=4)
    axes.set(xlabel="x", ylabel=f"{name}, smoothed")
    figure.legend(loc="outside lower center", ncols=min(6, len(levels)), frameon=False)
    figure.suptitle(
        "Graduated optimization: each level is descended from the point where the last one ended"
    )


def draw_tails(
    name: str, x_X: Array, value_X: Array, by_noise: Mapping[str, Mapping[str, Array]],
    figure: Figure,
) -> None:  # fmt: skip
    """by_noise: kind of tails -> noise -> f smoothed by it; one panel a kind."""
    panels = subplots(figure, 4.6, 1, len(by_noise), sharey=True)
    margin = 0.3 * float(np.ptp(value_X))
    for axes, (tails, curves) in zip(panels, by_noise.items(), strict=True):
        axes.plot(x_X, value_X, color=BLACK, linewidth=1.0, label="not smoothed")
        for (noise, curve_X), color in zip(curves.items(), PALETTE.values(), strict=False):
            axes.plot(x_X, curve_X, color=color, label=noise)
        axes.set(xlabel="x", title=f"{tails} tails")
        axes.set_ylim(float(value_X.min()) - margin, float(value_X.max()) + margin)
        axes.legend(frameon=False, fontsize=9)
    panels[0].set_ylabel(f"{name}, smoothed")
