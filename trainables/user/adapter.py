"""How does the user's own trainable become a `Training`? It reports, we ask.

`trainable(schedule, seed, report)` runs in a thread of its own: it follows the table and calls
`report(...)` at the end of each epoch. An error of the function is an error of `run_epoch`, and a
training that nobody wants any more ends inside `report`. What is recorded of lr, batch and
momentum is the table's; that the function uses it is its side of the contract.
"""

from __future__ import annotations

import functools
import math
import random
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NoReturn

import numpy as np
import torch

from search_spaces.records import EpochRecord, Outcome, so_far
from search_spaces.registry import import_callable
from search_spaces.schedule import Schedule
from search_spaces.space import OF_TABLE
from search_spaces.trial import TrialConfig
from trainables.training import hardware, planned
from trainables.user import Trainable, extra_arguments
from trainables.user.report import Abandoned, End, EpochReport, Report, Turns, load_state

STOP_SECONDS = 5.0  # an abandoned function has to leave `report` and clean up


class UserTraining:
    """The user's trainable, one schedule, one seed; implements `Training`.

    Python's, numpy's and torch's global generators are seeded before it is called. What the config
    gives to the training besides a schedule is its argument `params`, by name.
    Losses and accuracies that it does not report are nan; val_accuracy as the objective counts as
    chance in a diverged epoch.
    `seconds` is all the time between two reports, the function's own evaluation included.
    A training interrupted without a `state=` begins anew.

    Arguments as of NetworkTraining; trainable=None imports what the recipe's model names.
    """

    def __init__(
        self,
        trial: TrialConfig,
        *,
        schedule: Schedule | None = None,
        device: str = "cpu",
        trainable: Trainable | None = None,
    ) -> None:
        self.trial = trial
        self.schedule = schedule or trial.schedule
        self.device = torch.device(device)
        self.trainable: Trainable = trainable or import_callable(trial.recipe.model)
        self.records: list[EpochRecord] = []
        self.diverged = False
        self.last: EpochReport | None = None  # what the newest epoch told
        self.saved: bytes | None = None  # the newest state that the function gave, ...
        self.num_saved = 0  # ... and the epochs done by then
        self.turns: Turns | None = None
        self.stop: Callable[[], object] = lambda: None

    @property
    def finished(self) -> bool:
        """True when no epoch is left, or the training has diverged."""
        return self.diverged or len(self.records) >= self.schedule.num_reports

    def run_epoch(self) -> EpochRecord:
        """Let the function train and evaluate one epoch; the first call starts it.

        Raises:
            ValueError: it returned before its last epoch.
            Exception: whatever it raises, with its traceback.
        """
        start = time.perf_counter()
        turns = self.turns or self._begin()
        answer = turns.ask()
        if isinstance(answer, End):
            self._fail(answer, f"after {len(self.records)} of")
        seconds = time.perf_counter() - start
        self.last = answer
        self.diverged = not answer.is_finite(self.trial.recipe.objective)
        record = self._record(answer, seconds)
        self.records.append(record)
        if answer.state is not None:
            self.saved, self.num_saved = answer.state, len(self.records)
        if self.diverged:
            self.stop()
        elif self.finished:
            self._finish(turns)
        return record

    def _begin(self) -> Turns:
        """Start the function in its thread, where it waits for the first epoch to be asked for."""
        trial, turns = self.trial, Turns()
        report = Report(
            turns,
            num_reports=self.schedule.num_reports,
            report=len(self.records),
            state=None if self.saved is None else load_state(self.saved),
            device=self.device.type,
            threads=trial.recipe.num_threads,
            confirms=trial.role == "confirm",
            metric=trial.recipe.metric,
        )
        extra = {n: v for n, v in trial.training_params.items() if n not in OF_TABLE}
        # No reference to self: a training that is dropped must end its thread.
        train = functools.partial(self.trainable, **extra_arguments(self.trainable, extra))
        arguments = train, self.schedule, trial.seed, report, turns
        thread = threading.Thread(target=_run, args=arguments, daemon=True)
        thread.start()
        self.stop = weakref.finalize(self, _stop, turns, thread)
        self.stop.atexit = False
        self.turns = turns
        return turns

    def _finish(self, turns: Turns) -> None:
        """After its last epoch the function has to return, or say what is wrong."""
        answer = turns.ask()
        assert isinstance(answer, End), "`report` refuses an epoch too many"
        if answer.error is not None:
            self._fail(answer, "after")

    def _fail(self, end: End, when: str) -> NoReturn:
        self.stop()
        self.turns = None
        if isinstance(end.error, Exception):
            raise end.error
        name = self.trial.recipe.model
        ending = "returned" if end.error is None else f"ended with {end.error!r}"
        raise ValueError(
            f"{name} {ending} {when} {self.schedule.num_reports} reports (schedule.num_reports); "
            "call report once at each evaluation point: the end of each epoch without reports=."
        ) from end.error

    def _record(self, report: EpochReport, seconds: float) -> EpochRecord:
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
            seconds=seconds,
            eval_seconds=0.0,
            images_per_second=num_samples / seconds,
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
            **hardware(self.device),
        )

    def state_dict(self) -> dict[str, Any]:
        """The function's newest state with the records up to it; all records once finished."""
        num_kept = len(self.records) if self.finished else self.num_saved
        return {
            "records": [asdict(r) for r in self.records[:num_kept]],
            "diverged": self.diverged,
            "last": asdict(self.last) | {"state": None} if self.finished and self.last else None,
            "saved": self.saved,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()` of the same trial; from the start where it holds no state."""
        self.records = [EpochRecord(**r) for r in state["records"]]
        self.diverged = state["diverged"]
        self.last = None if state["last"] is None else EpochReport(**state["last"])
        self.saved = state["saved"]
        self.num_saved = len(self.records)


def _run(
    trainable: Trainable, schedule: Schedule, seed: int, report: Report, turns: Turns
) -> None:
    """The thread: wait for the first epoch, then let the function report to its end."""
    error: BaseException | None = None
    try:
        turns.wait()
        torch.set_num_threads(report.threads)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  (what the function's libraries draw from)
        torch.manual_seed(seed)
        trainable(schedule, seed, report)
    except Abandoned:
        pass
    except BaseException as raised:
        error = raised
    turns.tell(End(error))


def _stop(turns: Turns, thread: threading.Thread) -> None:
    """Make the function leave `report`, and wait for it: the next training needs its memory."""
    turns.give_up()
    if thread is not threading.current_thread():
        thread.join(STOP_SECONDS)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
