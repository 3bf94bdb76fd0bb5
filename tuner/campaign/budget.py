"""Does another round fit into the hours? What one part of a run has spent and will spend.

The search and the confirm trials of a run have a `Budget` each. It looks at the clock alone,
never at scores, so ending there biases no verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from results.statistics.cost import Devices


@dataclass
class Training:
    """One training as a budget sees it.

    planned: samples that it takes in all. samples: of these done, all once it has ended.
    seconds: by the clock, so far.
    """

    planned: int
    samples: int = 0
    seconds: float = 0.0


@dataclass
class Budget:
    """Wall time of the trainings of one part of a run, against `hours` (None = no limit).

    Attributes:
        devices: what each training holds. trainings: by trial_key, those begun. live: the keys of
            those under way, in the order begun; asked for each trial, so that all are not looked
            through.
    """

    hours: float | None
    devices: Devices
    trainings: dict[str, Training] = field(default_factory=dict)
    live: dict[str, None] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Spent so far, trainings under way as far as they have reported."""
        return sum(training.seconds for training in self.trainings.values())

    @property
    def is_busy(self) -> bool:
        """True while trainings are under way."""
        return bool(self.live)

    @property
    def pace(self) -> float | None:
        """Seconds of a sample, of all trainings that have told; None before the first has."""
        reported = [training for training in self.trainings.values() if training.samples]
        samples = sum(training.samples for training in reported)
        return sum(training.seconds for training in reported) / samples if samples else None

    def begin(self, key: str, planned: int) -> None:
        """A training begins, or goes on, to this many samples in all."""
        training = self.trainings.setdefault(key, Training(planned=planned))
        training.planned = planned
        self.live[key] = None

    def hear(self, key: str, samples: int, seconds: float) -> None:
        """A training under way has come so far."""
        training = self.trainings[key]
        training.samples, training.seconds = min(samples, training.planned), seconds

    def end(self, key: str, *, is_done: bool, seconds: float | None = None) -> None:
        """A training ended: well, also where it stopped early, or lost, to be begun again.

        seconds: None where its end told none, what was heard before counts.
        """
        training = self.trainings[key]
        self.live.pop(key, None)
        training.samples = training.planned if is_done else training.samples
        if seconds is not None:
            training.seconds = seconds

    def fits(self, samples: int) -> bool:
        """True where this many more samples end within the hours, after all that is under way.

        At the pace of the trainings so far; False before any of them has told.
        """
        if self.hours is None:
            return True
        if self.pace is None:
            return False
        under_way = map(self.trainings.__getitem__, self.live)
        open_samples = sum(training.planned - training.samples for training in under_way)
        seconds = self.seconds + self.pace * (open_samples + samples)
        return self.devices.hours(seconds) <= self.hours
