"""The clock against torch's, timm's and transformers' formulas: steps, warmup, reports."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from search_spaces import FAMILIES
from search_spaces.schedule import Schedule, make_schedule
from tests.fakes.results import make_recipe, make_trial
from tests.search_spaces.test_schedule import torch_lrs

N, BATCH, EPOCHS = 1000, 10, 2
STEPS = N * EPOCHS // BATCH


def schedule(family: str = "cosine", params: dict[str, float] | None = None, **kwargs) -> Schedule:
    known = {"epochs": EPOCHS, "train_examples": N, "interval": 0, "lr0": 0.1, "batch0": BATCH}
    return make_schedule(lambda u: FAMILIES[family](u, **(params or {})), **(known | kwargs))


@pytest.mark.parametrize(
    ("family", "params", "make"),
    [
        ("poly", {"p": 0.7}, lambda o: lr_scheduler.PolynomialLR(o, STEPS, power=0.7)),
        ("poly", {"p": 3.0}, lambda o: lr_scheduler.PolynomialLR(o, STEPS, power=3.0)),
        ("cosine", {}, lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS)),
        ("exp", {"end_ratio": 0.99**STEPS}, lambda o: lr_scheduler.ExponentialLR(o, 0.99)),
    ],
)
def test_every_step_equals_torchs_scheduler(family: str, params: dict, make: object) -> None:
    table = schedule(family, params)
    assert table.num_stages == table.num_steps() == STEPS
    used = [table.lr_S[step.stage] for step in table.steps()]
    np.testing.assert_allclose(used, torch_lrs(make, STEPS), rtol=0, atol=1e-13)


def test_steps_that_do_not_divide_the_samples_are_read_where_they_begin() -> None:
    table = schedule("poly", {"p": 1.0}, batch0=7, epochs=1)
    assert (table.num_stages, table.num_steps()) == (143, 143)  # 142 * 7 = 994
    np.testing.assert_allclose(table.progress_S, np.arange(143) * 7 / 1000, rtol=1e-15)


def test_a_larger_batch_takes_the_stage_of_its_first_sample() -> None:
    table = schedule("poly", {"p": 1.0}, epochs=1, split=0.0)
    for step in table.steps():
        assert step.stage == step.first_sample // BATCH
        u = step.stage * BATCH / N
        assert step.batch_size == min(N, round(BATCH / (1 - u) ** 2))


@given(st.sampled_from([1 / 9, 1 / 3, 0.2, 0.777]))
@settings(max_examples=4, deadline=None)
def test_a_squeezed_training_reads_the_whole_curve_at_its_own_steps(r: float) -> None:
    table = schedule(horizon=r, reports=4)
    count = math.ceil(N * EPOCHS * r / BATCH - 1e-9)
    u = np.arange(count) * BATCH / (N * EPOCHS * r)
    np.testing.assert_allclose(table.lr_S, 0.1 * (1 + np.cos(np.pi * u)) / 2, rtol=1e-12)


def test_a_quarter_of_an_epoch_decays_four_times_an_epoch() -> None:
    table = schedule("poly", {"p": 1.0}, interval=0.25)
    assert table.start_S.tolist() == [0, 250, 500, 750, 1000, 1250, 1500, 1750]
    np.testing.assert_allclose(table.lr_S, 0.1 * (1 - np.arange(8) / 8), rtol=1e-14)


def test_an_interval_of_one_steps_epochs_is_the_step() -> None:
    by_number = schedule(interval=BATCH / N)
    for name in ("start_S", "lr_S"):
        np.testing.assert_allclose(getattr(by_number, name), getattr(schedule(), name), rtol=1e-12)


def transformers_cosine(step: int, num_warmup: int, num_training: int) -> float:
    """get_cosine_schedule_with_warmup (num_cycles=0.5) from its last warmup step on."""
    progress = (step - num_warmup) / max(1, num_training - num_warmup)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * 0.5 * 2.0 * progress)))


def test_the_curve_after_a_warmup_is_transformers() -> None:
    table = schedule(warmup_epochs=0.2)  # 20 of 200 steps
    expected = [0.1 * transformers_cosine(step, 20, STEPS) for step in range(20, STEPS)]
    np.testing.assert_allclose(table.lr_S[20:], expected, rtol=1e-12)
    # It begins with a step of lr 0; ours rises as nanoGPT's, lr * (step + 1) / (warmup + 1).
    np.testing.assert_allclose(table.lr_S[:20], 0.1 * np.arange(1, 21) / 21, rtol=1e-14)


def timm_cosine(t: float, warmup_t: float, t_initial: float) -> float:
    """CosineLRScheduler with warmup_prefix=True, by epoch, after its warmup."""
    return 0.5 * (1 + math.cos(math.pi * (t - warmup_t) / (t_initial - warmup_t)))


def test_the_curve_of_whole_epochs_begins_after_the_warmup_as_timms() -> None:
    table = schedule(epochs=10, interval=1, warmup_epochs=2)
    after = table.start_S >= 2000
    assert table.start_S[after].tolist() == [*range(2000, 10_000, 1000)]
    expected = [0.1 * timm_cosine(t, 2, 10) for t in range(2, 10)]
    np.testing.assert_allclose(table.lr_S[after], expected, rtol=1e-12)
    np.testing.assert_allclose(table.lr_S[~after], 0.1 * np.arange(1, 21) / 21, rtol=1e-14)


@given(
    warmup=st.floats(0.001, 1.9),
    interval=st.sampled_from([0, 0.1, 0.3, 1, 2]),
    horizon=st.sampled_from([1.0, 0.4]),
)
@settings(max_examples=60, deadline=None)
def test_a_warmup_reaches_the_peak_and_nothing_dips(
    warmup: float, interval: float, horizon: float
) -> None:
    table = schedule("poly", {"p": 2.0}, interval=interval, warmup_epochs=warmup, horizon=horizon,
                     reports=4)  # fmt: skip
    top = int(np.argmax(table.lr_S))
    assert table.lr_S[top] == pytest.approx(0.1, rel=1e-12)
    assert np.all(np.diff(table.lr_S[: top + 1]) > 0)
    assert np.all(np.diff(table.lr_S[top:]) < 0)
    assert np.all(np.diff(table.start_S) > 0)


def test_a_config_has_its_own_warmup_or_the_recipes() -> None:
    recipe = make_recipe(epochs=10, warmup_epochs=1.0, decay_after_warmup=True)
    plain = {"interval": 0, "delta0": 1.0, "split": 1.0}
    assert make_trial("cosine", recipe=recipe, params=plain).warmup_epochs == 1.0
    config = make_trial("cosine", recipe=recipe, params=plain | {"warmup": 0.3})
    assert config.warmup_epochs == 3.0
    none = make_trial("cosine", recipe=recipe, params=plain | {"warmup": 0.0})
    assert none.schedule.progress_S[1] > 0
    assert none.config_key != config.config_key


def test_a_factor_per_step_is_told_as_the_whole_decay() -> None:
    recipe = make_recipe(epochs=2, train_examples=1000, batch0=10, batch_max=None)
    params = {"interval": 0, "delta0": 1.0, "split": 1.0, "factor": 0.99}
    table = make_trial("exp", recipe=recipe, params=params).schedule
    np.testing.assert_allclose(table.decay_rate_S[1:], 0.99, rtol=1e-10)


def test_reports_are_equal_parts_of_the_samples() -> None:
    table = schedule(reports=8)
    assert [table.report_end(k) for k in range(9)] == [*range(0, 2001, 250)]
    assert table.num_reports == 8
    assert table.num_epochs == 2
    assert [len(table.report_steps(k)) for k in range(1, 9)] == [25] * 8
    assert schedule().num_reports == 2


def test_reports_that_no_step_begins_between_are_one() -> None:
    table = schedule(epochs=1, batch0=300, reports=10, interval=0)  # steps at 0, 300, 600, 900
    assert table.num_reports == 4
    steps = [step for k in range(1, 5) for step in table.report_steps(k)]
    assert steps == list(table.steps())


@pytest.mark.slow
@given(
    batch=st.integers(1, 60), reports=st.integers(1, 60), horizon=st.sampled_from([1.0, 0.5]),
    split=st.sampled_from([0.0, 0.5, 1.0]), interval=st.sampled_from([0, 0.5, 1]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_reports_hold_every_step_once(
    batch: int, reports: int, horizon: float, split: float, interval: float
) -> None:
    table = schedule("poly", {"p": 1.0}, batch0=batch, reports=reports, split=split, epochs=20,
                     interval=interval, horizon=horizon)  # fmt: skip
    parts = [table.report_steps(k) for k in range(1, table.num_reports + 1)]
    assert [step for part in parts for step in part] == list(table.steps())
    assert all(parts)
    assert table.num_reports <= math.ceil(reports * horizon - 1e-9)
    assert len(list(table.steps())) == table.num_steps()


def test_a_short_training_with_reports_needs_no_epoch_but_twenty_steps() -> None:
    assert schedule(horizon=0.1, reports=5).num_reports == 1
    with pytest.raises(ValueError, match="one epoch of samples"):
        schedule(horizon=0.1)
    assert schedule(epochs=1, horizon=0.2).num_steps() == 20
    with pytest.raises(ValueError, match="20 optimizer steps"):
        schedule(epochs=1, horizon=0.19)


def test_a_recipes_evaluation_points_are_the_schedules() -> None:
    recipe = make_recipe(epochs=3, train_examples=100, reports=7)
    table = make_trial("poly", recipe=recipe).schedule
    assert [recipe.samples_at(k) for k in range(1, 8)] == [
        table.report_end(k) for k in range(1, 8)
    ]
    assert make_recipe(epochs=3, train_examples=100).samples_at(2) == 200
