"""By how much must lr fall to do what a larger batch does? The exchange rate, with an interval.

At half of the training either lr is divided by 2^x or the batch multiplied by 2^k; the first half
is the same training, weight for weight, in all arms of a seed. The response y is the mean log
validation loss over the epochs after the change but the first. The exchange rate a is where

    y_batch(k) = y_lr(x = a k)          doubling the batch equals dividing lr by 2^a:

1/2 where delta = lr/sqrt(batch) decides, 1 where lr/batch does. For each a the paired difference
over R seeds is tested (Student's t); the 95% interval holds every a around the estimate that the
test does not refuse, up to the first grid value on each side that it does. y_lr is a cubic spline
through its drops (straight lines between them would put a = 0.70 at 0.72), down to the drop with
its smallest mean: beyond that a smaller lr learns too slowly, and says nothing about noise.
A common a of several growths is one number only where their own agree, which is tested.
Arrays: R seeds, X drops of lr, K growths of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from results.arms.choice import params_of
from results.records.schema import Row
from results.run import Run
from results.statistics.intervals import t_half_width

Array = NDArray[np.float64]

GRID = np.arange(0.02, 3.0, 0.001)
MIN_SEEDS = 3
SIGNIFICANCE = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """An exchange rate of these growths of the batch (log2).

    Attributes:
        a: the estimate; None where no drop of lr does what the batch did.
        low, high: 95% interval; None = it has no end within what was tried.
    """

    growths: tuple[float, ...]
    a: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def text(self) -> str:
        """The rate with its interval, in words."""
        if self.a is None:
            return "no drop of lr that was tried does the same"
        low, high = ("?" if end is None else f"{end:.2f}" for end in (self.low, self.high))
        return f"a = {self.a:.2f} [{low}, {high}]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """What an exchange experiment found.

    Attributes:
        rate: of all growths, from the smallest, whose own intervals meet.
        homogeneity_p: of the test that these growths have one rate; nan of a single growth.
        by_growth: each growth alone.
        batch0, batch_max: first batch, and the largest for which `rate` holds (samples).
        drop_X, response_RX: log2 of lr's divisor, and y; growth_K, response_RK: of the batch.
        num_epochs: of a training.
    """

    rate: Rate
    homogeneity_p: float
    by_growth: tuple[Rate, ...]
    batch0: int
    batch_max: int
    drop_X: Array
    response_RX: Array
    growth_K: Array
    response_RK: Array
    num_epochs: int

    @property
    def batches(self) -> list[int]:
        """The batch that each growth ends at (samples)."""
        return [round(self.batch0 * 2.0**growth) for growth in self.growth_K.tolist()]

    @property
    def differs(self) -> bool:
        """True where the growths that `rate` joins are seen to have rates of their own."""
        return self.homogeneity_p < SIGNIFICANCE

    @property
    def agreement(self) -> str:
        """Whether the common rate is one number, in words; "" of a single growth."""
        if math.isnan(self.homogeneity_p):
            return ""
        p = f"p = {self.homogeneity_p:.2g}, Hotelling's T^2 over paired seeds"
        if self.differs:
            return f"the growths joined have different rates ({p}): a is an average over them"
        return f"the growths joined are not seen to differ ({p})"

    @property
    def sentence(self) -> str:
        """The answer in words."""
        num = f"n={len(self.response_RX)} paired seeds"
        if self.rate.a is None:
            return (
                "no exchange rate: no drop of lr that was tried does what the larger batch does "
                f"({num})."
            )
        return (
            f"on your training, doubling the batch equals dividing lr by 2^a, {self.rate.text}, "
            f"up to batch {self.batch_max} (from {self.batch0}; {num}, {self.num_epochs} epochs)."
        )


def read_exchange(run: Run) -> Exchange:
    """The exchange rate of a run of `python -m tuner.measure exchange`.

    Raises:
        ValueError: the run holds no such arms, or fewer than 3 seeds common to all of them.
    """
    if any(m.get("recipe", {}).get("warmup_epochs") for m in run.manifests.values()):
        raise ValueError("an exchange experiment has no warmup.")
    arms = _responses(run)
    if not arms:
        raise ValueError(
            "no exchange experiment here: arms `lr`, with factor=1 among them, and `batch`."
        )
    common = set.intersection(*(set(values) for values in arms.values()))
    if len(common) < MIN_SEEDS:
        raise ValueError(
            f"an exchange rate needs at least {MIN_SEEDS} seeds in every arm, but got "
            f"{len(common)}."
        )
    seeds = sorted(common)
    drop_X, growth_K = (
        np.array(sorted(size for kind, size in arms if kind == changed))
        for changed in ("lr", "batch")
    )
    response_RX = np.array([[arms["lr", x][s] for x in drop_X] for s in seeds])
    response_RK = np.array([[arms["batch", k][s] for k in growth_K] for s in seeds])
    row = next(row for row in run.rows() if _drop(row))
    rate, by_growth = exchange_rate(drop_X, response_RX, growth_K, response_RK)
    joined = len(rate.growths)
    return Exchange(
        rate=rate,
        homogeneity_p=homogeneity_p(
            rate.a, drop_X, response_RX, growth_K[:joined], response_RK[:, :joined]
        ),
        by_growth=by_growth,
        batch0=int(row["batch0"]),
        batch_max=round(int(row["batch0"]) * 2.0 ** max(rate.growths)),
        drop_X=drop_X,
        response_RX=response_RX,
        growth_K=growth_K,
        response_RK=response_RK,
        num_epochs=int(row["epochs"]),
    )


def describe(run: Run) -> list[str]:
    """The exchange rate between batch and lr, of all growths and of each, or why there is none."""
    try:
        exchange = read_exchange(run)
    except ValueError as error:
        return [f"no exchange rate: {error}"]
    return [
        exchange.sentence,
        *([f"  {exchange.agreement}"] if exchange.agreement else []),
        *(
            f"  batch {exchange.batch0} -> {batch} alone: {rate.text}"
            for batch, rate in zip(exchange.batches, exchange.by_growth, strict=True)
        ),
        "  (a = 1/2: lr/sqrt(batch) decides; a = 1: lr/batch)",
    ]


def exchange_rate(
    drop_X: Array, response_RX: Array, growth_K: Array, response_RK: Array
) -> tuple[Rate, tuple[Rate, ...]]:
    """The common rate of all growths that agree, and the rate of each growth alone.

    Growths join from the smallest, as long as their own interval meets that of those before.

    Args:
        drop_X, growth_K: increasing, log2; response_RX, response_RK: y, one row a seed, R >= 3.
    """
    drop_X, response_RX = _falling(drop_X, response_RX)
    by_growth = tuple(
        _rate(drop_X, response_RX, growth_K[[k]], response_RK[:, [k]])
        for k in range(len(growth_K))
    )
    rate = by_growth[0]
    for count in range(2, len(growth_K) + 1):
        if not _meet(rate, by_growth[count - 1]):
            break
        joined = _rate(drop_X, response_RX, growth_K[:count], response_RK[:, :count])
        if joined.a is None:
            break
        rate = joined
    return rate, by_growth


def homogeneity_p(
    a: float | None, drop_X: Array, response_RX: Array, growth_K: Array, response_RK: Array
) -> float:
    """p value of the hypothesis that all these growths have the rate a.

    At a, each seed and growth gives a rate of its own, a - d/D': d the paired difference, D' its
    mean slope in a. Their differences to the first growth's are paired over seeds, and correlated:
    Hotelling's T^2 of K - 1 contrasts, F(K - 1, R - K + 1) under the hypothesis. nan of a single
    growth, of too few seeds, and where y_lr does not fall at a.

    Source: Hotelling 1931; that rates are linear in the differences around a is an approximation.
    """
    from scipy.interpolate import CubicSpline
    from scipy.special import fdtrc

    num_seeds, num = len(response_RX), len(growth_K) - 1
    if a is None or num < 1 or num_seeds <= num:
        return math.nan
    curve = CubicSpline(*_falling(drop_X, response_RX), axis=1)
    slope_K = -growth_K * curve(a * growth_K, 1).mean(axis=0)
    if not (slope_K > 0).all():
        return math.nan
    rate_RK = a - (response_RK - curve(a * growth_K)) / slope_K
    contrast_RC = rate_RK[:, 1:] - rate_RK[:, :1]
    mean_C = contrast_RC.mean(axis=0)
    covariance_CC = np.atleast_2d(np.cov(contrast_RC, rowvar=False))
    t2 = num_seeds * float(mean_C @ np.linalg.pinv(covariance_CC) @ mean_C)
    statistic = t2 * (num_seeds - num) / (num * (num_seeds - 1))
    return float(fdtrc(num, num_seeds - num, statistic))


def _falling(drop_X: Array, response_RX: Array) -> tuple[Array, Array]:
    """Down to the drop with the smallest mean response."""
    end = int(np.argmin(response_RX.mean(axis=0))) + 1
    return drop_X[:end], response_RX[:, :end]


def _rate(drop_X: Array, response_RX: Array, growth_K: Array, response_RK: Array) -> Rate:
    """Where the mean paired difference rises through 0, and the a around it not refused."""
    from scipy.interpolate import CubicSpline

    nothing = Rate(growths=tuple(growth_K.tolist()))
    grid = GRID[GRID * growth_K.max() <= drop_X[-1]]
    if len(grid) < 2:
        return nothing
    curve = CubicSpline(drop_X, response_RX, axis=1)
    expected_KRA = np.array([curve(grid * k) for k in growth_K])
    difference_RA = ((response_RK.T[:, :, None] - expected_KRA) / len(growth_K)).sum(axis=0)
    mean_A = difference_RA.mean(axis=0)
    rises = np.flatnonzero((mean_A[:-1] <= 0) & (mean_A[1:] > 0))
    if len(rises) == 0:
        return nothing
    at = int(rises[0])
    share = -mean_A[at] / (mean_A[at + 1] - mean_A[at])
    half_A = t_half_width(len(response_RX), difference_RA.std(axis=0, ddof=1))
    refused = np.flatnonzero(~(np.abs(mean_A) <= half_A))
    below, above = refused[refused < at], refused[refused > at]
    return replace(
        nothing,
        a=float(grid[at] + share * (grid[at + 1] - grid[at])),
        low=float(grid[below[-1]]) if len(below) else None,
        high=float(grid[above[0]]) if len(above) else None,
    )


def _meet(one: Rate, other: Rate) -> bool:
    lows = [rate.low for rate in (one, other) if rate.low is not None]
    highs = [rate.high for rate in (one, other) if rate.high is not None]
    is_known = one.a is not None and other.a is not None
    return is_known and max(lows, default=-np.inf) <= min(highs, default=np.inf)


def _responses(run: Run) -> dict[tuple[str, float], dict[int, float]]:
    """y by (`lr` or `batch`, log2 of the drop or growth) and replicate."""
    rows = [row for row in run.rows() if _drop(row) is not None]
    epochs = run.epochs_by_trial(rows)
    arms: dict[tuple[str, float], dict[int, float]] = {}
    for row in rows:
        drop = _drop(row)
        if drop is not None and row["status"] == "completed":
            measured = epochs.get((row["run_id"], row["trial_key"]), [])
            response = _response(measured, int(row["interval"]))
            is_capped = any(epoch["batch_capped"] for epoch in measured)  # lr fell there too
            if response is not None and not is_capped:
                arms.setdefault(drop, {})[row["replicate"]] = response
    has_batch = any(kind == "batch" for kind, _ in arms)
    return arms if has_batch and ("lr", 0.0) in arms else {}


def _drop(row: Row) -> tuple[str, float] | None:
    """What the second half does: divides lr by 2^x, or multiplies the batch by 2^k."""
    params = params_of(row)
    if row["role"] != "confirm" or "factor" not in params or params.get("momentum_share"):
        return None
    halvings = round(float(-np.log2(params["factor"])), 6)
    kinds = {1.0: ("lr", halvings), 0.0: ("batch", 2 * halvings)}
    return kinds.get(params.get("split", math.nan))


def _response(epochs: Iterable[Row], half: int) -> float | None:
    """y; None without epochs or where a loss has no logarithm."""
    ordered = sorted(epochs, key=lambda row: int(row["epoch"]))
    after = [row for row in ordered if row["epoch"] > half + 1] or ordered[-1:]
    losses = np.array([row["val_loss"] for row in after])
    if not len(losses) or not np.all(np.isfinite(losses) & (losses > 0)):
        return None
    return float(np.log(losses).mean())
