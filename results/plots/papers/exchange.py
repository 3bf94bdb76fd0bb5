"""What does a larger batch do, counted in divisions of lr?"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from results.measurements.exchange import Exchange, read_exchange
from results.plots.figure import Plot
from results.plots.style import BLUE, GREY, RED, subplots
from results.run import Run
from results.statistics.intervals import mean_of


def exchange_info(run: Run) -> tuple[Exchange, ...]:
    """The exchange experiment of this run."""
    try:
        return (read_exchange(run),)
    except ValueError:
        return ()


def draw_exchange(arms: tuple[Exchange, ...], figure: Figure) -> None:
    """Left: the response to lr's drops, and the batches at their equal. Right: the rates."""
    (exchange,) = arms
    left, right = subplots(figure, 4.4, 1, 2, width_ratios=(3, 2))
    _draw_responses(left, exchange)
    _draw_rates(right, exchange)
    figure.suptitle(
        f"Halfway, lr is divided or the batch (first {exchange.batch0}) multiplied: "
        f"n={len(exchange.response_RX)} paired seeds, {exchange.num_epochs} epochs, "
        "95% t-intervals",
        fontsize=11,
    )


def _draw_responses(axes: Axes, exchange: Exchange) -> None:
    """Relative to the undivided lr, seed by seed: what the seeds share is no error."""
    reference_R1 = exchange.response_RX[:, :1]
    _errorbars(
        axes, exchange.drop_X, exchange.response_RX - reference_R1, BLUE, "o-", "lr divided"
    )
    for k, (batch, rate) in enumerate(zip(exchange.batches, exchange.by_growth, strict=True)):
        x = rate.growths[0] * (rate.a if rate.a is not None else 1.0)
        response_R1 = exchange.response_RK[:, [k]] - reference_R1
        _errorbars(axes, [x], response_R1, RED, "D", "" if k else "batch multiplied")
        side, height = "right" if k % 2 else "left", "bottom" if k < 2 else "top"
        place = (x, float(response_R1.mean()))
        axes.annotate(f"  {batch}  ", place, color=RED, fontsize=10, ha=side, va=height)
    axes.set_xlabel("log2 of what lr is divided by (batches: at their equal, a k)")
    axes.set_ylabel("mean log validation loss,\ndifference to none")
    axes.legend(frameon=False)


def _errorbars(
    axes: Axes, x_X: ArrayLike, y_RX: NDArray[np.float64], color: str, style: str, label: str
) -> None:
    means = [mean_of(column) for column in y_RX.T]
    half = [0.0 if m.low is None else m.mean - m.low for m in means]
    y = [m.mean for m in means]
    axes.errorbar(x_X, y, half, fmt=style, color=color, capsize=3, label=label or None)


def _draw_rates(axes: Axes, exchange: Exchange) -> None:
    for a, text in ((0.5, "lr/sqrt(batch)"), (1.0, "lr/batch")):
        axes.axvline(a, color=GREY, linewidth=1, linestyle="--")
        axes.annotate(text, (a, 1.0), xycoords=("data", "axes fraction"), rotation=90,
                      ha="right", va="top", fontsize=9, color=GREY)  # fmt: skip
    rates = [*exchange.by_growth, exchange.rate]
    names = [f"to {batch}" for batch in exchange.batches]
    low_end, high_end = 0.0, 2.0
    for height, rate in enumerate(reversed(rates)):
        color = BLUE if rate is exchange.rate and height == 0 else GREY
        if rate.a is None:
            axes.annotate("none found", (0.1, height), fontsize=9, va="center")
            continue
        low = low_end if rate.low is None else rate.low
        high = high_end if rate.high is None else min(rate.high, high_end)
        axes.hlines(height, low, high, color=color, linewidth=3)
        axes.plot(rate.a, height, "D", color=color, markersize=8)
        axes.annotate(f"{rate.a:.2f}", (rate.a, height), xytext=(0, 9),
                      textcoords="offset points", ha="center", fontsize=10)  # fmt: skip
    together = "together\n(they differ)" if exchange.differs else "together"
    axes.set_yticks(range(len(rates)), [together, *reversed(names)])
    axes.set(ylim=(-0.6, len(rates) + 0.3), xlim=(low_end, high_end))
    axes.set_xlabel("exchange rate a (open ends: nothing tried refuses)")


EXCHANGE = Plot(
    title="Exchange rate", section="Measurements", info=exchange_info, draw=draw_exchange
)
