"""How does a found schedule get into the user's own code? Tables and a torch snippet."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import IO, Any

import numpy as np

from results.exports.formula import formula
from results.exports.joining import adapters_page
from results.exports.length import stretched
from results.records.segments import write_atomically, write_text
from results.statistics.wording import format_params
from search_spaces.trial import TrialConfig

COLUMNS = (
    *("stage", "start_sample", "start_epoch", "lr", "batch_size"),
    *("delta", "decay_rate", "capped", "momentum", "floored", "progress"),
)
MAX_STAGES = 5000  # in the snippet and the JSON; longer tables are in schedule.csv alone
CSV_ROWS = 10_000  # written at a time
TOTALS = ("epoch_samples", "total_samples", "report_samples")
RECIPE_FIELDS = (
    *("optimizer", "momentum", "nesterov", "weight_decay"),
    *("clip_norm", "label_smoothing", "noise_law", "epochs", "width"),
)

SNIPPET = Template('''\
# $title
# Found by GradTune for $workload.
# $optimizer. Needs torch only.

import bisect
$imports
import torch

TOTAL_SAMPLES = $total_samples
EPOCH_SAMPLES = $epoch_samples
# first sample of the stage, lr, batch size, momentum
STAGES = $stages
STARTS = [stage[0] for stage in STAGES]
HAS_MOMENTUM = any(stage[3] > 0 for stage in STAGES)  # else the optimizer keeps its own


def settings_at(samples_seen):
    """(lr, batch size, momentum) of the next optimizer step after `samples_seen` samples."""
    return STAGES[bisect.bisect_right(STARTS, samples_seen) - 1][1:]


def set_step(optimizer, lr, momentum):
    """A group that was given an lr of its own (or lr_scale) keeps its share of the optimizer's."""
    own = [float(group.setdefault("initial_lr", float(group["lr"])))
           for group in optimizer.param_groups]
    base = own[0] if len(set(own)) == 1 else float(optimizer.defaults["lr"])
    if len(set(own)) > 1 and (base <= 0 or base not in own):
        raise ValueError("no group trains at the optimizer's lr: SGD(groups, lr=...)")
    for group, start in zip(optimizer.param_groups, own):
        share = start / base if base else 1.0
        value = lr * (share * group.get("lr_scale", 1.0))
        if torch.is_tensor(group["lr"]):
            group["lr"].fill_(value)
        else:
            group["lr"] = value
        if HAS_MOMENTUM and "momentum" in group:
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

READER_IMPORTS = "import csv\nimport pathlib\n"
READER = """[
    (int(row["start_sample"]), float(row["lr"]), int(row["batch_size"]), float(row["momentum"]))
    for row in csv.DictReader(
        pathlib.Path(__file__).with_name("schedule.csv").read_text().splitlines()
    )
]"""


def stage_table(trial: TrialConfig, stages: Iterable[int] | None = None) -> list[dict[str, Any]]:
    """Stages (default all) of a trial's schedule, one dict of `COLUMNS` each; epochs from 0."""
    table = trial.schedule
    number_S = np.fromiter(range(table.num_stages) if stages is None else stages, dtype=np.int64)
    start_S = table.start_S[number_S]
    columns = (
        number_S,
        start_S,
        start_S / table.epoch_samples,
        *(getattr(table, f"{name}_S")[number_S] for name in COLUMNS[3:]),
    )
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def export_schedule(
    trial: TrialConfig,
    directory: str | Path,
    *,
    epochs: float | None = None,
    steps: int | None = None,
) -> list[Path]:
    """Write schedule.csv, schedule.json, adapters.md and torch_snippet.py of a config.

    The snippet holds the stages, or reads those of a long table from the schedule.csv beside it.
    `epochs`, `steps`: another length than that of the run's full trainings; see `stretched`.

    Raises:
        ValueError: the trial minimised a function, for which no training code exists, or a length
            that it cannot have.
    """
    if trial.recipe.trainer == "function":
        raise ValueError(f"{trial.recipe.dataset} is no training: nothing to export.")
    original, trial = trial, stretched(trial, epochs=epochs, steps=steps)
    files = {
        "schedule.json": _json(trial, original),
        "adapters.md": adapters_page(trial, original, Path(directory)),
        "torch_snippet.py": torch_snippet(trial, original),
    }
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / "schedule.csv", lambda file: _write_csv(trial, file))
    for name, content in files.items():
        write_text(directory / name, content)
    return [directory / name for name in ("schedule.csv", *files)]


def torch_snippet(trial: TrialConfig, original: TrialConfig | None = None) -> str:
    """Self-contained Python source that follows the trial's schedule.

    original: the config of the run where `trial` is that at another length.
    """
    recipe, is_long = trial.recipe, trial.schedule.num_stages > MAX_STAGES
    return SNIPPET.substitute(
        title=_comment(f"Schedule {trial.space}: {format_params((original or trial).params)}"),
        workload=_comment(f"{recipe.title}, {trial.horizon * recipe.epochs:.6g} epochs"),
        optimizer=_comment(_recipe_in_words(trial)),
        total_samples=trial.schedule.total_samples,
        epoch_samples=trial.schedule.epoch_samples,
        imports=READER_IMPORTS if is_long else "",
        stages=READER if is_long else _literal_stages(trial),
    )


def _literal_stages(trial: TrialConfig) -> str:
    columns = ("start_sample", "lr", "batch_size", "momentum")
    rows = [tuple(row[name] for name in columns) for row in stage_table(trial)]
    return "[\n" + "\n".join(f"    {row!r}," for row in rows) + "\n]"


def _recipe_in_words(trial: TrialConfig) -> str:
    """What else the training used, for whoever wants the same result."""
    recipe = trial.recipe
    if recipe.trainer == "user":
        given = format_params(trial.training_params)
        handed = f"Trained with {given}. " if given else ""
        return f"{handed}Whatever else {recipe.model} did is not known here"
    words = [
        f"{recipe.optimizer}(momentum={recipe.momentum}, nesterov={recipe.nesterov}, "
        f"weight_decay={recipe.weight_decay})",
        f"label_smoothing={recipe.label_smoothing}",
        f"clip_norm={recipe.clip_norm}",
        f"precision={recipe.precision}",
    ]
    if recipe.width is not None:
        words.append(f"width={recipe.width}")
    if recipe.optimizer == "nshb":
        words.append("in torch: SGD(momentum=beta, dampening=beta) but for its first step")
    if trial.params.get("radius0"):
        words.append(f"weights moved at random, radius0={trial.params['radius0']} (not done here)")
    return "Trained with " + ", ".join(words)


def _comment(text: str) -> str:
    """Names come from a file: they must not end the comment and become code."""
    return "".join(c if c.isprintable() else " " for c in text)


def _write_csv(trial: TrialConfig, file: IO[bytes]) -> None:
    """Every stage; numbers in all their digits."""
    file.write((",".join(COLUMNS) + "\n").encode())
    num_stages = trial.schedule.num_stages
    for first in range(0, num_stages, CSV_ROWS):
        rows = stage_table(trial, range(first, min(first + CSV_ROWS, num_stages)))
        lines = [",".join(map(str, row.values())) + "\n" for row in rows]
        file.write("".join(lines).encode())


def _json(trial: TrialConfig, original: TrialConfig) -> str:
    table = trial.schedule
    content = {
        **{name: getattr(original, name) for name in ("space", "family")},
        "params": dict(original.params),
        "training": original.training_params,
        **{name: getattr(original, name) for name in ("trial_key", "config_key")},
        **{name: getattr(original.recipe, name) for name in RECIPE_FIELDS},
        "exported_epochs": table.total_samples / table.epoch_samples,
        **{name: getattr(table, name) for name in TOTALS},
        "formula": formula(trial),
        "num_stages": table.num_stages,
        "stages": stage_table(trial) if table.num_stages <= MAX_STAGES else [],
        "stages_in": "schedule.csv",
    }
    return json.dumps(content, indent=2) + "\n"
