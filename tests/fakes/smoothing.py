"""Oracles of explicit smoothing: the papers' levels.

Legend: f_hat_delta(x) = E_u[f(x - delta u)], delta smoothing level, D dimension, kappa = E u_1^2,
c = E cos(k u_1) attenuation of a wave of frequency k; kinds of u as in
trainables/functions/smoothing.py.
"""

from __future__ import annotations

import numpy as np

from trainables.functions.benchmark import Array

CODED_LAST_LEVEL = 0.01


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
