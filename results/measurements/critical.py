"""Which batch size reached a gradient norm with the fewest samples, and what does that say of C^2?

The stopping rule: the mean over all steps so far of the batch gradient's norm is at most epsilon,
looked for from the first step after `min_epochs` epochs. The cost of a training is its SFO
complexity, steps * batch, in samples. A batch that stopped at the very first step looked at cost
min_epochs * N whatever its size: such a cost is the rule's floor, and says nothing of C^2.

Arrays carry suffixes: S batch sizes, R seeds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results.arms.choice import is_full
from results.measurements.published import AUTHORS_MIN_EPOCHS
from results.records.schema import Row, trial_from_row
from results.run import Run
from results.statistics.wording import counted
from search_spaces.theory import c2_bound, c2_bound_nshb, c2_bound_shb, critical_batch

FLAT = 0.1  # relative; costs this close to the smallest are the flat minimum


@dataclass(frozen=True, kw_only=True, slots=True)
class Critical:
    """What trainings at one constant lr took to bring the mean gradient norm to epsilon.

    Attributes:
        optimizer: Nesterov's form is one of its own.
        num_seeds: of each batch, at most.
        batch_S: batches (samples) that all their seeds brought to epsilon, ascending.
        sfo_SR: steps * batch (samples); nan where a seed is missing.
        left_out: other batches -> how many of their seeds reached epsilon.
        best_R: cheapest batch of each seed, among batch_S; empty where batch_S is.
        b_star: batch of the smallest mean cost; None where batch_S is empty.
        flat_S: batches whose mean cost is within 10% of the smallest.
        min_epochs: after how many the rule is looked at. floor: so many epochs in samples, before
            which no training may stop.
        floored_S: batches of which a seed stopped at the first step looked at.
        c2_bound: upper bound of C^2 from b_star; None where b_star is, where no formula fits the
            optimizer, and where b_star's cost is the rule's floor.
    """

    lr: float
    optimizer: str
    momentum: float
    epsilon: float
    num_seeds: int
    batch_S: NDArray[np.int64]
    sfo_SR: NDArray[np.float64]
    left_out: Mapping[int, int]
    best_R: tuple[int, ...]
    b_star: int | None
    flat_S: NDArray[np.int64]
    min_epochs: int
    floor: int
    floored_S: NDArray[np.int64]
    c2_bound: float | None

    @property
    def label(self) -> str:
        """Optimizer, momentum, lr and epsilon."""
        momentum = f" beta {self.momentum:g}" if self.momentum else ""
        return f"{self.optimizer}{momentum} lr {self.lr:g}, epsilon {self.epsilon:g}"

    @property
    def mean_sfo_S(self) -> NDArray[np.float64]:
        """Mean cost over the seeds (samples)."""
        return np.asarray(np.nanmean(self.sfo_SR, axis=1))

    @property
    def is_decided(self) -> bool:
        """True when b* lies inside the batches tried, not at an end or the rule's floor."""
        inner_S = self.batch_S[1:-1]
        return bool(self.b_star in inner_S and self.b_star not in self.floored_S)


# (lr, optimizer, momentum): what batches have to share to be compared.
_Setting = tuple[float, str, float]
_Seed = tuple[int, int]  # replicate, seed


def read_critical(run: Run) -> list[Critical]:
    """One entry for each lr, optimizer and epsilon whose stopping rule was looked for.

    Of trainings of any role at constant lr and batch; those whose lr or batch changed are left
    out. A diverged training is one that did not reach epsilon.

    Source: arXiv 2311.08745 appendix C; bounds for momentum arXiv 2412.11501.
    """
    criticals = []
    for setting, by_batch in sorted(_by_setting(run).items(), key=lambda item: item[0]):
        epsilons = {e for rows in by_batch.values() for row in rows for e in _steps(row)}
        for epsilon in sorted(epsilons, key=float, reverse=True):
            criticals.append(_critical(setting, by_batch, epsilon))
    return criticals


def describe(run: Run) -> list[str]:
    """b*, how flat its minimum is, and the bound of C^2, for every lr and epsilon; or empty."""
    criticals = read_critical(run)
    lines = [
        f"the rule is looked at after {counted(num, 'epoch')} (the authors' after "
        f"{AUTHORS_MIN_EPOCHS})"
        for num in sorted({critical.min_epochs for critical in criticals})
    ]
    for critical in criticals:
        b_star, c2 = critical.b_star, critical.c2_bound
        if b_star is None:
            lines.append(f"{critical.label}: no batch got there; train longer or raise it")
            continue
        flat = ", ".join(map(str, critical.flat_S.tolist()))
        bound = "no bound follows" if c2 is None else f"C^2 < {c2:.4g}"
        lines.append(
            f"{critical.label}: b* = {b_star} (n={critical.num_seeds} seeds), {bound}; batches "
            f"within 10% of its cost: {flat}"
        )
        if b_star in critical.floored_S:
            lines.append(
                "  b* stopped at the first step looked at: lower epsilon or critical.min_epochs"
            )
        for batch, num in critical.left_out.items():
            lines.append(f"  batch {batch}: only {num} seeds got there")
    return lines


def _by_setting(run: Run) -> dict[_Setting, dict[int, list[Row]]]:
    """Rows by setting and batch, one a seed."""
    used: dict[tuple[str, str], set[tuple[float, int]]] = {}
    for epoch in run.epochs.select(["run_id", "trial_key", "lr", "batch_size"]).to_pylist():
        values = used.setdefault((epoch["run_id"], epoch["trial_key"]), set())
        values.add((epoch["lr"], epoch["batch_size"]))
    settings: dict[_Setting, dict[int, list[Row]]] = {}
    seen = set()
    for row in run.rows():
        values = used.get((row["run_id"], row["trial_key"]), set())
        is_measured = is_full(row) and row["steps_to_epsilon"] is not None
        if is_measured and len(values) == 1 and row["trial_key"] not in seen:
            seen.add(row["trial_key"])
            ((lr, batch),) = values
            nesterov = " (nesterov)" if trial_from_row(row).recipe.nesterov else ""
            setting = (lr, f"{row['optimizer']}{nesterov}", row["momentum"])
            settings.setdefault(setting, {}).setdefault(batch, []).append(row)
    return settings


def _steps(row: Row) -> dict[str, int | None]:
    return dict(json.loads(row["steps_to_epsilon"]))


def _critical(setting: _Setting, by_batch: dict[int, list[Row]], epsilon: str) -> Critical:
    lr, optimizer, momentum = setting
    steps = {
        batch: {(row["replicate"], row["seed"]): _steps(row).get(epsilon) for row in rows}
        for batch, rows in sorted(by_batch.items())
    }
    reached = {batch: seeds for batch, seeds in steps.items() if None not in seeds.values()}
    batch_S, step_SR = _tabulate(reached)
    mean_S = np.mean(step_SR, axis=1, where=np.isfinite(step_SR))
    sfo_S = batch_S * mean_S
    b_star = _best(batch_S, mean_S) if len(batch_S) else None
    first_row = next(iter(by_batch.values()))[0]
    min_epochs = trial_from_row(first_row).recipe.measurements["critical"]["min_epochs"]
    floor = int(min_epochs) * int(first_row["train_examples"])
    first_S = -(-floor // batch_S) + 1  # the step at which the rule is first looked at
    floored_S = batch_S[np.nanmin(step_SR, axis=1, initial=np.inf) <= first_S]
    return Critical(
        lr=lr,
        optimizer=optimizer,
        momentum=momentum,
        epsilon=float(epsilon),
        num_seeds=max(len(seeds) for seeds in steps.values()),
        batch_S=batch_S,
        sfo_SR=step_SR * batch_S[:, None],
        left_out={
            batch: sum(step is not None for step in steps[batch].values())
            for batch in sorted(steps.keys() - reached.keys())
        },
        best_R=tuple(_best(batch_S, step_S) for step_S in step_SR.T if np.isfinite(step_S).any()),
        b_star=b_star,
        flat_S=batch_S[sfo_S <= (1 + FLAT) * sfo_S.min(initial=np.inf)],
        min_epochs=int(min_epochs),
        floor=floor,
        floored_S=floored_S,
        c2_bound=None if b_star in floored_S else _c2_bound(b_star, setting, float(epsilon)),
    )


def _tabulate(
    steps: Mapping[int, Mapping[_Seed, int | None]],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Batches, and their steps by seed; nan where a batch lacks a seed."""
    pairs = sorted({pair for seeds in steps.values() for pair in seeds})
    step_SR = np.array(
        [[seeds.get(pair) for pair in pairs] for seeds in steps.values()], dtype=np.float64
    )
    return np.array(list(steps), dtype=np.int64), step_SR.reshape(len(steps), len(pairs))


def _best(batch_S: NDArray[np.int64], step_S: NDArray[np.float64]) -> int:
    pairs = zip(batch_S.tolist(), step_S.tolist(), strict=True)
    return critical_batch({batch: steps for batch, steps in pairs if np.isfinite(steps)})[0]


def _c2_bound(b_star: int | None, setting: _Setting, epsilon: float) -> float | None:
    lr, optimizer, momentum = setting
    if b_star is None or optimizer not in ("sgd", "shb", "nshb"):
        return None
    if optimizer == "nshb":
        return c2_bound_nshb(b_star, lr, epsilon, beta=momentum)
    if momentum == 0:
        return c2_bound(b_star, lr, epsilon)
    return c2_bound_shb(b_star, lr, epsilon, beta=momentum)
