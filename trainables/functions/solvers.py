"""How do solvers without smoothing do on the same function, starts and number of evaluations?

Costs: a value is 1 evaluation, a gradient is VALUES_PER_GRADIENT = 3 (a forward pass, which is
the value, and a backward pass of about twice its cost); so a gradient right after the value at
the same point adds 2. A start's budget is hard: an evaluation that would exceed it is not made.
Arrays: x_SD starts x dimensions, value_S one per start.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import basinhopping, dual_annealing

from trainables.functions.benchmark import Array, Function

VALUES_PER_GRADIENT = 3
NUM_DESCENTS = 20  # descents that share the budget of one start under random_restarts
HOP_SHARE = 0.1  # first largest hop of basin_hopping, of the box's width (scipy then adapts it)
# A global search ends where a start is as near to the minimum: nothing of use is left to be found
# below the last target of COCO's benchmarks (arXiv 1605.03560).
EXACT = 1e-8
ENDLESS = 2**31 - 1  # more iterations than any budget allows

StepSize = Callable[[float], float]  # progress of a descent in [0, 1) -> lr


@dataclass(frozen=True, kw_only=True, slots=True)
class Solution:
    """The best point that each start saw.

    Attributes:
        x_SD: the point.
        evaluations_S: really used, at most the budget, and at least budget - 2 unless a global
            search has found the minimum to EXACT.
        num_steps: gradients taken by the start that took most.
        lr: step size of the last step; 0 where the solver chooses its own.
    """

    x_SD: Array
    evaluations_S: NDArray[np.int64]
    num_steps: int
    lr: float = 0.0


class Solver(Protocol):
    """Minimizes from every start with `budget` evaluations each, inside the function's box.

    Start s draws from its own generator (seed, s). `lr` is read by the descents only.
    """

    def __call__(
        self, function: Function, starts_SD: Array, *, budget: int, seed: int, lr: StepSize
    ) -> Solution:
        """The best points seen."""
        ...


class _HasEnded(Exception):
    """The next evaluation would exceed the budget, or the minimum is found."""


class _Counted:
    """A function that counts its evaluations, keeps the best point, and stops in time."""

    def __init__(self, function: Function, budget: int) -> None:
        self.function = function
        self.budget = budget
        self.used = 0
        self.num_gradients = 0
        self.best_x: Array = np.empty(0)
        self.best = np.inf
        self.last_x: Array = np.empty(0)  # where the value was taken last

    def value(self, x: Any) -> float:
        """f(x), for 1 evaluation."""
        self._pay(1)
        value = float(self.function.value(x))
        self.last_x = np.array(x)
        if value < self.best or not self.best_x.size:
            self.best_x, self.best = self.last_x, value
            if value - self.function.minimum <= EXACT:
                raise _HasEnded
        return value

    def gradient(self, x: Any) -> Array:
        """Gradient at x, for 3 evaluations, or 2 where the value at x was just taken."""
        self._pay(VALUES_PER_GRADIENT - int(np.array_equal(x, self.last_x)))
        self.num_gradients += 1
        return self.function.gradient(np.asarray(x))

    def local_search(self, dimension: int) -> dict[str, Any]:
        """What scipy's global searches do at each of their points."""
        bounds = [self.function.box] * dimension
        return {"method": "L-BFGS-B", "jac": self.gradient, "bounds": bounds}

    def _pay(self, cost: int) -> None:
        if self.used + cost > self.budget:
            raise _HasEnded
        self.used += cost


def _anneal(counted: _Counted, start: Array, rng: np.random.Generator) -> None:
    """scipy's dual annealing with its default settings; L-BFGS-B, with gradients, inside."""
    local = counted.local_search(len(start))
    limits = {"bounds": local["bounds"], "maxiter": ENDLESS, "maxfun": ENDLESS}
    dual_annealing(counted.value, minimizer_kwargs=local, rng=rng, x0=start, **limits)


def _hop(counted: _Counted, start: Array, rng: np.random.Generator) -> None:
    """scipy's basin hopping over L-BFGS-B with gradients; hops begin at a tenth of the box."""
    low, high = counted.function.box
    options = {"stepsize": HOP_SHARE * (high - low), "niter": ENDLESS, "rng": rng}
    local = counted.local_search(len(start))
    basinhopping(counted.value, start, minimizer_kwargs=local, **options)


def _search_each(
    search: Callable[[_Counted, Array, np.random.Generator], None],
    function: Function,
    starts_SD: Array,
    *,
    budget: int,
    seed: int,
    lr: StepSize,
) -> Solution:
    """Search from each start until it has ended; scipy's own early ends go on at random."""
    done = []
    for number, start in enumerate(starts_SD):
        counted = _Counted(function, budget)
        rng = np.random.default_rng([seed, number])
        try:
            while True:
                search(counted, start, rng)
                start = rng.uniform(*function.box, size=start.shape)
        except _HasEnded:
            done.append(counted)
    return Solution(
        x_SD=np.array([counted.best_x for counted in done]),
        evaluations_S=np.array([counted.used for counted in done], dtype=np.int64),
        num_steps=max(counted.num_gradients for counted in done),
    )


def _descend(
    function: Function,
    starts_SD: Array,
    *,
    budget: int,
    seed: int,
    lr: StepSize,
    num_descents: int,
) -> Solution:
    """Gradient steps, clipped to the box, for all starts at once; a step's value comes free.

    The descents are of equal length: the first from the start, the others from uniform points.
    """
    rngs = [np.random.default_rng([seed, number]) for number in range(len(starts_SD))]
    num_steps = budget // VALUES_PER_GRADIENT
    x_SD, best_SD = starts_SD, starts_SD.copy()
    best_S = np.full(len(starts_SD), np.inf)
    last_lr = 0.0
    for descent in range(num_descents):
        if descent > 0:
            x_SD = np.array([rng.uniform(*function.box, size=x_SD.shape[1]) for rng in rngs])
        length = num_steps // num_descents + int(descent < num_steps % num_descents)
        for step in range(length):
            last_lr = lr(step / length)
            value_S = function.value(x_SD)
            better = value_S < best_S
            best_S[better], best_SD[better] = value_S[better], x_SD[better]
            x_SD = np.clip(x_SD - last_lr * function.gradient(x_SD), *function.box)
    used = np.full(len(starts_SD), num_steps * VALUES_PER_GRADIENT, dtype=np.int64)
    return Solution(x_SD=best_SD, evaluations_S=used, num_steps=num_steps, lr=last_lr)


# The solvers of `trainables.SOLVERS` that do not smooth. gradient_descent follows the trial's own
# path of lr: graduated optimization with delta = 0. random_restarts does so NUM_DESCENTS times.
PEERS: dict[str, Solver] = {
    "gradient_descent": functools.partial(_descend, num_descents=1),
    "random_restarts": functools.partial(_descend, num_descents=NUM_DESCENTS),
    "dual_annealing": functools.partial(_search_each, _anneal),
    "basin_hopping": functools.partial(_search_each, _hop),
}
