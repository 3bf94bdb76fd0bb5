"""Which value of each training is compared, and are equal seeds of two arms a pair?"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results.logs.readers import Values
from results.statistics.correlation import spearman
from results.statistics.paired import Scores
from search_spaces.metric import POINTS, Metric, goal_of, make_metric
from search_spaces.registry import unknown_name
from search_spaces.space import is_baseline

MIN_SEEDS = 2  # of each arm: one says nothing about the spread
END = "end"  # of each training, wherever it is
SMALLEST, LARGEST = 1e-9, 1e100  # what rounding and squares leave comparable
MAX_LABELS = 4  # seeds named in a sentence
Labelled = Mapping[str, Mapping[str, float]]  # arm -> seed -> value


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """An arm's values at the steps that all its seeds share: value_RS[seed, step]."""

    step_S: NDArray[np.float64]
    value_RS: NDArray[np.float64]


def choose_arms(values: Values, arms: Sequence[str] | None, note: str = "") -> Values:
    """These arms, None = all, each with two seeds or more; note: how they were found.

    Raises:
        ValueError: an unknown arm, fewer than two arms, or an arm with one seed.
    """
    # "baseline" is a word of ours and says more ("not tuned") than a log does.
    values = {quoted(name): seeds for name, seeds in values.items()}
    if arms is not None:
        values = {name: values[name] for name in (find_arm("arms", arm, values) for arm in arms)}
    if len(values) < 2:
        only = f"one ({next(iter(values))})" if values else "none"
        raise ValueError(f"two arms or more are compared, but there is {only}.{_aside(note)}")
    for name, seeds in values.items():
        if len(seeds) < MIN_SEEDS:
            raise ValueError(
                f"arm {name} has one seed ({next(iter(seeds))}): without a second one nobody "
                f"knows how much seeds differ.{_aside(note)}"
            )
    return values


def _aside(note: str) -> str:
    return f" ({note.rstrip('.')}; runs=PATTERN reads them otherwise)" if note else ""


def quoted(name: str) -> str:
    """An arm's name as it stands in a log; in quotes where GradTune would read more into it."""
    return f"'{name}'" if is_baseline(name) else name


def find_arm(key: str, name: str, values: Collection[str]) -> str:
    """The arm of this name; ValueError that names `key` where there is none."""
    if quoted(name) not in values:
        raise ValueError(f"{key}={name}: {unknown_name('arm', name, values)}")
    return quoted(name)


def metric_of(name: str, goal: str | None, values: Values) -> Metric:
    """What is judged; an accuracy in percent is a number like any other.

    Raises:
        ValueError: nobody says which way is better.
    """
    if goal not in (None, "min", "max"):
        raise ValueError(f"goal={goal}: min or max.")
    word = re.sub(r"\W+", "_", name).strip("_")
    if goal is None and goal_of(word) is None:
        raise ValueError(f"goal=: is a lower or a higher {name} better? Add goal=min or goal=max.")
    metric = make_metric(word if word[:1].isalpha() else f"value_{word}", goal)
    numbers = (
        v for seeds in values.values() for by_step in seeds.values() for v in by_step.values()
    )
    if metric.unit == POINTS and not all(0 <= number <= 1 for number in numbers):
        return Metric(name=metric.name, goal=metric.goal)
    return metric


def values_at(values: Values, at: float | str | None) -> tuple[Labelled, str, list[str]]:
    """The value of each training that counts, where that is in words, and what to know about it.

    Args:
        at: a step; "end" = of each training; None = the end, where an arm's trainings agree on it.

    Raises:
        ValueError: no such step, or trainings of an arm that end at different steps.
    """
    ends = {
        name: {s: max(by_step) for s, by_step in seeds.items()} for name, seeds in values.items()
    }
    steps = [set(by_step) for seeds in values.values() for by_step in seeds.values()]
    common = max(set.intersection(*steps), default=None)
    offer = "" if common is None else f"at={common:g}, the last step that all have, or "
    if at is None:
        for name, last in ends.items():
            early, late = (pick(last, key=last.__getitem__) for pick in (min, max))
            if last[early] < last[late]:
                raise ValueError(
                    f"trainings of {name} end at different steps (seed {early} at "
                    f"{last[early]:g}, seed {late} at {last[late]:g}): say {offer}at=end, each "
                    "where it ended."
                )
    if at is None or at == END:
        last_steps = {step for by_step in ends.values() for step in by_step.values()}
        chosen = _at(values, max)
        if len(last_steps) == 1:
            return chosen, f"at step {last_steps.pop():,g}", []
        ends_text = ", ".join(
            f"{name} {max(by_step.values()):,g}" for name, by_step in ends.items()
        )
        advice = "" if common is None else f"; at={common:g} compares all at one step"
        return (
            chosen,
            "at the end of each",
            [f"the arms end at unequal steps: {ends_text}{advice}."],
        )
    step = float(at)
    for name, seeds in values.items():
        for seed, by_step in seeds.items():
            if step not in by_step:
                raise ValueError(
                    f"at={step:g}: seed {seed} of {name} has no value there; say {offer}at=end."
                )
    return _at(values, lambda by_step: step), f"at step {step:,g}", []


def pairing_of(finals: Labelled, paired: bool | None) -> tuple[bool, str]:
    """Are equal seeds pairs, and a sentence on how that was decided.

    Raises:
        ValueError: paired, but two arms have fewer than two seeds in common.
    """
    arms = list(finals)
    if paired is False:
        return False, "seeds are not paired, as you say: means are compared (Welch)."
    if paired:
        for a, b in itertools.combinations(arms, 2):
            if len(finals[a].keys() & finals[b].keys()) < MIN_SEEDS:
                raise ValueError(
                    f"paired=true: {a} and {b} have fewer than {MIN_SEEDS} seeds in common."
                )
        return True, f"seeds are paired, as you say{_agreement(finals)}."
    if len({frozenset(seeds) for seeds in finals.values()}) > 1:
        return False, (
            "seeds are not paired: the arms have different ones, so means are compared (Welch); "
            "paired=true pairs those in common."
        )
    labels = [*finals[arms[0]]]
    names = ", ".join(
        labels if len(labels) <= MAX_LABELS else [*labels[: MAX_LABELS - 1], "...", labels[-1]]
    )
    return True, (
        f"seeds are paired: every arm has the same ones ({names}){_agreement(finals)}; where "
        "equal seeds share neither initial weights nor data, paired=false compares the means."
    )


def numbered(finals: Labelled, is_paired: bool) -> dict[str, Scores]:
    """Values by arm and replicate: one number a seed, or of unpaired ones their turn."""
    labels = dict.fromkeys(seed for by_seed in finals.values() for seed in by_seed)
    number = {seed: i for i, seed in enumerate(labels)}
    return {
        name: {number[s] if is_paired else i: v for i, (s, v) in enumerate(by_seed.items())}
        for name, by_seed in finals.items()
    }


def check_size(finals: Labelled, name: str) -> None:
    """Refuse values so small or large that their spread is rounding, or overflows."""
    largest = max(abs(value) for by_seed in finals.values() for value in by_seed.values())
    if largest and not SMALLEST <= largest <= LARGEST:
        small = "small" if largest < SMALLEST else "large"
        raise ValueError(
            f"{name} is {largest:g} at most, too {small} to compare: log it in another unit, or "
            "its logarithm."
        )


def curve_of(seeds: Mapping[str, Mapping[float, float]]) -> Curve:
    """The values of an arm's seeds at the steps that all of them have."""
    steps = sorted(set.intersection(*(set(by_step) for by_step in seeds.values())))
    return Curve(
        step_S=np.array(steps, dtype=np.float64),
        value_RS=np.array([[by_step[step] for step in steps] for by_step in seeds.values()]),
    )


def _at(values: Values, place: Callable[[Mapping[float, float]], float]) -> Labelled:
    return {
        name: {seed: by_step[place(by_step)] for seed, by_step in seeds.items()}
        for name, seeds in values.items()
    }


def _agreement(finals: Labelled) -> str:
    """Do equal seeds rise and fall together? The mean rank correlation over the pairs of arms."""
    correlations = []
    for a, b in itertools.combinations(finals.values(), 2):
        common = [seed for seed in a if seed in b]
        correlations.append(spearman([a[s] for s in common], [b[s] for s in common]).rho)
    rho = float(np.mean(correlations))
    return "" if np.isnan(rho) else f", rank correlation {round(rho, 2) + 0.0:.2f}"
