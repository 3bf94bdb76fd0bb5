"""What is recorded: the Arrow schemas of the two tables, and rows from and to domain objects.

Columns are only ever added at the end. Every field carries its unit and a description.
Floats are float64, accuracies and shares lie in [0, 1], times are UTC.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, get_args

import pyarrow as pa

from results.records.redaction import visible_all
from search_spaces.families import CURVE_PARAMETERS
from search_spaces.records import EpochRecord, Outcome, Status
from search_spaces.trial import Recipe, TrialConfig, canonical_json

SCHEMA_VERSION = 2
# One row of a table: column name -> plain Python value (the Arrow edge).
Row = dict[str, Any]

# Curve parameters whose columns have their place; those of later families stand at the end, and
# may be missing in records of the same version.
PLACED_PARAMS = ("p", "end_ratio", "f", "base", "q")
LATER_PARAMS = tuple(name for name in CURVE_PARAMETERS if name not in PLACED_PARAMS)
# Columns that files of this version may lack: they were written before these came.
LATER_COLUMNS = (
    *("measured", "epochs_seen", "metrics", "warmup", "end", "q", *LATER_PARAMS, "wall_seconds"),
    *("max_step_norm", "val_balanced_accuracy", "test_balanced_accuracy"),
    *("weight_decay", "clip_norm", "label_smoothing", "width", "batch_max", "params"),
)
# What only our training of a network does as the recipe says.
OF_NETWORKS = ("weight_decay", "clip_norm", "label_smoothing", "width")
PARAMS = ("interval", "delta0", "split", "momentum_share", "radius0", "end", *CURVE_PARAMETERS)

TEXT, INT, FLOAT, BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
TIME = pa.timestamp("us", tz="UTC")
NUMBERS = pa.map_(TEXT, FLOAT)
Column = tuple[str, pa.DataType, str, str]  # name, type, unit, description
OBJECTIVE = (
    "what the search ranks by, in its own unit, at the end: validation accuracy (fraction) unless "
    "objective= says otherwise; if diverged chance of an accuracy, null of any other"
)
FINAL_TRAIN = "whole training set at the end, eval mode; null of a search that measures nothing"
BALANCED = "mean over the classes of the share correct; null where they are about equally large"
OWN_PARAMETER = "parameter of your own curve or training (or a factor per stage)"
DECAY_RATE = "delta of the stage over that of the stage before; 1 in stage 0"
# Which trial of which arm, in both tables.
PLACE: list[Column] = [
    ("space", TEXT, "", "arm of the search"),
    ("family", TEXT, "", "decay curve"),
    ("role", TEXT, "", "search | select | confirm"),
    ("replicate", INT, "", "seed index that pairs trials across arms"),
    ("seed", INT, "", "seed of weights, split, order and augmentation"),
]


def _schema(columns: list[Column]) -> pa.Schema:
    fields = [
        pa.field(name, kind, metadata={"unit": unit, "description": text})
        for name, kind, unit, text in columns
    ]
    return pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION)})


EPOCHS = _schema(
    [
        ("run_id", TEXT, "", "run that measured this row"),
        ("trial_key", TEXT, "", "hash of the whole trial config; joins with trials"),
        *PLACE,
        ("attempt", INT, "", "start of this trial that measured the row; the latest wins"),
        ("epoch", INT, "", "number of the report, from 1; of the epoch without reports="),
        ("stage", INT, "", "row of the schedule's table at the last step"),
        ("lr", FLOAT, "", "learning rate used at the last step"),
        ("batch_size", INT, "samples", "batch used at the last step"),
        ("batch_capped", BOOL, "", "the batch is below its target"),
        ("momentum", FLOAT, "", "momentum used at the last step"),
        ("delta", FLOAT, "", "noise level lr * C / sqrt(batch) under the run's noise law"),
        ("decay_rate", FLOAT, "", DECAY_RATE),
        ("num_steps", INT, "steps", "optimizer steps of this epoch"),
        ("samples_seen", INT, "samples", "since the training's start"),
        ("train_loss", FLOAT, "nats", "mean over the epoch, as samples passed in train mode"),
        ("train_accuracy", FLOAT, "fraction", "share correct over the epoch, in train mode"),
        ("val_loss", FLOAT, "nats", "validation set at the epoch's end"),
        ("val_accuracy", FLOAT, "fraction", "validation set at the epoch's end"),
        ("seconds", FLOAT, "s", "training, without evaluation"),
        ("eval_seconds", FLOAT, "s", "validation"),
        ("images_per_second", FLOAT, "samples/s", "training throughput"),
        ("noise_c2", FLOAT, "", "measured noise constant C^2 at the epoch's end"),
        ("noise_c2_low", FLOAT, "", "lower end of its 95% interval"),
        ("noise_c2_high", FLOAT, "", "upper end of its 95% interval"),
        ("gradient_norm", FLOAT, "", "of the whole loss, bias removed, at the epoch's end"),
        ("max_gradient_norm", FLOAT, "", "largest of a measuring batch or example"),
        ("mean_batch_norm", FLOAT, "", "mean over all steps of the batch gradient's norm"),
        ("noise_sample", TEXT, "JSON", "distribution of the gradient noise at one point"),
        ("measured", TEXT, "JSON", "what measurements without a column told at the epoch's end"),
        ("epochs_seen", FLOAT, "epochs", "samples_seen in units of the training samples"),
        ("metrics", NUMBERS, "", "numbers by name that a training of your own reported besides"),
        ("wall_seconds", FLOAT, "s", "all since the report before (1: the start) by the clock"),
        ("max_step_norm", FLOAT, "", "largest gradient norm of a step since the report before: K"),
        ("val_balanced_accuracy", FLOAT, "fraction", BALANCED),
    ]
)


def _curve_column(name: str) -> Column:
    parameter = CURVE_PARAMETERS[name]
    return name, FLOAT, parameter.unit, parameter.meaning


TRIALS = _schema(
    [
        ("run_id", TEXT, "", "run that recorded this row"),
        ("trial_key", TEXT, "", "hash of the whole trial config"),
        ("config_key", TEXT, "", "hash without seed, replicate, role and horizon"),
        *PLACE,
        ("horizon", FLOAT, "fraction", "share of the full training's samples"),
        ("status", TEXT, "", " | ".join(get_args(Status))),
        ("attempt", INT, "", "start of this trial; the latest wins"),
        _curve_column("p"),
        ("interval", FLOAT, "epochs", "between decays; 0 = every optimizer step"),
        ("delta0", FLOAT, "", "initial noise level"),
        *map(_curve_column, ("end_ratio", "f", "base")),
        ("split", FLOAT, "fraction", "share of the decay done by lr; the rest by the batch"),
        ("config_json", TEXT, "", "the whole trial config, canonical JSON"),
        ("lr0", FLOAT, "", "initial learning rate"),
        ("batch0", INT, "samples", "initial batch"),
        ("c2", FLOAT, "", "noise constant C^2; labels delta"),
        ("c2_source", TEXT, "", "given | measured | unit"),
        ("noise_law", TEXT, "", "sgd | shb | nshb_a | nshb_b"),
        ("model", TEXT, "", "network"),
        ("num_params", INT, "", "trainable parameters of the network"),
        ("dataset", TEXT, "", "data set"),
        ("data_fingerprint", TEXT, "", "identifies the data's content"),
        ("train_examples", INT, "samples", "images trained on per epoch"),
        ("optimizer", TEXT, "", "optimizer"),
        ("momentum", FLOAT, "", "momentum"),
        ("precision", TEXT, "", "fp32 | bf16"),
        ("num_threads", INT, "", "CPU threads"),
        ("micro_batch", INT, "samples", "largest batch of one backward pass; null = all"),
        ("epochs", INT, "epochs", "length of the full training"),
        ("epochs_done", INT, "", "reports so far; epochs without reports="),
        ("objective", FLOAT, "", OBJECTIVE),
        ("best_val_accuracy", FLOAT, "fraction", "largest over the epochs; null without"),
        ("val_loss", FLOAT, "nats", "validation set at the end"),
        ("final_train_loss", FLOAT, "nats", FINAL_TRAIN),
        ("final_train_accuracy", FLOAT, "fraction", FINAL_TRAIN),
        ("test_loss", FLOAT, "nats", "test set at the end; null unless role=confirm"),
        ("test_accuracy", FLOAT, "fraction", "test set at the end; null unless role=confirm"),
        ("test_correct", pa.binary(), "", "one bit per test image, in order"),
        ("samples_seen", INT, "samples", "of the whole training"),
        ("optimizer_steps", INT, "steps", "of the whole training"),
        ("train_seconds", FLOAT, "s", "training, without evaluation"),
        ("peak_memory_bytes", INT, "bytes", "of the training on a GPU, or of its process so far"),
        ("device", TEXT, "", "hardware that trained"),
        ("host", TEXT, "", "machine that trained"),
        ("started_at", TIME, "UTC", "start of this attempt"),
        ("ended_at", TIME, "UTC", "end of this attempt; null while running"),
        ("error", TEXT, "", "the error's text, shortened to 2 kB: its first line and its end"),
        ("momentum_share", FLOAT, "fraction", "share of the decay done by momentum"),
        ("radius0", FLOAT, "", "initial radius of the explicit smoothing of the weights"),
        ("sharpness_loss", FLOAT, "nats", "largest increase of the loss near the weights"),
        ("sharpness_error", FLOAT, "fraction", "increase of the error rate at that point"),
        ("steps_to_epsilon", TEXT, "JSON", "steps until mean_batch_norm fell to each epsilon"),
        ("measured", TEXT, "JSON", "what measurements without a column told at the end"),
        ("warmup", FLOAT, "fraction", "share of the training in which lr rises"),
        ("end", FLOAT, "fraction", "floor of the decay, of the initial noise level; null = 0"),
        _curve_column("q"),
        ("metrics", NUMBERS, "", "numbers by name of the last report; test_* for role=confirm"),
        ("weight_decay", FLOAT, "1/step/lr", "L2 (sgd), decoupled (adamw)"),
        ("clip_norm", FLOAT, "", "largest gradient norm; null = no clipping"),
        ("label_smoothing", FLOAT, "fraction", "of the training loss"),
        ("width", INT, "channels", "of the network's first stage; null = standard"),
        ("batch_max", INT, "samples", "largest batch; null = no cap"),
        ("params", NUMBERS, "", f"{OWN_PARAMETER}, by name; each a column of its own when loaded"),
        ("wall_seconds", FLOAT, "s", "start to end by the clock, without waiting for a worker"),
        ("test_balanced_accuracy", FLOAT, "fraction", BALANCED),
        *map(_curve_column, LATER_PARAMS),
    ]
)

SCHEMAS = {"epochs": EPOCHS, "trials": TRIALS}
# What makes a row unique within a run.
KEYS = {"epochs": ("trial_key", "epoch"), "trials": ("trial_key",)}

# Columns of a trial row that come, under the same name, from its outcome, recipe and trial.
OUTCOME_COLUMNS = set(TRIALS.names) & Outcome.__dataclass_fields__.keys() - {"status"}
RECIPE_COLUMNS = set(TRIALS.names) & Recipe.__dataclass_fields__.keys() - {"batch0"}
OUTCOME_NUMBERS = [
    field.name for field in TRIALS if field.name in OUTCOME_COLUMNS and field.type in (INT, FLOAT)
]
IDENTITY_COLUMNS = ("trial_key", *(name for name, *_ in PLACE))


def epoch_row(run_id: str, trial: TrialConfig, attempt: int, record: EpochRecord) -> Row:
    """The row of `epochs` for one finished epoch."""
    identity = {name: getattr(trial, name) for name in IDENTITY_COLUMNS}
    seen = {"epochs_seen": record.samples_seen / trial.recipe.train_examples}
    return {"run_id": run_id, **identity, "attempt": attempt, **record.as_dict(), **seen}


def trial_row(
    run_id: str,
    trial: TrialConfig,
    *,
    status: Status,
    attempt: int,
    outcome: Outcome | None,
    epochs_done: int,
    host: str,
    started_at: datetime,
    ended_at: datetime | None,
    error: str | None,
    so_far: Mapping[str, Any] | None = None,
) -> Row:
    """The row of `trials` for a trial that started, ended or failed.

    Args:
        status: of the trial now; wins over the outcome's own.
        outcome: None leaves the measurements null.
        so_far: columns of a training that is paused, where there is no outcome yet.
        started_at, ended_at: with time zone.
        error: of a training that was lost.
    """
    curve = trial.curve_params
    params = {k: v for k, v in trial.params.items() if k in PARAMS} | curve
    named = {k: float(v) for k, v in (dict(trial.params) | curve).items() if k not in TRIALS.names}
    recipe = asdict(trial.recipe)
    if trial.recipe.trainer != "network":  # of other trainings they are known where given to them
        recipe |= {n: None for n in OF_NETWORKS if n not in trial.training}
    measured = asdict(outcome) if outcome is not None else so_far or {}
    of_trial = (*IDENTITY_COLUMNS, "config_key", "horizon", "lr0", "batch0")
    row = {
        "run_id": run_id,
        "status": status,
        "attempt": attempt,
        "config_json": canonical_json(trial.to_dict()),
        "epochs_done": epochs_done,
        "host": host,
        "started_at": started_at,
        "ended_at": ended_at,
        "error": error,
        **{name: getattr(trial, name) for name in of_trial},
        **{name: params.get(name) for name in PARAMS},
        **{name: recipe[name] for name in RECIPE_COLUMNS},
        **{name: measured.get(name) for name in OUTCOME_COLUMNS},
        "warmup": trial.warmup,
        "params": named or None,
    }
    return {name: row[name] for name in TRIALS.names}


def with_own_params(trials: pa.Table) -> pa.Table:
    """The trials with a column for every name in `params`, null where a trial has it not."""
    maps = [dict(pairs or ()) for pairs in trials["params"].to_pylist()]
    names = dict.fromkeys(name for params in maps for name in params)
    for name in names:
        about = {"unit": "", "description": OWN_PARAMETER}
        values = pa.array([params.get(name) for params in maps], FLOAT)
        if name not in trials.column_names:
            trials = trials.append_column(pa.field(name, FLOAT, metadata=about), values)
    return trials


def trial_from_row(row: Mapping[str, Any]) -> TrialConfig:
    """The trial config a row of `trials` was made from. Imports no user code.

    Rows of one trial give one object: read it, never change it.
    """
    return _trial_from_json(row["config_json"])


@functools.lru_cache(maxsize=20_000)  # a search of 10,000, and what confirms it
def _trial_from_json(text: str) -> TrialConfig:
    data = json.loads(text)
    is_plain = text.isascii() and "\\" not in text and "\x7f" not in text  # as all of ours are
    return TrialConfig.from_dict(data if is_plain else visible_all(data))
