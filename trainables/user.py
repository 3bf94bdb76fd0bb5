"""How does the user's own training loop become a `Training`? It reports, we ask.

`train(schedule, seed, report)` runs in a thread of its own: it follows the table and calls
`report(...)` at the end of each epoch, which returns when the next epoch is asked for. So exactly
one epoch is in flight, an error of the function is an error of `run_epoch`, and a training that
nobody wants any more ends inside `report`. What is recorded of lr, batch and momentum is the
table's; that the function uses it is its side of the contract.
"""

from __future__ import annotations

import io
import math
import pickle
import random
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from queue import SimpleQueue
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from search_spaces.registry import import_callable
from search_spaces.schedule import Schedule
from search_spaces.trial import EpochRecord, Outcome, TrialConfig
from trainables.loop import device_name, peak_memory

STOP_SECONDS = 5.0  # an abandoned function has to leave `report` and clean up
SAME_ACCURACY = 1e-4  # test_accuracy and the mean of test_correct; float32 sums differ by less

TrainFunction = Callable[[Schedule, int, "Report"], object]


class _Abandoned(BaseException):
    """Raised out of `report`: nobody wants this training any more. Not for the user's except."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Epoch:
    """What one call of `report` told, checked; `state` serialized, `correct` as a bitmap."""

    val_accuracy: float
    val_loss: float | None
    train_loss: float | None
    train_accuracy: float | None
    test_accuracy: float | None
    test_loss: float | None
    test_correct: bytes | None
    state: bytes | None

    @property
    def is_finite(self) -> bool:
        """False for a training that has diverged."""
        values = (self.val_accuracy, self.val_loss, self.train_loss)
        return all(math.isfinite(v) for v in values if v is not None)


@dataclass(frozen=True, slots=True)
class _End:
    """The user's function has returned, or raised `error`."""

    error: BaseException | None


class Report:
    """What the user's function calls at the end of each epoch, and what it may ask.

    Attributes:
        epoch: epochs done so far; above 0 at the start when an interrupted training goes on.
        state: what the last `state=` held then, on the CPU; None at the start of a training.
        device: "cpu" or "cuda". threads: CPU threads of this training.
    """

    def __init__(
        self,
        *,
        num_epochs: int,
        epoch: int = 0,
        state: dict[str, Any] | None = None,
        device: str = "cpu",
        threads: int = 1,
        confirms: bool = False,
    ) -> None:
        self.epoch, self.state = epoch, state
        self.device, self.threads = device, threads
        self._num_epochs = num_epochs
        self._confirms = confirms
        self._knows_needs_test = False
        self._is_state_checked = False
        self._asked: SimpleQueue[bool] = SimpleQueue()  # True: the next epoch; False: stop
        self._told: SimpleQueue[_Epoch | _End] = SimpleQueue()
        self._is_abandoned = False

    @property
    def needs_test(self) -> bool:
        """True where the last epoch's test_* are kept: in the trainings that verdicts judge."""
        self._knows_needs_test = True
        return self._confirms

    def __call__(
        self,
        *,
        val_accuracy: float,
        val_loss: float | None = None,
        train_loss: float | None = None,
        train_accuracy: float | None = None,
        test_accuracy: float | None = None,
        test_loss: float | None = None,
        test_correct: Any = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        """End an epoch; returns when the next one is asked for.

        Accuracies lie in [0, 1], higher is better. A loss or val_accuracy that is not finite
        ends the training as diverged.

        Args:
            val_accuracy: what the search maximises; at the last epoch, the objective.
            test_accuracy, test_loss, test_correct: at the last epoch, from data that chose
                nothing. test_correct: one bool per test sample, always in the same order;
                test_accuracy is its mean where not given.
            state: dict of tensors and plain values to go on from after an interruption.

        Raises:
            TypeError, ValueError: an argument that is not allowed, or one epoch too many.
        """
        if self._is_abandoned:
            raise _Abandoned
        told = self._check(
            val_accuracy=_accuracy("val_accuracy", val_accuracy, finite=False),
            val_loss=_number("val_loss", val_loss),
            train_loss=_number("train_loss", train_loss),
            train_accuracy=_accuracy("train_accuracy", train_accuracy),
            test_accuracy=_accuracy("test_accuracy", test_accuracy),
            test_loss=_number("test_loss", test_loss),
            correct=_correct(test_correct),
            state=None if state is None else self._serialize(state),
        )
        self.epoch += 1
        self._told.put(told)
        self._wait()

    def _check(
        self,
        *,
        val_accuracy: float | None,
        test_accuracy: float | None,
        correct: NDArray[np.bool_] | None,
        **others: Any,
    ) -> _Epoch:
        """What ties the arguments together, and to the epoch."""
        if val_accuracy is None:
            raise TypeError("report: val_accuracy must be a number, but got None.")
        if self.epoch == self._num_epochs:
            raise ValueError(
                f"report: the schedule has {self._num_epochs} epochs (schedule.num_epochs), but "
                "got one more report. Call report once at the end of each epoch."
            )
        if correct is not None:
            share = float(correct.mean())
            if test_accuracy is not None and abs(test_accuracy - share) > SAME_ACCURACY:
                raise ValueError(
                    f"report: test_accuracy must be the mean of test_correct, but got "
                    f"(test_accuracy={test_accuracy:g}, mean={share:g})."
                )
            test_accuracy = share if test_accuracy is None else test_accuracy
        told = _Epoch(
            val_accuracy=val_accuracy,
            test_accuracy=test_accuracy,
            test_correct=None if correct is None else np.packbits(correct).tobytes(),
            **others,
        )
        is_last = self.epoch + 1 == self._num_epochs and told.is_finite
        if is_last and test_accuracy is None and (self._confirms or not self._knows_needs_test):
            raise ValueError(
                "report: the last epoch needs test_accuracy or test_correct, which verdicts are "
                "judged on (only where report.needs_test is true, if you ask it). Without test "
                "data pass test_accuracy=val_accuracy."
            )
        return told

    def _serialize(self, state: dict[str, Any]) -> bytes:
        """A copy: the tensors change with the next epoch."""
        if not isinstance(state, dict):
            raise TypeError(f"report: state must be a dict, but got {type(state).__name__}.")
        buffer = io.BytesIO()
        try:
            torch.save(state, buffer)
            if not self._is_state_checked:
                _deserialize(buffer.getvalue())
        except (pickle.PickleError, AttributeError, TypeError) as error:
            line = str(error).strip().splitlines()[0]
            raise TypeError(
                f"report: state must hold tensors and plain values only (what torch.load reads "
                f"with weights_only=True), but: {line}"
            ) from None
        self._is_state_checked = True
        return buffer.getvalue()

    def _wait(self) -> None:
        """Until the next epoch is asked for."""
        if not self._asked.get():
            self._is_abandoned = True
            raise _Abandoned


class UserTraining:
    """The user's function, one schedule, one seed; implements `Training`.

    Python's, numpy's and torch's global generators are seeded before the function is called.
    Losses that it does not report are nan; val_accuracy counts as chance in a diverged epoch.
    `seconds` is all the time between two reports, the function's own evaluation included.
    A training interrupted without a `state=` begins anew.

    Args:
        trial: all that determines the result.
        schedule: its table; None computes it from the trial.
        device: "cpu", "cuda" or "cuda:k".
        function: train(schedule, seed, report); None imports what the recipe's model names.
    """

    def __init__(
        self,
        trial: TrialConfig,
        *,
        schedule: Schedule | None = None,
        device: str = "cpu",
        function: TrainFunction | None = None,
    ) -> None:
        self.trial = trial
        self.schedule = schedule or trial.schedule
        self.device = torch.device(device)
        self.function: TrainFunction = function or import_callable(trial.recipe.model)
        self.records: list[EpochRecord] = []
        self.diverged = False
        self.last: _Epoch | None = None  # what the newest epoch told
        self.saved: bytes | None = None  # the newest state that the function gave, ...
        self.num_saved = 0  # ... and the epochs done by then
        self.report: Report | None = None
        self.stop: Callable[[], object] = lambda: None

    @property
    def finished(self) -> bool:
        """True when no epoch is left, or the training has diverged."""
        return self.diverged or len(self.records) >= self.schedule.num_epochs

    def run_epoch(self) -> EpochRecord:
        """Let the function train and evaluate one epoch; the first call starts it.

        Raises:
            RuntimeError: it returned before its last epoch.
            Exception: whatever it raises, with its traceback.
        """
        start = time.perf_counter()
        report = self.report or self._begin()
        report._asked.put(True)
        told = report._told.get()
        if isinstance(told, _End):
            self._fail(told, f"after {len(self.records)} of")
        seconds = time.perf_counter() - start
        self.last = told
        self.diverged = not told.is_finite
        record = self._record(told, seconds)
        self.records.append(record)
        if told.state is not None:
            self.saved, self.num_saved = told.state, len(self.records)
        if self.diverged:
            self.stop()
        elif self.finished:
            self._finish(report)
        return record

    def _begin(self) -> Report:
        """Start the function in its thread, where it waits for the first epoch to be asked for."""
        trial = self.trial
        report = Report(
            num_epochs=self.schedule.num_epochs,
            epoch=len(self.records),
            state=None if self.saved is None else _deserialize(self.saved),
            device=self.device.type,
            threads=trial.recipe.num_threads,
            confirms=trial.role == "confirm",
        )
        # No reference to self: a training that is dropped must end its thread.
        thread = threading.Thread(
            target=_run, args=(self.function, self.schedule, trial.seed, report), daemon=True
        )
        thread.start()
        self.stop = weakref.finalize(self, _stop, report, thread)
        self.stop.atexit = False
        self.report = report
        return report

    def _finish(self, report: Report) -> None:
        """After its last epoch the function has to return, or say what is wrong."""
        report._asked.put(True)
        told = report._told.get()
        assert isinstance(told, _End), "`report` refuses an epoch too many"
        if told.error is not None:
            self._fail(told, "after")

    def _fail(self, end: _End, when: str) -> NoReturn:
        self.stop()
        self.report = None
        if isinstance(end.error, Exception):
            raise end.error
        name = self.trial.recipe.model
        told = "returned" if end.error is None else f"ended with {end.error!r}"
        raise ValueError(
            f"{name} {told} {when} {self.schedule.num_epochs} epochs (schedule.num_epochs); call "
            "report once at the end of each epoch."
        ) from end.error

    def _record(self, told: _Epoch, seconds: float) -> EpochRecord:
        """Schedule values are the table's at the epoch's last step."""
        epoch = len(self.records) + 1
        table, steps = self.schedule, self.schedule.epoch_steps(epoch)
        stage = steps[-1].stage
        num_samples = sum(step.batch_size for step in steps)
        is_number = math.isfinite(told.val_accuracy)
        return EpochRecord(
            epoch=epoch,
            stage=stage,
            lr=float(table.lr_S[stage]),
            batch_size=steps[-1].batch_size,
            batch_capped=bool(table.capped_S[stage]),
            momentum=float(table.momentum_S[stage]),
            delta=float(table.delta_S[stage]),
            decay_rate=float(table.decay_rate_S[stage]),
            num_steps=len(steps),
            samples_seen=steps[-1].first_sample + steps[-1].batch_size,
            train_loss=_or_nan(told.train_loss),
            train_accuracy=_or_nan(told.train_accuracy),
            val_loss=_or_nan(told.val_loss),
            val_accuracy=told.val_accuracy if is_number else self.trial.recipe.chance,
            seconds=seconds,
            eval_seconds=0.0,
            images_per_second=num_samples / seconds,
        )

    def outcome(self) -> Outcome:
        """What the finished training came to; test_* of its last report, only to confirm."""
        assert self.finished, "only a finished training has an outcome"
        assert self.last is not None, "a finished training has reported"
        chance = self.trial.recipe.chance
        last = self.records[-1]
        test = self.last if self.trial.role == "confirm" else None
        return Outcome(
            status="diverged" if self.diverged else "completed",
            objective=chance if self.diverged else last.val_accuracy,
            best_val_accuracy=max(r.val_accuracy for r in self.records),
            val_loss=last.val_loss,
            final_train_loss=self.last.train_loss,
            final_train_accuracy=self.last.train_accuracy,
            test_loss=test.test_loss if test else None,
            test_accuracy=(chance if self.diverged else test.test_accuracy) if test else None,
            test_correct=test.test_correct if test else None,
            samples_seen=last.samples_seen,
            optimizer_steps=sum(r.num_steps for r in self.records),
            train_seconds=sum(r.seconds for r in self.records),
            num_params=0,
            peak_memory_bytes=peak_memory(self.device),
            device=device_name(self.device),
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
        self.last = None if state["last"] is None else _Epoch(**state["last"])
        self.saved = state["saved"]
        self.num_saved = len(self.records)


def _run(function: TrainFunction, schedule: Schedule, seed: int, report: Report) -> None:
    """The thread: wait for the first epoch, then let the function report to its end."""
    error: BaseException | None = None
    try:
        report._wait()
        torch.set_num_threads(report.threads)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  (what the function's libraries draw from)
        torch.manual_seed(seed)
        function(schedule, seed, report)
    except _Abandoned:
        pass
    except BaseException as raised:
        error = raised
    report._told.put(_End(error))


def _stop(report: Report, thread: threading.Thread) -> None:
    """Make the function leave `report`, and wait for it: the next training needs its memory."""
    report._is_abandoned = True
    report._asked.put(False)
    if thread is not threading.current_thread():
        thread.join(STOP_SECONDS)


def _deserialize(data: bytes) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    return state


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        if isinstance(value, bool | str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"report: {name} must be a number, but got {type(value).__name__}."
        ) from None


def _accuracy(name: str, value: Any, *, finite: bool = True) -> float | None:
    number = _number(name, value)
    if number is None or (not finite and not math.isfinite(number)):
        return number
    if not 0 <= number <= 1:
        raise ValueError(
            f"report: `0 <= {name} <= 1` must hold, but got ({name}={number:g}). Report a share, "
            "higher is better: no percent, and of a loss exp(-loss)."
        )
    return number


def _correct(value: Any) -> NDArray[np.bool_] | None:
    """One bool per test sample, in order."""
    if value is None:
        return None
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.dtype != np.bool_ or array.size == 0:
        raise TypeError(
            f"report: test_correct must hold one bool per test sample, but got {array.size} "
            f"values of type {array.dtype}."
        )
    return np.asarray(array.ravel())


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
