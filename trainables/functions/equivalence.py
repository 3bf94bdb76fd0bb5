"""Does SGD on f move as gradient descent on f smoothed by its noise? Paths from the same starts.

With noise omega, delta u = lr omega, and y_t = x_t - lr grad f(x_t) for SGD's points x_t,

    y_(t+1) = y_t - delta u_t - lr grad f(y_t - delta u_t)           many noisy paths of one start
    z_(t+1) = z_t - lr grad f_hat_delta(z_t)                         one path, by the closed form
    g_(t+1) = g_t - lr grad f(g_t)                                   without noise or smoothing

The papers' statement is E[y_(t+1) | y_t] = y_t - lr grad f_hat_delta(y_t): exact, for one step.
For a whole path it says E y_t = z_t, which follows only where the gradient of f_hat is linear over
the spread of y_t. That spread is not delta: noise of many steps adds up. On a curvature h the
variance of a coordinate of y tends to delta^2 kappa q / (1 - q), q = (1 - lr h)^2: about
delta^2 kappa / (2 lr h) = lr C^2 kappa / (2 h batch), which depends on lr/batch.
No path is clipped to the box. Arrays: S starts, P noisy paths each, D dimensions; kappa as in
`closed_forms`.

Source: arXiv 2311.08745 section 3.3; what follows of the spread is ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from search_spaces.trial import derive_seed
from trainables.functions.benchmark import FUNCTIONS, Array
from trainables.functions.closed_forms import closed_form, second_moment
from trainables.functions.smoothing import sample_directions

NUM_STARTS, NUM_PATHS = 10, 100
COVERED_SDS = 1.984  # Student's t of 99 degrees of freedom, 95 %


class Equivalence:
    """The three kinds of paths of one trial, stepped with it.

    Args:
        name, kind: a function and smoothing of CLOSED_FORMS.
        starts_SD: where the paths begin; the first NUM_STARTS of them are used.
        seed: of the trial.

    Raises:
        ValueError: no closed form of this pair.
    """

    def __init__(self, name: str, kind: str, starts_SD: Array, *, seed: int) -> None:
        self.function, self.kind = FUNCTIONS[name], kind
        self.closed = closed_form(name, kind)
        self.start_SD = starts_SD[:NUM_STARTS].copy()
        self.noisy_SPD = np.repeat(self.start_SD[:, None], NUM_PATHS, axis=1)
        self.smoothed_SD, self.plain_SD = self.start_SD.copy(), self.start_SD.copy()
        self.seed = derive_seed(seed, "paths")
        self.delta = 0.0

    def step(self, number: int, *, lr: float, delta: float) -> None:
        """Step `number` of the trial, by all paths; its noise depends on seed and number alone."""
        rng = np.random.default_rng([self.seed, number])
        starts, paths, dimension = self.noisy_SPD.shape
        u = sample_directions(self.kind, rng, starts * paths, dimension)
        with np.errstate(over="ignore", invalid="ignore"):
            moved = self.noisy_SPD - delta * u.reshape(self.noisy_SPD.shape)
            self.noisy_SPD = moved - lr * self.function.gradient(moved)
            self.smoothed_SD = self.smoothed_SD - lr * self.closed.gradient(
                self.smoothed_SD, delta
            )
            self.plain_SD = self.plain_SD - lr * self.function.gradient(self.plain_SD)
        self.delta = delta

    def told(self) -> dict[str, Any]:
        """What is recorded: means over starts; a path that left the finite numbers gives None.

        gap, plain_gap: |mean of y - z|^2 and |mean of y - g|^2, per coordinate and without what
        the finite number of paths adds. scale: |start - minimizer|^2. spread: variance of y
        around its mean; level: delta^2 kappa, what the theory smooths by. covered: share of the
        coordinates whose 95% interval of E y holds z. noisy_value, smoothed_value, plain_value:
        f - f* there. coordinates, paths: how many of them, of all starts; and of each start.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            mean_SD, var_SD = self.noisy_SPD.mean(axis=1), self.noisy_SPD.var(axis=1, ddof=1)
            error_SD = var_SD / NUM_PATHS
            away_SD = mean_SD - self.smoothed_SD
            numbers = {
                "gap": (away_SD**2 - error_SD).mean(),
                "plain_gap": ((mean_SD - self.plain_SD) ** 2 - error_SD).mean(),
                "scale": ((self.start_SD - self.function.argmin) ** 2).mean(),
                "spread": var_SD.mean(),
                "covered": (away_SD**2 <= COVERED_SDS**2 * error_SD).mean(),
                "noisy_value": self._error(self.noisy_SPD),
                "smoothed_value": self._error(self.smoothed_SD),
                "plain_value": self._error(self.plain_SD),
            }
        level = self.delta**2 * second_moment(self.kind, self.start_SD.shape[-1])
        kept = {k: float(v) if np.isfinite(v) else None for k, v in numbers.items()}
        counts = {"coordinates": self.start_SD.size, "paths": NUM_PATHS}
        return {"equivalence": kept | {"level": level, **counts}}

    def _error(self, x: Array) -> float:
        return float(self.function.value(x).mean()) - self.function.minimum

    def state_dict(self) -> dict[str, Any]:
        """All points; the noise follows from the step's number."""
        points = {"noisy": self.noisy_SPD, "smoothed": self.smoothed_SD, "plain": self.plain_SD}
        tensors = {name: torch.from_numpy(array.copy()) for name, array in points.items()}
        return {**tensors, "delta": self.delta}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()` of the same trial."""
        self.noisy_SPD, self.smoothed_SD, self.plain_SD = (
            state[name].numpy().copy() for name in ("noisy", "smoothed", "plain")
        )
        self.delta = state["delta"]
