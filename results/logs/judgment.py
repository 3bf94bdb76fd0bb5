"""What do logs say about their arms? The verdict of `compare`, on values from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import numpy as np

from results.logs.readers import RUN_NAME, Columns, read_logs
from results.logs.trainings import (
    Curve,
    check_size,
    choose_arms,
    curve_of,
    find_arm,
    metric_of,
    numbered,
    pairing_of,
    values_at,
)
from results.options import typed
from results.statistics.claims import FEW_SEEDS
from results.statistics.compare import Comparison, compare, pair_level
from results.statistics.paired import CONFIDENCE_SEQUENCE, Scores, paired_scores
from results.statistics.sequential import confidence_sequence, decided_at, e_value
from results.statistics.targets import Arrival, arrival, steps_between
from results.statistics.unpaired import welch_coverage
from results.statistics.wording import (
    amount,
    amount_interval,
    counted,
    number,
    p_text,
    percent,
    short_number,
    value_text,
)
from results.tables import UNKNOWN, Table
from search_spaces.metric import Metric

FINE_P = 0.01  # smaller p values are told with an exponent: others publish them so
OPEN_END = "..."  # of an interval of steps: beyond the log
REDRAWS = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What somebody would have seen who looked at a pair after every seed.

    Attributes:
        n: seeds of each, taken in their order; mean: of a minus b.
        decided_at: the first number of seeds that decided it; None = none did.
        evidence: e-value of all n; needed: what it has to reach, for all pairs at once.
        low, high: confidence sequence at n, for all pairs at once; None = unbounded.
    """

    a: str
    b: str
    n: int
    mean: float
    decided_at: int | None
    evidence: float
    needed: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """What the logs say.

    Attributes:
        source: file or folder. value: the column or tag that is judged. command: what is typed
            to have this judgment again.
        at: where each training was looked at, in words. pairing: how seeds are used, and why.
        scores: by arm and replicate. curves: by arm. looks: by pair of arms.
        coverage: of Welch's intervals on these seeds, by pair; empty of paired or few seeds.
        target, arrivals: when each arm's mean gets there; None and empty where none was given.
    """

    source: Path
    value: str
    command: str
    comparison: Comparison
    scores: Mapping[str, Scores]
    at: str
    pairing: str
    curves: Mapping[str, Curve]
    looks: tuple[Look, ...]
    coverage: tuple[float, ...]
    target: float | None
    arrivals: Mapping[str, Arrival]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def metric(self) -> Metric:
        """What was judged."""
        return self.comparison.metric

    @property
    def verdict(self) -> str:
        """One honest sentence."""
        return self.comparison.verdict

    def tables(self) -> dict[str, Table]:
        """Arms, pairs, what stands beside them, steps to the target, looks after every seed."""
        tables = {
            name: replace(table, caption=table.caption.replace("the confirm seeds", "the seeds"))
            for name, table in self.comparison.tables().items()
        }
        if self.target is not None:
            tables["steps"] = steps_table(self.arrivals, self.target, self.metric)
        return tables | {"looks": looks_table(self.looks, self.metric)}

    def _repr_html_(self) -> str:
        sentences = [self.verdict, self.pairing, *self.notes, *self.warnings]
        words = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
        return words + "".join(table.html() for table in self.tables().values())


def judge(
    path: str | Path,
    *,
    value: str | None = None,
    goal: str | None = None,
    arm: str = "arm",
    seed: str = "seed",
    step: str = "step",
    runs: str = RUN_NAME,
    at: float | str | None = None,
    paired: bool | None = None,
    looks: bool = False,
    target: float | None = None,
    min_effect: float | None = None,
    reference: str | None = None,
    arms: Sequence[str] | None = None,
) -> Judgment:
    """Judge the arms of a log: who is better, how sure, after how many steps.

    Args:
        path, value, arm, seed, step, runs: see `read_logs` and `Columns`.
        goal: min | max, where the name of the value does not tell which way is better.
        at: a step at which every training has a value; "end" = each where it ended; None = the
            end, where the trainings of an arm agree on it.
        paired: True where equal seeds of two arms share initial weights or the order of their
            data; None = where all arms have the same seeds.
        looks: True where you looked while seeds came in: the verdict holds at any number of them.
        target: a value to reach. min_effect: smallest difference that matters; both in the
            value's unit. reference: the arm that all are compared with.
        arms: judge these alone; None = all.

    Raises:
        ValueError: what cannot be read or judged, in one sentence.

    Example:
        >>> judge("logs.csv", value="val_loss", target=3.28).verdict  # doctest: +SKIP
    """
    asked = {
        **{
            "value": value,
            "goal": goal,
            "arm": _unless(arm, "arm"),
            "seed": _unless(seed, "seed"),
        },
        **{"step": _unless(step, "step"), "runs": _unless(runs, RUN_NAME), "at": at},
        **{"paired": paired, "looks": looks or None, "target": target, "min_effect": min_effect},
        **{"reference": reference, "arms": arms},
    }
    logs = read_logs(Path(path), Columns(arm=arm, seed=seed, step=step, value=value, runs=runs))
    values = choose_arms(logs.values, arms, logs.note)
    metric = metric_of(logs.value, goal, values)
    finals, where, warnings = values_at(values, at)
    check_size(finals, logs.value)
    is_paired, pairing = pairing_of(finals, paired)
    scores = numbered(finals, is_paired)
    comparison = compare(
        scores,
        metric=metric,
        reference="" if reference is None else find_arm("reference", reference, values),
        min_effect=min_effect,
        repeated_looks=looks,
        paired=is_paired,
        at=where,
    )
    curves = {name: curve_of(seeds) for name, seeds in values.items()}
    arrivals = {} if target is None else _arrivals(curves, target, metric)
    coverage = () if is_paired or looks else _coverage(scores)
    if looks and not is_paired:
        pairing += " To hold at any number of seeds they are compared one by one, in their order."
    return Judgment(
        source=Path(path),
        value=logs.value,
        command=f"python -m results {typed(['judge', str(path)], asked)}",
        comparison=comparison,
        scores=scores,
        at=where,
        pairing=pairing,
        curves=curves,
        looks=_looks(comparison, scores, min_effect),
        coverage=coverage,
        target=target,
        arrivals=arrivals,
        notes=tuple(filter(None, (logs.note, *_covered(coverage)))),
        warnings=(*warnings, *_few(scores), *_scattered(arrivals, target)),
    )


def steps_table(arrivals: Mapping[str, Arrival], target: float, metric: Metric) -> Table:
    """What a speedrun reports: by arm its steps to the target, fewest first."""
    ranked = sorted(
        arrivals, key=lambda name: np.inf if (at := arrivals[name].step) is None else at
    )
    rows = []
    for name in ranked:
        arrival_of_arm, extra = arrivals[name], None
        if name != ranked[0]:
            extra = steps_between(arrival_of_arm, arrivals[ranked[0]])
        rows.append(
            [
                name,
                "never"
                if arrival_of_arm.step is None
                else steps_text(arrival_of_arm.step, arrival_of_arm.low, arrival_of_arm.high),
                UNKNOWN if extra is None else steps_text(*extra),
                UNKNOWN
                if arrival_of_arm.first_sure is None
                else number(arrival_of_arm.first_sure),
                f"{arrival_of_arm.num_reached} of {arrival_of_arm.n}",
                value_text(arrival_of_arm.mean, metric, abs(arrival_of_arm.mean - target)),
                _small_p(arrival_of_arm.p_value),
            ]
        )
    return Table(
        caption=f"Steps until the mean over the seeds reaches {target:g}, with 95% interval "
        f"({OPEN_END}: beyond the log); sure from: first evaluation from which on the interval of "
        "the mean lies beyond it; seeds that end beyond it; p: one-sided t-test that the mean at "
        "the end does not",
        header=[
            *("arm", "steps", "minus the first", "sure from", "seeds"),
            *("mean at the end", "p"),
        ],
        rows=rows,
    ).known()


def looks_table(looks: Sequence[Look], metric: Metric) -> Table:
    """By pair of arms: what looking after every seed would have allowed to say."""
    rows = []
    for look in looks:
        mean, interval = amount(look.mean, metric, abs(look.mean)), "unbounded"
        if look.low is not None and look.high is not None:
            mean, interval = amount_interval(look.mean, look.low, look.high, metric)
        decided = "not yet" if look.decided_at is None else f"at n={look.decided_at}"
        evidence = f"{short_number(look.evidence)} of {short_number(look.needed)}"
        rows.append([f"{look.a} - {look.b}", str(look.n), mean, interval, decided, evidence])
    return Table(
        caption="Looking after every seed (n of each, in their order), stopping when one likes: "
        f"{CONFIDENCE_SEQUENCE} for all pairs at once, when a pair was decided, and the evidence "
        "(e-value) for a difference, of what is needed",
        header=["pair", "n", "difference", CONFIDENCE_SEQUENCE, "decided", "evidence"],
        rows=rows,
    )


def _arrivals(curves: Mapping[str, Curve], target: float, metric: Metric) -> dict[str, Arrival]:
    """By arm; raises ValueError where an arm has no mean curve, or none ever gets there."""
    for name, curve in curves.items():
        if not len(curve.step_S):
            raise ValueError(f"target={target:g}: the trainings of {name} share no step.")
    arrivals = {
        name: arrival(curve.step_S, curve.value_RS, target, metric)
        for name, curve in curves.items()
    }
    if all(arrival_of_arm.step is None for arrival_of_arm in arrivals.values()):
        best = max(
            (metric.score(float(mean)), name)
            for name, curve in curves.items()
            for mean in curve.value_RS.mean(axis=0)
        )
        nearest = f"the best is {metric.score(best[0]):.6g}, of {best[1]}"
        raise ValueError(f"target={target:g}: no arm's mean gets there ({nearest}).")
    return arrivals


def _looks(
    comparison: Comparison, scores: Mapping[str, Scores], min_effect: float | None
) -> tuple[Look, ...]:
    level = pair_level(scores)
    looks = []
    for a, b in comparison.pairs:
        difference_R = paired_scores(scores[a], scores[b])
        low, high = confidence_sequence(difference_R, alpha=level) or (None, None)
        looks.append(
            Look(
                a=a,
                b=b,
                n=len(difference_R),
                mean=float(difference_R.mean()) if len(difference_R) else np.nan,
                decided_at=decided_at(difference_R, min_effect=min_effect, level=level),
                evidence=e_value(difference_R),
                needed=1 / level,
                low=low,
                high=high,
            )
        )
    return tuple(looks)


def _coverage(scores: Mapping[str, Scores]) -> tuple[float, ...]:
    values = [np.array([*seeds.values()]) for seeds in scores.values()]
    pairs = ((a, b) for i, a in enumerate(values) for b in values[i + 1 :])
    shares = (welch_coverage(a_R, b_R, REDRAWS) for a_R, b_R in pairs)
    return tuple(share for share in shares if share is not None)


def _covered(coverage: Sequence[float]) -> list[str]:
    if not coverage:
        return []
    shares = dict.fromkeys(percent(share, 1) for share in (min(coverage), max(coverage)))
    return [
        f"checked on these seeds: Welch's intervals hold in {' to '.join(shares)} % of "
        f"{REDRAWS:,} redraws of a pair's seeds (95 is right)."
    ]


def _few(scores: Mapping[str, Scores]) -> list[str]:
    fewest = min(len(seeds) for seeds in scores.values())
    if fewest >= FEW_SEEDS:
        return []
    return [f"only {counted(fewest, 'seed')} of an arm: intervals are wide, take {FEW_SEEDS}."]


def _scattered(arrivals: Mapping[str, Arrival], target: float | None) -> list[str]:
    names = [name for name, arrival_of_arm in arrivals.items() if arrival_of_arm.returns]
    if not names:
        return []
    return [
        f"the mean of {', '.join(names)} crosses {target:g} more than once: values that scatter "
        "from step to step make steps to a target too few; judge evaluations, or smoothed values."
    ]


def _unless(given: str, usual: str) -> str | None:
    return None if given == usual else given


def _small_p(p_value: float | None) -> str:
    is_small = p_value is not None and 0 < p_value < FINE_P
    return f"{p_value:.1e}" if is_small else p_text(p_value)


def steps_text(step: float, low: float | None, high: float | None) -> str:
    """ "3,214 [3,199, 3,236]"; an end beyond the log as OPEN_END."""
    ends = (OPEN_END if end is None else f"{end:,.0f}" for end in (low, high))
    return f"{step:,.0f} [{', '.join(ends)}]"
