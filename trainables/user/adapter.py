"""How does the user's own trainable become a `Training`? It reports, we ask.

`trainable(schedule, seed, report)` runs in the main thread of a process of its own (`process.py`):
it follows the table and calls `report(...)` at the end of each epoch. It may run ahead of what we
have heard, up to where the training is to pause. An error of the function is
an error of `run_epoch`, and a training that nobody wants any more ends inside `report`. What is
recorded of lr, batch and momentum is the table's; that the function uses it is its side of the
contract.
"""

from __future__ import annotations

import bisect
import functools
import math
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NoReturn

import torch

from search_spaces.records import EpochRecord, Outcome, so_far
from search_spaces.registry import check_allowed
from search_spaces.schedule import Schedule
from search_spaces.space import OF_TABLE
from search_spaces.trial import TrialConfig
from trainables.failures import NUM_REMEMBERED, FunctionError, Patience, ProcessError
from trainables.training import hardware, planned
from trainables.user.answers import End, EpochReport
from trainables.user.handed import Handed
from trainables.user.process import Order, Player, Start, preload_of, server, start_child


class UserTraining:
    """The user's trainable, one schedule, one seed; implements `Training`.

    Python's, numpy's and torch's global generators are seeded before it is called. What the config
    gives to the training besides a schedule is its argument `params`, by name.
    Losses and accuracies that it does not report are nan; val_accuracy as the objective counts as
    chance in a diverged epoch.
    `seconds` is the function's time between two reports, its own evaluation included.
    A training interrupted without a `state=` begins anew.

    Arguments as of NetworkTraining, and:
        trainable: where a function lies that cannot be imported; None = what the recipe's model
            names.
        isolate: a fresh process for this training; False = the one of the training before.
        log: the file that what the function prints is appended to; None = printed as it is.
        patience: how long a report may take; None = as long as it likes.
        ahead: reports that the function may make before they are asked for, never beyond where
            the trial pauses; 0 = exactly one is in flight.
        start: how the function gets its process; None = as above.

    Attributes:
        start_seconds: in which the process has imported the function; nan before the first epoch.
    """

    def __init__(
        self,
        trial: TrialConfig,
        *,
        schedule: Schedule | None = None,
        device: str = "cpu",
        trainable: Handed | Callable[..., object] | None = None,
        isolate: bool = True,
        log: str | None = None,
        patience: Patience | None = None,
        ahead: int = 0,
        start: Start | None = None,
    ) -> None:
        self.trial = trial
        self.schedule = schedule or trial.schedule
        self.device = torch.device(device)
        self.trainable = trainable or trial.recipe.model
        if trainable is None:
            check_allowed(trial.recipe.model)
        self.log, self.patience = log, patience or Patience(math.inf)
        self.ahead = ahead
        if start is None:
            server(preload_of(self.trainable))  # it imports torch meanwhile
        self.start: Start = start or functools.partial(start_child, isolate=isolate)
        self.start_seconds = math.nan
        self.records: list[EpochRecord] = []
        self.diverged = False
        self.last: EpochReport | None = None  # what the newest epoch told
        self.saved: bytes | None = None  # the newest state that the function gave, ...
        self.num_saved = 0  # ... and the epochs done by then
        self._usual: deque[float] = deque(maxlen=NUM_REMEMBERED)  # seconds of the newest reports
        self._ended: dict[str, Any] = {}  # what its process told of itself at the end
        self.player: Player | None = None
        self.stop: Callable[[], object] = lambda: None

    @property
    def finished(self) -> bool:
        """True when no epoch is left, or the training has diverged."""
        return self.diverged or len(self.records) >= self.schedule.num_reports

    def run_epoch(self) -> EpochRecord:
        """Let the function train and evaluate one epoch; the first call starts it.

        Raises:
            FunctionError: it has raised something, or returned before its last epoch.
            ProcessError: its process has died, or told nothing for too long.
        """
        player = self.player or self._begin()
        answer = self._ask(player)
        if isinstance(answer, End):
            self._fail(answer, f"after {len(self.records)} of")
        self.patience.note(answer.seconds)
        self._usual.append(answer.seconds)
        self.last = answer
        self.diverged = not answer.is_finite(self.trial.recipe.objective)
        record = self._record(answer)
        self.records.append(record)
        if answer.state is not None:
            self.saved, self.num_saved = answer.state, len(self.records)
        if self.diverged:
            self.stop()
        elif self.finished:
            self._finish(player)
        return record

    def _begin(self) -> Player:
        """A process imports the function, which waits there for the first epoch to be asked."""
        trial = self.trial
        order = Order(
            function=self.trainable,
            schedule=self.schedule,
            seed=trial.seed,
            report=len(self.records),
            state=self.saved,
            device=self.device.type,
            threads=trial.recipe.num_threads,
            confirms=trial.role == "confirm",
            metric=trial.recipe.metric,
            params={n: v for n, v in trial.training_params.items() if n not in OF_TABLE},
            log=self.log,
        )
        player = self.start(order, self.patience.limit())
        self.start_seconds = player.start_seconds
        # No reference to self: a training that is dropped must end its process.
        self.stop = weakref.finalize(self, _leave, player, self._ended)
        self.stop.atexit = False
        self.player = player
        return player

    def _ask(self, player: Player) -> EpochReport | End:
        try:
            answer = player.ask(
                self.patience.limit(self._usual),
                max(0, min(self.ahead, self._num_until_pause - len(self.records) - 1)),
            )
        except ProcessError:
            self.stop()
            self.player = None
            raise
        if isinstance(answer, End):
            self._ended.update(answer.hardware)
        return answer

    @functools.cached_property
    def _num_until_pause(self) -> int:
        """Reports at which the trial is to pause; beyond the last where it goes to its end."""
        until, reports = self.trial.until, range(1, self.schedule.num_reports + 1)
        if until is None:
            return len(reports) + 1
        samples = self.trial.recipe.samples_at(until)
        return 1 + bisect.bisect_left(
            reports, samples, key=lambda report: _samples_seen(self.schedule, report)
        )

    def _finish(self, player: Player) -> None:
        """After its last epoch the function has to return, or say what is wrong."""
        answer = self._ask(player)
        assert isinstance(answer, End), "`report` refuses an epoch too many"
        if answer.failure is not None:
            self._fail(answer, "after")
        self.stop()

    def _fail(self, end: End, when: str) -> NoReturn:
        self.stop()
        self.player = None
        failure = end.failure
        if failure is None or not failure.is_exception:
            ending = "returned" if failure is None else f"ended with {failure.name}"
            line = (
                f"ValueError: {self.trial.recipe.model} {ending} {when} "
                f"{self.schedule.num_reports} reports (schedule.num_reports); call report once at "
                "each evaluation point: the end of each epoch without reports=."
            )
            text = f"{failure.text}\n{line}" if failure else line
            place = failure.place if failure else ""
            raise FunctionError(text, line=line, place=place, status="failed", log=self.log)
        raise FunctionError(
            failure.text,
            line=failure.line,
            place=failure.place,
            status=failure.status,
            log=self.log,
        )

    def _record(self, report: EpochReport) -> EpochRecord:
        """Schedule values are the table's at the epoch's last step."""
        epoch = len(self.records) + 1
        steps = self.schedule.report_steps(epoch)
        num_samples = sum(step.batch_size for step in steps)
        accuracy, recipe = _or_nan(report.val_accuracy), self.trial.recipe
        is_chance = recipe.objective == "val_accuracy" and not math.isfinite(accuracy)
        named = {n: v for n, v in report.metrics.items() if not n.startswith("test_")}
        return EpochRecord(
            epoch=epoch,
            **planned(self.schedule, steps[-1]),
            num_steps=len(steps),
            samples_seen=steps[-1].first_sample + steps[-1].batch_size,
            train_loss=_or_nan(report.train_loss),
            train_accuracy=_or_nan(report.train_accuracy),
            val_loss=_or_nan(report.val_loss),
            val_accuracy=recipe.chance if is_chance else accuracy,
            seconds=report.seconds,
            eval_seconds=0.0,
            images_per_second=num_samples / report.seconds,
            metrics=named or None,
        )

    def outcome(self) -> Outcome:
        """What the finished training came to; test_* of its last report, only to confirm."""
        assert self.finished, "only a finished training has an outcome"
        assert self.last is not None, "a finished training has reported"
        recipe = self.trial.recipe
        guessed = {"objective": recipe.diverged_objective} if self.diverged else {}
        test = self.last if self.trial.role == "confirm" else None
        is_chance = self.diverged and recipe.metric.test_name == "test_accuracy"
        named = {n: v for n, v in self.last.metrics.items() if test or not n.startswith("test_")}
        return Outcome(
            status="diverged" if self.diverged else "completed",
            **so_far(self.records, recipe.metric) | guessed | {"metrics": named or None},
            final_train_loss=self.last.train_loss,
            final_train_accuracy=self.last.train_accuracy,
            test_loss=test.test_loss if test else None,
            test_accuracy=(recipe.chance if is_chance else test.test_accuracy) if test else None,
            test_correct=test.test_correct if test else None,
            num_params=0,
            **(self._ended or hardware(self.device)),
        )

    def state_dict(self) -> dict[str, Any]:
        """The function's newest state with the records up to it; all records once finished."""
        num_kept = len(self.records) if self.finished else self.num_saved
        return {
            "records": [record.as_dict() for record in self.records[:num_kept]],
            "diverged": self.diverged,
            "last": asdict(self.last) | {"state": None} if self.finished and self.last else None,
            "saved": self.saved,
            "hardware": self._ended,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()` of the same trial; from the start where it holds no state."""
        self.records = [EpochRecord(**r) for r in state["records"]]
        self._usual.extend(record.seconds for record in self.records)
        self.diverged = state["diverged"]
        self.last = None if state["last"] is None else EpochReport(**state["last"])
        self.saved = state["saved"]
        self._ended = state.get("hardware", {})
        self.num_saved = len(self.records)


def _leave(player: Player, ended: dict[str, Any]) -> None:
    """End the function, and keep what its process tells of itself."""
    end = player.leave()
    ended |= end.hardware if end else {}


def _samples_seen(schedule: Schedule, report: int) -> int:
    last = schedule.report_steps(report)[-1]
    return last.first_sample + last.batch_size


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
