"""Which trainings begin alike? They continue from one common state instead of training it again.

Two trainings are one and the same up to report k (epoch k, without `reports`) when seed and recipe
agree and so do lr, batch, momentum and delta of every sample before it: then every step up to
there is the same, to the last bit on a CPU. Whoever passes such a point first keeps its state,
the others begin from it (a tree of stages, as in Hippo: Shin et al. 2020, arXiv 2006.11972).

Which points? Where a training leaves another that is known to come (grids, confirm seeds), and all
along the trunk, the part before delta first decays: what a search suggests later may leave there.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from search_spaces.trial import TrialConfig

MAX_TRUNK_STATES = 32  # of one training; with more reports only some of them are kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """The key of what a training begins from and its report `first`; what it keeps by report."""

    first: int = 0
    begin: str | None = None
    keep: Mapping[int, str] = field(default_factory=dict)


class Sharing:
    """Which states there are, which are being made, and who needs them.

    Attributes:
        states: keys of the states that exist. making: keys that a running training will keep.
    """

    def __init__(self) -> None:
        self.states: set[str] = set()
        self.making: set[str] = set()
        self._orders: dict[str, Orders] = {}  # of trainings under way, by trial key
        self._loading: dict[str, str] = {}  # states that they have still to read
        self._begun: set[str] = set()
        self._known: dict[str, list[str]] = {}  # prefix keys of trainings that will come
        self._num_known: Counter[str] = Counter()  # how many of them have this prefix key

    def expect(self, trial: TrialConfig) -> None:
        """This training will come."""
        if trial.trial_key not in self._known:
            self._known[trial.trial_key] = keys = prefix_keys(trial)
            self._num_known.update(keys)

    def cancel(self, trial: TrialConfig) -> None:
        """This training will not come, or not again."""
        self._num_known.subtract(self._known.pop(trial.trial_key, []))

    def waits(self, trial: TrialConfig) -> bool:
        """True while a running training makes a longer beginning of this one than there is.

        One that has been under way goes on from its own state.
        """
        if not self.making or trial.trial_key in self._begun:
            return False
        keys = self._keys(trial)
        return _longest(keys, self.states | self.making) > _longest(keys, self.states)

    def begin(self, trial: TrialConfig, *, keeps_trunk: bool) -> Orders:
        """This training begins now; `keeps_trunk`: others that are not known yet may leave it."""
        keys, there = self._keys(trial), self.states | self.making
        self.cancel(trial)
        first = _longest(keys, self.states)
        points = self._leaving_points(keys) | (_trunk_points(trial) if keeps_trunk else set())
        keep = {
            point: keys[point - 1]
            for point in sorted(points)
            if first < point <= len(keys) and keys[point - 1] not in there
        }
        begin = keys[first - 1] if first else None
        self.making.update(keep.values())
        self._begun.add(trial.trial_key)
        self._orders[trial.trial_key] = orders = Orders(first=first, begin=begin, keep=keep)
        if begin is not None:
            self._loading[trial.trial_key] = begin
        return orders

    def orders(self, trial: TrialConfig) -> dict[str, Any]:
        """What the worker has to know: `keep` (state's key by report) and `begin` (a key)."""
        orders = self._orders.get(trial.trial_key, Orders())
        return {"keep": dict(orders.keep), "begin": orders.begin}

    def reached(self, trial_key: str, report: int, kept: Iterable[str]) -> None:
        """A training has made this report, and kept these states so far: no others by then.

        Nobody waits for one that has failed to keep a state (a full disk, a training of the
        user's own that hands over none); what it keeps later is taken all the same.
        """
        self.states.update(kept)
        self._loading.pop(trial_key, None)
        keep = self._orders.get(trial_key, Orders()).keep
        passed = {key for point, key in keep.items() if point <= report}
        self.making -= passed if passed <= self.states else {*keep.values()}

    def ended(self, trial_key: str) -> None:
        """A training has ended, well or not: it keeps no further state."""
        self.making -= {*self._orders.pop(trial_key, Orders()).keep.values()}
        self._loading.pop(trial_key, None)

    def drop_unneeded(self) -> set[str]:
        """Forget, and return, the states that no known training can begin from."""
        needed = {*self._loading.values()} | {key for key, n in self._num_known.items() if n > 0}
        unneeded = self.states - needed
        self.states -= unneeded
        return unneeded

    def _keys(self, trial: TrialConfig) -> list[str]:
        """Up to where it stops for now."""
        return (self._known.get(trial.trial_key) or prefix_keys(trial))[: trial.until]

    def _leaving_points(self, keys: list[str]) -> set[int]:
        """Reports up to which another training that will come is the same, and no further."""
        counts = [*(self._num_known[key] for key in keys), 0]
        return {i + 1 for i in range(len(keys)) if counts[i] > counts[i + 1]}


def _longest(keys: list[str], among: set[str]) -> int:
    """The last report whose key is one of these; 0 = none."""
    return next((number for number in range(len(keys), 0, -1) if keys[number - 1] in among), 0)


def trunk_end(trial: TrialConfig) -> int:
    """The last report (0 = none) that comes before the delta of this training first falls."""
    table = trial.schedule
    falls = np.flatnonzero(np.diff(table.delta_S) < 0)
    end = int(table.start_S[falls[0] + 1]) if len(falls) else table.total_samples
    reports = range(1, table.num_reports)
    return sum(1 for report in reports if table.report_end(report) <= end)


def _trunk_points(trial: TrialConfig) -> set[int]:
    """Reports of the trunk after which states are kept: all, or one in so many and the last."""
    last = trunk_end(trial)
    stride = -(-trial.schedule.num_reports // MAX_TRUNK_STATES)
    return {*range(stride, last + 1, stride), *([last] if last else [])}


def prefix_keys(trial: TrialConfig) -> list[str]:
    """Hash of all that a training depends on up to report 1, 2, ... (not the last).

    A stage that changes nothing is no part of it: where it is cut makes no difference.
    """
    table, recipe = trial.schedule, trial.recipe
    radius0 = trial.params.get("radius0")  # of explicit smoothing
    base = {
        "recipe": recipe.identity() | {"measurements": asdict(recipe)["measurements"]},
        "seed": trial.seed,
        "radius": [radius0, trial.lr0, trial.batch0] if radius0 else [],
    }
    if trial.training:
        base["training"] = trial.training_params
    digest = hashlib.sha256(json.dumps(base, sort_keys=True).encode())
    used = (table.lr_S, table.batch_size_S, table.momentum_S, table.delta_S)
    rows = np.column_stack([table.start_S, *used])
    differs = np.any(rows[1:, 1:] != rows[:-1, 1:], axis=1)
    rows = rows[np.concatenate([[0], 1 + np.flatnonzero(differs)])]
    keys, stage = [], 0
    for report in range(1, table.num_reports):
        end = int(np.searchsorted(rows[:, 0], table.report_end(report)))
        digest.update(rows[stage:end].tobytes())
        stage = end
        keys.append(f"{digest.hexdigest()[:16]}-{report}")
    return keys
