"""Trainables of the benchmarks: a training that costs nothing, and reports that travel alone."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search_spaces.records import EpochRecord, Outcome
from search_spaces.trial import TrialConfig
from trainables.trainable import ScheduledTrainable

ACCURACY = 0.5


class NoopTraining:
    """Implements `Training`: as many epochs as the trial asks for, each at once."""

    def __init__(self, trial: TrialConfig) -> None:
        self.schedule = trial.schedule
        self.records: list[EpochRecord] = []

    @property
    def finished(self) -> bool:
        return len(self.records) >= self.schedule.num_reports

    def run_epoch(self) -> EpochRecord:
        epoch = len(self.records) + 1
        record = EpochRecord(
            epoch=epoch,
            stage=0,
            lr=float(self.schedule.lr_S[0]),
            batch_size=int(self.schedule.batch_size_S[0]),
            batch_capped=False,
            momentum=0.0,
            delta=float(self.schedule.delta_S[0]),
            decay_rate=1.0,
            num_steps=1,
            samples_seen=self.schedule.report_end(epoch),
            train_loss=1.0,
            train_accuracy=ACCURACY,
            val_loss=1.0,
            val_accuracy=ACCURACY,
            seconds=0.0,
            eval_seconds=0.0,
            images_per_second=0.0,
        )
        self.records.append(record)
        return record

    def outcome(self) -> Outcome:
        return Outcome(
            status="completed",
            objective=ACCURACY,
            best_val_accuracy=ACCURACY,
            val_loss=1.0,
            final_train_loss=1.0,
            final_train_accuracy=ACCURACY,
            test_loss=None,
            test_accuracy=None,
            test_correct=None,
            samples_seen=self.records[-1].samples_seen,
            optimizer_steps=len(self.records),
            train_seconds=0.0,
            num_params=0,
            peak_memory_bytes=0,
            device="cpu",
        )

    def state_dict(self) -> dict[str, Any]:
        return {"records": [asdict(record) for record in self.records]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.records = [EpochRecord(**fields) for fields in state["records"]]


class NoopTrainable(ScheduledTrainable):
    """`ScheduledTrainable` with all its duties (states, reset, reports) around a NoopTraining."""

    def make_training(self, config: dict[str, Any]) -> NoopTraining:
        return NoopTraining(self.trial)


class TimedTraining(NoopTraining):
    """An epoch lasts as long as GRADTUNE_TIMES says, and is noted in the file after that.

    A line an epoch: process, trial, number of the epoch, begin and end by time.monotonic, which
    all processes of a machine share.
    """

    def __init__(self, trial: TrialConfig) -> None:
        super().__init__(trial)
        self.key = trial.trial_key

    def run_epoch(self) -> EpochRecord:
        seconds, _, path = os.environ["GRADTUNE_TIMES"].partition(" ")
        begin = time.monotonic()
        time.sleep(float(seconds))
        record = super().run_epoch()
        with open(path, "a") as times:
            times.write(f"{os.getpid()} {self.key} {record.epoch} {begin} {time.monotonic()}\n")
        return record


class TimedTrainable(NoopTrainable):
    """Makes them."""

    def make_training(self, config: dict[str, Any]) -> NoopTraining:
        return TimedTraining(self.trial)


class Together(NoopTrainable):
    """All places begin when the last worker is there; each report travels by itself.

    GRADTUNE_PLACES holds their number and a folder for a file of each. Nothing imports torch, so
    that many fit into memory.
    """

    report_seconds = 0.0

    def _take_up(self) -> NoopTraining:
        number, _, folder = os.environ["GRADTUNE_PLACES"].partition(" ")
        (Path(folder) / f"{os.getpid()}").touch()
        while len(os.listdir(folder)) < int(number):
            time.sleep(0.05)
        self.training = NoopTraining(self.trial)
        return self.training


class Alone(ScheduledTrainable):
    """Reports travel one by one, and the user's function waits for each."""

    report_seconds, reports_ahead = 0.0, 0
