"""The papers' calculators against PAPERS.md section 10."""

from __future__ import annotations

import numpy as np
import pytest

from search_spaces.theory import (
    c2_bound,
    critical_batch_size,
    papers_num_steps,
    poly_decay_rates,
    smallest_admissible_rate,
)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.5, {1: 0.9974968672, 2: 0.9974842727, 100: 0.9950371902, 199: 0.7071067812, 200: 0.0}),
        (1.0, {1: 0.995, 2: 0.9949748744, 100: 0.9900990099, 199: 0.5}),
        (2.0, {1: 0.990025, 199: 0.25}),
    ],
)
def test_poly_decay_rates_equal_r7(p: float, expected: dict[int, float]) -> None:
    gamma = poly_decay_rates(200, p)
    for m, value in expected.items():
        assert gamma[m - 1] == pytest.approx(value, rel=1e-9, abs=1e-12)


def test_poly_decay_rates_equal_r8() -> None:
    np.testing.assert_allclose(poly_decay_rates(5, 1.0), [0.8, 0.75, 2 / 3, 0.5, 0.0])
    assert poly_decay_rates(50, 1.0)[1] == pytest.approx(0.9795918367)


@pytest.mark.parametrize("p", [0.3, 1.0, 2.5])
def test_products_of_decay_rates_telescope_r9(p: float) -> None:
    k = np.arange(1, 51)
    np.testing.assert_allclose(np.cumprod(poly_decay_rates(50, p)), ((50 - k) / 50) ** p)


@pytest.mark.parametrize(
    ("n", "batches", "stages", "steps"),
    [
        (50_000, [128], [200], 78_200),
        (50_000, [16, 32, 64, 128, 256], [40] * 5, 242_280),
        (50_000, [32, 64, 128, 256, 512], [40] * 5, 121_200),
        (50_000, [32, 48, 72, 108, 162], [40] * 5, 162_880),
        (50_000, [8, 16, 32, 64, 128], [40] * 5, 484_440),
        (50_000, [32, 64, 128, 256, 512], [41, 40, 40, 40, 39], 122_665),
        (50_000, [32, 48, 72, 108, 162], [41, 40, 40, 40, 39], 164_134),
        (1_281_167, [256], [200], 1_001_000),
        (1_281_167, [32, 64, 128, 256, 512], [40] * 5, 3_102_960),
        (1_281_167, [32, 48, 72, 108, 162], [40] * 5, 4_171_760),
    ],
)
def test_the_papers_loader_takes_the_steps_of_r13(
    n: int, batches: list[int], stages: list[int], steps: int
) -> None:
    assert papers_num_steps(n, batches, stages) == steps


@pytest.mark.parametrize(
    ("lr", "epsilon", "c2", "batch"),
    [
        (0.01, 1.0, 12_800, 128),
        (0.05, 0.5, 1280, 256),
        (0.1, 0.5, 1280, 512),
        (0.5, 0.5, 256, 512),
    ],
)
def test_critical_batches_equal_r16(lr: float, epsilon: float, c2: float, batch: float) -> None:
    assert critical_batch_size(c2, lr, epsilon) == pytest.approx(batch)
    assert c2_bound(batch, lr, epsilon) == pytest.approx(c2)


@pytest.mark.parametrize(
    ("a", "bound"),
    [(1.5, 0.0786893), (2, 0.3660254), (3, 0.6094757), (10, 0.8949874), (100, 0.98995)],
)
def test_admissible_bound_equals_r24(a: float, bound: float) -> None:
    assert smallest_admissible_rate(a) == pytest.approx(bound, rel=1e-5)
