"""What does a person see while a run goes on? A live table or a line that moves, else lines."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from results.records.redaction import redact, visible
from results.statistics.wording import screen_text, short_words
from search_spaces.metric import VAL_ACCURACY, Metric
from search_spaces.records import (
    ENDED_WELL,
    EpochRecord,
    Outcome,
    Status,
    error_line,
    error_text,
    plain_text,
    score_on_test,
)
from search_spaces.trial import TrialConfig
from tuner.display.outlook import Outlook
from tuner.display.phrases import describe_params, describe_seconds, point, say_at_once
from tuner.plan.ladder import share

REFRESH_PER_SECOND = 4
NOTEBOOK_SECONDS = 0.5  # between two drawings of a notebook's line
TAIL_BYTES, SHOWN = 4096, 100  # of a log; characters of its last line
HEARTBEAT_SECONDS = 30.0  # between lines when nothing else is to be said


@dataclass
class ArmState:
    """Counts of one arm and the best of its search, among the longest trainings so far.

    best: in the metric that the search ranks by. confirmed: the same of its confirm trials, all
    there is of an arm not searched.
    """

    planned: int
    counts: Counter[str] = field(default_factory=Counter)
    best: float | None = None
    best_horizon: float = 0.0
    best_params: Mapping[str, float] = field(default_factory=dict)
    confirmed: list[float] = field(default_factory=list)


@dataclass
class Running:
    """A trial under way and its newest epoch."""

    trial: TrialConfig
    started: float
    record: EpochRecord | None = None


class Display:
    """Keeps the run's state and says nothing (display=none); the others draw it.

    Args:
        planned: trainings foreseen per arm, search and confirm together.
        num_samples: of all of them, for the time left.
        cost: keywords of `Outlook`.
    """

    def __init__(self, planned: Mapping[str, int], num_samples: int, **cost: Any) -> None:
        self.outlook = Outlook(sum(planned.values()), num_samples, **cost)
        self.arms = {name: ArmState(planned=count) for name, count in planned.items()}
        self.live: dict[str, Running] = {}
        self.most_live = 1
        self.begun = time.monotonic()
        self.failures: Counter[str] = Counter()
        self.metric = VAL_ACCURACY  # what the search ranks by, as the trials say
        self.logs: Path | None = None  # where the last lines to be shown are
        self.problem: Exception | None = None  # that the drawing, in a thread of its own, has met

    def start(self) -> None:
        """Begin to draw."""

    def stop(self) -> None:
        """Leave the screen as it is."""

    def say(self, text: str) -> None:
        """A message for the person."""

    def notice(self, text: str) -> None:
        """A message out of a signal handler, at once and past all buffers."""
        say_at_once(text)

    def resumed(
        self,
        trial: TrialConfig,
        status: str,
        objective: float | None,
        num_rungs: int = 1,
        seconds: float = 0.0,
    ) -> None:
        """Count a trial that ended before the resume, the rungs that it passed and its time."""
        self.outlook.spend(trial, seconds)
        self._count(trial, status, objective)
        self.arms[trial.space].counts["paused"] += num_rungs - 1

    def trial_started(self, trial: TrialConfig) -> None:
        """A training begins."""
        self.metric = trial.recipe.metric
        self.live[trial.trial_key] = Running(trial=trial, started=time.monotonic())
        self.most_live = max(self.most_live, len(self.live))

    def epoch_ended(self, trial: TrialConfig, record: EpochRecord) -> None:
        """A training finished an epoch."""
        running = self.live.get(trial.trial_key)
        if running is None:
            return
        running.record = record
        known = record.wall_seconds
        seconds = record.seconds + record.eval_seconds if known is None else known
        self.outlook.report(trial, record.epoch, record.samples_seen, seconds)

    def trial_ended(
        self, trial: TrialConfig, status: Status, outcome: Outcome | None, error: str | None
    ) -> None:
        """A training ended, well or not."""
        self.live.pop(trial.trial_key, None)
        if outcome is not None and outcome.wall_seconds is not None:
            self.outlook.end(trial, outcome.wall_seconds)
        self._count(trial, status, outcome.objective if outcome else None)
        if error:
            self._say_failure(trial, status, error)

    def seconds_left(self) -> float | None:
        """Estimate from the wall time of a sample so far; None before the first epoch."""
        busy = self.outlook.seconds_left()
        return None if busy is None else busy / self.most_live

    def _left(self) -> str:
        seconds = self.seconds_left()
        if not seconds:
            return ""
        return f" (about {describe_seconds(seconds)} left; {self.outlook.cost_words()})"

    def printed_last(self, trial: TrialConfig) -> str:
        """What a running training has printed last; nothing where that is not to be shown."""
        if self.logs is None:
            return ""
        try:
            with open(self.logs / f"{trial.trial_key}.txt", "rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
                lines = plain_text(log.read().decode(errors="replace")).splitlines()
        except OSError:
            return ""
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return visible(redact(last), in_a_line=True)[-SHOWN:]

    def _count(self, trial: TrialConfig, status: str, objective: float | None) -> None:
        """The best of the search alone: other roles have other seeds. Longer trainings first."""
        arm = self.arms.setdefault(trial.space, ArmState(planned=0))
        arm.counts[status] += 1
        recipe, metric = trial.recipe, trial.recipe.metric
        self.metric = metric
        share = trial.horizon * recipe.epochs * recipe.train_examples
        samples = share if trial.until is None else recipe.samples_at(trial.until)
        self.outlook.see(trial, round(samples))
        if objective is None or trial.until is not None:
            return
        if trial.role == "confirm":
            arm.confirmed.append(objective)
        worst = 0.0 if metric.is_accuracy else metric.worst
        before = metric.score(worst if arm.best is None else arm.best)
        is_best = (trial.horizon, metric.score(objective)) > (arm.best_horizon, before)
        if trial.role == "search" and is_best:
            arm.best, arm.best_horizon, arm.best_params = objective, trial.horizon, trial.params

    def _say_failure(self, trial: TrialConfig, status: str, error: str) -> None:
        """The first failure of a kind in full, later ones counted."""
        kind = error_line(error) or status
        self.failures[kind] += 1
        who = f"{trial.space} trial {trial.trial_key} {status}"
        if self.failures[kind] == 1:
            self.say(f"{who} with {describe_params(trial.params)}:\n{error_text(error).strip()}")
        else:
            self.say(f"{who}: {kind} ({self.failures[kind]} times)")


class PlainDisplay(Display):
    """One line per finished trial, and a heartbeat: for logs and pipes."""

    last_line = 0.0  # by the clock of time.monotonic
    has_begun = False

    def say(self, text: str) -> None:
        """Print it."""
        print(text, flush=True)
        self.last_line = time.monotonic()

    def epoch_ended(self, trial: TrialConfig, record: EpochRecord) -> None:
        """Say the first epoch of the run, and one now and then."""
        super().epoch_ended(trial, record)
        quiet = time.monotonic() - self.last_line > HEARTBEAT_SECONDS
        if quiet or not self.has_begun:
            self.has_begun = True
            self.say(
                f"  {trial.space} {point(trial.recipe)} {record.epoch}/{trial.num_reports}: "
                f"lr {record.lr:.4g}, "
                f"batch {record.batch_size}, delta {record.delta:.4g}, "
                f"{_reached(trial, record)}{self._left()}"
            )
            if line := self.printed_last(trial):
                self.say(f"    {line}")

    def trial_ended(
        self, trial: TrialConfig, status: Status, outcome: Outcome | None, error: str | None
    ) -> None:
        """One line for the trial."""
        super().trial_ended(trial, status, outcome, error)
        done = sum(sum(arm.counts.values()) for arm in self.arms.values())
        planned = sum(arm.planned for arm in self.arms.values())
        result = (
            status if status != "paused" else f"paused after {point(trial.recipe)} {trial.until}"
        )
        if outcome is not None:
            metric = trial.recipe.metric
            test = score_on_test(asdict(outcome), metric)
            parts: list[str] = [status] if status != "completed" else []
            if outcome.objective is not None:
                parts.append(_metric_text(outcome.objective, metric))
            parts += [] if test is None else [_metric_text(test, metric.of_test)]
            result = ", ".join([*parts, f"{outcome.train_seconds:.1f} s"])
        self.say(
            f"[{done}/{max(done, planned)}] {trial.space} {trial.role} "
            f"{trial.replicate}{_rung(trial.horizon)} "
            f"{describe_params(trial.params)}: {result}{self._left()}"
        )


class NotebookDisplay(Display):
    """One line in a notebook's cell, redrawn at most twice a second; messages follow below it."""

    handle: Any = None  # IPython's, of the line
    last_words = ""
    drawn_at = -math.inf  # by the clock of time.monotonic

    def start(self) -> None:
        """Begin the line."""
        from IPython.display import display

        self.handle = display(self._line(), raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def stop(self) -> None:
        """Leave it with how it ended."""
        if self.handle is not None:
            self.handle.update(self._line(is_over=True), raw=True)

    def say(self, text: str) -> None:
        """Print it below."""
        print(text, flush=True)

    def notice(self, text: str) -> None:
        """In the line, when it moves next: a cell does not show what goes past all buffers."""
        self.last_words, self.drawn_at = text, -math.inf

    def epoch_ended(self, trial: TrialConfig, record: EpochRecord) -> None:
        """Move the line."""
        super().epoch_ended(trial, record)
        self._draw()

    def trial_ended(
        self, trial: TrialConfig, status: Status, outcome: Outcome | None, error: str | None
    ) -> None:
        """Move the line."""
        super().trial_ended(trial, status, outcome, error)
        self._draw()

    def _draw(self) -> None:
        now = time.monotonic()
        if self.handle is not None and now - self.drawn_at >= NOTEBOOK_SECONDS:
            self.drawn_at = now
            self.handle.update(self._line(), raw=True)

    def _line(self, is_over: bool = False) -> dict[str, str]:
        counts = sum((arm.counts for arm in self.arms.values()), Counter[str]())
        ended = counts.total()
        lost = ended - sum(counts[status] for status in ENDED_WELL)
        planned = max(ended, sum(arm.planned for arm in self.arms.values()))
        parts = [f"{ended}/{planned} trainings{f', {lost} failed' if lost else ''}"]
        parts.append(f"{describe_seconds(time.monotonic() - self.begun)} so far{self._left()}")
        searched = {name: arm.best for name, arm in self.arms.items() if arm.best is not None}
        if searched:
            name = max(searched, key=lambda name: self.metric.score(searched[name]))
            best = _metric_text(searched[name], self.metric)
            parts.append(f"best {best} ({name})")
        if is_over:
            parts[1] = describe_seconds(time.monotonic() - self.begun)
        elif self.last_words:
            parts.append(self.last_words)
        return {"text/plain": "; ".join(parts)}


class RichDisplay(Display):
    """One screen, redrawn four times a second."""

    def __init__(self, planned: Mapping[str, int], num_samples: int, **cost: Any) -> None:
        super().__init__(planned, num_samples, **cost)
        self.last_words = ""
        self.view = Live(get_renderable=self.render, refresh_per_second=REFRESH_PER_SECOND)

    def start(self) -> None:
        """Begin to draw."""
        self.view.start()

    def stop(self) -> None:
        """Leave the last screen standing."""
        self.view.stop()

    def say(self, text: str) -> None:
        """Print it above the table."""
        self.view.console.print(Text(text))

    def notice(self, text: str) -> None:
        """Below the table, which would be drawn over anything else; the next frame shows it."""
        if self.view.is_started:
            self.last_words = text
        else:
            super().notice(text)

    def render(self) -> RenderableType:
        """The screen: arms, running trials, time; the last words alone once it has failed."""
        try:
            if self.problem is None:
                last = [Text(self.last_words, style="bold")] if self.last_words else []
                return Group(self.arm_table(), self.trial_table(), self.time_line(), *last)
        except Exception as error:  # in a thread, where it would end the drawing without a word
            self.problem = error
        return Text(self.last_words)

    def time_line(self) -> Text:
        """Time and cost, so far and to come."""
        left, total = self.seconds_left(), describe_seconds(time.monotonic() - self.begun)
        total += " so far"
        if left is not None:
            total += f", about {describe_seconds(left)} left; {self.outlook.cost_words()}"
        return Text(total, style="dim")

    def arm_table(self) -> Table:
        """A row per arm: how far it is, and its best so far."""
        has_diverged = any(arm.counts["diverged"] for arm in self.arms.values())
        counts = ["done", "running", *(["diverged"] if has_diverged else []), "failed"]
        table = _table("space", *counts, f"best {short_words(self.metric)}", "with")
        running = Counter(live.trial.space for live in self.live.values())
        for name, arm in self.arms.items():
            done = sum(arm.counts[s] for s in ENDED_WELL)
            failed, diverged = sum(arm.counts.values()) - done, arm.counts["diverged"]
            table.add_row(
                Text(name),  # or [bold] in a name would be markup
                f"{done}/{max(arm.planned, done + running[name])}",
                str(running[name]),
                *([_alarming(diverged)] if has_diverged else []),
                _alarming(failed),
                _score(arm, self.metric),
                describe_params(arm.best_params),
            )
        return table

    def trial_table(self) -> Table:
        """A row per training under way: its newest epoch."""
        live_trials, value = list(self.live.values()), short_words(self.metric)
        what = point(live_trials[0].trial.recipe) if live_trials else "epoch"
        says = ["says"] if self.logs else []
        table = _table("running", "role", what, "lr", "batch", "delta", value, "left", *says)
        for live in live_trials:
            trial, record = live.trial, live.record
            reports = trial.num_reports
            if record is None:
                dashes = ["-"] * 5
                table.add_row(
                    Text(trial.space), trial.role, f"0/{reports}", *dashes, *self._says(trial)
                )
                continue
            pace = (time.monotonic() - live.started) / record.epoch
            table.add_row(
                Text(trial.space),
                trial.role,
                f"{record.epoch}/{reports}",
                f"{record.lr:.4g}",
                str(record.batch_size),
                f"{record.delta:.4g}",
                screen_text(record.value(trial.recipe.objective), trial.recipe.metric),
                describe_seconds(pace * (reports - record.epoch)),
                *self._says(trial),
            )
        return table

    def _says(self, trial: TrialConfig) -> list[Text]:
        return [Text(self.printed_last(trial))] if self.logs else []


def make_display(kind: str, planned: Mapping[str, int], num_samples: int, **cost: Any) -> Display:
    """The display named auto | rich | plain | none; arguments as of `Display`.

    auto is one line that moves in a notebook's cell.
    """
    classes = {"rich": RichDisplay, "plain": PlainDisplay, "none": Display}
    if kind == "auto" and in_kernel():
        return NotebookDisplay(planned, num_samples, **cost)
    if kind == "auto":
        kind = "rich" if sys.stdout is not None and sys.stdout.isatty() else "plain"
    return classes[kind](planned, num_samples, **cost)


def in_kernel() -> bool:
    """True in a cell of a notebook: Jupyter's kernel runs this code."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _metric_text(value: float, metric: Metric) -> str:
    """ "val 97.31 %", "val loss 3.2871"."""
    return f"{short_words(metric)} {screen_text(value, metric)}"


def _reached(trial: TrialConfig, record: EpochRecord) -> str:
    """What the epoch came to."""
    return _metric_text(record.value(trial.recipe.objective), trial.recipe.metric)


def _rung(horizon: float) -> str:
    """How short a squeezed training is; nothing for a full one."""
    return "" if horizon == 1.0 else f" at {share(horizon)}"


def _table(*names: str) -> Table:
    """Without rows; words on the left, numbers on the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, justify="left" if name in (names[0], "role", "with") else "right")
    return table


def _alarming(count: int) -> Text:
    return Text(str(count), style="red" if count else "")


def _score(arm: ArmState, metric: Metric) -> str:
    """The best of the search; of an arm that is not searched the mean of its confirm trials."""
    if arm.best is not None:
        return f"{screen_text(arm.best, metric)}{_rung(arm.best_horizon)}"
    if not arm.confirmed:
        return "-"
    mean = sum(arm.confirmed) / len(arm.confirmed)
    return f"{screen_text(mean, metric)} mean of {len(arm.confirmed)}"
