"""How good is the best of n random configs? What a smaller search would have found.

For N configs drawn independently, scores (objectives, higher is better) v_1 <= ... <= v_N, the
expected best of n of them is estimated without bias by the mean over all subsets of n:

    sum over k of  C(k - 1, n - 1) / C(N, n) * v_k

Source: Dodge et al. 2019 (arXiv 1909.03004) for the curve; Tang et al. 2020 (arXiv 2004.13705)
for this estimator, drawing without replacement. Only independent draws qualify: a sampler that
learns, or a Sobol sequence, chooses its configs by one another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from results.arms.choice import full_search, group_by_arm
from results.plots.figure import Plot
from results.plots.style import add_legend, color_of, line_style, subplots
from results.run import Run
from results.statistics.wording import axis_title, metric_words
from search_spaces.metric import VAL_ACCURACY, Metric

MIN_CONFIGS = 2
BAND = (0.1, 0.9)  # quantiles of the best of n, over all subsets


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmBest:
    """One arm, by n = 1 .. N configs (entry n - 1).

    Attributes:
        metric: what the search ranks by.
        mean_N: its expected value of the best of n.
        low_N, high_N: what 10% and 90% of all searches of n of these configs find at best; no
            confidence interval: near N they hardly differ from one search.
    """

    name: str
    mean_N: NDArray[np.float64]
    low_N: NDArray[np.float64]
    high_N: NDArray[np.float64]
    metric: Metric = VAL_ACCURACY


def best_of_n(run: Run) -> tuple[ArmBest, ...]:
    """Every searched arm with at least two full trainings; diverged ones count at chance.

    Where there is no chance they count as the worst that any training of the arm reached.

    Raises:
        ValueError: the configs were not drawn at random, or not all trained in full.
    """
    for manifest in run.manifests.values():
        search = (manifest.get("config") or {}).get("search") or {}
        sampler, fidelity = search.get("sampler"), search.get("fidelity", "full")
        if sampler != "random":
            raise ValueError(
                "the best of n needs independent configs (search.sampler=random), but these "
                f"were suggested by {sampler or 'an unknown sampler'}."
            )
        if fidelity != "full":
            raise ValueError(
                f"the best of n needs every config trained in full (search.fidelity=full), but "
                f"this search was {fidelity}."
            )
    arms = []
    for name, rows in group_by_arm(run.rows()).items():
        metric = run.objective
        scores = [metric.score(value) for _, value in full_search(rows)]
        if len(scores) >= MIN_CONFIGS:
            low_N, high_N = (metric.sign * best_quantile(scores, share) for share in BAND)
            mean_N = metric.sign * expected_best(scores)
            arms.append(
                ArmBest(name=name, mean_N=mean_N, low_N=low_N, high_N=high_N, metric=metric)
            )
    return tuple(arms)


def expected_best(scores: ArrayLike) -> NDArray[np.float64]:
    """Mean of the best of n of these scores over all subsets, for n = 1 .. N.

    Example:
        >>> expected_best([3.0, 1.0, 2.0]).round(6).tolist()  # n=2: the best is 2, 3 or 3
        [2.0, 2.666667, 3.0]
    """
    score_K = np.sort(np.asarray(scores, dtype=np.float64))
    return np.array([weight_K @ score_K for weight_K in np.diff(_reached(len(score_K)))])


def best_quantile(scores: ArrayLike, share: float) -> NDArray[np.float64]:
    """The smallest score that is the best of at least this share of subsets of n, n = 1 .. N.

    Example:
        >>> best_quantile([3.0, 1.0, 2.0], 0.5).tolist()
        [2.0, 3.0, 3.0]
    """
    score_K = np.sort(np.asarray(scores, dtype=np.float64))
    rounding = 1e-12
    is_enough_NK = _reached(len(score_K))[:, 1:] >= share - rounding
    return np.asarray(score_K[np.argmax(is_enough_NK, axis=1)])


def best_of_n_info(run: Run) -> tuple[ArmBest, ...]:
    """The curves of a random search, none of any other."""
    try:
        return best_of_n(run)
    except ValueError:  # says why, to those who call it themselves
        return ()


def draw_best_of_n(arms: tuple[ArmBest, ...], figure: Figure) -> None:
    """A line an arm, the band of single searches around it."""
    axes, metric = subplots(figure, 4.6), arms[0].metric
    for arm in arms:
        n_N = np.arange(1, len(arm.mean_N) + 1)
        color = color_of(arm.name)
        ends = metric.scale * arm.low_N, metric.scale * arm.high_N
        axes.fill_between(n_N, *ends, color=color, alpha=0.12, lw=0)
        axes.plot(n_N, metric.scale * arm.mean_N, line_style(arm.name), color=color,
                  linewidth=2.2, marker="o", markersize=3)  # fmt: skip
    lowest = min(metric.score(arm.mean_N[min(1, len(arm.mean_N) - 1)]) for arm in arms)
    highest = max(float((metric.sign * arm.high_N).max()) for arm in arms)
    room = 0.05 * (highest - lowest) or 1e-4  # of whatever scale
    axes.set_ylim(
        *sorted(metric.scale * metric.score(v) for v in (lowest - 3 * room, highest + room))
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(
        xlabel="n random configs trained",
        ylabel=axis_title(f"{metric_words(metric)} of the best", metric),
    )
    low, high = (f"{100 * share:.0f}" for share in BAND)
    axes.set_title(
        f"Line: expected best of n configs (one seed each); band: {low}% to {high}% of all "
        "searches of n of them",
        fontsize=11,
    )
    add_legend(figure, [(arm.name, f" ({len(arm.mean_N)} configs)") for arm in arms])


def _reached(num: int) -> NDArray[np.float64]:
    """Share of subsets of n (row n - 1) whose best is among the k smallest (column k): 0 .. num.

    C(k, n) / C(num, n), by C(k, n) / C(num, n) = C(k, n-1) / C(num, n-1) * (k-n+1) / (num-n+1).
    """
    k, n = np.arange(num + 1), np.arange(1, num + 1)[:, None]
    return np.cumprod(np.maximum(k - n + 1, 0) / (num - n + 1), axis=0)


BEST_OF_N = Plot(
    title="Best of n", section="Search", info=best_of_n_info, draw=draw_best_of_n,
)  # fmt: skip
