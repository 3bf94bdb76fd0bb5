"""Which functions is explicit graduated optimization tried on, and what are their gradients?

All have many minima or hard valleys, and the global minimum 0 in every dimension D. x has shape
(..., D), values (...), gradients (..., D). Where a function has a kink the gradient is a
subgradient: 0 along the coordinate, or as a whole, that has the kink; it is finite everywhere.

    rastrigin    sum(x^2 - 10 cos 2 pi x) + 10 D        sphere       sum x^2
    ackley       -20 exp(-0.2 rms(x)) - exp(mean cos 2 pi x) + e + 20
    griewank     sum x^2 / 4000 - prod cos(x_i / sqrt i) + 1
    drop_wave    1 - (1 + cos 12 r) / (r^2 / 2 + 2)     salomon      1 - cos 2 pi r + r / 10
    alpine1      sum |x sin x + x / 10|                 schwefel221  max |x|
    schwefel     418.98... D - sum x sin sqrt |x|       modridge     |x_1| + 2 (r^2 - x_1^2)^0.1
    happycat     |r^2 - D|^(1/4) + bowl                 hgbat        sqrt |r^4 - (sum x)^2| + bowl
    schaffer_f7  (mean of sqrt s (1 + sin^2(50 s^0.2)))^2, s = hypot(x_i, x_(i+1))
    ellipsoid    sum i x_i^2             rot_hyper_ellipsoid  sum (D + 1 - i) x_i^2
    rosenbrock   sum 100 (x_(i+1) - x_i^2)^2 + (1 - x_i)^2
    weierstrass  sum_i sum_k a^k cos(2 pi b^k (x_i + 1/2)) - D sum_k a^k cos(pi b^k)

r = |x|, bowl = (r^2 / 2 + sum x) / D + 1/2 = sum (x + 1)^2 / (2 D), i from 1.

Source: ego.py of the authors of arXiv 2412.11501 runs 16 of them (boxes and step sizes as
there); rot_hyper_ellipsoid is "rothellipsoid" as coded there: it is not rotated. The 17th,
weierstrass, is defined there but not run; its usual box and constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TWO_PI = 2.0 * math.pi
DEFAULT_DIMENSION = 50  # of the authors' runs
MIN_DIMENSION, MAX_DIMENSION = 2, 10_000
SCHWEFEL_OFFSET = 418.9828872724337  # per coordinate; makes the minimum 0
SCHWEFEL_MINIMIZER = 420.968746227503  # x = s^2 with tan s = -s / 2
WEIERSTRASS_A, WEIERSTRASS_B = 0.5 ** np.arange(21.0), 3.0 ** np.arange(21.0)
MAX_WAVES = 2**14  # values of its terms at once: more would leave the CPU's cache


@dataclass(frozen=True, slots=True)
class Function:
    """One benchmark function.

    Attributes:
        value: (..., D) -> (...); gradient: (..., D) -> (..., D), finite everywhere.
        box: lowest and highest value of each coordinate of the search.
        argmin: every coordinate of a global minimizer; minimum: the value there.
        papers_lr: the authors' step size per noise level (lr = papers_lr * delta) in D = 50 with
            Gaussian smoothing; None for the one they did not run.
    """

    value: Callable[[Array], Array]
    gradient: Callable[[Array], Array]
    box: tuple[float, float]
    _: KW_ONLY
    argmin: float = 0.0
    minimum: float = 0.0
    papers_lr: float | None = None

    def minimizer(self, dimension: int) -> Array:
        """A global minimizer, shape (D,)."""
        return np.full(dimension, self.argmin)


def parse_dimension(path: str | None) -> int:
    """D from the text that stands in place of a data set's path; None is the authors' 50.

    Raises:
        ValueError: not a whole number in [2, 10000].
    """
    if path is None:
        return DEFAULT_DIMENSION
    text = path.strip()
    if not (text.isascii() and text.isdigit() and MIN_DIMENSION <= int(text) <= MAX_DIMENSION):
        raise ValueError(
            f"`dimension in {MIN_DIMENSION}..{MAX_DIMENSION}` must hold for a benchmark function, "
            f"but got (dataset.path={path!r}). Give a whole number, e.g. {DEFAULT_DIMENSION}."
        )
    return int(text)


def _index(x: Array) -> Array:
    """1 ... D, to weigh the coordinates of x."""
    return np.arange(1.0, x.shape[-1] + 1.0)


def _sum(x: Array) -> Array:
    return np.asarray(x.sum(axis=-1))


def _square(x: Array) -> Array:
    """r^2 = |x|^2, shape (...)."""
    return np.asarray(np.einsum("...i,...i->...", x, x))


def _over(numerator: Array, denominator: Array) -> Array:
    """The quotient, 0 where the denominator is 0."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.divide(numerator, denominator, out=np.zeros(shape), where=denominator != 0)


def _rastrigin(x: Array) -> Array:
    return _square(x) + 10.0 * _sum(1.0 - np.cos(TWO_PI * x))


def _rastrigin_gradient(x: Array) -> Array:
    return 2.0 * x + 10.0 * TWO_PI * np.sin(TWO_PI * x)


def _ackley(x: Array) -> Array:
    waves = np.exp(np.cos(TWO_PI * x).mean(axis=-1))
    return np.asarray(20.0 - 20.0 * np.exp(-0.2 * _rms(x)) + math.e - waves)


def _ackley_gradient(x: Array) -> Array:
    rms = _rms(x)[..., None]
    waves = np.exp(np.cos(TWO_PI * x).mean(axis=-1, keepdims=True))
    cone = 4.0 * np.exp(-0.2 * rms) * _over(x, rms)
    return np.asarray((cone + TWO_PI * waves * np.sin(TWO_PI * x)) / x.shape[-1])


def _rms(x: Array) -> Array:
    return np.asarray(np.sqrt(_square(x) / x.shape[-1]))


def _griewank(x: Array) -> Array:
    waves = np.cos(x / np.sqrt(_index(x))).prod(axis=-1)
    return np.asarray(_square(x) / 4000.0 - waves + 1.0)


def _griewank_gradient(x: Array) -> Array:
    """That of the product of cosines without dividing by one."""
    root = np.sqrt(_index(x))
    cos = np.cos(x / root)
    one = np.ones_like(cos[..., :1])
    before = np.cumprod(np.concatenate([one, cos[..., :-1]], axis=-1), axis=-1)
    behind = np.concatenate([cos[..., 1:], one], axis=-1)
    after = np.flip(np.cumprod(np.flip(behind, axis=-1), axis=-1), axis=-1)
    return np.asarray(x / 2000.0 + np.sin(x / root) / root * before * after)


def _drop_wave(x: Array) -> Array:
    square = _square(x)
    return np.asarray(1.0 - (1.0 + np.cos(12.0 * np.sqrt(square))) / (0.5 * square + 2.0))


def _drop_wave_gradient(x: Array) -> Array:
    square = _square(x)[..., None]
    r, q = np.sqrt(square), 0.5 * square + 2.0
    slope_over_r = 144.0 * np.sinc(12.0 * r / math.pi) / q + (1.0 + np.cos(12.0 * r)) / q**2
    return np.asarray(x * slope_over_r)


def _alpine1(x: Array) -> Array:
    return _sum(np.abs(x * np.sin(x) + 0.1 * x))


def _alpine1_gradient(x: Array) -> Array:
    sin = np.sin(x)
    return np.asarray(np.sign(x * sin + 0.1 * x) * (sin + x * np.cos(x) + 0.1))


def _schwefel(x: Array) -> Array:
    return _sum(SCHWEFEL_OFFSET - x * np.sin(np.sqrt(np.abs(x))))


def _schwefel_gradient(x: Array) -> Array:
    root = np.sqrt(np.abs(x))
    return np.asarray(-np.sin(root) - 0.5 * root * np.cos(root))


def _salomon(x: Array) -> Array:
    r = np.sqrt(_square(x))
    return np.asarray(1.0 - np.cos(TWO_PI * r) + 0.1 * r)


def _salomon_gradient(x: Array) -> Array:
    r = np.sqrt(_square(x))[..., None]
    return TWO_PI**2 * np.sinc(2.0 * r) * x + 0.1 * _over(x, r)


def _bowl(x: Array) -> Array:
    return np.asarray(_square(x + 1.0) / (2.0 * x.shape[-1]))


def _happycat(x: Array) -> Array:
    return np.asarray(np.abs(_square(x) - x.shape[-1]) ** 0.25 + _bowl(x))


def _happycat_gradient(x: Array) -> Array:
    shell = (_square(x) - x.shape[-1])[..., None]
    slope = 0.5 * _over(np.sign(shell) * x, np.abs(shell) ** 0.75)
    return np.asarray(slope + (x + 1.0) / x.shape[-1])


def _hgbat(x: Array) -> Array:
    return np.sqrt(np.abs(_square(x) ** 2 - _sum(x) ** 2)) + _bowl(x)


def _hgbat_gradient(x: Array) -> Array:
    square, total = _square(x)[..., None], _sum(x)[..., None]
    cone = square**2 - total**2
    slope = _over(np.sign(cone) * (2.0 * square * x - total), np.sqrt(np.abs(cone)))
    return np.asarray(slope + (x + 1.0) / x.shape[-1])


def _schaffer_f7(x: Array) -> Array:
    s = np.hypot(x[..., :-1], x[..., 1:])
    return np.asarray((np.sqrt(s) * (1.0 + np.sin(50.0 * s**0.2) ** 2)).mean(axis=-1) ** 2)


def _schaffer_f7_gradient(x: Array) -> Array:
    s = np.hypot(x[..., :-1], x[..., 1:])
    root, phase, bump = np.sqrt(s), 50.0 * s**0.2, 1.0 + np.sin(50.0 * s**0.2) ** 2
    slope = _over(0.5 * bump, root) + _over(10.0 * np.sin(2.0 * phase), s**0.3)
    outer = 2.0 * (root * bump).mean(axis=-1, keepdims=True) / s.shape[-1]
    gradient = np.zeros_like(x)
    gradient[..., :-1] = outer * slope * _over(x[..., :-1], s)
    gradient[..., 1:] += outer * slope * _over(x[..., 1:], s)
    return gradient


def _modridge(x: Array) -> Array:
    return np.asarray(np.abs(x[..., 0]) + 2.0 * _square(x[..., 1:]) ** 0.1)


def _modridge_gradient(x: Array) -> Array:
    rest = x[..., 1:]
    gradient = np.sign(x)
    gradient[..., 1:] = 0.4 * _over(rest, _square(rest)[..., None] ** 0.9)
    return gradient


def _ellipsoid(x: Array) -> Array:
    return _sum(_index(x) * x**2)


def _rosenbrock(x: Array) -> Array:
    here = x[..., :-1]
    return 100.0 * _square(x[..., 1:] - here**2) + _square(1.0 - here)


def _rosenbrock_gradient(x: Array) -> Array:
    here = x[..., :-1]
    valley = x[..., 1:] - here**2
    gradient = np.zeros_like(x)
    gradient[..., :-1] = -400.0 * here * valley - 2.0 * (1.0 - here)
    gradient[..., 1:] += 200.0 * valley
    return gradient


def _schwefel221(x: Array) -> Array:
    return np.asarray(np.abs(x).max(axis=-1))


def _schwefel221_gradient(x: Array) -> Array:
    """Of the first coordinate among the largest."""
    largest = np.abs(x).argmax(axis=-1)[..., None]
    gradient = np.zeros_like(x)
    np.put_along_axis(gradient, largest, np.sign(np.take_along_axis(x, largest, -1)), -1)
    return gradient


def _weierstrass(x: Array) -> Array:
    def wave(angle: Array, b: Array) -> Array:
        return np.cos(angle) - np.cos(math.pi * b)

    return _sum(_weierstrass_sum(x, WEIERSTRASS_A, wave))


def _weierstrass_gradient(x: Array) -> Array:
    return _weierstrass_sum(
        x, -TWO_PI * WEIERSTRASS_A * WEIERSTRASS_B, lambda angle, _: np.sin(angle)
    )


def _weierstrass_sum(x: Array, weights: Array, wave: Callable[[Array, Array], Array]) -> Array:
    """Sum of the weighted terms, shape of x; as many at once as the cache holds.

    Terms are added in groups, larger for fewer points: the last bit of a point's value may depend
    on how many are asked for with it.
    """
    total = np.zeros_like(x)
    num = max(1, MAX_WAVES // max(1, x.size))
    for first in range(0, len(weights), num):
        shape = (-1, *[1] * x.ndim)
        b = WEIERSTRASS_B[first : first + num].reshape(shape)
        terms = wave(TWO_PI * b * (x + 0.5), b)
        terms *= weights[first : first + num].reshape(shape)
        total += terms.sum(axis=0) if len(terms) > 1 else terms[0]
    return total


# value, gradient, box; the authors' step size and the minimizer where it is not 0
FUNCTIONS: dict[str, Function] = {
    "rastrigin": Function(_rastrigin, _rastrigin_gradient, (-5.12, 5.12), papers_lr=0.01),
    "ackley": Function(_ackley, _ackley_gradient, (-32.768, 32.768), papers_lr=10.0),
    "griewank": Function(_griewank, _griewank_gradient, (-100.0, 100.0), papers_lr=50.0),
    "drop_wave": Function(_drop_wave, _drop_wave_gradient, (-5.12, 5.12), papers_lr=0.1),
    "alpine1": Function(_alpine1, _alpine1_gradient, (-10.0, 10.0), papers_lr=1.0),
    "schwefel": Function(
        _schwefel, _schwefel_gradient, (-500.0, 500.0), papers_lr=10.0, argmin=SCHWEFEL_MINIMIZER
    ),
    "salomon": Function(_salomon, _salomon_gradient, (-20.0, 20.0), papers_lr=10.0),
    "happycat": Function(
        _happycat, _happycat_gradient, (-20.0, 20.0), papers_lr=10.0, argmin=-1.0
    ),
    "hgbat": Function(_hgbat, _hgbat_gradient, (-15.0, 15.0), papers_lr=0.1, argmin=-1.0),
    "schaffer_f7": Function(_schaffer_f7, _schaffer_f7_gradient, (-100.0, 100.0), papers_lr=20.0),
    "modridge": Function(_modridge, _modridge_gradient, (-100.0, 100.0), papers_lr=1.0),
    "ellipsoid": Function(
        _ellipsoid, lambda x: 2.0 * _index(x) * x, (-100.0, 100.0), papers_lr=0.01
    ),
    "rot_hyper_ellipsoid": Function(
        lambda x: _ellipsoid(x[..., ::-1]),
        lambda x: 2.0 * _index(x)[::-1] * x,
        (-100.0, 100.0),
        papers_lr=0.01,
    ),
    "schwefel221": Function(_schwefel221, _schwefel221_gradient, (-100.0, 100.0), papers_lr=10.0),
    "rosenbrock": Function(
        _rosenbrock, _rosenbrock_gradient, (-10.0, 10.0), papers_lr=5e-05, argmin=1.0
    ),
    "sphere": Function(_square, lambda x: 2.0 * x, (-100.0, 100.0), papers_lr=1.0),
    "weierstrass": Function(_weierstrass, _weierstrass_gradient, (-0.5, 0.5)),
}
