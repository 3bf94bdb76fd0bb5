"""Schedule values against the papers' (arXiv 2311.08745), torch and themselves."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from search_spaces import FAMILIES, SPACES
from search_spaces.noise_law import LAWS, NoiseLaw, momentum_factor
from search_spaces.schedule import Schedule, make_schedule

# Every family in the middle of its ranges.
PARAMS = {
    name: {key: axis.from_unit(0.5) for key, axis in family.ranges.items()}
    for name, family in FAMILIES.items()
}
HYBRID = SPACES["hybrid"].ranges["split"].fixed_value
ROOT_HALF = math.sqrt(0.5)


def schedule(family: str, params: dict[str, float] | None = None, **kwargs: object) -> Schedule:
    known = {"epochs": 200, "train_examples": 50_000, "interval": 1, "lr0": 0.1, "batch0": 128}
    curve = functools.partial(FAMILIES[family], **(PARAMS[family] if params is None else params))
    return make_schedule(curve, **(known | kwargs))


def papers_stages(**kwargs: object) -> Schedule:
    """Noise times 1/sqrt(2) every 40 of 200 epochs."""
    return schedule("exp", {"end_ratio": ROOT_HALF**5}, interval=40, **kwargs)


@pytest.mark.parametrize(
    ("family", "params", "expected"),
    [
        (
            "poly",  # R1
            {"p": 0.5},
            {
                1: 0.09974968672,
                50: 0.08660254038,
                100: 0.07071067812,
                150: 0.05,
                199: 0.007071067812,
            },
        ),
        (
            "poly",  # R2
            {"p": 0.9},
            {1: 0.09954988729, 50: 0.07718895067, 100: 0.05358867313, 199: 0.0008493232323},
        ),
        ("poly", {"p": 1.0}, {1: 0.0995, 50: 0.075, 100: 0.05, 150: 0.025, 199: 0.0005}),  # R3
        ("poly", {"p": 2.0}, {100: 0.025, 199: 2.5e-6}),
        ("poly", {"p": 0.25}, {100: 0.08408964153}),
        ("poly", {"p": 3.0}, {100: 0.0125}),
        (
            "cosine",  # R4
            {},
            {
                1: 0.09999383162,
                50: 0.08535533906,
                100: 0.05,
                150: 0.01464466094,
                199: 6.168375917e-6,
            },
        ),
        (
            "cosine_power",  # R5
            {"base": 10.0},
            {50: 0.06819577189, 100: 0.02402530734, 150: 0.004455859301, 199: 1.578246571e-6},
        ),
        ("exp", {"end_ratio": 0.9**200}, {50: 5.153775207e-4, 100: 2.656139889e-6}),  # R6
        (
            "exp",
            {"end_ratio": 0.94**200},
            {20: 0.029010624, 40: 0.0084161631, 60: 0.0024415814, 100: 2.0548748e-4},
        ),
    ],
)
def test_lr_of_each_epoch_equals_the_papers_values(
    family: str, params: dict[str, float], expected: dict[int, float]
) -> None:
    lr_S = schedule(family, params).lr_S
    for epoch, value in expected.items():
        assert lr_S[epoch] == pytest.approx(value, rel=1e-7)


def test_lr_method_stages_equal_r10() -> None:
    table = papers_stages()
    expected = [0.1, 0.0707106781187, 0.05, 0.0353553390593, 0.025]
    np.testing.assert_allclose(table.lr_S, expected, rtol=1e-11)
    np.testing.assert_array_equal(table.start_S, np.arange(0, 200, 40) * 50_000)


def test_hybrid_method_stages_equal_r10_and_r11() -> None:
    table = papers_stages(split=HYBRID, batch0=32)
    assert table.batch_size_S.tolist() == [32, 48, 72, 108, 162]
    expected = [0.1, 0.0866025403784, 0.075, 0.0649519052838, 0.05625]
    np.testing.assert_allclose(table.lr_S, expected, rtol=1e-11)


@pytest.mark.parametrize("batch0", [8, 16, 32, 128])
def test_batch_method_doubles_the_batch_as_in_r11(batch0: int) -> None:
    table = papers_stages(split=0.0, batch0=batch0)
    assert table.batch_size_S.tolist() == [batch0 * 2**k for k in range(5)]
    np.testing.assert_allclose(table.lr_S, 0.1, rtol=1e-12)


@pytest.mark.parametrize(
    ("batch0", "batches"), [(16, [16, 24, 36, 54, 81]), (128, [128, 192, 288, 432, 648])]
)
def test_hybrid_method_grows_the_batch_as_in_r11(batch0: int, batches: list[int]) -> None:
    assert papers_stages(split=HYBRID, batch0=batch0).batch_size_S.tolist() == batches


def test_the_three_methods_share_one_delta_path_r12() -> None:
    paths = [papers_stages(split=s, batch0=64).delta_S for s in (1.0, 0.0, HYBRID)]
    for path in paths:
        np.testing.assert_allclose(path / path[0], ROOT_HALF ** np.arange(5), rtol=1e-12)
        np.testing.assert_allclose(path, paths[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("batch", "delta"),
    [
        (8, 1.26491),
        (16, 0.894427),
        (32, 0.632456),
        (128, 0.316228),
        (1024, 0.111803),
        (8192, 0.0395285),
    ],
)
def test_sgd_noise_level_equals_r14(batch: int, delta: float) -> None:
    assert NoiseLaw(c2=1280.0).delta(0.1, batch) == pytest.approx(delta, rel=1e-5)


@pytest.mark.parametrize(
    ("lr", "c2", "batch", "delta"),
    [
        (0.01, 12800, 128, 0.1),
        (0.01, 12800, 8192, 0.0125),
        (0.05, 1280, 128, 0.158114),
        (0.5, 256, 64, 1.0),
        (0.5, 256, 128, 0.707107),
    ],
)
def test_sgd_noise_level_equals_r15(lr: float, c2: float, batch: int, delta: float) -> None:
    assert NoiseLaw(c2=c2).delta(lr, batch) == pytest.approx(delta, rel=1e-5)


@pytest.mark.parametrize(
    ("beta", "factor"), [(0.0, 0.0), (0.1, 0.11234568), (0.5, 1.5), (0.9, 81.9), (0.99, 9801.99)]
)
def test_momentum_factor_equals_r17(beta: float, factor: float) -> None:
    assert momentum_factor(beta) == pytest.approx(factor, rel=1e-7)


@pytest.mark.parametrize(
    ("batch", "delta"), [(16, 1.9691709), (128, 1.6522163), (1024, 1.6082107)]
)
def test_shb_noise_level_equals_r18(batch: int, delta: float) -> None:
    law = NoiseLaw(name="shb", c2=25.318, k=1.77, momentum=0.9)
    assert law.delta(0.1, batch) == pytest.approx(delta, rel=1e-7)


def test_nshb_noise_level_equals_r19() -> None:
    law = NoiseLaw(name="nshb_a", c2=128.0, k=4.5, momentum=0.9)
    assert law.delta(0.1, 128) == pytest.approx(0.83576312, rel=1e-7)


@pytest.mark.parametrize("law", LAWS)
def test_every_law_inverts_its_delta(law: str) -> None:
    noise = NoiseLaw(name=law, c2=3.0, k=0.5, momentum=0.9)
    assert noise.lr(noise.delta(0.07, 96), 96) == pytest.approx(0.07, rel=1e-14)


def torch_lrs(make: object, epochs: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = make(optimizer)
    lrs = []
    for _ in range(epochs):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return lrs


@pytest.mark.parametrize(
    ("family", "params", "make"),
    [
        ("poly", {"p": 0.9}, lambda o: torch.optim.lr_scheduler.PolynomialLR(o, 200, power=0.9)),
        ("poly", {"p": 2.0}, lambda o: torch.optim.lr_scheduler.PolynomialLR(o, 200, power=2.0)),
        ("cosine", {}, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 200)),
        (
            "exp",
            {"end_ratio": 0.94**200},
            lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.94),
        ),
    ],
)
def test_lr_decay_every_epoch_equals_torchs_scheduler(
    family: str, params: dict[str, float], make: object
) -> None:
    np.testing.assert_allclose(schedule(family, params).lr_S, torch_lrs(make, 200), atol=1e-12)


def test_step_decay_equals_torchs_step_lr() -> None:
    lrs = torch_lrs(lambda o: torch.optim.lr_scheduler.StepLR(o, 40, gamma=ROOT_HALF), 200)
    table = papers_stages()
    used = [table.lr_S[table.stage_at(epoch * 50_000)] for epoch in range(200)]
    np.testing.assert_allclose(used, lrs, atol=1e-12)


@pytest.mark.parametrize("end", [0.0, 0.1, 0.5])
def test_a_cosine_with_a_floor_equals_torchs(end: float) -> None:
    make = functools.partial(
        torch.optim.lr_scheduler.CosineAnnealingLR, T_max=200, eta_min=end * 0.1
    )
    table = schedule("cosine", end=end)
    np.testing.assert_allclose(table.lr_S, torch_lrs(make, 200), atol=1e-12)
    assert table.lr_S[0] == 0.1


def test_a_linear_decay_to_a_floor_equals_torchs() -> None:
    make = functools.partial(
        torch.optim.lr_scheduler.LinearLR, start_factor=1.0, end_factor=0.1, total_iters=200
    )
    np.testing.assert_allclose(
        schedule("poly", {"p": 1.0}, end=0.1).lr_S, torch_lrs(make, 200), atol=1e-12
    )


def test_any_curve_and_split_has_a_floor_and_none_by_default() -> None:
    for family in PARAMS:
        plain, floored = schedule(family, split=0.5), schedule(family, split=0.5, end=0.25)
        np.testing.assert_array_equal(plain.lr_S, schedule(family, split=0.5, end=0.0).lr_S)
        expected = 0.25 + 0.75 * plain.delta_S / plain.delta_S[0]
        np.testing.assert_allclose(floored.delta_S / floored.delta_S[0], expected, rtol=1e-12)
    stages = papers_stages(end=0.5).lr_S
    np.testing.assert_allclose(stages, 0.05 + 0.05 * ROOT_HALF ** np.arange(5), rtol=1e-12)


@pytest.mark.parametrize("end", [-0.1, 1.0, float("nan")])
def test_a_floor_outside_its_range_is_refused(end: float) -> None:
    with pytest.raises(ValueError, match=r"`0 <= end < 1` must hold"):
        schedule("cosine", end=end)


def test_seesaw_doubles_the_batch_and_takes_lr_over_root_2_where_the_cosine_halves() -> None:
    """arXiv 2510.14717: "multiplies it by 1/sqrt(2) and doubles the batch size"."""
    (split,) = SPACES["seesaw"].ranges["split"].grid()
    # The cosine is 1/2 at half of the training; 2048 samples make all batches exact.
    table = schedule("cosine", epochs=4, interval=2, split=split, batch0=1024)
    assert table.batch_size_S.tolist() == [1024, 2048]
    np.testing.assert_allclose(table.lr_S, [0.1, 0.1 * ROOT_HALF], rtol=1e-12)
    by_lr = schedule("cosine", epochs=4, interval=2, split=1.0, batch0=1024)
    np.testing.assert_allclose(table.delta_S, by_lr.delta_S, rtol=1e-12)
    # The step of a normalized optimizer, lr * sqrt(batch), stays: of all splits the first
    # at which it does not grow.
    np.testing.assert_allclose(table.lr_S * np.sqrt(table.batch_size_S), 3.2, rtol=1e-12)


def test_wsd_over_the_whole_training_is_poly() -> None:
    u = np.linspace(0, 1, 50)
    np.testing.assert_allclose(FAMILIES["wsd"](u, f=1.0, p=0.6), FAMILIES["poly"](u, p=0.6))


def test_cosine_power_of_base_one_is_cosine() -> None:
    u = np.linspace(0, 1, 50)
    near = FAMILIES["cosine_power"](u, base=1.0 + 1e-9)
    np.testing.assert_allclose(FAMILIES["cosine_power"](u, base=1.0), FAMILIES["cosine"](u))
    np.testing.assert_allclose(near, FAMILIES["cosine"](u), atol=1e-8)


schedules = st.builds(
    lambda family, split, epochs, interval_share, examples, batch0, batch_max, momentum: (
        {
            "family": family,
            "split": split,
            "epochs": epochs,
            "interval": max(1, round(interval_share * epochs)),
            "train_examples": examples,
            "batch0": min(batch0, examples),
            "batch_max": None if batch_max is None else max(batch_max, min(batch0, examples)),
            "law": NoiseLaw(c2=7.0, momentum=momentum),
        }
    ),
    family=st.sampled_from(sorted(PARAMS)),
    split=st.sampled_from([0.0, 0.25, HYBRID, 1.0]),
    epochs=st.integers(1, 40),
    interval_share=st.floats(0, 1),
    examples=st.integers(20, 3000),
    batch0=st.integers(1, 300),
    batch_max=st.none() | st.integers(1, 1000),
    momentum=st.sampled_from([0.0, 0.9]),
)


@given(kwargs=schedules)
@settings(max_examples=150, deadline=None)
def test_rounding_and_cap_never_bend_delta(kwargs: dict[str, object]) -> None:
    table = schedule(**kwargs)
    law, epochs = kwargs["law"], kwargs["epochs"]
    u_S = np.arange(0, epochs, kwargs["interval"]) / epochs
    d_S = FAMILIES[kwargs["family"]](u_S, **PARAMS[kwargs["family"]])
    delta0 = law.delta(0.1, kwargs["batch0"])
    realised = [law.delta(lr, b) for lr, b in zip(table.lr_S, table.batch_size_S, strict=True)]
    np.testing.assert_allclose(realised, delta0 * d_S, rtol=1e-12)
    np.testing.assert_allclose(table.delta_S, realised, rtol=1e-12)
    limit = min(kwargs["train_examples"], kwargs["batch_max"] or kwargs["train_examples"])
    assert table.batch_size_S.max() <= limit
    assert np.all(table.lr_S > 0)


@pytest.mark.slow
@given(kwargs=schedules)
@settings(max_examples=100, deadline=None)
def test_steps_tile_the_samples_without_gap_and_each_has_its_stages_batch(
    kwargs: dict[str, object],
) -> None:
    table = schedule(**kwargs)
    steps = list(table.steps())
    ends = [s.first_sample + s.batch_size for s in steps]
    assert [s.first_sample for s in steps] == [0, *ends[:-1]]
    assert ends[-2:-1] < [table.total_samples] <= ends[-1:]
    for step in steps:
        assert step.stage == table.stage_at(step.first_sample)
        assert step.batch_size == table.batch_size_S[step.stage]
    assert table.num_steps() == len(steps)


@given(kwargs=schedules)
@settings(max_examples=50, deadline=None)
def test_epochs_cut_the_same_steps(kwargs: dict[str, object]) -> None:
    table = schedule(**kwargs)
    steps, sample = [], 0
    for epoch in range(1, table.num_epochs + 1):
        epoch_steps = list(table.steps(sample, table.epoch_end(epoch)))
        sample = (
            epoch_steps[-1].first_sample + epoch_steps[-1].batch_size if epoch_steps else sample
        )
        steps += epoch_steps
    assert steps == list(table.steps())


@pytest.mark.slow
@given(kwargs=schedules, horizon=st.floats(0.05, 0.9))
@settings(max_examples=100, deadline=None)
def test_a_squeezed_horizon_keeps_the_share_of_samples_at_each_delta(
    kwargs: dict[str, object], horizon: float
) -> None:
    full = schedule(**kwargs)
    try:
        short = schedule(**kwargs, horizon=horizon)
    except ValueError:  # below one epoch of samples or 20 steps: tested on its own
        reject()
    np.testing.assert_allclose(short.delta_S, full.delta_S)
    ends = np.append(full.start_S[1:], full.total_samples)
    taken_S = np.zeros(short.num_stages)
    for step in short.steps():
        taken_S[step.stage] += step.batch_size
    for stage, planned in enumerate((ends - full.start_S) * horizon):
        # A stage starts late by its predecessor's last batch and ends late by its own.
        slack = short.batch_size_S[max(stage - 1, 0) : stage + 1].max() + 1
        assert abs(taken_S[stage] - planned) <= slack


def test_a_horizon_below_one_epoch_names_the_smallest_allowed() -> None:
    with pytest.raises(ValueError, match=r"one epoch of samples.*smallest allowed is 0\.1"):
        schedule("poly", epochs=10, horizon=0.05, train_examples=1000, batch0=10)


def test_a_horizon_below_twenty_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="20 optimizer steps"):
        schedule("poly", epochs=10, horizon=0.1, train_examples=1000, batch0=100)


def test_an_older_warmup_rises_linearly_and_then_follows_the_curve() -> None:
    plain = schedule("cosine", epochs=10, train_examples=1000)
    warm = schedule("cosine", epochs=10, train_examples=1000, warmup_epochs=2, after_warmup=False)
    assert warm.lr_S[0] == pytest.approx(0.1 / 21)
    after = warm.start_S >= 2000
    np.testing.assert_allclose(warm.lr_S[after], plain.lr_S[2:], rtol=1e-12)
    assert np.all(np.diff(warm.lr_S[warm.start_S < 1000]) > 0)


@given(
    warmup=st.floats(0.01, 5.9),
    interval=st.integers(1, 8),
    examples=st.integers(100, 5000),
)
@example(warmup=1 + 1e-9, interval=1, examples=100)  # ends just after an epoch does
@settings(max_examples=200, deadline=None)
def test_warmup_rises_strictly_and_ends_exactly_on_the_schedule(
    warmup: float, interval: int, examples: int
) -> None:
    kwargs = {"epochs": 8, "train_examples": examples, "interval": interval, "batch0": 10}
    warm = schedule("constant", **kwargs, warmup_epochs=warmup)
    # In a constant schedule lr is the warmup factor itself.
    start = np.unique(warm.start_S)  # a stage that starts within one sample of the next has none
    lr = warm.lr_S[[warm.stage_at(sample) for sample in start.tolist()]]
    over = start >= np.ceil(warmup * examples - 1e-6)
    np.testing.assert_allclose(lr[over], 0.1, rtol=1e-12)
    rising = np.unique(lr[~over])
    count = math.ceil(10 * warmup - 1e-9)
    np.testing.assert_allclose(rising, 0.1 * np.arange(1, count + 1) / (count + 1), rtol=1e-12)
    assert np.all(np.diff(warm.lr_S) >= 0)


def test_a_capped_stage_is_marked_and_lowers_lr_instead() -> None:
    table = papers_stages(split=0.0, batch0=32, batch_max=100)
    assert table.batch_size_S.tolist() == [32, 64, 100, 100, 100]
    assert table.capped_S.tolist() == [False, False, True, True, True]
    assert table.lr_S[1] == pytest.approx(0.1)
    assert table.lr_S[2] == pytest.approx(0.1 * math.sqrt(100 / 128))


def test_a_law_that_cannot_decay_by_batch_alone_is_refused() -> None:
    law = NoiseLaw(name="shb", c2=25.318, k=1.77, momentum=0.9)
    with pytest.raises(ValueError, match="cannot lower delta by the batch alone"):
        papers_stages(split=0.0, law=law)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"epochs": 0}, "epochs >= 1"),
        ({"interval": 201}, "interval <= epochs"),
        ({"interval": -1}, "interval <= epochs"),
        ({"interval": float("nan")}, "interval <= epochs"),
        ({"lr0": float("nan")}, "lr0 > 0"),
        ({"lr0": 0.0}, "lr0 > 0"),
        ({"split": 1.5}, "split <= 1"),
        ({"batch0": 0}, "batch.initial"),
        ({"batch0": 50_001}, "batch.initial"),
        ({"batch0": 64, "batch_max": 32}, "batch.initial"),
        ({"warmup_epochs": 200}, "warmup_epochs"),
        ({"horizon": 0.0}, "horizon"),
    ],
)
def test_bad_arguments_are_refused_with_their_value(
    kwargs: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        schedule("cosine", **kwargs)


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (lambda u: 0.9 - u / 2, r"d\(0\) = 1"),
        (lambda u: 1 - 2 * u, "positive"),
        (lambda u: np.ones(3), "one value per progress"),
    ],
)
def test_a_users_bad_curve_is_refused(curve: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_schedule(curve, epochs=10, train_examples=100, interval=1, lr0=0.1, batch0=10)


def test_the_table_is_immutable() -> None:
    table = schedule("poly")
    with pytest.raises(ValueError, match="read-only"):
        table.lr_S[0] = 1.0
