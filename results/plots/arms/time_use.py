"""Where did the time go? Training, evaluation, and the rest, by arm."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from results.arms.choice import group_by_arm
from results.plots.figure import Plot
from results.plots.style import BLUE, ORANGE, subplots
from results.records.events import read_events
from results.records.schema import Row
from results.run import Run
from results.statistics.wording import arm_label, counts, duration, number, short_number
from results.tables import Table

LIGHT_GREY = "#bdbdbd"
# Attribute of ArmTime -> its name, colour and hatch (told apart in grey print too).
PARTS = {
    "train_seconds": ("training", BLUE, ""),
    "eval_seconds": ("validation on the way", ORANGE, "///"),
    "other_seconds": ("rest of the trials: start, test, records", LIGHT_GREY, ""),
}
COLUMNS = ["run_id", "trial_key", "epoch", "seconds", "eval_seconds", "images_per_second"]
SAME_TIME = 1e-6  # seconds; what records are rounded to
UNITS = ((7200.0, 3600.0, "hours"), (300.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmTime:
    """Seconds of all trials of an arm together; see time_use_info for trials taken up again.

    Attributes:
        num_trials: that have ended; num_search: of these, not confirming.
        rate: samples per second of training, of all epochs recorded; nan where none is.
        other_seconds: wall time that was neither training nor validation after an epoch; of
            trials taken up again only that since their last start.
    """

    name: str
    num_trials: int
    num_search: int
    train_seconds: float
    eval_seconds: float
    other_seconds: float
    rate: float = math.nan

    @property
    def wall_seconds(self) -> float:
        """From each trial's start to its end, earlier starts with their epochs alone."""
        return self.train_seconds + self.eval_seconds + self.other_seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeUseInfo:
    """Time by arm.

    Attributes:
        unit: what the run calls a sample.
        slot_seconds: the runs' wall time times the trials they could train at once; nan where
            a run's events do not tell.
    """

    arms: tuple[ArmTime, ...]
    slot_seconds: float
    unit: str = "samples"

    @property
    def idle_seconds(self) -> float:
        """Slots without a trial, start-up of the run included; nan where unknown."""
        return float(np.maximum(0.0, self.slot_seconds - sum(a.wall_seconds for a in self.arms)))


def time_use_info(run: Run) -> TimeUseInfo:
    """Of the trials that have ended: their wall time split by what the epochs measured.

    A trial that was taken up again (resumed, or promoted to a longer rung) has the wall time of
    its last start. Of earlier starts the epochs that were kept count, not what else they took. A
    trial that began from another's state (search.share_prefix) has epochs of before its first
    start: they are that trial's time and do not count again.
    """
    by_trial = replace(run, epochs=run.epochs.select(COLUMNS)).epochs_by_trial()
    arms = []
    for name, rows in group_by_arm(run.rows()).items():
        ended = [row for row in rows if row["ended_at"] and row["started_at"]]
        epochs = [by_trial.get((row["run_id"], row["trial_key"]), []) for row in ended]
        parts = [_split(row, recorded) for row, recorded in zip(ended, epochs, strict=True)]
        if ended:
            seconds = dict(zip(PARTS, map(sum, zip(*parts, strict=True)), strict=True))
            num_search = sum(row["role"] != "confirm" for row in ended)
            arms.append(
                ArmTime(
                    name=name,
                    num_trials=len(ended),
                    num_search=num_search,
                    rate=_rate(list(itertools.chain(*epochs))),
                    **seconds,
                )
            )
    slot_seconds = sum(map(_slot_seconds, run.dirs))
    return TimeUseInfo(arms=tuple(arms), slot_seconds=slot_seconds, unit=run.unit)


def draw_time_use(info: TimeUseInfo, figure: Figure) -> None:
    """A stacked bar an arm."""
    longest = max(arm.wall_seconds for arm in info.arms)
    scale, unit = next((scale, name) for limit, scale, name in UNITS if longest >= limit)
    axes = subplots(figure, 1.7 + 0.42 * len(info.arms))
    place_A = np.arange(len(info.arms))
    left_A = np.zeros(len(info.arms))
    for part, (label, color, hatch) in PARTS.items():
        width_A = np.array([getattr(arm, part) for arm in info.arms]) / scale
        axes.barh(
            place_A, width_A, left=left_A, height=0.62, color=color, hatch=hatch, label=label,
            edgecolor="white", linewidth=0.5,
        )  # fmt: skip
        left_A += width_A
    axes.set_yticks(place_A, [f"{arm_label(a.name)} (n={a.num_trials})" for a in info.arms])
    for place, (arm, end) in enumerate(zip(info.arms, left_A, strict=True)):
        if math.isfinite(arm.rate):
            text = f" {short_number(arm.rate)} {info.unit}/s"
            axes.text(end, place, text, va="center", fontsize=9)
    axes.margins(x=0.16)
    axes.invert_yaxis()
    axes.set_xlabel(f"time of all trials together [{unit}]")
    axes.grid(visible=False, axis="y")
    title = "Time of the trials that have ended (n)"
    if math.isfinite(info.slot_seconds):
        share = info.idle_seconds / info.slot_seconds
        title += f"; besides, slots without a trial: {share:.0%} of the run"
    figure.suptitle(title, fontsize=11)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)


def _rate(epochs: list[Row]) -> float:
    """Samples per second of training."""
    pairs = [(epoch["images_per_second"], epoch["seconds"]) for epoch in epochs]
    known = [(rate, seconds) for rate, seconds in pairs if rate and seconds]
    seconds = sum(seconds for _, seconds in known)
    return sum(rate * seconds for rate, seconds in known) / seconds if seconds else math.nan


def _split(row: Row, epochs: list[Row]) -> tuple[float, float, float]:
    """Seconds of training, validation and the rest of one trial; none is negative."""
    wall = max(0.0, float((row["ended_at"] - row["started_at"]).total_seconds()))
    if not epochs:  # the epochs' file may be damaged
        train = float(row["train_seconds"] or 0.0)
        return train, 0.0, max(0.0, wall - train)
    epochs = sorted(epochs, key=lambda epoch: -int(epoch["epoch"]))
    both = [(epoch["seconds"] or 0.0, epoch["eval_seconds"] or 0.0) for epoch in epochs]
    seconds_E2 = np.array(both)  # training and validation, the last epoch first
    fits_E = np.cumsum(seconds_E2.sum(axis=1)) <= wall + SAME_TIME
    train, val = (seconds_E2 if row["attempt"] > 1 else seconds_E2[fits_E]).sum(axis=0)
    return float(train), float(val), max(0.0, wall - float(seconds_E2[fits_E].sum()))


def _slot_seconds(run_dir: Path) -> float:
    """Of one run, its pauses left out; nan where its events do not tell start and end."""
    seconds, begin = 0.0, None
    try:
        events, problems = read_events(run_dir)
        if problems:
            return math.nan
        for event in events:
            time = datetime.fromisoformat(event["time"])
            if event["kind"] == "start":
                if begin is not None:  # killed before it could note its end
                    return math.nan
                begin, slots = time, float(event["slots"]["max_concurrent"])
            elif event["kind"] == "end" and begin is not None:
                seconds += (time - begin).total_seconds() * slots
                begin = None
    except (ValueError, TypeError, KeyError):
        return math.nan
    return seconds if seconds and begin is None else math.nan


def _time_caption(info: TimeUseInfo) -> str:
    trials = counts([(arm.name, arm.num_trials) for arm in info.arms], "trials")
    idle = info.idle_seconds
    slots = "" if math.isnan(idle) else f" Slots without a trial: {duration(idle)} besides."
    return (
        f"Wall time of all ended trials added up, {trials}; of trials taken up again (resumed, or "
        f"promoted) since their last start, and the epochs before it. "
        f"At the bars: {info.unit} per second of training.{slots}"
    )


def _time_table(info: TimeUseInfo) -> Table:
    rows = [
        [
            arm_label(arm.name),
            str(arm.num_trials),
            *(duration(getattr(arm, part)) for part in PARTS),
            duration(arm.wall_seconds / arm.num_trials),
            number(arm.rate),
        ]
        for arm in info.arms
    ]
    header = ["arm", "trials", "training", "validation", "rest", "mean per trial"]
    header.append(f"{info.unit} per second of training")
    return Table(caption="Time of the trials that have ended", header=header, rows=rows)


TIME_USE = Plot(
    title="Time by arm", section="Where time went", info=time_use_info, draw=draw_time_use,
    caption=_time_caption, table=_time_table,
)  # fmt: skip
