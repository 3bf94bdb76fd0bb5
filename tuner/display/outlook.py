"""How much is left, in time and in device-hours? By the wall time of what was trained so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from results.statistics.cost import Devices, hours_text
from search_spaces.trial import Role, TrialConfig

ONE_CPU = Devices(count=1, kind="CPU")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """Samples that a part of the run was planned to train, and the wall time that ends it."""

    samples: int
    seconds: float


@dataclass
class Pace:
    """Samples and wall time of the reports of one kind, and their number."""

    samples: int = 0
    seconds: float = 0.0
    count: int = 0

    def add(self, samples: int, seconds: float) -> None:
        """One more report."""
        self.samples, self.seconds = self.samples + samples, self.seconds + seconds
        self.count += 1


class Outlook:
    """What has been trained and what is left of it.

    Args:
        num_trials, num_samples: planned, of the whole run.
        devices: what each training holds.
        bounds: of the parts of the run that hours end, by role.
    """

    def __init__(
        self,
        num_trials: int,
        num_samples: int,
        *,
        devices: Devices = ONE_CPU,
        bounds: Mapping[Role, Bound] = MappingProxyType({}),
    ) -> None:
        self.num_trials, self.num_samples = num_trials, num_samples
        self.devices, self.bounds = devices, bounds
        self.seen: dict[str, int] = {}  # samples, by trial
        self.seen_by_role: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}  # wall time, by trial
        self.spent: dict[str, float] = {}  # the same by role
        # First reports of trainings, all others, and what follows the last one.
        self.first, self.later, self.closing = Pace(), Pace(), Pace()

    def report(self, trial: TrialConfig, epoch: int, samples: int, seconds: float) -> None:
        """A training has come to `samples`, `seconds` after its report before.

        One told again, by a worker that went on from a state, counts once.
        """
        fresh = samples - self.seen.get(trial.trial_key, 0)
        if fresh <= 0:
            return
        self.see(trial, samples)
        self.spend(trial, seconds)
        if seconds:  # none where another training's state was taken
            (self.first if epoch == 1 else self.later).add(fresh, seconds)

    def see(self, trial: TrialConfig, samples: int) -> None:
        """A training is at `samples`; at its last where it has ended, however it did."""
        self.seen_by_role[trial.role] += samples - self.seen.get(trial.trial_key, 0)
        self.seen[trial.trial_key] = samples

    def spend(self, trial: TrialConfig, seconds: float) -> None:
        """A training took this much wall time more."""
        self.seconds[trial.trial_key] = self.seconds.get(trial.trial_key, 0.0) + seconds
        self.spent[trial.role] = self.spent.get(trial.role, 0.0) + seconds

    def end(self, trial: TrialConfig, seconds: float) -> None:
        """A training took so much in all, what came after its last report included."""
        rest = max(0.0, seconds - self.seconds.get(trial.trial_key, 0.0))
        self.spend(trial, rest)
        self.closing.add(0, rest)

    def seconds_left(self) -> float | None:
        """Wall time of all trainings to come, one after the other; None before a report.

        What a training takes besides its samples is told apart (at its start data are loaded, at
        its end test data seen), or a long one would seem to last for ever at first.
        """
        pace = self.later if self.later.count else self.first
        if not pace.count:
            return None
        per_sample = pace.seconds / pace.samples
        starts = max(0.0, self.first.seconds - per_sample * self.first.samples)
        per_trial = starts / max(1, self.first.count)
        per_trial += self.closing.seconds / max(1, self.closing.count)
        per_sample += per_trial * self.num_trials / max(1, self.num_samples)
        left = float(self.num_samples - sum(self.seen.values()))
        for role, bound in self.bounds.items():
            affordable = max(0.0, bound.seconds - self.spent.get(role, 0.0)) / per_sample
            left -= max(0.0, bound.samples - self.seen_by_role[role] - affordable)
        return max(0.0, left * per_sample)

    def cost_words(self) -> str:
        """ "0.05 of about 0.22 CPU hours": spent so far, and what it will be."""
        spent, left = sum(self.spent.values()), self.seconds_left() or 0.0
        so_far = hours_text(self.devices.hours(spent))
        return f"{so_far} of about {self.devices.text(spent + left)}"
