"""Sharpness against delta: each learning rate has a C^2 of its own."""

from __future__ import annotations

import math

import pytest

import results
from results.measurements.sharpness import Sharpness, describe, read_sharpness
from results.records.store import RunStore
from tests.fakes.measurements import constant_trial, noise, record

# arXiv 2311.08745 Table 2 at batch 128: eta C / sqrt(b), by hand.
PAPERS_DELTA = {0.01: 0.1, 0.05: 0.158113883, 0.1: 0.316227766, 0.5: 0.707106781}
PAPERS = {"model": "resnet18", "width": None, "dataset": "cifar100"}


def sharpness_of(path, c2s=None, **recipe: object) -> tuple[Sharpness, results.Run]:
    with RunStore.create(path / "run", {}, "") as store:
        for lr in PAPERS_DELTA:
            measured = {e: noise(c2) for e, c2 in enumerate((c2s or {}).get(lr, ()), start=1)}
            trial = constant_trial(lr, 128, **recipe)
            record(store, trial, epochs=measured, sharpness_loss=lr)
    run = results.load(path / "run")
    return read_sharpness(run), run


def deltas(sharpness: Sharpness) -> dict[float, float]:
    return {arm.lr: arm.mean("delta") for arm in sharpness.arms}


def test_the_papers_network_has_the_papers_c2_of_each_lr(tmp_path):
    sharpness, run = sharpness_of(tmp_path, **PAPERS)
    assert deltas(sharpness) == pytest.approx(PAPERS_DELTA, rel=1e-8)
    assert "12800 at 0.01, 1280 at 0.05, 1280 at 0.1, 256 at 0.5" in describe(run)[-1]


def test_a_measured_c2_comes_before_the_published_one(tmp_path):
    c2s = {0.01: (1.0, 4.0), 0.05: (9.0, 9.0), 0.1: (16.0,), 0.5: (25.0, 1.0)}
    sharpness, run = sharpness_of(tmp_path, c2s, **PAPERS)
    c = {lr: math.sqrt(math.prod(c2) ** (1 / len(c2))) for lr, c2 in c2s.items()}
    expected = {lr: lr * c[lr] / math.sqrt(128) for lr in c2s}
    assert deltas(sharpness) == pytest.approx(expected, rel=1e-9)
    assert "C^2 measured at each learning rate, the geometric mean over its" in describe(run)[-1]
    assert "largest of them): 2 (2 to 2) at 0.01, 9 (9 to 9) at 0.05" in describe(run)[-1]


def test_a_c2_that_differs_between_batches_is_averaged_and_its_range_told(tmp_path):
    """4 at batch 32, 16 at 128: their geometric mean is 8, C = sqrt 8 for both."""
    with RunStore.create(tmp_path / "run", {}, "") as store:
        for batch, c2 in ((32, 4.0), (128, 16.0)):
            trial = constant_trial(0.1, batch)
            record(store, trial, epochs={1: noise(c2)}, sharpness_loss=1.0)
    run = results.load(tmp_path / "run")
    found = sorted(arm.mean("delta") for arm in read_sharpness(run).arms)
    assert found == pytest.approx([0.1 * math.sqrt(8 / b) for b in (128, 32)])
    assert "8 (4 to 16) at 0.1" in describe(run)[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "other", [{"model": "wrn28x10"}, {"dataset": "cifar10"}, {"momentum": 0.9}, {"width": 8}]
)
def test_another_training_has_one_c_for_all_and_says_what_that_orders(tmp_path, other):
    sharpness, run = sharpness_of(tmp_path, **{**PAPERS, **other})
    delta = deltas(sharpness)
    assert delta == pytest.approx({lr: lr / math.sqrt(128) for lr in delta}, rel=1e-9)
    assert "one C for all learning rates" in describe(run)[-1]


def test_half_measured_is_not_measured(tmp_path):
    sharpness, _ = sharpness_of(tmp_path, {0.01: (1.0,)}, **PAPERS)
    assert deltas(sharpness) == pytest.approx(PAPERS_DELTA, rel=1e-8)
