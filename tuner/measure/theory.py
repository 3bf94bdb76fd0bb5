"""What do the papers' formulas say, without any training? `python -m tuner.measure theory`.

Tables, on the terminal and as CSV, and figures in one folder: nothing is trained, no run is made.
"""

from __future__ import annotations

import csv
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.measurements.published import published_schedules
from results.options import number_of
from results.plots.papers.decay_rates import decay_rates_info, draw_decay_rates
from results.plots.papers.nice import draw_nice
from results.plots.papers.theory import (
    SmoothedLevel,
    draw_levels,
    draw_radius_factors,
    draw_tails,
    radius_factors,
)
from results.plots.style import save_figure
from results.tables import UNKNOWN, Table, thinned
from search_spaces.algorithm3 import Algorithm3, algorithm3, hazan
from search_spaces.registry import nearest, unknown_name
from search_spaces.schedule import Schedule
from search_spaces.theory import check_positive, smallest_admissible_rate
from trainables.functions.benchmark import FUNCTIONS
from trainables.functions.nice import NiceLevels, nice_levels
from tuner.config.schema import ConfigError, refusing, refusing_paths

Array = NDArray[np.float64]

# Key -> default, and its meaning; an empty default is a value not given.
KEYS: dict[str, tuple[str, str]] = {
    "a": ("3,17.2", "radius factors of strong convexity, from sqrt(2) up; a figure each"),
    "epochs": ("200", "of the decay curves, and of the training by Algorithm 3"),
    "epsilon": ("0.1", "Algorithm 3: accuracy asked for"),
    "p": ("1", "Algorithm 3: power of the decay, in (0, 1]"),
    "d_bar": ("1", "Algorithm 3: bound of the radius factors d_m"),
    "l_f": ("1", "Algorithm 3: Lipschitz constant of f"),
    "sigma": ("0.1", "Algorithm 3: strong convexity"),
    "c": ("10", "Algorithm 3: C (not C^2) of delta = lr C/sqrt(batch)"),
    "lr": ("0.1", "Algorithm 3: first lr"),
    "batch_size": ("128", "Algorithm 3: first batch"),
    "split": ("1", "Algorithm 3: share of lr in the decay; 1 = lr, 0 = batch"),
    "h3": ("", "Algorithm 3: H_3 of the inner steps T_F; no source gives a value"),
    "h4": ("", "Algorithm 3: H_4; without both all levels are equally long"),
    "train_examples": ("50000", "Algorithm 3: samples of an epoch"),
    "function": ("rastrigin", "of one variable, for the picture of its levels"),
    "delta1": ("1", "Rastrigin: first level of explicit smoothing"),
    "levels": ("50", "Rastrigin: number of levels, falling by the power p"),
    "d": ("1", "Rastrigin: radius factor, of the balls of radius d delta around x*"),
    "dimension": ("2", "Rastrigin: number of variables"),
    "smoothing": ("gaussian_scaled", "Rastrigin: ball, gaussian or gaussian_scaled"),
    "out": ("runs/theory", "folder of the figures and tables"),
}
PLAN_KEYS = ("epsilon", "p", "d_bar", "l_f", "sigma", "c", "lr", "split", "h3", "h4")
OF_SEVERAL_VARIABLES = ("schaffer_f7", "rosenbrock")

LEVELS = (1.0, 0.7, 0.5, 0.3, 0.15, 0.0)  # of the picture of graduated optimization
PICTURE_BOX = 5.0  # the furthest from 0 that is drawn
NUM_POINTS, NUM_NOISES, NUM_DESCENTS = 401, 1000, 400
NUM_SHOWN, MAX_LEVELS = 12, 1000  # rows of a table on the terminal; of explicit smoothing
NUM_STARTS, LEVEL_STEPS = 300, 20  # of the descents on Rastrigin; steps as the authors' code
SLACK = 1e-9  # of a curvature
# Of light and heavy tails, as in the demo of the authors' code: bounded, so every mean exists.
TAIL_FUNCTION, TAIL_LEVEL = "drop_wave", 0.5
# Kind of tails -> noise -> its draws; as in that demo, none of them centred.
Noise = Callable[[np.random.Generator], Array]
TAILS: dict[str, dict[str, Noise]] = {
    "light": {
        "normal": lambda rng: rng.standard_normal(NUM_NOISES),
        "uniform on [-2, 2]": lambda rng: rng.uniform(-2.0, 2.0, NUM_NOISES),
        "exponential": lambda rng: rng.exponential(1.5, NUM_NOISES),
        "Rayleigh": lambda rng: rng.rayleigh(1.0, NUM_NOISES),
    },
    "heavy": {
        "Cauchy": lambda rng: rng.standard_cauchy(NUM_NOISES),
        "Levy": lambda rng: 1.0 / np.square(rng.standard_normal(NUM_NOISES)),
        "Pareto": lambda rng: 1.0 + rng.pareto(1.0, NUM_NOISES),
    },
}


def measure_theory(words: list[str]) -> int:
    """Print what follows from these words, draw it and write the tables; returns 0.

    Raises:
        ConfigError: an unknown key, or values that the formulas do not cover.
    """
    texts = _texts(words)
    name = texts["function"]
    if name not in FUNCTIONS or name in OF_SEVERAL_VARIABLES:
        known = [key for key in FUNCTIONS if key not in OF_SEVERAL_VARIABLES]
        raise ConfigError(str(unknown_name("function of one variable", name, known)))
    with refusing():
        marked = [_number("a", text) for text in texts["a"].strip("[]").split(",")]
        epochs, train_examples = (_whole(key, texts[key]) for key in ("epochs", "train_examples"))
        if epochs < 5:
            raise ValueError(f"epochs={epochs}: the curves need at least 5")
        schedules = published_schedules(epochs=epochs)
        tables = {"decay_rates": leaving_table(schedules, marked)}
        numbers = {key: _number(key, texts[key]) for key in PLAN_KEYS if texts[key]}
        batch_size = _whole("batch_size", texts["batch_size"])
        plan = algorithm3(**numbers, batch_size=batch_size)
        table = plan.schedule(epochs=epochs, train_examples=train_examples)
        tables["algorithm3"] = levels_table(plan, table)
        tables["hazan"] = hazan_table(plan, numbers["sigma"])
        nice = _nice(texts, numbers["p"])
        tables["nice"] = nice_table(nice, _number("d", texts["d"]))
    out = Path(os.path.expanduser(texts["out"]))
    with refusing_paths():
        out.mkdir(parents=True, exist_ok=True)
        for stem, shown in tables.items():
            _tell(shown, out / f"{stem}.csv")
        for path in _draw(schedules, marked, name, nice, out):
            print(f"figure: {path}")
    print(out)
    return 0


def usage() -> str:
    """Every key with its default and meaning, a line each."""
    rows = [(f"{key}={default}", meaning) for key, (default, meaning) in KEYS.items()]
    return "\n".join(f"  {key:<20} {meaning}" for key, meaning in rows)


def leaving_table(schedules: Mapping[str, Schedule], marked: list[float]) -> Table:
    """The first epoch at which each schedule is outside the admissible region, by a."""
    leavers = {a: decay_rates_info(schedules, a).leavers for a in marked}
    return Table(
        caption="first epoch outside the admissible region; - = stays inside to the end",
        header=["schedule", *(f"a={a:g} (L={smallest_admissible_rate(a):.4f})" for a in marked)],
        rows=[
            [name, *(str(leavers[a].get(name, UNKNOWN)) for a in marked)]
            for name in sorted(schedules, key=lambda n: leavers[marked[-1]].get(n, 10**9))
        ],
    )


def levels_table(plan: Algorithm3, table: Schedule) -> Table:
    """The levels of Algorithm 3, with the epoch at which each begins."""
    steps_L = plan.inner_steps_L
    epoch_of = {
        float(delta): start / table.epoch_samples
        for delta, start in zip(table.delta_S[::-1], table.start_S[::-1], strict=True)
    }
    starts = sorted(epoch_of.values())
    rows = [
        [
            str(level + 1),
            *(f"{value:.5g}" for value in (plan.delta_L[level], plan.gamma_M[level])),
            *(f"{value:.5g}" for value in (plan.lr_L[level], plan.batch_L[level])),
            UNKNOWN if steps_L is None else str(steps_L[level]),
            f"{starts[level]:.4g}",
        ]
        for level in range(plan.num_levels)
    ]
    total = "equal lengths" if steps_L is None else f"T_F {steps_L[:-1].sum():,} steps in all"
    return Table(
        caption=f"Algorithm 3: M = {plan.num_levels} levels, alpha_0 = {plan.alpha0:.5g}, {total}",
        header=["level", "delta", "gamma", "lr", "batch", "T_F", "from epoch"],
        rows=rows,
        note=f"level M+1 has delta = 0 and moves nothing; the levels' samples are scaled to fill "
        f"the training of {table.num_steps():,} steps",
    )


def hazan_table(plan: Algorithm3, sigma: float) -> Table:
    """Hazan et al.'s levels between the same first and last delta."""
    levels = hazan(delta1=float(plan.delta_L[0]), last_delta=float(plan.delta_L[-2]), sigma=sigma)
    pairs = zip(levels.delta_M, levels.accuracy_M, strict=True)
    return Table(
        caption=f"Hazan et al.: {len(levels.delta_M)} levels, delta halved, to the same delta",
        header=["level", "delta", "accuracy sigma delta^2/32"],
        rows=[[str(m), f"{d:.5g}", f"{e:.5g}"] for m, (d, e) in enumerate(pairs, start=1)],
    )


def smoothed_levels(name: str, x_X: Array) -> list[SmoothedLevel]:
    """The function of one variable at LEVELS, u uniform on [-1, 1] (midpoint rule)."""
    levels: list[SmoothedLevel] = []
    minimizer = float(x_X[-1])
    for delta in LEVELS:
        u = (2.0 * np.arange(NUM_NOISES) + 1.0) / NUM_NOISES - 1.0
        value_X = _mean_over(name, x_X, delta * u)
        minimizer = _descended(x_X, value_X, minimizer)
        levels.append(SmoothedLevel(delta=delta, value_X=value_X, minimizer=minimizer))
    return levels


def _descended(x_X: Array, value_X: Array, start: float) -> float:
    """Where steps to a lower neighbour on the grid end."""
    at = int(np.abs(x_X - start).argmin())
    while True:
        near = range(max(0, at - 1), min(len(x_X), at + 2))
        lower = min(near, key=lambda place: float(value_X[place]))
        if value_X[lower] >= value_X[at]:
            return float(x_X[at])
        at = lower


def _mean_over(name: str, x_X: Array, noise_U: Array) -> Array:
    """The mean of f(x - noise) at each point."""
    value_XU = FUNCTIONS[name].value((x_X[:, None] - noise_U)[..., None])
    return np.asarray(value_XU.mean(axis=1))


def _nice(texts: Mapping[str, str], p: float) -> NiceLevels:
    delta1, d = (_number(key, texts[key]) for key in ("delta1", "d"))
    check_positive(delta1=delta1, d=d)
    count = _whole("levels", texts["levels"])
    if count > MAX_LEVELS:
        raise ValueError(f"levels={count}: at most {MAX_LEVELS:,}")
    return nice_levels(
        delta1 * (np.arange(count, 0, -1) / count) ** p,
        kind=texts["smoothing"],
        dimension=_whole("dimension", texts["dimension"]),
        radius_factor=d,
        num_starts=NUM_STARTS,
        steps=LEVEL_STEPS,
    )


def nice_table(nice: NiceLevels, d: float) -> Table:
    """Where Rastrigin is convex around x*, level by level, and who is there."""
    columns = (nice.delta_M, nice.curvature_M, nice.inside_M, nice.kept_M)
    is_nice = bool(np.all(nice.curvature_M >= 2.0 - SLACK))
    says = "is" if is_nice else "is not"
    return Table(
        caption=f"Rastrigin {says} new 2-nice on these levels (it is where d delta_1 <= 1/4, here "
        f"{d * nice.delta_M[0]:.3g}); explicit descent solves {nice.solved:.0%} of "
        f"{NUM_STARTS} starts",
        header=["delta", "smallest curvature in N(x*; d delta)", "inside", "kept inside"],
        rows=[
            [UNKNOWN if np.isnan(value) else f"{value:.4g}" for value in row]
            for row in zip(*(column.tolist() for column in columns), strict=True)
        ],
        note="inside: share of starts in N(x*; d delta) after the level; kept: of those before it",
    )


def _draw(
    schedules: Mapping[str, Schedule], marked: list[float], name: str, nice: NiceLevels, out: Path
) -> list[Path]:
    reach = min(PICTURE_BOX, FUNCTIONS[name].box[1])
    x_X = np.linspace(-reach, reach, NUM_POINTS)
    rng = np.random.default_rng(0)
    by_noise = {
        tails: {
            noise: _mean_over(TAIL_FUNCTION, x_X, TAIL_LEVEL * draw(rng))
            for noise, draw in noises.items()
        }
        for tails, noises in TAILS.items()
    }
    value_X = _mean_over(TAIL_FUNCTION, x_X, np.zeros(1))
    drawn: dict[str, Callable[[Any], None]] = {
        f"decay_rates_a{a:g}": functools.partial(draw_decay_rates, decay_rates_info(schedules, a))
        for a in marked
    }
    drawn["radius_factor"] = functools.partial(draw_radius_factors, radius_factors(marked))
    levels = smoothed_levels(name, x_X)
    drawn["nice"] = functools.partial(
        draw_nice, nice.delta_M, nice.curvature_M, nice.inside_M, nice.kept_M
    )
    drawn["graduated"] = functools.partial(draw_levels, name, x_X, levels)
    drawn["tails"] = functools.partial(draw_tails, TAIL_FUNCTION, x_X, value_X, by_noise)
    return [
        path for stem, draw in drawn.items() for path in save_figure(draw, out / f"{stem}.png")
    ]


def _tell(table: Table, path: Path) -> None:
    """Print it, thinned where it is long, and write all of it."""
    rows = [table.rows[row] for row in thinned(len(table.rows), NUM_SHOWN)]
    shown = Table(caption=table.caption, header=table.header, rows=rows, note=table.note)
    print(f"{table.caption}\n{shown.text()}\n")
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([table.header, *table.rows])


def _texts(words: list[str]) -> dict[str, str]:
    """The text of every key: as typed, or its default."""
    texts = {key: default for key, (default, _) in KEYS.items()}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in KEYS:
            known = ", ".join(KEYS)
            raise ConfigError(f"unknown key {key!r}{nearest(key, KEYS)} (known: {known})")
        texts[key] = value
    return texts


def _number(key: str, text: str) -> float:
    number = number_of(key, text)
    assert number is not None, "None is of None alone"
    return number


def _whole(key: str, text: str) -> int:
    number = _number(key, text)
    if number < 1 or number != int(number):
        raise ValueError(f"{key}={text}: must be a whole number of at least 1")
    return int(number)
