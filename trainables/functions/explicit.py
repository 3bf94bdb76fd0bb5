"""How is a function minimized by explicit or implicit graduated optimization along a schedule?

The schedule table is the path of smoothing levels. At each of its steps, with delta, lr and
batch_size from the step's stage, all starts move at once:

    x <- clip to the box(x - lr * mean over batch_size directions u of grad f(x - delta u))

or, where the solver is `implicit`, by SGD itself, whose gradient noise (C/sqrt(batch_size)) u is
of the same level, delta = lr C/sqrt(batch_size):

    x <- clip to the box(x - lr * grad f(x) - delta u)

A "sample" is one direction of one start; an epoch is train_examples of them, one level of
Algorithm 1 where interval = 1. What a recipe's fields mean here: dataset the function, the
dataset's path its dimension D, optimizer the solver, smoothing the kind of u. Nothing is
polished afterwards: the point of the last step is the result. Arrays: S starts, D dimensions.

Source: Algorithm 1 of arXiv 2311.08745 and 2412.11501; clipping to the box is ours.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from search_spaces.records import EpochRecord, Outcome, so_far
from search_spaces.registry import unknown_name
from search_spaces.schedule import Schedule, Step
from search_spaces.trial import TrialConfig, derive_seed
from trainables import NUM_STARTS, SOLVERS
from trainables.functions.benchmark import FUNCTIONS, Array, parse_dimension
from trainables.functions.equivalence import Equivalence
from trainables.functions.smoothing import check_kind, sample_directions, smoothed
from trainables.functions.solvers import PEERS, VALUES_PER_GRADIENT
from trainables.training import hardware, planned

GRADUATED, IMPLICIT = "graduated", "implicit"
# A start succeeds at f(x) - f* <= TOLERANCE: below the gap between the lowest and the next minimum
# where one is known (0.0074 Griewank in D = 2, 0.064 Drop-Wave, 0.1 Salomon, 0.995 Rastrigin).
TOLERANCE = 5e-3
FAILED_OBJECTIVE = 0.0


class ExplicitTraining:
    """One function, one schedule, one seed, NUM_STARTS starts; implements `Training`.

    A solver other than graduated or implicit gets the same starts and, per start, the evaluations
    of as many gradients as the schedule has samples, at most: in one epoch, which is its last.

    Losses are means over starts of f - f*, accuracies shares of starts within TOLERANCE. The
    train loss is the smoothed function at the point before the epoch's last step, from that
    step's own directions. Always on the CPU, in float64.

    Arguments as of NetworkTraining; the device is not used.

    Raises:
        ValueError: unknown function, solver or smoothing, or a bad dimension.
    """

    def __init__(
        self, trial: TrialConfig, *, schedule: Schedule | None = None, device: str = "cpu"
    ) -> None:
        recipe = trial.recipe
        if recipe.dataset not in FUNCTIONS:
            raise unknown_name("function", recipe.dataset, FUNCTIONS)
        if recipe.optimizer not in SOLVERS:
            raise unknown_name("solver", recipe.optimizer, SOLVERS)
        self.trial = trial
        self.schedule = schedule or trial.schedule
        self.function = FUNCTIONS[recipe.dataset]
        self.kind = check_kind(recipe.smoothing)
        rng = np.random.default_rng(derive_seed(trial.seed, "init"))
        shape = (NUM_STARTS, parse_dimension(recipe.dataset_path))
        self.x_SD: Array = rng.uniform(*self.function.box, size=shape)
        self.evaluations_S: NDArray[np.int64] = np.zeros(NUM_STARTS, dtype=np.int64)
        self.num_steps = 0
        self.diverged = False
        self.records: list[EpochRecord] = []
        measured = "equivalence" in recipe.measurements
        starts = (recipe.dataset, self.kind, self.x_SD)
        self.paths = Equivalence(*starts, seed=trial.seed) if measured else None

    @property
    def finished(self) -> bool:
        """True when no level is left, or a start has left the finite numbers."""
        return self.diverged or self.samples_seen >= self.schedule.total_samples

    @property
    def samples_seen(self) -> int:
        """Gradients per start; of another solver its whole budget, also where it ended sooner."""
        if self.trial.recipe.optimizer in PEERS and self.evaluations_S.any():
            return self.schedule.total_samples
        return int(self.evaluations_S.max()) // VALUES_PER_GRADIENT

    def run_epoch(self) -> EpochRecord:
        """Take one epoch of graduated steps, or let the solver use its budget."""
        start = time.perf_counter()
        before = self.num_steps, self.samples_seen
        if self.trial.recipe.optimizer in (GRADUATED, IMPLICIT):
            used, train_loss = self._descend_levels()
        else:
            used, train_loss = self._solve()
        seconds = time.perf_counter() - start
        error_S = self._errors()
        eval_seconds = time.perf_counter() - start - seconds
        self.diverged = not bool(np.isfinite(error_S).all())
        success = float((error_S <= TOLERANCE).mean())
        record = EpochRecord(
            epoch=len(self.records) + 1,
            **used,
            num_steps=self.num_steps - before[0],
            samples_seen=self.samples_seen,
            train_loss=train_loss,
            train_accuracy=success,
            val_loss=float(error_S.mean()),
            val_accuracy=success,
            seconds=seconds,
            eval_seconds=eval_seconds,
            images_per_second=(self.samples_seen - before[1]) / seconds,
            measured=json.dumps(self.paths.told()) if self.paths is not None else None,
        )
        self.records.append(record)
        return record

    def _descend_levels(self) -> tuple[dict[str, Any], float]:
        """One epoch of graduated steps; the schedule's columns and the train loss of the last."""
        end = self.schedule.report_end(len(self.records) + 1)
        steps = list(self.schedule.steps(self.samples_seen, end))
        for step in steps[:-1]:
            self._step(step)
        last = steps[-1]
        smoothed_S = self._smoothed(self.function.value, last)
        self._step(last)
        used = planned(self.schedule, last) | {"momentum": 0.0}
        return used, float(smoothed_S.mean()) - self.function.minimum

    def _step(self, step: Step) -> None:
        lr, delta = (
            float(column[step.stage]) for column in (self.schedule.lr_S, self.schedule.delta_S)
        )
        with np.errstate(over="ignore", invalid="ignore"):
            if self.trial.recipe.optimizer == IMPLICIT:
                moved_SD = lr * self.function.gradient(self.x_SD) + delta * self._noise()
            else:
                moved_SD = lr * self._smoothed(self.function.gradient, step)
            self.x_SD = np.clip(self.x_SD - moved_SD, *self.function.box)
        if self.paths is not None:
            self.paths.step(self.num_steps, lr=lr, delta=delta)
        self.num_steps += 1
        self.evaluations_S += VALUES_PER_GRADIENT * step.batch_size

    def _noise(self) -> Array:
        """u of SGD's noise at this step, one a start."""
        rng = np.random.default_rng([derive_seed(self.trial.seed, "noise"), self.num_steps])
        return sample_directions(self.kind, rng, *self.x_SD.shape)

    def _smoothed(self, f: Callable[[Array], Array], step: Step) -> Array:
        """Mean over the step's directions, which depend on the seed and its number alone."""
        seed = derive_seed(self.trial.seed, "directions")
        with np.errstate(over="ignore", invalid="ignore"):
            return smoothed(
                f,
                self.x_SD,
                float(self.schedule.delta_S[step.stage]),
                kind=self.kind,
                num_samples=step.batch_size,
                rng=np.random.default_rng([seed, self.num_steps]),
            )

    def _solve(self) -> tuple[dict[str, Any], float]:
        """The solver's best points; delta 0, one gradient a step, and lr 0 where it has none."""
        table = self.schedule
        solution = PEERS[self.trial.recipe.optimizer](
            self.function,
            self.x_SD,
            budget=VALUES_PER_GRADIENT * table.total_samples,
            seed=derive_seed(self.trial.seed, "solver"),
            lr=lambda u: float(table.lr_S[table.stage_at(int(u * table.total_samples))]),
        )
        self.x_SD, self.evaluations_S = solution.x_SD, solution.evaluations_S
        self.num_steps = solution.num_steps
        used = planned(table, next(iter(table.steps()))) | {
            "lr": solution.lr,
            "batch_size": 1,
            "momentum": 0.0,
            "delta": 0.0,
        }
        return used, float(self._errors().mean())

    def _errors(self) -> Array:
        """f(x) - f* of each start; rounding below the minimum counts as 0."""
        return np.maximum(self.function.value(self.x_SD) - self.function.minimum, 0.0)

    def outcome(self) -> Outcome:
        """What the finished trial came to; objective = mean of 1 / (1 + f - f*), 0 if diverged.

        The test columns of a confirm trial repeat the last point: its starts are fresh.
        """
        assert self.finished, "only a finished training has an outcome"
        error_S = self._errors()
        success_S = error_S <= TOLERANCE
        confirms = self.trial.role == "confirm"
        last = self.records[-1]
        objective = FAILED_OBJECTIVE if self.diverged else float((1 / (1 + error_S)).mean())
        return Outcome(
            status="diverged" if self.diverged else "completed",
            **so_far(self.records, self.trial.recipe.metric) | {"objective": objective},
            final_train_loss=last.train_loss,
            final_train_accuracy=last.train_accuracy,
            test_loss=last.val_loss if confirms else None,
            test_accuracy=float(success_S.mean()) if confirms else None,
            test_correct=np.packbits(success_S).tobytes() if confirms else None,
            num_params=self.x_SD.shape[1],
            **hardware(torch.device("cpu")),
        )

    def state_dict(self) -> dict[str, Any]:
        """Points, counters and the records so far; directions follow from the step's number."""
        return {
            "x": torch.from_numpy(self.x_SD.copy()),
            "evaluations": torch.from_numpy(self.evaluations_S.copy()),
            "num_steps": self.num_steps,
            "diverged": self.diverged,
            "records": [asdict(r) for r in self.records],
            "paths": None if self.paths is None else self.paths.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()` of the same trial, bit-identically."""
        self.x_SD = state["x"].numpy().copy()
        self.evaluations_S = state["evaluations"].numpy().copy()
        self.num_steps = state["num_steps"]
        self.diverged = state["diverged"]
        self.records = [EpochRecord(**r) for r in state["records"]]
        if self.paths is not None:
            self.paths.load_state_dict(state["paths"])
