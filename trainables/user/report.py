"""What may a user's training loop report, and how does it take turns with us?

`report(...)` checks what it is given where it is given, hands it over, and returns when the next
one may be made: at once, but where a training is to pause.
"""

from __future__ import annotations

import functools
import io
import itertools
import math
import pickle
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from search_spaces.metric import NAME, POINTS, VAL_ACCURACY, Metric, goal_of, make_metric
from search_spaces.records import RECORDED
from search_spaces.registry import nearest
from trainables.user.answers import Abandoned, EpochReport, Turns

SAME_ACCURACY = 1e-4  # test_accuracy and the mean of test_correct; float32 sums differ by less


class Report:
    """What the user's function calls at the end of each epoch, and what it may ask.

    Attributes:
        report: reports done so far; above 0 at the start when an interrupted training goes on.
        epoch: the same number, which without `reports` counts epochs.
        state: what the last `state=` held then, on the CPU; None at the start of a training.
        device: "cpu" or "cuda". threads: CPU threads of this training.
    """

    def __init__(
        self,
        turns: Turns,
        *,
        num_reports: int,
        report: int = 0,
        state: dict[str, Any] | None = None,
        device: str = "cpu",
        threads: int = 1,
        confirms: bool = False,
        metric: Metric = VAL_ACCURACY,
    ) -> None:
        self.metric = metric
        self.report, self.state = report, state
        self.device, self.threads = device, threads
        self._turns = turns
        self._num_reports = num_reports
        self._confirms = confirms
        self._knows_needs_test = False
        self._checked_kinds: set[type] = set()  # of what states held
        self._returned_at = time.perf_counter()

    @property
    def epoch(self) -> int:
        """Reports done so far: epochs, where there is one report an epoch."""
        return self.report

    @property
    def needs_test(self) -> bool:
        """True where the last epoch's test_* are kept: in the trainings that verdicts judge."""
        self._knows_needs_test = True
        return self._confirms

    def __call__(
        self,
        *,
        val_accuracy: float | None = None,
        val_loss: float | None = None,
        train_loss: float | None = None,
        train_accuracy: float | None = None,
        test_accuracy: float | None = None,
        test_loss: float | None = None,
        test_correct: Any = None,
        state: dict[str, Any] | None = None,
        **metrics: float | None,
    ) -> None:
        """End an epoch; returns at once, but where the training is to pause there.

        Accuracies lie in [0, 1], higher is better. A loss or an objective that is not finite
        ends the training as diverged. What the search ranks by (`objective=`, val_accuracy unless
        you say otherwise) has to be given.

        Args:
            metrics: any other numbers by name, all recorded; test_* only of the last epoch of a
                confirm training.
            test_accuracy, test_loss, test_correct: at the last epoch, from data that chose
                nothing. test_correct: one bool per test sample, always in the same order;
                test_accuracy is its mean where not given.
            state: dict of tensors and plain values to go on from after an interruption.

        Raises:
            TypeError, ValueError: an argument that is not allowed, or one epoch too many.
        """
        seconds = time.perf_counter() - self._returned_at
        if self._turns.is_over:
            raise Abandoned
        correct_N = _correct(test_correct)
        objective = self.metric.name
        checked = EpochReport(
            val_accuracy=_accuracy("val_accuracy", val_accuracy, finite=False),
            val_loss=_number("val_loss", val_loss),
            train_loss=_number("train_loss", train_loss),
            train_accuracy=_accuracy("train_accuracy", train_accuracy),
            test_accuracy=_share(_accuracy("test_accuracy", test_accuracy), correct_N),
            test_loss=_number("test_loss", test_loss),
            test_correct=None if correct_N is None else np.packbits(correct_N).tobytes(),
            state=None if state is None else self._serialize(state),
            metrics=_named(metrics, objective),
            seconds=seconds,
        )
        if checked.value(objective) is None:
            given = [n for n in ("val_accuracy", "val_loss") if checked.value(n) is not None]
            raise TypeError(_lacks_objective(objective, [*given, *metrics]))
        self._check_epoch(checked)
        self.report += 1
        self._turns.tell(checked)
        if not checked.is_finite(objective):  # diverged: nobody asks for more
            self._turns.is_over = True
            raise Abandoned
        self._turns.wait()
        self._returned_at = time.perf_counter()

    def _check_epoch(self, checked: EpochReport) -> None:
        if self.report == self._num_reports:
            raise ValueError(
                f"report: the schedule has {self._num_reports} reports (schedule.num_reports), "
                "but got one more. Call report once at each evaluation point: the end of each "
                "epoch without reports=."
            )
        metric = self.metric
        is_last = self.report + 1 == self._num_reports and checked.is_finite(metric.name)
        is_needed = self._confirms or not self._knows_needs_test
        test = metric.test_name
        if is_last and is_needed and checked.value(test) is None:
            or_bits = " or test_correct" if test == "test_accuracy" else ""
            raise ValueError(
                f"report: the last report needs {test}{or_bits}, which verdicts are "
                "judged on (only where report.needs_test is true, if you ask it). Without test "
                f"data pass {test}={metric.name}."
            )

    def _serialize(self, state: dict[str, Any]) -> bytes:
        """A copy: the tensors change with the next epoch."""
        if not isinstance(state, dict):
            raise TypeError(f"report: state must be a dict, but got {type(state).__name__}.")
        buffer = io.BytesIO()
        try:
            torch.save(state, buffer)
            kinds = {*_kinds(state)}
            if not kinds <= self._checked_kinds:
                load_state(buffer.getvalue())
                self._checked_kinds |= kinds
        except (pickle.PickleError, AttributeError, TypeError) as error:
            line = str(error).strip().splitlines()[0]
            raise TypeError(
                f"report: state must hold tensors and plain values only (what torch.load reads "
                f"with weights_only=True), but: {line}"
            ) from None
        return buffer.getvalue()


def _kinds(value: Any) -> Iterator[type]:
    """The types in it, which decide whether it can be loaded."""
    yield type(value)
    if isinstance(value, dict):
        yield from itertools.chain.from_iterable(
            map(_kinds, itertools.chain(value, value.values()))
        )
    elif isinstance(value, list | tuple | set | frozenset):
        yield from itertools.chain.from_iterable(map(_kinds, value))


def load_state(data: bytes) -> dict[str, Any]:
    """The user's state as it was reported, on the CPU."""
    state: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    return state


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        if isinstance(value, bool | str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
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
            "higher is better: no percent, and a loss under its own name (objective=val_loss)."
        )
    return number


def _named(metrics: Mapping[str, Any], objective: str) -> dict[str, float]:
    """The numbers that have no column of their own; those that are None are left out."""
    numbers = {}
    for name, value in metrics.items():
        if not NAME.fullmatch(name):
            raise ValueError(
                f"report: {name!r} is no name: letters, digits and _, a letter first."
            )
        if name in RECORDED:
            raise ValueError(
                f"report: {name} is a column of the records already; report it by another name."
            )
        is_share = goal_of(name) is not None and make_metric(name).unit == POINTS
        read = functools.partial(_accuracy, finite=name != objective) if is_share else _number
        number = read(name, value)
        if number is not None:
            numbers[name] = number
    return numbers


def _lacks_objective(objective: str, given: list[str]) -> str:
    """What is missing, and what it may have been called."""
    if not given and objective == VAL_ACCURACY.name:
        return "report: val_accuracy must be a number, but got None."
    known = goal_of(given[0]) if len(given) == 1 else None
    another = f"; to search by {given[0]} say objective={given[0]}" if known else ""
    return (
        f"report: the objective {objective} must be a number, but got None (reported: "
        f"{', '.join(given) or 'nothing'}){nearest(objective, given)}{another}."
    )


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


def _share(test_accuracy: float | None, correct_N: NDArray[np.bool_] | None) -> float | None:
    """The test accuracy as told, which must be the share of correct samples, or that share."""
    if correct_N is None:
        return test_accuracy
    share = float(correct_N.mean())
    if test_accuracy is not None and abs(test_accuracy - share) > SAME_ACCURACY:
        raise ValueError(
            f"report: test_accuracy must be the mean of test_correct, but got "
            f"(test_accuracy={test_accuracy:g}, mean={share:g})."
        )
    return share if test_accuracy is None else test_accuracy
