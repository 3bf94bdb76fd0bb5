"""Did the noise level fall as planned? delta(t) = lr C(t) / sqrt(b), with C^2 as it was measured.

A schedule plans delta with one C^2 for the whole training; C^2 itself moves along it. Beside the
planned path stands the realised one, of the lr, batch and momentum that were used and the C^2
measured there, each relative to its own first measurement: so the C^2 that a run was labelled
with does not matter under a law whose delta is proportional to C. Under laws with K (shb, nshb_a)
it is the largest gradient norm of the steps since the report before, as recorded.
Arrays carry suffixes: E measured epochs, R seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from results.arms.choice import point_of
from results.measurements.noise import measured_trials, rows_by_epoch
from results.records.schema import Row, trial_from_row
from results.run import Run
from results.statistics.correlation import Correlation, spearman
from results.statistics.intervals import Mean, mean_of
from results.statistics.wording import arm_label, counted, interval_text, short_number

MIN_ARMS = 4  # to correlate
LAWS_WITH_K = ("shb", "nshb_a")
FLAT = 1e-9  # a planned fall (logarithm) below is none


@dataclass(frozen=True, kw_only=True, slots=True)
class Realised:
    """The noise level along one arm's completed trainings, planned and realised.

    Attributes:
        epoch_E: where C^2 was measured in every seed, in epochs.
        num_left_out: other points, which some seed lacks.
        k_source: whose K the realised path has, in words; "" under a law without.
        planned_E: planned delta over its value at the first of them.
        realised_E, low_E, high_E: the same of the realised delta: geometric mean over seeds and
            95% t-interval of the logarithm (nan for one seed).
        fall: realised delta at the last measurement over that at the first.
        planned_fall: the same as planned.
        pace: logarithm of the realised over that of the planned path, least squares through the
            start: 1 = as planned, above 1 faster; n = 0 where none was planned.
        accuracy: on the test images, in [0, 1]. sharpness: where it was measured.
    """

    name: str
    num_seeds: int
    num_left_out: int
    k_source: str
    epoch_E: NDArray[np.float64]
    planned_E: NDArray[np.float64]
    realised_E: NDArray[np.float64]
    low_E: NDArray[np.float64]
    high_E: NDArray[np.float64]
    fall: Mean
    planned_fall: float
    pace: Mean
    accuracy: Mean
    sharpness: Mean


def read_realised(run: Run) -> tuple[Realised, ...]:
    """Planned and realised paths by arm, of the points at which every seed's C^2 was measured.

    Arms with fewer than two such points are left out (`without_path` names them).
    """
    return tuple(
        _arm(name, _common(trials), _num_points(trials))
        for name, trials in _completed(run).items()
        if _has_path(trials)
    )


def without_path(run: Run) -> list[str]:
    """Arms whose C^2 was measured twice or more in a seed, but not at two points common to all."""
    return [
        name
        for name, trials in _completed(run).items()
        if not _has_path(trials) and max(len(rows) for _, rows in trials) > 1
    ]


def fall_and_outcome(arms: tuple[Realised, ...]) -> dict[str, Correlation]:
    """Spearman's rho between arms of the realised fall with what the training came to."""
    found = {}
    for quantity in ("accuracy", "sharpness"):
        pairs = [(arm.fall.mean, getattr(arm, quantity).mean) for arm in arms]
        pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
        if len(pairs) >= MIN_ARMS:
            found[quantity] = spearman(*zip(*pairs, strict=True))
    return found


def describe(run: Run) -> list[str]:
    """How far delta fell, as planned and as realised, arm by arm; empty without measurements."""
    arms = read_realised(run)
    lines = [
        f"{arm_label(name)}: no path of delta, for its seeds have no two points of measurement in "
        "common"
        for name in without_path(run)
    ]
    for arm in arms:
        fall = f"{short_number(arm.fall.mean)}{interval_text(arm.fall.low, arm.fall.high)}"
        line = (
            f"{arm_label(arm.name)}: delta at last over delta at first {arm.planned_fall:.3g} "
            f"planned, {fall} realised (C^2 as measured)"
        )
        if arm.pace.n:
            pace = f"{arm.pace.mean:.2f}{interval_text(arm.pace.low, arm.pace.high)}"
            line += f": as planned to the power {pace}"
        if arm.num_left_out:
            line += f" ({counted(arm.num_left_out, 'point')} that some seed lacks left out)"
        lines.append(f"{line}; n={arm.num_seeds}")
    lines += [f"K is {source}" for source in sorted({arm.k_source for arm in arms} - {""})]
    if arms and (best := max(arms, key=lambda arm: _or_least(arm.accuracy.mean))):
        if math.isfinite(best.accuracy.mean):
            lines.append(
                f"highest mean test accuracy, {100 * best.accuracy.mean:.2f} %: "
                f"{arm_label(best.name)}, whose realised delta fell to {best.fall.mean:.3g}"
            )
    for quantity, correlation in fall_and_outcome(arms).items():
        lines.append(
            f"Spearman's rho between arms, realised fall against {quantity}: {correlation}"
        )
    return lines


_Trials = list[tuple[Row, list[Row]]]


def _completed(run: Run) -> dict[str, _Trials]:
    """Completed trials with their measurements by arm, in order of the arms' points."""
    by_arm = measured_trials(run, "noise_c2")
    arms = {}
    for name in sorted(by_arm, key=lambda name: list(point_of(by_arm[name][0][0]).values())):
        if trials := [pair for pair in by_arm[name] if pair[0]["status"] == "completed"]:
            arms[name] = trials
    return arms


def _points(trials: _Trials) -> list[set[int]]:
    return [{row["samples_seen"] for row in rows} for _, rows in trials]


def _num_points(trials: _Trials) -> int:
    return len(set.union(*_points(trials)))


def _has_path(trials: _Trials) -> bool:
    return len(set.intersection(*_points(trials))) > 1


def _common(trials: _Trials) -> _Trials:
    """The same trials with the measurements at points that all of them have."""
    common = set.intersection(*_points(trials))
    return [
        (trial, [row for row in rows if row["samples_seen"] in common]) for trial, rows in trials
    ]


def _arm(name: str, trials: _Trials, num_points: int) -> Realised:
    """`trials` of equal points, out of so many."""
    law = trial_from_row(trials[0][0]).recipe.noise_law
    is_measured = all(row["max_step_norm"] is not None for _, rows in trials for row in rows)
    log_RE = np.array(
        [[_log_realised(trial, row, is_measured) for row in rows] for trial, rows in trials]
    )
    log_RE -= log_RE[:, :1]
    planned_RE = np.array([[math.log(row["delta"]) for row in rows] for _, rows in trials])
    planned_E = (planned_RE - planned_RE[:, :1])[0]
    mean_E = [mean_of(log_R) for log_R in log_RE.T]
    last = mean_E[-1]
    square = float(planned_E @ planned_E)
    paces = log_RE @ planned_E / square if square > FLAT else []
    return Realised(
        name=name,
        num_seeds=len(trials),
        num_left_out=num_points - len(mean_E),
        k_source=_k_source(is_measured) if law in LAWS_WITH_K else "",
        epoch_E=np.array(list(rows_by_epoch(trials)), dtype=np.float64),
        planned_E=np.exp(planned_E),
        realised_E=np.exp([m.mean for m in mean_E]),
        low_E=np.exp([math.nan if m.low is None else m.low for m in mean_E]),
        high_E=np.exp([math.nan if m.high is None else m.high for m in mean_E]),
        fall=Mean(
            n=last.n,
            mean=math.exp(last.mean),
            low=None if last.low is None else math.exp(last.low),
            high=None if last.high is None else math.exp(last.high),
        ),
        planned_fall=math.exp(planned_E[-1]),
        pace=mean_of(paces),
        accuracy=mean_of(_number(trial["test_accuracy"]) for trial, _ in trials),
        sharpness=mean_of(_number(trial["sharpness_loss"]) for trial, _ in trials),
    )


def _k_source(is_measured: bool) -> str:
    if is_measured:
        return "the largest gradient norm of the steps since the report before, as measured"
    return "the recipe's at every point: this run did not record the gradient norms of its steps"


def _log_realised(trial: Row, row: Row, is_measured: bool) -> float:
    """Of delta with the C^2 and, where it was measured, the K of this point; nan without any."""
    c2, k = row["noise_c2"], row["max_step_norm"] if is_measured else 0.0
    if not (math.isfinite(c2) and c2 > 0 and math.isfinite(k)):
        return math.nan
    law = replace(trial_from_row(trial).recipe.law, c2=c2, momentum=row["momentum"])
    law = replace(law, k=k) if is_measured else law
    return math.log(law.delta(row["lr"], row["batch_size"]))


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _or_least(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
