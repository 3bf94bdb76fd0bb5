"""How does a found schedule get into the user's own code? Tables and a torch snippet."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any

from results.records.segments import write_text
from results.statistics.wording import format_params
from search_spaces.trial import TrialConfig

COLUMNS = (
    *("stage", "start_sample", "start_epoch", "lr", "batch_size"),
    *("delta", "decay_rate", "capped", "momentum", "floored"),
)
RECIPE_FIELDS = (
    *("optimizer", "momentum", "nesterov", "weight_decay"),
    *("clip_norm", "label_smoothing", "noise_law", "epochs"),
)

SNIPPET = Template('''\
# $title
# Found by GradTune for $workload.
# $optimizer. Needs torch only.

import bisect

import torch

TOTAL_SAMPLES = $total_samples
EPOCH_SAMPLES = $epoch_samples
# first sample of the stage, lr, batch size, momentum
STAGES = [
$stages
]
STARTS = [stage[0] for stage in STAGES]


def settings_at(samples_seen):
    """(lr, batch size, momentum) of the next optimizer step after `samples_seen` samples."""
    return STAGES[bisect.bisect_right(STARTS, samples_seen) - 1][1:]


def set_step(optimizer, lr, momentum):
    for group in optimizer.param_groups:
        group["lr"] = lr
        if "momentum" in group:
            group["momentum"] = momentum


def steps(num_examples=EPOCH_SAMPLES, total_samples=TOTAL_SAMPLES, seed=0):
    """Yield (lr, momentum, indices) per step, cut from an endless stream of permutations."""
    generator = torch.Generator().manual_seed(seed)
    stream = torch.empty(0, dtype=torch.long)
    samples_seen = 0
    while samples_seen < total_samples:
        lr, batch_size, momentum = settings_at(samples_seen)
        while len(stream) < batch_size:
            stream = torch.cat([stream, torch.randperm(num_examples, generator=generator)])
        indices, stream = stream[:batch_size], stream[batch_size:]
        yield lr, momentum, indices
        samples_seen += batch_size


def train(model, optimizer, loss_function, images, labels):
    """A whole training; replace what you need."""
    model.train()
    for lr, momentum, indices in steps(len(images)):
        set_step(optimizer, lr, momentum)
        optimizer.zero_grad()
        loss_function(model(images[indices]), labels[indices]).backward()
        optimizer.step()
''')


def stage_table(trial: TrialConfig) -> list[dict[str, Any]]:
    """The stages of a trial's schedule, one dict of `COLUMNS` each; epochs from 0."""
    table = trial.schedule
    columns = {
        "stage": list(range(table.num_stages)),
        "start_sample": table.start_S.tolist(),
        "start_epoch": (table.start_S / table.epoch_samples).tolist(),
        **{name: getattr(table, f"{name}_S").tolist() for name in COLUMNS[3:]},
    }
    return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def export_schedule(trial: TrialConfig, directory: str | Path) -> list[Path]:
    """Write schedule.csv, schedule.json and torch_snippet.py of a config at full length.

    Raises:
        ValueError: the trial minimised a function, for which no training code exists.
    """
    if trial.recipe.trainer == "function":
        raise ValueError(f"{trial.recipe.dataset} is no training: nothing to export.")
    trial = replace(trial, horizon=1.0, until=None)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    files = {"schedule.csv": _csv, "schedule.json": _json, "torch_snippet.py": torch_snippet}
    for name, content in files.items():
        write_text(directory / name, content(trial))
    return [directory / name for name in files]


def torch_snippet(trial: TrialConfig) -> str:
    """Self-contained Python source that follows the trial's schedule."""
    columns = ("start_sample", "lr", "batch_size", "momentum")
    stages = [tuple(row[name] for name in columns) for row in stage_table(trial)]
    recipe = trial.recipe
    return SNIPPET.substitute(
        title=_comment(f"Schedule {trial.space}: {format_params(trial.params)}"),
        workload=_comment(f"{recipe.title}, {recipe.epochs} epochs"),
        optimizer=_comment(_recipe_in_words(trial)),
        total_samples=trial.schedule.total_samples,
        epoch_samples=trial.schedule.epoch_samples,
        stages="\n".join(f"    {stage!r}," for stage in stages),
    )


def _recipe_in_words(trial: TrialConfig) -> str:
    """What else the training used, for whoever wants the same result."""
    recipe = trial.recipe
    if recipe.trainer == "user":
        return f"Whatever else {recipe.model} did is not known here"
    words = [
        f"{recipe.optimizer}(momentum={recipe.momentum}, nesterov={recipe.nesterov}, "
        f"weight_decay={recipe.weight_decay})",
        f"label_smoothing={recipe.label_smoothing}",
        f"clip_norm={recipe.clip_norm}",
        f"precision={recipe.precision}",
    ]
    if recipe.optimizer == "nshb":
        words.append("in torch: SGD(momentum=beta, dampening=beta) but for its first step")
    if trial.params.get("radius0"):
        words.append(f"weights moved at random, radius0={trial.params['radius0']} (not done here)")
    return "Trained with " + ", ".join(words)


def _comment(text: str) -> str:
    """Names come from a file: they must not end the comment and become code."""
    return "".join(c if c.isprintable() else " " for c in text)


def _csv(trial: TrialConfig) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(stage_table(trial))
    return text.getvalue()


def _json(trial: TrialConfig) -> str:
    content = {
        **{name: getattr(trial, name) for name in ("space", "family")},
        "params": dict(trial.params),
        **{name: getattr(trial, name) for name in ("trial_key", "config_key")},
        **{name: getattr(trial.recipe, name) for name in RECIPE_FIELDS},
        **{name: getattr(trial.schedule, name) for name in ("epoch_samples", "total_samples")},
        "stages": stage_table(trial),
    }
    return json.dumps(content, indent=2) + "\n"
