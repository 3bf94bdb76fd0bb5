"""Which trainings begin alike? They continue from one common state instead of training it again.

Two trainings are one and the same up to report k (epoch k, without `reports`) when seed and recipe
agree and so do all stages of their schedules that begin before it: then every step up to there is
the same, to the last bit on a CPU. The first of them in the order of the queue keeps its state
then, the others begin there (a tree of stages, as in Hippo: Shin et al. 2020, arXiv 2006.11972).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from search_spaces.trial import TrialConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """What a training continues from: the state of `owner` after `report`, kept under `key`."""

    report: int
    key: str
    owner: str


class Sharing:
    """Who keeps which states, and who begins from them: of trials in the order of training."""

    def __init__(self, trials: Iterable[TrialConfig]) -> None:
        self.beginnings: dict[str, Beginning] = {}
        self.kept: dict[str, dict[int, str]] = {}
        self.total_samples = 0
        self.saved_samples = 0  # of them, those that need not be trained again
        self._reached: dict[str, float] = {}
        owners: dict[str, str] = {}
        for trial in trials:
            self.total_samples += trial.schedule.total_samples
            keys = prefix_keys(trial)
            shared = [(number, key) for number, key in enumerate(keys, start=1) if key in owners]
            if shared:
                report, key = shared[-1]
                begin = Beginning(report=report, key=key, owner=owners[key])
                self.beginnings[trial.trial_key] = begin
                self.kept.setdefault(begin.owner, {})[report] = key
                self.saved_samples += trial.schedule.report_end(report)
            for key in keys:
                owners.setdefault(key, trial.trial_key)

    def waits(self, trial: TrialConfig) -> bool:
        """True while the state that this training begins from is still to be reached."""
        begin = self.beginnings.get(trial.trial_key)
        return begin is not None and self._reached.get(begin.owner, 0) < begin.report

    def reached(self, trial_key: str, report: int) -> None:
        """A training has made this report."""
        self._reached[trial_key] = max(report, self._reached.get(trial_key, 0))

    def ended(self, trial_key: str) -> None:
        """A training has ended, well or not: nobody waits for it any longer."""
        self._reached[trial_key] = math.inf

    def orders(self, trial: TrialConfig) -> dict[str, Any]:
        """What the worker has to know: `keep` (state's key by report) and `begin` (a key)."""
        begin = self.beginnings.get(trial.trial_key)
        keep = self.kept.get(trial.trial_key, {})
        return {"keep": keep, "begin": begin.key if begin else None}


def prefix_keys(trial: TrialConfig) -> list[str]:
    """Hash of all that a training depends on up to report 1, 2, ... (not the last)."""
    table, recipe = trial.schedule, trial.recipe
    radius0 = trial.params.get("radius0")  # of explicit smoothing
    base = {
        "recipe": recipe.identity() | {"measurements": asdict(recipe)["measurements"]},
        "seed": trial.seed,
        "radius": [radius0, trial.lr0, trial.batch0] if radius0 else [],
    }
    digest = hashlib.sha256(json.dumps(base, sort_keys=True).encode())
    columns = (table.start_S, table.lr_S, table.batch_size_S, table.momentum_S, table.delta_S)
    keys, stage = [], 0
    for report in range(1, table.num_reports):
        end = int(np.searchsorted(table.start_S, table.report_end(report)))
        for row in zip(*(column[stage:end].tolist() for column in columns), strict=True):
            digest.update(repr(row).encode())
        stage = end
        keys.append(f"{digest.hexdigest()[:16]}-{report}")
    return keys
