"""Which test images each training got right, and what follows from it."""

from __future__ import annotations

import numpy as np
import pytest

import results
from results.arms.choice import group_by_arm
from results.arms.comparison import compare_arms
from results.arms.scores import correct_images
from results.records.store import RunStore
from results.statistics.intervals import examples_interval
from tests.fakes.results import NUM_TEST_IMAGES, edit_manifest, make_trial, write_run, write_trial


@pytest.fixture
def store(tmp_path):
    with RunStore.create(tmp_path / "run", {"num_test": 357}, "") as store:
        yield store


def confirm(store, space, replicate, accuracy, **given):
    trial = make_trial(space, role="confirm", replicate=replicate)
    write_trial(store, trial, accuracy=accuracy, **given)


def test_bitmaps_are_unpacked_to_the_number_of_test_images(store):
    confirm(store, "poly", 0, 0.5)
    store.flush()
    run = results.load(store.run_dir)
    correct = correct_images(group_by_arm(run.rows()), run.manifests)["poly"][0]
    # the fake gets the first half of its 360 images right; 357 of them are told
    assert correct.tolist() == [1.0] * (NUM_TEST_IMAGES // 2) + [0.0] * (357 - 180)


def test_a_diverged_training_guesses_every_image(store):
    for replicate, accuracy in enumerate((0.92, 0.9, 0.95)):
        confirm(store, "poly", replicate, accuracy)
        status = ("completed", "completed", "diverged")[replicate]
        confirm(store, "baseline", replicate, 0.9, status=status)
    store.flush()
    run = results.load(store.run_dir)
    correct = correct_images(group_by_arm(run.rows()), run.manifests)["baseline"]
    assert set(correct[2].tolist()) == {0.1}
    (d,) = run.compare().pairs.values()
    difference_SI = np.stack([
        correct_images(group_by_arm(run.rows()), run.manifests)["poly"][r] - correct[r]
        for r in range(3)
    ])  # fmt: skip
    assert (d.examples_low, d.examples_high) == pytest.approx(examples_interval(difference_SI))


def test_a_comparison_has_the_interval_for_test_accuracy_alone(tmp_path):
    run = results.load(write_run(tmp_path / "run", trials=2, seeds=4))
    d = run.compare().pairs["poly", "baseline"]
    assert d.examples_low <= d.low < d.high <= d.examples_high
    assert run.compare("objective").pairs["poly", "baseline"].examples_low is None


def test_a_lost_bitmap_leaves_the_interval_out(store):
    for replicate, accuracy in enumerate((0.92, 0.9, 0.95)):
        confirm(store, "poly", replicate, accuracy)
        confirm(store, "baseline", replicate, 0.9)
    store.flush()
    run = results.load(store.run_dir)
    rows = run.rows()
    rows[0]["test_correct"] = None
    correct = correct_images(group_by_arm(rows), run.manifests)
    assert 0 not in correct["poly"]
    assert sorted(correct["baseline"]) == [0, 1, 2]


def test_the_minimum_effect_counts_the_images_that_the_run_tells(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=2)
    edit_manifest(run_dir, num_test=355)
    assert results.load(run_dir).compare().min_effect == pytest.approx(2 / 355)


def users_rows(run_dir, *, num_samples, right):
    """A run of a user's own training: its bitmaps, and accuracies as float32 shares.

    right: samples by seed, of poly and of the baseline.
    """
    with RunStore.create(run_dir, {"num_test": 0}, "") as store:
        for replicate in range(len(right[0])):
            for space in ("poly", "baseline"):
                confirm(store, space, replicate, 0.9)
    rows = results.load(run_dir).rows()
    for row in rows:
        count = right[row["space"] == "baseline"][row["replicate"]]
        row["test_correct"] = np.packbits(np.arange(num_samples) < count).tobytes()
        row["test_accuracy"] = float(np.float32(count / num_samples))
    return rows


def test_the_number_of_a_users_test_samples_follows_from_the_accuracies(tmp_path):
    rows = users_rows(tmp_path / "run", num_samples=357, right=((300, 310), (290, 340)))
    correct = correct_images(group_by_arm(rows), {"run": {"num_test": 0}})
    assert correct["poly"][0].tolist() == [1.0] * 300 + [0.0] * 57  # not 360 of 45 bytes
    assert correct["baseline"][1].sum() == 340
    assert correct_images(group_by_arm(rows), {})["poly"][0].size == 357


def test_an_unknown_number_of_test_samples_leaves_the_interval_out(tmp_path):
    none_right = users_rows(tmp_path / "run", num_samples=357, right=((0, 0), (0, 0)))
    assert correct_images(group_by_arm(none_right), {}) == {}
    correct = correct_images(group_by_arm(none_right), {"run": {"num_test": 355}})
    assert correct["poly"][0].tolist() == [0.0] * 355
    rows = users_rows(tmp_path / "other", num_samples=357, right=((300, 310), (290, 340)))
    rows[0]["test_accuracy"] += 0.001
    assert correct_images(group_by_arm(rows), {"other": {"num_test": 0}}) == {}


def test_the_minimum_effect_of_a_users_training_is_that_of_the_campaign(tmp_path):
    rows = users_rows(tmp_path / "run", num_samples=100, right=((90, 91), (92, 93)))
    manifests = {"run": {"num_test": 0}}
    assert compare_arms(rows, manifests, metric="test_accuracy").min_effect == 0.002
    older = compare_arms(rows, {"run": {}}, metric="test_accuracy")
    assert older.min_effect == pytest.approx(2 / 100)
