"""What does a function look like when it is smoothed?

Legend: f_hat_delta(x) = E_u[f(x - delta u)], delta smoothing level, D dimension, S starts (rows
of x), kappa = E u_1^2. Kinds of u:

    ball             uniform on the unit ball (the papers' theory)   kappa 1/(D+2)
    gaussian         N(0, I) (the authors' code): |u| ~ sqrt D       kappa 1
    gaussian_scaled  N(0, I/D): |u| ~ 1                              kappa 1/D

The same delta smooths a coordinate sqrt(D+2) times more under gaussian than under ball.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from search_spaces.registry import unknown_name
from trainables import SMOOTHINGS
from trainables.functions.benchmark import Array

CHUNK = 1 << 14  # numbers held at once per temporary array (128 KiB); affects rounding only


def check_kind(kind: str) -> str:
    """The kind itself.

    Raises:
        ValueError: not one of SMOOTHINGS.
    """
    if kind not in SMOOTHINGS:
        raise unknown_name("smoothing", kind, SMOOTHINGS)
    return kind


def sample_directions(kind: str, rng: np.random.Generator, num: int, dimension: int) -> Array:
    """`num` independent directions u, shape (num, D).

    Rows come one after the other from the stream: two calls for n and m give what one for
    n + m does. A point of the ball is the first D coordinates of one on the sphere in D + 2.
    """
    if check_kind(kind) == "ball":
        normal = rng.standard_normal((num, dimension + 2))
        norm = np.sqrt(np.einsum("ni,ni->n", normal, normal))
        return np.asarray(normal[:, :dimension] / norm[:, None])
    scale = 1.0 if kind == "gaussian" else 1.0 / math.sqrt(dimension)
    return scale * rng.standard_normal((num, dimension))


def smoothed(
    f: Callable[[Array], Array],
    x_SD: Array,
    delta: float,
    *,
    kind: str,
    num_samples: int,
    rng: np.random.Generator,
) -> Array:
    """Monte-Carlo mean of f(x - delta u) over `num_samples` own directions of each start.

    f is a function's value, giving (S,), or its gradient, giving (S, D): the gradient of the
    smoothed function. Memory: a few arrays of CHUNK numbers, whatever S and num_samples.
    """
    num_starts, dimension = x_SD.shape
    starts_at_once = max(1, CHUNK // (dimension * num_samples))
    samples_at_once = min(num_samples, max(1, CHUNK // dimension))
    means = []
    for start in range(0, num_starts, starts_at_once):
        block = x_SD[start : start + starts_at_once, None, :]
        total: Array | float = 0.0
        for first in range(0, num_samples, samples_at_once):
            num = min(samples_at_once, num_samples - first)
            u = sample_directions(kind, rng, len(block) * num, dimension)
            total = total + f(block - delta * u.reshape(len(block), num, dimension)).sum(axis=1)
        means.append(total / num_samples)
    return np.concatenate(means)
