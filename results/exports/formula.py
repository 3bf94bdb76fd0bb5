"""How is a found schedule written down? As peak, warmup, decay and floor.

Legend: i optimizer step from 0, W of them warm up, u share of the samples after the warmup that
are consumed when the curve is read, D noise level relative to its peak, d the family's curve,
e floor (share of the peak), s split, b batch.

    warmup   D = (i + 1) / (W + 1)                 (by step; else in tenths of an epoch)
    decay    D = e + (1 - e) * d(u)
             lr = peak * D^s,  b = b0 * D^(-2(1-s)), rounded; lr then keeps delta exact
"""

from __future__ import annotations

from typing import Any

import numpy as np

from search_spaces import FAMILIES
from search_spaces.clock import STEP, STEP_NAME
from search_spaces.trial import TrialConfig


def formula(trial: TrialConfig) -> dict[str, Any]:
    """Its numbers by name, for a configuration file.

    peak_lr, batch0 (samples), num_steps and warmup_steps (optimizer steps), warmup (share of the
    samples), family and its parameters, floor (share of the peak), split, momentum_share,
    interval (epochs, or "step").
    """
    table, params = trial.schedule, trial.params
    warm = _warmup_samples(trial)
    interval = STEP_NAME if trial.interval == STEP else trial.interval * trial.horizon
    return {
        "peak_lr": trial.lr0,
        "batch0": trial.batch0,
        "num_steps": table.num_steps(),
        "warmup_steps": sum(1 for _ in table.steps(0, warm)) if warm else 0,
        "warmup": warm / table.total_samples,
        "family": trial.family,
        **trial.curve_params,
        "floor": params.get("end", 0.0),
        "split": params["split"],
        "momentum_share": params.get("momentum_share", 0.0),
        "interval": interval,
    }


def formula_text(trial: TrialConfig) -> str:
    """The same in five lines, for a paper or a pull request."""
    numbers = formula(trial)
    shape = ", ".join(f"{name} = {value:.6g}" for name, value in trial.curve_params.items())
    family = FAMILIES.get(trial.family)
    curve = family.formula.partition(": ")[2].rstrip(".") if family else trial.family
    every = "every optimizer step"
    if numbers["interval"] != STEP_NAME:
        every = f"every {numbers['interval']:.6g} epochs"
    follows = trial.recipe.decay_after_warmup or "warmup" in trial.params
    of_what = "all samples, beneath the warmup"
    if follows or not numbers["warmup"]:
        of_what = "the samples after the warmup" if numbers["warmup"] else "the samples"
    floor, split = numbers["floor"], numbers["split"]
    level = f"D = {floor:.6g} + {1 - floor:.6g} * d(u)" if floor else "D = d(u)"
    lr = "lr = peak * D" if split == 1 else f"lr = peak * D^{split:.6g}"
    grows = f"b = {trial.batch0} * D^-{2 * (1 - split):.6g}"
    lines = {
        "peak": f"lr {trial.lr0:.6g} at batch {trial.batch0}, {numbers['num_steps']} steps",
        "warmup": f"linear over the first {numbers['warmup_steps']} steps "
        f"({100 * numbers['warmup']:.4g} % of the samples)",
        "decay": "; ".join(filter(None, (level, curve, shape))),
        "read": f"{every}, u = share of {of_what}",
        "use": lr if split == 1 else f"{lr}, {grows}, rounded; lr then keeps delta exact",
    }
    if not numbers["warmup"]:
        lines["warmup"] = "none"
    if numbers["momentum_share"]:
        lines["use"] = "momentum takes its share of D; see schedule.csv"
    return "\n".join(f"{name:<7} {text}" for name, text in lines.items())


def _warmup_samples(trial: TrialConfig) -> int:
    """First sample at which the level is the peak's; 0 without warmup."""
    if trial.warmup == 0:
        return 0
    table, peak = trial.schedule, trial.recipe.law.delta(trial.lr0, trial.batch0)
    at_peak = np.flatnonzero(table.delta_S >= peak * (1 - 1e-9))
    if len(at_peak):
        return int(table.start_S[at_peak[0]])
    return round(trial.warmup * table.total_samples)  # the curve lay beneath it (older records)
