"""Rows of the ledger: frozen columns, and what goes in comes out."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results import load
from results.records.schema import (
    EPOCHS,
    LATER_PARAMS,
    SCHEMAS,
    TRIALS,
    epoch_row,
    trial_from_row,
    trial_row,
)
from results.records.segments import read_segment, to_batch, write_segment
from results.records.store import RunStore
from search_spaces.records import MAX_ERROR_BYTES, EpochRecord, Outcome
from tests.fakes.results import START, make_epochs, make_outcome, make_recipe, make_trial

# The contract: columns are only ever added at the end.
EPOCH_COLUMNS = """run_id, trial_key, space, family, role, replicate, seed, attempt, epoch, stage,
lr, batch_size, batch_capped, momentum, delta, decay_rate, num_steps, samples_seen, train_loss,
train_accuracy, val_loss, val_accuracy, seconds, eval_seconds, images_per_second,
noise_c2, noise_c2_low, noise_c2_high, gradient_norm, max_gradient_norm, mean_batch_norm,
noise_sample, measured, epochs_seen, metrics, wall_seconds, max_step_norm,
val_balanced_accuracy"""
TRIAL_COLUMNS = """run_id, trial_key, config_key, space, family, role, replicate, seed, horizon,
status, attempt, p, interval, delta0, end_ratio, f, base, split, config_json, lr0, batch0, c2,
c2_source, noise_law, model, num_params, dataset, data_fingerprint, train_examples, optimizer,
momentum, precision, num_threads, micro_batch, epochs, epochs_done, objective, best_val_accuracy,
val_loss, final_train_loss, final_train_accuracy, test_loss, test_accuracy, test_correct,
samples_seen, optimizer_steps, train_seconds, peak_memory_bytes, device, host, started_at,
ended_at, error, momentum_share, radius0, sharpness_loss, sharpness_error, steps_to_epsilon,
measured, warmup, end, q, metrics, weight_decay, clip_norm, label_smoothing, width, batch_max,
params, wall_seconds, test_balanced_accuracy"""


def names(text: str) -> list[str]:
    return text.replace("\n", " ").replace(", ", ",").split(",")


@pytest.mark.parametrize(
    ("schema", "columns", "later"),
    [(EPOCHS, EPOCH_COLUMNS, ()), (TRIALS, TRIAL_COLUMNS, LATER_PARAMS)],
)
def test_columns_are_frozen_in_order(schema, columns, later):
    assert [*(name.strip() for name in names(columns)), *later] == schema.names


@pytest.mark.parametrize("schema", SCHEMAS.values())
def test_every_field_has_unit_and_description_and_the_file_a_version(schema):
    assert schema.metadata[b"schema_version"] == b"2"
    assert all(set(field.metadata) == {b"unit", b"description"} for field in schema)
    assert all(field.metadata[b"description"] for field in schema)


def test_types_are_the_contracted_ones():
    assert TRIALS.field("started_at").type == pa.timestamp("us", tz="UTC")
    assert TRIALS.field("test_correct").type == pa.binary()
    assert TRIALS.field("status").type == pa.string()
    assert {EPOCHS.field(n).type for n in ("lr", "delta", "train_loss")} == {pa.float64()}
    assert EPOCHS.field("batch_capped").type == pa.bool_()
    assert EPOCHS.field("batch_size").type == pa.int64()


def start_row(trial, **changes):
    given = {
        "status": "running", "attempt": 0, "outcome": None, "epochs_done": 0, "host": "h",
        "started_at": START, "ended_at": None, "error": None,
    }  # fmt: skip
    return trial_row("run", trial, **(given | changes))


def test_a_starting_trial_has_null_measurements():
    row = start_row(make_trial())
    assert row["status"] == "running"
    assert row["objective"] is None
    assert row["num_params"] is None
    assert row["ended_at"] is None


def test_parameters_a_space_lacks_are_null():
    row = start_row(make_trial("cosine"))
    assert (row["p"], row["end_ratio"], row["f"], row["base"]) == (None, None, None, None)
    assert row["interval"] == 1


def test_a_factor_is_also_told_as_end_ratio():
    row = start_row(make_trial("step", {"interval": 2, "factor": 0.5}))
    assert row["end_ratio"] == pytest.approx(0.5**3)  # 6 epochs, 3 stages


def test_an_interval_may_be_a_fraction_or_a_step():
    for interval in (0.25, 0):
        row = start_row(make_trial("cosine", {"interval": interval}))
        assert row["interval"] == interval
        assert to_batch([row], TRIALS).num_rows == 1


def test_a_config_tells_its_warmup_as_a_share():
    assert start_row(make_trial("cosine"))["warmup"] == 0.0
    recipe = make_recipe(warmup_epochs=1.5)
    assert start_row(make_trial("cosine", recipe=recipe))["warmup"] == 1.5 / 6
    assert start_row(make_trial("cosine", {"warmup": 0.1}, recipe=recipe))["warmup"] == 0.1


def test_what_has_no_column_of_its_own_stands_by_name_in_params():
    assert start_row(make_trial("cosine"))["params"] is None
    factor = start_row(make_trial("step", {"interval": 2, "factor": 0.5}))
    assert factor["params"] == {"factor": 0.5}
    recipe = make_recipe(trainer="user", weight_decay=0.02)
    trial = make_trial("poly", {"beta2": 0.98, "weight_decay": 0.02}, recipe=recipe)
    row = start_row(replace(trial, training=("beta2", "weight_decay")))
    assert (row["params"], row["p"], row["weight_decay"]) == ({"beta2": 0.98}, 0.9, 0.02)
    # What a user's own training does besides is not known.
    assert (row["clip_norm"], row["label_smoothing"], row["width"]) == (None, None, None)
    row = start_row(make_trial(recipe=make_recipe(clip_norm=1.5, batch_max=64)))
    assert (row["clip_norm"], row["label_smoothing"]) == (1.5, 0.0)
    assert (row["weight_decay"], row["width"], row["batch_max"]) == (5e-4, 32, 64)


def test_a_row_keeps_the_end_of_an_error_without_secrets(tmp_path):
    text = "http://me:c4n4ry@host/ " + "x" * 5000 + "\u00e9nd"
    with RunStore.create(tmp_path / "run", {}, "") as store:
        store.add_trial(start_row(make_trial(), error=text))
    (kept,) = load(tmp_path / "run").trials["error"].to_pylist()
    assert len(kept.encode()) <= MAX_ERROR_BYTES
    assert kept.endswith("\u00e9nd")
    assert "c4n4ry" not in kept


def test_trial_survives_its_row():
    trial = make_trial("poly", {"p": 0.1 + 0.2}, role="confirm", replicate=2)
    restored = trial_from_row(start_row(trial))
    assert restored == trial
    assert restored.trial_key == trial.trial_key


number = st.floats(allow_nan=True, allow_infinity=True)
count = st.integers(min_value=0, max_value=2**62)
text = st.text(st.characters())  # lone surrogates included
plain_text = st.text(st.characters(codec="utf-8"))
metrics = st.none() | st.dictionaries(plain_text, number, max_size=3)
outcomes = st.builds(
    Outcome,
    status=st.sampled_from(["completed", "diverged"]),
    objective=st.floats(0, 1),
    best_val_accuracy=number,
    val_loss=number,
    final_train_loss=st.none() | number,
    final_train_accuracy=st.none() | number,
    test_loss=st.none() | number,
    test_accuracy=st.none() | number,
    test_correct=st.none() | st.binary(max_size=64),
    samples_seen=count,
    optimizer_steps=count,
    train_seconds=number,
    num_params=count,
    peak_memory_bytes=count,
    device=plain_text,
    sharpness_loss=st.none() | number,
    sharpness_error=st.none() | number,
    steps_to_epsilon=st.none() | plain_text,
    metrics=metrics,
)
values = {
    **{"int": count, "float": number, "bool": st.booleans()},
    **{"float | None": st.none() | number, "str | None": st.none() | plain_text},
    "Mapping[str, float] | None": metrics,
}
epochs = st.builds(
    EpochRecord,
    **{f.name: values[str(f.type)] for f in fields(EpochRecord)},
)


def same(a: object, b: object) -> bool:
    if isinstance(b, dict):  # Arrow gives a map back as pairs
        return isinstance(a, list) and len(a) == len(b) and all(same(v, b[k]) for k, v in a)
    both_nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    return both_nan or a == b


def through_parquet(row, schema, path):
    write_segment(path, pa.Table.from_batches([to_batch([row], schema)]))
    (restored,) = read_segment(path, schema).to_pylist()
    return restored


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(outcome=st.none() | outcomes, error=st.none() | text, seconds=st.floats(0, 1e6))
def test_trial_rows_survive_parquet(tmp_path_factory, outcome, error, seconds):
    ended = START + timedelta(microseconds=round(seconds * 1e6))
    row = start_row(make_trial(), outcome=outcome, error=error, ended_at=ended)
    path = tmp_path_factory.getbasetemp() / "trial.parquet"
    restored = through_parquet(row, TRIALS, path)
    assert list(restored) == TRIALS.names
    assert all(same(restored[name], row[name]) for name in row)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(record=epochs, attempt=st.integers(0, 100))
def test_epoch_rows_survive_parquet(tmp_path_factory, record, attempt):
    row = epoch_row("run", make_trial(), attempt, record)
    path = tmp_path_factory.getbasetemp() / "epoch.parquet"
    restored = through_parquet(row, EPOCHS, path)
    assert list(restored) == EPOCHS.names
    assert all(same(restored[name], row[name]) for name in row)


def test_status_given_by_the_driver_wins_over_the_outcome():
    trial = make_trial()
    outcome = make_outcome(trial, make_epochs(trial, 0.9), status="completed", test=0.9)
    assert start_row(trial, status="interrupted", outcome=outcome)["status"] == "interrupted"


def test_times_are_stored_in_utc():
    row = start_row(make_trial(), started_at=datetime.fromisoformat("2026-11-21T09:15:00+02:00"))
    batch = to_batch([row], TRIALS)
    assert batch["started_at"][0].as_py() == datetime(2026, 11, 21, 7, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": 1}, "extra"),
        ({"lr": "fast"}, "does not fit"),
        ({"epoch": "one"}, "does not fit"),
    ],
)
def test_rows_that_do_not_fit_are_refused(changes, message):
    row = epoch_row("run", make_trial(), 0, make_epochs(make_trial(), 0.9)[0])
    with pytest.raises(ValueError, match=message):
        to_batch([row | changes], EPOCHS)


def test_a_missing_column_is_refused():
    row = epoch_row("run", make_trial(), 0, make_epochs(make_trial(), 0.9)[0])
    del row["lr"]
    with pytest.raises(ValueError, match="lr"):
        to_batch([row], EPOCHS)


def test_recipes_may_hold_nulls():
    recipe = replace(make_recipe(), width=None, micro_batch=None, batch_max=64)
    assert trial_from_row(start_row(make_trial(recipe=recipe))).recipe == recipe
