"""Momentum as a third way to lower delta (arXiv 2412.11501 Algorithm 6), with its printed values.

The papers' code counts M = 200 levels from 0, so its curve is ((M+1-e)/(M+1))^p with p = 0.9:
`CODED`. Its measured constants of ResNet-18 on CIFAR-100: C^2 = 25.318, K = 1.77.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from search_spaces.noise_law import LAWS, NoiseLaw, momentum_factor
from search_spaces.schedule import Schedule, make_schedule

Array = NDArray[np.float64]
SHB = NoiseLaw(name="shb", c2=25.318, k=1.77, momentum=0.9)
PRECISION = 1e-9  # relative, of delta: the schedule's own tolerance


def coded(u: Array) -> Array:
    return np.asarray((1 - u * 200 / 201) ** 0.9)


def papers_table(law: NoiseLaw = SHB, **kwargs: object) -> Schedule:
    """200 epochs from lr 0.1 at batch 128, a stage an epoch."""
    known = {"epochs": 200, "train_examples": 50_000, "interval": 1, "lr0": 0.1, "batch0": 128}
    return make_schedule(coded, **(known | {"law": law} | kwargs))


def realised(table: Schedule, law: NoiseLaw) -> list[float]:
    """delta of each stage's lr, batch and momentum by the law's formula."""
    rows = zip(table.lr_S, table.batch_size_S, table.momentum_S, strict=True)
    return [
        dataclasses.replace(law, momentum=float(beta)).delta(float(lr), int(b))
        for lr, b, beta in rows
    ]


@pytest.mark.parametrize(("beta", "factor"), [(0.8, 16.8), (0.9, 81.9), (0.95, 361.95)])
def test_momentum_factor_equals_r17(beta: float, factor: float) -> None:
    assert momentum_factor(beta) == pytest.approx(factor, rel=1e-9)


@pytest.mark.parametrize(
    ("epoch", "beta", "delta"),
    [
        (0, 0.9, 1.652216),
        (1, 0.899591, 1.644816),
        (50, 0.873920, 1.277232),
        (100, 0.827030, 0.889364),
        (150, 0.712960, 0.480843),
        (190, 0.258265, 0.120905),
        (195, 0.080381, 0.070069),
        (199, 0.0, 0.044474),
    ],
)
def test_momentum_alone_follows_the_papers_path_r21(epoch: int, beta: float, delta: float) -> None:
    table = papers_table(momentum_share=1.0)
    assert table.momentum_S[epoch] == pytest.approx(beta, abs=6e-7)
    assert table.delta_S[epoch] == pytest.approx(delta, abs=6e-7)
    assert table.lr_S[epoch] == pytest.approx(0.1, rel=1e-15)
    assert table.batch_size_S[epoch] == 128


@pytest.mark.parametrize(
    ("epoch", "lr", "batch", "delta"),
    [
        (1, 0.0995655, 128.576, 1.64482),
        (100, 0.0545909, 237.792, 0.889364),
        (199, 0.00162661, 8112.59, 0.0260686),
    ],
)
def test_lr_and_batch_at_constant_momentum_follow_the_papers_path_r22(
    epoch: int, lr: float, batch: float, delta: float
) -> None:
    """Theirs grows b by 1/d and does not round it: lr at their b follows from our delta."""
    table = papers_table(split=0.5)
    assert table.batch_size_S[epoch] == round(batch)
    assert table.delta_S[epoch] == pytest.approx(delta, rel=5e-6)
    assert SHB.lr(table.delta_S[epoch], batch) == pytest.approx(lr, rel=5e-6)
    assert set(table.momentum_S) == {0.9}


def test_nshb_momentum_follows_the_papers_path_until_it_would_be_negative_r23() -> None:
    law = NoiseLaw(name="nshb_b", c2=128.0, k=4.5, momentum=0.9)
    table = papers_table(law, momentum_share=1.0)
    expected = {1: 0.899098, 50: 0.832662, 100: 0.654877, 120: 0.486572, 140: 0.144620}
    for epoch, beta in expected.items():
        assert table.momentum_S[epoch] == pytest.approx(beta, abs=6e-7)
    assert int(np.argmax(table.floored_S)) == 146
    assert table.floored_S[146:].all()
    assert np.all(table.momentum_S[:146] > 0)
    assert np.all(table.momentum_S[146:] == 0)


def test_at_the_floor_delta_is_that_of_lr_and_batch_alone() -> None:
    table = papers_table(momentum_share=1.0)
    target_S = SHB.delta(0.1, 128) * coded(np.arange(200) / 200)
    floor = 0.1 * math.sqrt(25.318 / 128)  # lr C / sqrt(b), R18: .04447436059
    np.testing.assert_array_equal(table.floored_S, target_S < floor)
    assert 0 < table.floored_S.sum() < 10
    np.testing.assert_allclose(table.delta_S[table.floored_S], floor, rtol=1e-14)
    assert np.all(table.delta_S[table.floored_S] > target_S[table.floored_S])
    assert table.decay_rate_S[199] == pytest.approx(1.0)


def test_without_a_share_of_momentum_no_stage_is_floored() -> None:
    for split in (0.3, 1.0):
        assert not papers_table(split=split).floored_S.any()


@pytest.mark.parametrize("split", [1.0, 0.5, 0.0])
def test_half_the_share_leaves_the_square_root_of_the_decay_to_lr_and_batch(split: float) -> None:
    """w = 1/2: lr0 d^(s/2), b0 d^(-(1-s)), momentum does the rest."""
    law = NoiseLaw(momentum=0.9)
    table = make_schedule(
        lambda u: 1 - u, epochs=4, train_examples=10_000, interval=1, lr0=0.1, batch0=100,
        split=split, momentum_share=0.5, law=law,
    )  # fmt: skip
    d_S = np.array([1, 0.75, 0.5, 0.25])
    np.testing.assert_allclose(table.lr_S, 0.1 * d_S ** (split / 2), rtol=1e-14)
    assert table.batch_size_S.tolist() == [round(100 * d ** -(1 - split)) for d in d_S]
    # delta = lr C / (sqrt(b) (1 - beta)) is to be d: 1 - beta = lr / (sqrt(b) d)
    beta_S = 1 - table.lr_S / (np.sqrt(table.batch_size_S) * d_S * 0.1)
    np.testing.assert_allclose(table.momentum_S, beta_S, atol=1e-12)


def test_momentum_takes_up_what_a_capped_batch_does_not_do() -> None:
    law = NoiseLaw(momentum=0.9)
    kwargs = {"momentum_share": 0.5, "split": 0.0}
    capped = papers_table(law, batch_max=200, **kwargs)
    assert capped.batch_size_S.max() == 200
    assert capped.capped_S.any()
    np.testing.assert_array_equal(capped.lr_S, np.full(200, 0.1))
    free = papers_table(law, **kwargs)
    # From lr C/(1-beta)/sqrt(b): the lowest delta that beta = 0 leaves at b = 200.
    within = ~capped.floored_S
    np.testing.assert_allclose(capped.delta_S[within], free.delta_S[within], rtol=PRECISION)
    np.testing.assert_allclose(capped.delta_S[~within], 0.1 / math.sqrt(200), rtol=1e-12)


def test_warmup_raises_lr_at_the_curves_own_momentum() -> None:
    plain = papers_table(momentum_share=1.0)
    warm = papers_table(momentum_share=1.0, warmup_epochs=2, after_warmup=False)
    assert warm.lr_S[0] == pytest.approx(0.1 / 21)
    np.testing.assert_allclose(warm.momentum_S[:10], 0.9, rtol=1e-12)
    np.testing.assert_allclose(warm.momentum_S[-198:], plain.momentum_S[-198:], rtol=1e-12)
    np.testing.assert_allclose(realised(warm, SHB), warm.delta_S, rtol=PRECISION)


def test_a_squeezed_horizon_keeps_the_stages_momentum() -> None:
    plain = papers_table(momentum_share=1.0)
    short = papers_table(momentum_share=1.0, horizon=0.1)
    np.testing.assert_array_equal(short.momentum_S, plain.momentum_S)
    np.testing.assert_array_equal(short.delta_S, plain.delta_S)


laws = st.builds(
    NoiseLaw,
    name=st.sampled_from(LAWS),
    c2=st.floats(0.01, 1e4),
    k=st.floats(0, 10),
    momentum=st.floats(0.01, 0.99),
)


@given(law=laws, lr=st.floats(1e-4, 10), batch=st.integers(1, 10_000))
@settings(max_examples=150, deadline=None)
def test_momentum_for_inverts_delta(law: NoiseLaw, lr: float, batch: int) -> None:
    beta = law.momentum_for(law.delta(lr, batch), lr, batch)
    again = dataclasses.replace(law, momentum=beta).delta(lr, batch)
    assert again == pytest.approx(law.delta(lr, batch), rel=PRECISION)
    assert beta == pytest.approx(law.momentum, rel=1e-3)


@given(law=laws, share=st.floats(0, 1), batch=st.integers(1, 10_000))
@settings(max_examples=100, deadline=None)
def test_below_the_noise_of_lr_and_batch_momentum_is_zero(
    law: NoiseLaw, share: float, batch: int
) -> None:
    least = 0.1 * math.sqrt(law.c2 / batch)
    assert law.momentum_for(share * least, 0.1, batch) == pytest.approx(0.0, abs=1e-7)


@given(law=laws, batch=st.integers(1, 1000), beta=st.floats(0, 0.98))
@settings(max_examples=100, deadline=None)
def test_every_law_grows_with_momentum(law: NoiseLaw, batch: int, beta: float) -> None:
    assert law.gain(batch, beta) < law.gain(batch, beta + 0.01)
    assert law.gain(batch, law.momentum) == law.gain(batch)


@given(
    law=laws,
    share=st.floats(0.001, 1),
    split=st.sampled_from([0.0, 0.41503749927884376, 0.5, 1.0]),
    batch0=st.integers(1, 500),
    batch_max=st.none() | st.integers(500, 2000),
    power=st.floats(0.1, 4),
    warmup=st.sampled_from([0.0, 1.5]),
)
@example(  # the batch rounds up so far that no momentum below 1 gives delta under nshb_a
    law=NoiseLaw(name="nshb_a", c2=1.0, k=0.0, momentum=0.9), share=0.01, split=0.0, batch0=1,
    batch_max=None, power=1.16, warmup=0.0,
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_delta_is_always_that_of_the_law_and_on_the_curve_where_momentum_can_do_it(
    law: NoiseLaw,
    share: float,
    split: float,
    batch0: int,
    batch_max: int | None,
    power: float,
    warmup: float,
) -> None:
    table = make_schedule(
        lambda u: (1 - u) ** power, epochs=12, train_examples=2000, interval=2, lr0=0.1,
        batch0=batch0, split=split, momentum_share=share, batch_max=batch_max, law=law,
        warmup_epochs=warmup,
        after_warmup=False,
    )  # fmt: skip
    np.testing.assert_allclose(table.delta_S, realised(table, law), rtol=2 * PRECISION)
    assert np.all((table.momentum_S >= 0) & (table.momentum_S < 1))
    assert np.all(table.momentum_S[table.floored_S] == 0)
    # Each 10th of an epoch of warmup adds 1/(number+1) of the curve.
    number = round(10 * warmup)
    rung_S = np.floor(table.start_S / 200 + 1e-9) + 1
    warmup_S = np.minimum(1, rung_S / (number + 1)) if number else np.ones(len(rung_S))
    target_S = law.delta(0.1, batch0) * (1 - table.progress_S) ** power * warmup_S
    below_S = table.delta_S < target_S * (1 - 2 * PRECISION)
    assert np.all(law.name == "nshb_a" or not below_S.any())
    within = ~table.floored_S & ~below_S
    np.testing.assert_allclose(table.delta_S[within], target_S[within], rtol=2 * PRECISION)
    assert np.all(table.delta_S[table.floored_S] > target_S[table.floored_S])


@pytest.mark.parametrize("law", [SHB, NoiseLaw(momentum=0.0), NoiseLaw(momentum=0.9)])
def test_a_share_of_zero_changes_nothing(law: NoiseLaw) -> None:
    plain, zero = papers_table(law), papers_table(law, momentum_share=0.0)
    for field in dataclasses.fields(Schedule):
        np.testing.assert_array_equal(getattr(plain, field.name), getattr(zero, field.name))
    assert set(zero.momentum_S) == {law.momentum}


@pytest.mark.parametrize("split", [0.0, 1.0])
def test_a_share_near_zero_is_near_no_share(split: float) -> None:
    law = NoiseLaw(momentum=0.5)
    tiny, none = (papers_table(law, momentum_share=w, split=split) for w in (1e-12, 0.0))
    free = ~none.capped_S  # there lr or momentum takes over
    np.testing.assert_array_equal(tiny.batch_size_S, none.batch_size_S)
    np.testing.assert_allclose(tiny.delta_S[free], none.delta_S[free], rtol=PRECISION)


@pytest.mark.parametrize("share", [-0.1, 1.1, 2.0, math.nan, math.inf])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"`0 <= momentum_share <= 1` must hold, but got"):
        papers_table(momentum_share=share)


def test_momentum_that_is_zero_cannot_be_lowered() -> None:
    with pytest.raises(ValueError, match="can lower delta only from above 0"):
        papers_table(NoiseLaw(momentum=0.0), momentum_share=0.5)


@pytest.mark.parametrize("law", ["shb", "nshb_a"])
def test_a_law_the_batch_cannot_lower_is_lowered_with_the_help_of_momentum(law: str) -> None:
    noise = dataclasses.replace(SHB, name=law)
    with pytest.raises(ValueError, match="cannot lower delta by the batch alone"):
        papers_table(noise, split=0.0)
    helped = papers_table(noise, split=0.0, momentum_share=0.1)
    np.testing.assert_array_equal(helped.lr_S, np.full(200, 0.1))
    assert not helped.floored_S[:150].any()
