"""Runs that are judged by a loss, whole: search, verdict, comparison, and what has diverged."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

import results
from results.__main__ import main as results_command
from tests.fakes.losses import ENTROPY
from tests.fakes.tune_loop import Inline

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

FALL = (
    *("trainable=tests.fakes.losses:fall", "objective=val_loss", "dataset.train_examples=60"),
    *("lr=0.3", "batch.initial=6", "epochs=3", "confirm.seeds=3", "display=plain"),
)
DIGITS = (
    *("model.width=4", "dataset.train_examples=150", "epochs=3", "trials=2", "confirm.seeds=2"),
    *("max_concurrent=1", "display=plain"),
)


def rows_of(inline: Inline, name: str, words: Sequence[str]) -> tuple[str, results.Run]:
    done = inline.run(*words, f"name={name}")
    assert done.returncode == 0, done.stderr
    return done.stdout, results.load(inline.folder / name)


@pytest.mark.parametrize("sampler", ["tpe", pytest.param("gp", marks=pytest.mark.full)])
def test_a_training_that_reports_losses_only_is_searched_and_judged_in_nats(
    inline: Inline, sampler: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*FALL, "space=[poly,cosine]", "trials=8", f"search.sampler={sampler}", "report=true")
    printed, run = rows_of(inline, "nats", words)
    rows = run.trials.to_pylist()
    searched = [row for row in rows if row["role"] == "search"]
    for row in searched:
        assert row["objective"] == row["val_loss"] >= ENTROPY
        assert row["test_loss"] is row["test_accuracy"] is row["best_val_accuracy"] is None
        assert dict(row["metrics"])["distance"] == pytest.approx(
            math.sqrt(row["val_loss"] - ENTROPY)
        )
    best = min(searched, key=lambda row: row["objective"])
    chosen = [row for row in rows if row["role"] == "confirm" and row["space"] == best["space"]]
    assert {row["config_key"] for row in chosen} == {best["config_key"]}
    study = run.to_study("poly")
    assert study.direction.name == "MINIMIZE"
    assert study.best_value == min(r["objective"] for r in searched if r["space"] == "poly")
    comparison = run.compare()
    assert (comparison.metric.name, comparison.min_effect) == ("test_loss", None)
    tests = {arm.name: arm.mean for arm in comparison.arms}
    assert run.best().space == min(("poly", "cosine"), key=tests.__getitem__)
    assert "nats" in comparison.verdict
    assert "points" not in printed
    config = run.best().config_key
    (reached,) = (r["objective"] for r in searched if r["config_key"] == config)
    assert f"validation loss {reached:.5g} in the search" in printed
    assert f"val loss {reached:.5g}, " in printed
    folder = str(run.dirs[0])
    assert results_command(["compare", folder, "--metric", "distance"]) == 2
    assert "--goal min or max" in capsys.readouterr().err
    assert results_command(["compare", folder, "--metric", "distance", "--goal", "min"]) == 0
    assert (run.dirs[0] / "plots" / "curves_distance.png").stat().st_size > 1000
    assert "nats" in (run.dirs[0] / "report.html").read_text()


@pytest.mark.full
def test_digits_by_val_loss_and_an_accuracy_run_compared_by_test_loss(inline: Inline) -> None:
    printed, by_loss = rows_of(inline, "loss", (*DIGITS, "objective=val_loss"))
    _, by_accuracy = rows_of(inline, "accuracy", DIGITS)
    assert "val loss" in printed
    assert by_loss.compare().metric.name == "test_loss"
    rows = {row["trial_key"]: row for row in by_accuracy.trials.to_pylist()}
    for row in by_loss.trials.to_pylist():
        assert row["objective"] == row["val_loss"]
        assert row["trial_key"] not in rows  # another objective is another trial
    other = by_accuracy.compare("test_loss")
    confirmed = [r for r in rows.values() if r["role"] == "confirm" and r["space"] == "poly"]
    mean = sum(row["test_loss"] for row in confirmed) / len(confirmed)
    assert {arm.name: arm.mean for arm in other.arms}["poly"] == pytest.approx(mean)
    assert (other.metric.unit, other.min_effect) == ("nats", None)
    both = results.load([inline.folder / "loss", inline.folder / "accuracy"])
    with pytest.raises(ValueError, match=r"several objectives \(val_loss, val_accuracy\)"):
        both.compare()
    assert both.compare("test_loss").metric.unit == "nats"


@pytest.mark.parametrize("fidelity", ["full", pytest.param("prefix", marks=pytest.mark.full)])
def test_a_run_by_loss_goes_on_as_if_it_had_been_longer_from_the_start(
    inline: Inline, fidelity: str
) -> None:
    words = (*FALL, "dataset.train_examples=200", "epochs=9", f"search.fidelity={fidelity}")
    _, whole = rows_of(inline, "whole", (*words, "trials=9"))
    _, first = rows_of(inline, "half", (*words, "trials=8"))
    named = "trainable=tests.fakes.losses:fall"
    done = inline.run(f"resume={first.dirs[0]}", named, "objective=val_loss", "trials=+1")
    assert done.returncode == 0, done.stderr
    refused = inline.run(f"resume={first.dirs[0]}", named, "objective=distance")
    assert "objective.name=distance: cannot change when resuming" in refused.stderr

    def searched(run: results.Run) -> dict[str, float]:
        rows = run.trials.to_pylist()
        return {r["trial_key"]: r["objective"] for r in rows if r["role"] == "search"}

    more = searched(results.load(first.dirs[0]))
    assert len(more) == 9
    assert more.items() >= searched(first).items() if fidelity == "full" else True
    assert more.keys() == searched(whole).keys()


def test_a_run_whose_trainings_all_diverge_says_so_and_names_no_best(inline: Inline) -> None:
    for name, words in {
        "digits": (*DIGITS, "lr=1e6"),
        "own": (*FALL, "lr=1e9", "trials=3"),
        "reports": (*FALL, "lr=1e9", "trials=3", "reports=6"),
    }.items():
        done = inline.run(*words, f"name={name}")
        rows = results.load(inline.folder / name).trials.to_pylist()
        assert {row["status"] for row in rows} == {"diverged"}
        assert done.returncode == 1
        assert "best schedule" not in done.stdout
        first = min(row["epochs_done"] for row in rows)
        cure = "lower lr or clip (optimizer.clip_norm)" if name == "digits" else "lower lr or clip"
        point = "report" if name == "reports" else "epoch"
        assert (
            f"error: all {len(rows)} trainings diverged (first at {point} {first}): {cure}\n"
            in done.stderr
        )
        again = inline.run(
            f"resume={inline.folder / name}", *(w for w in words if "trainable" in w)
        )
        assert again.returncode == 1
        assert "trainings diverged" in again.stderr
    assert {row["objective"] for row in rows} == {None}


def test_a_training_that_does_not_report_its_objective_fails_with_that_line(
    inline: Inline,
) -> None:
    words = (*FALL[1:], "trainable=tests.fakes.losses:fall_silently", "trials=3", "name=silent")
    done = inline.run(*words)
    assert done.returncode == 1
    errors = results.load(inline.folder / "silent").trials["error"].to_pylist()
    assert "the objective val_loss must be a number" in errors[0]
    assert "did you mean 'val_losss'?" in errors[0]
