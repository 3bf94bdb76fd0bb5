"""What does a person see while a run goes on? A live table in a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search_spaces.records import ENDED_WELL, EpochRecord, Outcome, Status
from search_spaces.space import SCHEDULE_PARAMS
from search_spaces.trial import TrialConfig
from tuner.plan.ladder import share

REFRESH_PER_SECOND = 4
HEARTBEAT_SECONDS = 30.0  # between lines when nothing else is to be said


@dataclass
class ArmState:
    """Counts of one arm and its best validation accuracy, among the longest trainings so far."""

    planned: int
    counts: Counter[str] = field(default_factory=Counter)
    best: float | None = None
    best_horizon: float = 0.0
    best_params: Mapping[str, float] = field(default_factory=dict)


@dataclass
class LiveTrial:
    """A running trial and its newest epoch."""

    config: TrialConfig
    started: float
    record: EpochRecord | None = None


class Display:
    """Keeps the run's state and says nothing (display=none); the others draw it.

    Args:
        planned: trainings foreseen per arm, search and confirm together.
        num_samples: of all of them, for the time left.
    """

    def __init__(self, planned: Mapping[str, int], num_samples: int) -> None:
        self.arms = {name: ArmState(planned=count) for name, count in planned.items()}
        self.live: dict[str, LiveTrial] = {}
        self.num_samples = num_samples
        self.samples_by_trial: dict[str, int] = {}
        self.samples_seen = 0  # by this process
        self.busy_seconds = 0.0
        self.most_live = 1
        self.begun = time.monotonic()
        self.failures: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to draw."""

    def stop(self) -> None:
        """Leave the screen as it is."""

    def say(self, text: str) -> None:
        """A message for the person."""

    def refresh(self) -> None:
        """Called whenever something changed."""

    def resumed(
        self, config: TrialConfig, status: str, objective: float | None, num_rungs: int = 1
    ) -> None:
        """Count a trial that ended before the resume, and the rungs that it passed."""
        arm = self.arms.setdefault(config.space, ArmState(planned=0))
        arm.counts[status] += 1
        arm.counts["paused"] += num_rungs - 1
        self.samples_by_trial[config.trial_key] = _num_samples(config)
        self._note_best(arm, config, objective)

    def trial_started(self, config: TrialConfig) -> None:
        """A training begins."""
        self.live[config.trial_key] = LiveTrial(config=config, started=time.monotonic())
        self.most_live = max(self.most_live, len(self.live))
        self.refresh()

    def epoch_ended(self, config: TrialConfig, record: EpochRecord) -> None:
        """A training finished an epoch."""
        trial = self.live.get(config.trial_key)
        if trial is None:
            return
        trial.record = record
        fresh = record.samples_seen - self.samples_by_trial.get(config.trial_key, 0)
        if fresh > 0:  # not an epoch told again by a worker that went on from a state
            self.samples_by_trial[config.trial_key] = record.samples_seen
            self.samples_seen += fresh
            self.busy_seconds += record.seconds + record.eval_seconds
        self.refresh()

    def trial_ended(
        self, config: TrialConfig, status: Status, outcome: Outcome | None, error: str | None
    ) -> None:
        """A training ended, well or not."""
        self.live.pop(config.trial_key, None)
        arm = self.arms.setdefault(config.space, ArmState(planned=0))
        arm.counts[status] += 1
        self.samples_by_trial[config.trial_key] = _num_samples(config)
        self._note_best(arm, config, outcome.objective if outcome else None)
        if error:
            self._say_failure(config, status, error)
        self.refresh()

    def seconds_left(self) -> float | None:
        """Estimate from the samples per second of a trial so far; None before the first epoch."""
        if not self.busy_seconds:
            return None
        left = self.num_samples - sum(self.samples_by_trial.values())
        rate = self.samples_seen / self.busy_seconds * self.most_live
        return max(0.0, left / rate)

    def _note_best(self, arm: ArmState, config: TrialConfig, objective: float | None) -> None:
        """Of the search alone: other roles train on other seeds. Longer trainings come first."""
        if config.role != "search" or objective is None or config.until is not None:
            return
        if (config.horizon, objective) > (arm.best_horizon, arm.best or 0.0):
            arm.best, arm.best_horizon, arm.best_params = objective, config.horizon, config.params

    def _say_failure(self, config: TrialConfig, status: str, error: str) -> None:
        """The first failure of a kind in full, later ones counted."""
        kind = error.strip().splitlines()[-1] if error.strip() else status
        self.failures[kind] += 1
        who = f"{config.space} trial {config.trial_key} {status}"
        if self.failures[kind] == 1:
            self.say(f"{who} with {describe_params(config.params)}:\n{error.strip()}")
        else:
            self.say(f"{who}: {kind} ({self.failures[kind]} times)")


class PlainDisplay(Display):
    """One line per finished trial, and a heartbeat: for logs and pipes."""

    def __init__(self, planned: Mapping[str, int], num_samples: int) -> None:
        super().__init__(planned, num_samples)
        self.last_line = time.monotonic()
        self.said_first_epoch = False

    def say(self, text: str) -> None:
        """Print it."""
        print(text, flush=True)
        self.last_line = time.monotonic()

    def epoch_ended(self, config: TrialConfig, record: EpochRecord) -> None:
        """Say the first epoch of the run, and one now and then."""
        super().epoch_ended(config, record)
        quiet = time.monotonic() - self.last_line > HEARTBEAT_SECONDS
        if quiet or not self.said_first_epoch:
            self.said_first_epoch = True
            self.say(f"  {config.space} {describe_epoch(config, record)}{self._left()}")

    def trial_ended(
        self, config: TrialConfig, status: Status, outcome: Outcome | None, error: str | None
    ) -> None:
        """One line for the trial."""
        super().trial_ended(config, status, outcome, error)
        done = sum(sum(arm.counts.values()) for arm in self.arms.values())
        planned = sum(arm.planned for arm in self.arms.values())
        result = status if outcome is None else describe_outcome(status, outcome)
        if status == "paused":
            result = f"paused after epoch {config.until}"
        self.say(
            f"[{done}/{max(done, planned)}] {config.space} {config.role} "
            f"{config.replicate}{_rung(config.horizon)} "
            f"{describe_params(config.params)}: {result}{self._left()}"
        )

    def _left(self) -> str:
        seconds = self.seconds_left()
        return "" if not seconds else f" (about {describe_seconds(seconds)} left)"


class RichDisplay(Display):
    """One screen, redrawn four times a second."""

    def __init__(self, planned: Mapping[str, int], num_samples: int) -> None:
        super().__init__(planned, num_samples)
        self.console = Console()
        self.view = Live(
            get_renderable=self.render,
            console=self.console,
            refresh_per_second=REFRESH_PER_SECOND,
        )

    def start(self) -> None:
        """Begin to draw."""
        self.view.start()

    def stop(self) -> None:
        """Leave the last screen standing."""
        self.view.stop()

    def say(self, text: str) -> None:
        """Print it above the table."""
        self.console.print(Text(text))

    def render(self) -> RenderableType:
        """The screen: arms, running trials, time."""
        elapsed = describe_seconds(time.monotonic() - self.begun)
        left = self.seconds_left()
        total = f"{elapsed} so far" + (
            "" if left is None else f", about {describe_seconds(left)} left"
        )
        return Group(self._arm_table(), self._trial_table(), Text(total, style="dim"))

    def _arm_table(self) -> Table:
        table = Table(title=None, box=None, pad_edge=False, header_style="bold")
        for name in ("space", "done", "running", "failed", "best val", "with"):
            table.add_column(name, justify="left" if name in ("space", "with") else "right")
        running = Counter(t.config.space for t in self.live.values())
        for name, arm in self.arms.items():
            done = sum(arm.counts[s] for s in ENDED_WELL)
            failed = sum(arm.counts.values()) - done
            table.add_row(
                name,
                f"{done}/{max(arm.planned, done + running[name])}",
                str(running[name]),
                Text(str(failed), style="red" if failed else ""),
                "-" if arm.best is None else f"{100 * arm.best:.2f} %{_rung(arm.best_horizon)}",
                describe_params(arm.best_params),
            )
        return table

    def _trial_table(self) -> Table:
        table = Table(title=None, box=None, pad_edge=False, header_style="bold")
        for name in ("running", "role", "epoch", "lr", "batch", "delta", "val", "left"):
            table.add_column(name, justify="left" if name in ("running", "role") else "right")
        for trial in list(self.live.values()):
            config, record = trial.config, trial.record
            epochs = config.num_epochs
            if record is None:
                table.add_row(config.space, config.role, f"0/{epochs}", *["-"] * 5)
                continue
            pace = (time.monotonic() - trial.started) / record.epoch
            table.add_row(
                config.space,
                config.role,
                f"{record.epoch}/{epochs}",
                f"{record.lr:.4g}",
                str(record.batch_size),
                f"{record.delta:.4g}",
                f"{100 * record.val_accuracy:.2f} %",
                describe_seconds(pace * (epochs - record.epoch)),
            )
        return table


def make_display(kind: str, planned: Mapping[str, int], num_samples: int) -> Display:
    """The display named auto | rich | plain | none."""
    if kind == "auto":
        kind = "rich" if sys.stdout.isatty() else "plain"
    classes = {"rich": RichDisplay, "plain": PlainDisplay, "none": Display}
    return classes[kind](planned, num_samples)


def _num_samples(config: TrialConfig) -> int:
    """Samples of this training, or until it pauses."""
    recipe = config.recipe
    epochs = recipe.epochs * config.horizon if config.until is None else config.until
    return round(epochs * recipe.train_examples)


def _rung(horizon: float) -> str:
    """How short a squeezed training is; nothing for a full one."""
    return "" if horizon == 1.0 else f" at {share(horizon)}"


def describe_params(params: Mapping[str, float]) -> str:
    """'p=0.9 interval=2 delta0=0.31', without a split of 1."""
    shown = {k: v for k, v in params.items() if not (k == "split" and v == 1)}
    order = sorted(
        shown, key=lambda name: SCHEDULE_PARAMS.index(name) if name in SCHEDULE_PARAMS else -1
    )
    return " ".join(f"{name}={shown[name]:.4g}" for name in order)


def describe_epoch(config: TrialConfig, record: EpochRecord) -> str:
    """One epoch in words."""
    return (
        f"epoch {record.epoch}/{config.num_epochs}: lr {record.lr:.4g}, batch "
        f"{record.batch_size}, delta {record.delta:.4g}, val {100 * record.val_accuracy:.2f} %"
    )


def describe_outcome(status: str, outcome: Outcome) -> str:
    """The result of a trial in words."""
    text = f"val {100 * outcome.objective:.2f} %"
    if outcome.test_accuracy is not None:
        text += f", test {100 * outcome.test_accuracy:.2f} %"
    text += f", {outcome.train_seconds:.1f} s"
    return text if status == "completed" else f"{status}, {text}"


def describe_seconds(seconds: float) -> str:
    """'42 s', '3 min 05 s', '2 h 10 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
