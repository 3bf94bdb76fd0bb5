"""Every arm against one: differences of accuracy, ratios of training loss."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import pytest

import results
from results.__main__ import main
from results.arms.choice import group_by_arm
from results.arms.comparison import compare_arms
from results.arms.selection import arm_named
from results.records.schema import trial_row
from results.records.store import RunStore
from tests.fakes.results import edit_manifest, make_epochs, make_outcome, make_trial, write_run

T_2 = 4.302652729911275  # Student's 0.975 quantile, 2 degrees of freedom
ACCURACY = {"poly": (0.90, 0.92, 0.94), "cosine": (0.89, 0.90, 0.91)}
LOSS = {"poly": (0.1, 0.2, 0.4), "cosine": (0.2, 0.4, 1.6)}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with RunStore.create(path, {}, "") as store:
        for space, accuracies in ACCURACY.items():
            for replicate, accuracy in enumerate(accuracies):
                trial = make_trial(space, role="confirm", replicate=replicate)
                outcome = make_outcome(
                    trial, make_epochs(trial, 0.9), status="completed", test=accuracy
                )
                outcome = replace(
                    outcome,
                    test_accuracy=accuracy,
                    final_train_loss=LOSS[space][replicate],
                )
                row = trial_row(
                    "run", trial, status="completed", attempt=1, outcome=outcome, epochs_done=0,
                    host="h", started_at=now, ended_at=now, error=None,
                )  # fmt: skip
                store.add_trial(row)
    return path


def test_differences_and_ratios_are_paired(run_dir):
    poly, cosine = results.load(run_dir).compare(reference="poly").arms
    assert (poly.name, poly.loss_ratio, poly.loss_low) == ("poly", 1.0, None)
    assert cosine.mean == pytest.approx(0.9)
    assert cosine.difference.mean == pytest.approx(-0.02)
    half = T_2 * 0.01 / math.sqrt(3)
    assert cosine.difference.low == pytest.approx(-0.02 - half)
    # ratios 2, 2, 4: their logarithms have mean (4/3) ln 2 and standard deviation ln 2 / sqrt 3
    assert cosine.loss_ratio == pytest.approx(2 ** (4 / 3))
    assert cosine.loss_high == pytest.approx(2 ** (4 / 3 + T_2 / 3))
    assert cosine.loss == pytest.approx((0.2 * 0.4 * 1.6) ** (1 / 3))


def test_the_command_prints_them(run_dir, capsys):
    assert main(["compare", str(run_dir), "--reference", "poly", "--no-plots"]) == 0
    text = capsys.readouterr().out
    assert "minus poly, 95% t-interval" in text
    assert "2.52 [0.93, 6.81]" in text


def test_an_unknown_reference_is_one_line(run_dir, capsys):
    assert main(["compare", str(run_dir), "--reference", "pol"]) == 2
    error = capsys.readouterr().err
    assert error == "error: unknown arm 'pol'; did you mean 'poly'? (known: cosine, poly)\n"


def test_a_reference_is_found_as_a_picked_arm_is(tmp_path):
    """An arm's own name goes before the name that somebody gave to his default."""
    run = results.load(write_run(tmp_path / "run", arms=("poly",), trials=1))
    name = {"poly": "poly", "baseline": "baseline:poly"}
    rows = [row | {"space": name[row["space"]]} for row in run.rows()]
    for asked, found in (("poly", "poly"), ("baseline", "baseline:poly"), (None, "baseline:poly")):
        assert compare_arms(rows, run.manifests, reference=asked).reference == found
        assert asked is None or arm_named(asked, group_by_arm(rows)) == found


def test_under_repeated_looks_intervals_are_confidence_sequences(tmp_path, capsys):
    run_dir = write_run(tmp_path / "run", arms=("poly",), trials=1, seeds=5)
    edit_manifest(run_dir, looked=True)
    run = results.load(run_dir)
    poly, _ = run.compare(reference="baseline").arms
    # t^2 at which e_5 = 1/0.05, by hand: r = 1/6, k = (400 * 6)^(1/5), 4 (k - 1) / (1 - k / 6)
    k = 2400**0.2
    half = poly.difference.sd * math.sqrt(4 * (k - 1) / (1 - k / 6) / 5)
    assert poly.difference.interval_kind == "95% confidence sequence"
    assert poly.difference.high == pytest.approx(poly.difference.mean + half)
    assert main(["compare", str(run_dir), "--reference", "baseline", "--no-plots"]) == 0
    text = capsys.readouterr().out
    assert "95% confidence sequence" in text
    assert "t-interval" not in text


def test_loss_ratios_are_sequential_too(run_dir, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    edit_manifest(copy, looked=True)
    _, cosine = results.load(copy).compare(reference="poly").arms
    assert cosine.loss_ratio == pytest.approx(2 ** (4 / 3))
    assert (cosine.loss_low, cosine.loss_high) == (None, None)  # unbounded below 5 seeds


def test_seeds_of_other_runs_are_not_paired(tmp_path, capsys):
    for name, seed in (("x-aaaa", 1), ("x-cccc", 2)):
        write_run(tmp_path / name, arms=("poly",), trials=2, run_seed=seed, baseline=False)
    run = results.load(tmp_path)
    first, other = run.compare(reference="poly@aaaa").arms
    assert (first.n, first.difference, other.difference.n) == (3, None, 0)
    assert math.isnan(other.loss_ratio)
    assert main(["compare", str(tmp_path), "--reference", "poly@aaaa", "--no-plots"]) == 0
    assert "nan" not in capsys.readouterr().out
