"""How fast does the noise level decay, and which rates does the theory admit?

Legend: gamma_t = delta_t/delta_{t-1} of epochs t, a radius factor of strong convexity, L(a) the
smallest admissible rate. Arrays carry the suffix _E: one entry per epoch, from 0.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from results.plots.arms.schedules import schedules_info
from results.plots.figure import Plot
from results.plots.style import GREEN, arm_looks, subplots
from results.run import Run
from results.statistics.wording import arm_label
from search_spaces.schedule import Schedule
from search_spaces.theory import (
    check_decay_rates,
    check_radius_factor,
    smallest_admissible_rate,
)

Dashes = tuple[int, tuple[float, ...]]
# Told apart in grey print: (offset, (on, off, ...)) in line widths.
DASHES: tuple[Dashes, ...] = (
    (0, ()), (0, (6, 1.5)), (0, (3, 1.2)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)),
    (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (10, 2)), (0, (14, 2, 1, 2)), (0, (1, 2.5)),
    (0, (8, 2, 3, 2)), (0, (2, 2)),
)  # fmt: skip
MAX_STAIRS = 60  # epochs; more of them only roughen a dashed line
REGION_ALPHA = 0.13
# Rates crowd below 1: the axis shows log(1 - gamma + SOFTENING), which keeps 0 and 1 finite.
ROUNDING = 1e-9  # of a decay rate; closer to 1 is no decay
ASSUMED_A = 3.0  # radius factor of strong convexity; no source gives its value
SOFTENING = 0.004
RATE_TICKS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmDecay:
    """One schedule, epoch by epoch.

    Attributes:
        level_E: delta over that of epoch 0; at a constant batch also the lr over its start.
        decay_rate_E: gamma_t, of epoch t over epoch t-1; 1 in epoch 0, as the papers draw it.
        leaves_at: first epoch that is entered at a rate of L(a) or less; None = never.
    """

    name: str
    level_E: NDArray[np.float64]
    decay_rate_E: NDArray[np.float64]
    leaves_at: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DecayRatesInfo:
    """All schedules against the admissible region.

    Attributes:
        a_E, smallest_rate_E: a and L(a) of each epoch; rates from L(a) to 1 are admissible.
    """

    arms: tuple[ArmDecay, ...]
    a_E: NDArray[np.float64]
    smallest_rate_E: NDArray[np.float64]

    @property
    def leavers(self) -> dict[str, int]:
        """Name -> first epoch outside the admissible region, of the schedules that leave it."""
        return {arm.name: arm.leaves_at for arm in self.arms if arm.leaves_at is not None}


def decay_rates_info(
    schedules: Mapping[str, Schedule], a: float | Sequence[float]
) -> DecayRatesInfo:
    """Noise levels and decay rates of these schedules, as planned at the start of each epoch.

    Args:
        a: >= sqrt(2), one for all epochs or one per epoch of the longest schedule; no source
            gives its values, only that it grows with delta.

    Raises:
        ValueError: a below sqrt(2), or not one a per epoch.

    Source: arXiv 2311.08745 section 3.2, Figs 4-7, 13 and 14.
    """
    deltas = {}
    for name, table in schedules.items():
        starts = range(0, table.total_samples, table.epoch_samples)
        deltas[name] = table.delta_S[[table.stage_at(sample) for sample in starts]]
    return _info(deltas, a)


def decay_rates_info_of_run(run: Run, a: float | Sequence[float]) -> DecayRatesInfo:
    """The same of what each arm's chosen config used, as recorded; empty without any epoch."""
    return _info({arm.name: arm.used["delta"] for arm in schedules_info(run)}, a)


def draw_decay_rates(info: DecayRatesInfo, figure: Figure) -> None:
    """Left the levels, right the rates on the admissible region; a rise shows as a rate of 1."""
    left, right = subplots(figure, 5.6, 1, 2)
    _draw_region(info, right)
    looks = arm_looks([arm.name for arm in info.arms])
    handles: list[Artist] = []
    for arm, dashes in zip(info.arms, itertools.cycle(DASHES), strict=False):
        style = {"color": looks[arm.name].color, "linestyle": dashes, "linewidth": 1.6}
        handles += _draw_arm(arm, style, left, right)
    left.set_ylabel("noise level relative to its start (at constant batch: lr)")
    right.set_ylabel("decay rate of the noise level (scale widened towards 1)")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    ring = "a ring marks where a schedule first leaves the admissible region"
    figure.suptitle(f"Decay of the noise level; {ring}", fontsize=11)
    handles.append(Patch(color=GREEN, alpha=REGION_ALPHA, label=_region_label(info)))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4, frameon=False, handlelength=3.5,
        fontsize=9,
    )  # fmt: skip


def decay_rates_plot(a: float | None = None) -> Plot:
    """The figure of a run at this constant a; None = the assumed one.

    Raises:
        ValueError: a below sqrt(2).
    """
    if a is not None:
        check_radius_factor(a)
    return Plot(
        title="Decay rates",
        section="Schedules",
        info=functools.partial(_decaying_info, a or ASSUMED_A),
        draw=functools.partial(_draw_telling_a, "assumed" if a is None else "asked for"),
    )


def _decaying_info(a: float, run: Run) -> DecayRatesInfo:
    """At this a; without arms where none of them decays."""
    info = decay_rates_info_of_run(run, a)
    decays = any(np.any(arm.decay_rate_E < 1.0 - ROUNDING) for arm in info.arms)
    return info if decays else replace(info, arms=())


def _draw_telling_a(origin: str, info: DecayRatesInfo, figure: Figure) -> None:
    draw_decay_rates(info, figure)
    told = f"a = {info.a_E[0]:g} {origin}; no source gives its value"
    figure.suptitle(f"{figure.get_suptitle()}\n{told}", fontsize=11)


def _info(
    delta_by_name: Mapping[str, NDArray[np.float64]], a: float | Sequence[float]
) -> DecayRatesInfo:
    length = max((len(delta_E) for delta_E in delta_by_name.values()), default=0)
    a_E = np.full(length, a) if isinstance(a, int | float) else np.asarray(a, dtype=np.float64)
    if len(a_E) != length:
        raise ValueError(
            f"one a or one per epoch must be given, but got (a={len(a_E)}, epochs={length})."
        )
    smallest_E = np.array([smallest_admissible_rate(value) for value in a_E.tolist()])
    arms = tuple(_arm(name, delta_E, a_E) for name, delta_E in delta_by_name.items())
    return DecayRatesInfo(arms=arms, a_E=a_E, smallest_rate_E=smallest_E)


def _arm(name: str, delta_E: NDArray[np.float64], a_E: NDArray[np.float64]) -> ArmDecay:
    if delta_E[0] == 0:  # a solver without a schedule
        delta_E = np.ones_like(delta_E)
    rate_E = np.concatenate([[1.0], delta_E[1:] / delta_E[:-1]])
    # A rise (warmup) is no decay: it cannot be too fast.
    is_fine = check_decay_rates(np.minimum(rate_E, 1.0), a_E[: len(rate_E)].tolist())
    leaves_at = None if is_fine.all() else int(np.argmin(is_fine))
    level_E = delta_E / delta_E[0]
    return ArmDecay(name=name, level_E=level_E, decay_rate_E=rate_E, leaves_at=leaves_at)


def _draw_region(info: DecayRatesInfo, axes: Axes) -> None:
    epoch_E = np.arange(len(info.smallest_rate_E))
    axes.fill_between(
        epoch_E, info.smallest_rate_E, 1.0, color=GREEN, alpha=REGION_ALPHA, linewidth=0
    )
    axes.set_yscale("function", functions=(_widen, _unwiden))
    axes.set_yticks(RATE_TICKS, [f"{tick:g}" for tick in RATE_TICKS])
    axes.set_ylim(0.0, 1.0 + SOFTENING / 8)


def _region_label(info: DecayRatesInfo) -> str:
    if np.all(info.a_E == info.a_E[:1]):
        return f"L(a) = {info.smallest_rate_E[0]:.3f} to 1, a = {info.a_E[0]:g}"
    return f"L(a) to 1, a = {info.a_E[0]:.3g} to {info.a_E[-1]:.3g}"


def _draw_arm(arm: ArmDecay, style: dict[str, Any], left: Axes, right: Axes) -> list[Line2D]:
    """Its lines in both panels; returns the one that stands for it in the legend."""
    epoch_E = np.arange(len(arm.level_E))
    is_short = len(epoch_E) <= MAX_STAIRS
    label = arm_label(arm.name)
    if is_short:
        left.stairs(arm.level_E, np.append(epoch_E, len(epoch_E)), baseline=None, **style)
    else:
        left.plot(epoch_E, arm.level_E, **style)
    if arm.leaves_at is not None:
        label += f", leaves at {arm.leaves_at}"
        right.plot(
            arm.leaves_at, arm.decay_rate_E[arm.leaves_at], "o", color=style["color"],
            markersize=7, markerfacecolor="none", markeredgewidth=1.6, zorder=4,
        )  # fmt: skip
    return right.plot(
        epoch_E, np.minimum(arm.decay_rate_E, 1.0), **style,
        drawstyle="steps-mid" if is_short else "default", label=label,
    )  # fmt: skip


def _widen(rate: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.log(np.maximum(1.0 - np.asarray(rate), -0.9 * SOFTENING) + SOFTENING)


def _unwiden(height: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 + SOFTENING - np.exp(-np.asarray(height))


DECAY_RATES = decay_rates_plot()
