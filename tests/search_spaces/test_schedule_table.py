"""Every entry of small tables by hand, and the exact bounds of what may be asked for."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from search_spaces.noise_law import NoiseLaw
from search_spaces.schedule import Schedule, Step, make_schedule

SMALL = {"epochs": 4, "train_examples": 100, "interval": 2, "lr0": 0.1, "batch0": 10}


def linear(u: np.ndarray) -> np.ndarray:
    return 1 - u


def constant(u: np.ndarray) -> np.ndarray:
    return np.ones_like(u)


def table(decay: object = linear, **changes: object) -> Schedule:
    return make_schedule(decay, **(SMALL | changes))


def test_all_entries_of_a_small_table() -> None:
    whole = table(law=NoiseLaw(c2=9.0, momentum=0.5))
    assert whole.num_stages == 2
    assert whole.start_S.tolist() == [0, 200]
    assert whole.progress_S.tolist() == [0.0, 0.5]
    assert whole.lr_S == pytest.approx([0.1, 0.05], rel=1e-15)
    assert whole.batch_size_S.tolist() == [10, 10]
    assert whole.momentum_S.tolist() == [0.5, 0.5]
    delta = 0.1 / 0.5 * 3 / math.sqrt(10)
    assert whole.delta_S == pytest.approx([delta, delta / 2], rel=1e-14)
    assert whole.decay_rate_S == pytest.approx([1.0, 0.5], rel=1e-14)
    assert whole.capped_S.tolist() == whole.floored_S.tolist() == [False, False]
    assert (whole.total_samples, whole.epoch_samples, whole.num_epochs) == (400, 100, 4)
    assert (whole.start_S.dtype, whole.batch_size_S.dtype) == (np.int64, np.int64)


@pytest.mark.parametrize("ladder", [1, 4, 7])
@pytest.mark.parametrize("limit", [None, 8192])
def test_a_ladder_leaves_few_batch_sizes_and_delta_as_it_was(
    ladder: int, limit: int | None
) -> None:
    # The batch alone lowers delta: poly of power 0.9 over 200 epochs of CIFAR-10's training part.
    about = {
        **{"epochs": 200, "train_examples": 45_000, "interval": 1, "lr0": 0.1, "batch0": 128},
        **{"split": 0.0, "batch_max": limit, "law": NoiseLaw(c2=4.0, momentum=0.9)},
    }
    power = lambda u: (1 - u) ** 0.9  # noqa: E731
    free, few = make_schedule(power, **about), make_schedule(power, **about, batch_ladder=ladder)
    expected = []
    for epoch in range(200):
        target = min(128 * (1 - epoch / 200) ** -1.8, limit or 45_000)
        rung = 128 * 2 ** (round(ladder * math.log2(target / 128)) / ladder)
        expected.append(min(8 * round(rung / 8), limit or 45_000))
    assert few.batch_size_S.tolist() == expected
    assert few.batch_size_S[0] == 128
    assert few.delta_S == pytest.approx(free.delta_S, rel=1e-14)
    used = few.lr_S / 0.1 * 2 / np.sqrt(few.batch_size_S)  # lr / (1 - momentum) * C / sqrt(b)
    assert used == pytest.approx(free.delta_S, rel=1e-12)
    assert few.capped_S.tolist() == free.capped_S.tolist()
    octaves = math.log2(few.batch_size_S.max() / 128)
    num_sizes = len(set(few.batch_size_S.tolist()))
    assert num_sizes <= ladder * octaves + 2 < len(set(free.batch_size_S.tolist())) / 3
    off = few.batch_size_S / np.minimum(free.batch_size_S, limit or 45_000)
    assert max(off.max(), 1 / off.min()) <= 2 ** (0.5 / ladder) * (1 + 4 / 128)


def test_a_ladder_of_an_odd_batch_has_odd_sizes() -> None:
    sizes = table(lambda u: 1 - u, epochs=4, interval=1, split=0.5, batch_ladder=1).batch_size_S
    # Targets 10 / (1 - u): 10, 13.3, 20, 40 -> 10 * 2^0, 2^0, 2^1, 2^2.
    assert sizes.tolist() == [10, 10, 20, 40]
    with pytest.raises(ValueError, match=r"`batch\.ladder >= 1` must hold"):
        table(batch_ladder=0)


def test_an_interval_need_not_divide_the_epochs() -> None:
    odd = table(epochs=5)
    assert odd.start_S.tolist() == [0, 200, 400]
    assert odd.progress_S == pytest.approx([0.0, 0.4, 0.8])
    assert odd.lr_S == pytest.approx([0.1, 0.06, 0.02])


def test_half_a_split_leaves_the_batch_the_inverse_of_the_decay() -> None:
    # b = 10 d^-1 for d = 1, 5/6, 4/6, ..., rounded; lr makes up for the rounding.
    half = table(epochs=6, interval=1, split=0.5)
    batch_S = [10, 12, 15, 20, 30, 60]
    assert half.batch_size_S.tolist() == batch_S
    d_S = [1 - m / 6 for m in range(6)]
    expected = [0.1 * d * math.sqrt(b / 10) for d, b in zip(d_S, batch_S, strict=True)]
    assert half.lr_S == pytest.approx(expected, rel=1e-14)
    assert half.decay_rate_S == pytest.approx([1, 5 / 6, 4 / 5, 3 / 4, 2 / 3, 1 / 2], rel=1e-13)
    assert half.delta_S == pytest.approx([0.1 * d / math.sqrt(10) for d in d_S], rel=1e-14)


def test_a_batch_at_its_limit_is_not_capped_and_above_it_is() -> None:
    # b = 10 d^-2: 10, 40 at d = 1/2.
    for limit, batch, capped in ((40, 40, False), (39, 39, True), (None, 40, False)):
        at = table(split=0.0, batch_max=limit)
        assert (at.batch_size_S[1], at.capped_S.tolist()) == (batch, [False, capped])
    few = table(split=0.0, train_examples=30, batch_max=50)  # no batch is larger than all images
    assert (few.batch_size_S.tolist(), few.capped_S.tolist()) == ([10, 30], [False, True])


def test_a_batch_never_rounds_to_nothing() -> None:
    rising = table(lambda u: 1 + 18 * u, split=0.0)  # d = 10: a tenth of a sample
    assert rising.batch_size_S.tolist() == [10, 1]
    assert rising.lr_S[1] == pytest.approx(0.1 * 10 / math.sqrt(10), rel=1e-14)


def test_a_decay_beyond_all_floats_ends_at_the_largest_batch() -> None:
    steep = table(lambda u: 1e-200 ** (2 * u), split=0.0)  # d^-2 = 1e400
    assert steep.batch_size_S.tolist() == [10, 100]
    assert steep.capped_S.tolist() == [False, True]
    assert steep.lr_S[1] == pytest.approx(0.1e-200 * math.sqrt(10), rel=1e-12)


def test_steps_run_over_borders_and_each_has_the_batch_of_its_first_sample() -> None:
    # Stage 0 in steps of 6, the last of them over its border at 25; stage 1 in steps of 24.
    short = table(split=0.0, train_examples=25, epochs=2, interval=1, batch0=6)
    assert short.start_S.tolist() == [0, 25]
    assert short.batch_size_S.tolist() == [6, 24]
    steps = list(short.steps())
    assert steps == [*(Step(0, sample, 6) for sample in (0, 6, 12, 18, 24)), Step(1, 30, 24)]
    assert short.num_steps() == 6
    assert short.epoch_steps(1) == steps[:5]
    assert short.epoch_steps(2) == steps[5:]
    assert list(short.steps(6, 18)) == steps[1:3]
    assert list(short.steps(12)) == steps[2:]
    assert [short.stage_at(sample) for sample in (0, 24, 25, 49)] == [0, 0, 1, 1]
    assert [short.epoch_end(epoch) for epoch in (0, 1, 2, 3)] == [0, 25, 50, 50]


def test_a_last_epoch_that_the_batch_before_has_covered_is_none() -> None:
    curve = table(
        lambda u: np.where(u == 0, 1.0, 24**-0.5), split=0.0, epochs=3, train_examples=40,
        interval=1, batch0=1, horizon=0.7,
    )  # fmt: skip
    assert curve.total_samples == 84
    assert curve.start_S.tolist() == [0, 28, 56]
    assert curve.batch_size_S.tolist() == [1, 24, 24]
    # Steps at 0 ... 27, then 28, 52, 76: the last ends at 100, epoch 3 would begin at 80.
    assert [step.first_sample for step in curve.steps()][28:] == [28, 52, 76]
    assert curve.num_epochs == 2
    assert [len(curve.epoch_steps(epoch)) for epoch in (1, 2, 3)] == [29, 2, 0]


def test_a_batch_that_ends_with_the_training_leaves_no_epoch_behind_it() -> None:
    # As above with batches of 28: steps at 28 and 56 end at 84, which is all there is.
    curve = table(
        lambda u: np.where(u == 0, 1.0, 28**-0.5), split=0.0, epochs=3, train_examples=40,
        interval=1, batch0=1, horizon=0.7,
    )  # fmt: skip
    assert list(curve.steps())[-1] == Step(2, 56, 28)
    assert (curve.total_samples, curve.num_epochs) == (84, 2)


@pytest.mark.parametrize("law", [NoiseLaw(), NoiseLaw(c2=1e20), NoiseLaw(c2=1e-20)])
def test_delta_is_that_of_the_curve_to_the_last_digit_whatever_c_calls_it(law: NoiseLaw) -> None:
    """Of lr and batch, delta is found again up to a rounding, which is not told."""
    exact = table(epochs=50, interval=1, split=0.3, law=law)
    assert exact.delta_S.tolist() == (0.1 * law.gain(10) * (1 - np.arange(50) / 50)).tolist()


@pytest.mark.parametrize("c2", [1.0, 1e20, 1e-20])
def test_the_laws_own_momentum_is_used_without_a_rounding(c2: float) -> None:
    law = NoiseLaw(name="shb", c2=c2, momentum=0.9)
    warm = table(constant, warmup_epochs=1, momentum_share=0.5, law=law)
    assert set(warm.momentum_S.tolist()) == {0.9}
    assert warm.lr_S == pytest.approx([0.1 * (i + 1) / 11 for i in range(11)] + [0.1])


def test_noise_that_no_momentum_makes_is_made_by_the_laws_own() -> None:
    law = NoiseLaw(name="nshb_a", momentum=0.5)  # delta = lr sqrt((1 + 4 beta^2)/b)
    rising = table(lambda u: 1 + 18 * u, momentum_share=1.0, law=law)  # ten times delta
    assert rising.momentum_S.tolist() == [0.5, 0.5]
    assert rising.delta_S == pytest.approx([0.1 * math.sqrt(2 / 10)] * 2, rel=1e-14)
    assert rising.floored_S.tolist() == [False, False]


def test_an_epoch_of_one_sample_counts() -> None:
    one = table(constant, epochs=3, train_examples=20, interval=1, batch0=1, horizon=0.7)
    assert (one.total_samples, one.num_epochs, one.num_steps()) == (42, 3, 42)
    assert one.epoch_steps(3) == [Step(2, 40, 1), Step(2, 41, 1)]


def test_a_squeezed_stage_starts_at_the_next_whole_sample() -> None:
    squeezed = table(epochs=3, interval=1, batch0=5, horizon=0.335)
    assert squeezed.start_S.tolist() == [0, 34, 67]
    assert squeezed.total_samples == 101
    exact = table(epochs=10, interval=1, batch0=5, horizon=0.7)  # 7 * 0.1 is no whole number
    assert exact.start_S.tolist() == list(range(0, 700, 70))
    assert exact.total_samples == 700


@pytest.mark.parametrize(
    ("changes", "num_steps"),
    [
        ({"horizon": 0.25, "batch0": 5}, 20),  # just one epoch, just 20 steps
        ({"horizon": 0.5, "batch0": 10}, 20),
        ({"horizon": 1.0, "batch0": 100}, 4),  # a full training may be as short as it likes
        ({"epochs": 1, "interval": 1, "batch0": 100}, 1),
    ],
)
def test_the_smallest_trainings_there_are(changes: dict[str, object], num_steps: int) -> None:
    assert table(constant, **changes).num_steps() == num_steps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"horizon": 0.24, "batch0": 1},
            r"^a horizon must hold at least one epoch of samples, but got \(horizon=0\.24\)\. "
            r"The smallest allowed is 0\.25\.$",
        ),
        ({"horizon": 0.0025, "batch0": 1}, r"The smallest allowed is 0\.25\.$"),  # 1 sample
        (
            {"horizon": 0.475, "batch0": 10},
            r"^a horizon must hold at least 20 optimizer steps, but got 19 \(horizon=0\.475\)\.$",
        ),
        ({"horizon": 0.0}, r"^`0 < horizon <= 1` must hold, but got \(horizon=0\.0\)"),
        ({"horizon": 1.01}, r"`0 < horizon <= 1` must hold"),
        ({"epochs": 0, "interval": 1}, r"^`epochs >= 1` must hold, but got \(epochs=0\)"),
        ({"interval": 5}, r"^`0 < interval <= epochs` .*\(interval=5, epochs=4\)"),
        ({"interval": -0.5}, "interval <= epochs"),
        ({"interval": 0.09}, r"at least one step, .*\(interval=0\.09 epochs, 9 samples,"),
        ({"reports": 0}, r"^`reports >= 1` must hold, but got \(reports=0\)"),
        ({"lr0": 0.0}, r"^`lr0 > 0` must hold, but got \(lr0=0\.0\)"),
        ({"lr0": math.inf}, "`lr0 > 0` must hold"),
        ({"split": -0.01}, r"^`0 <= split <= 1` must hold, but got \(split=-0\.01\)"),
        ({"split": 1.01}, "`0 <= split <= 1` must hold"),
        ({"batch0": 0}, r"^`1 <= batch\.initial .*\(batch\.initial=0, limit=100\)"),
        ({"batch0": 101}, r"\(batch\.initial=101, limit=100\)"),
        ({"batch0": 51, "batch_max": 50}, r"\(batch\.initial=51, limit=50\)"),
        ({"batch_max": 0}, r"\(batch\.initial=10, limit=0\)"),
        ({"warmup_epochs": -0.1}, r"^`0 <= warmup_epochs < epochs` .*\(warmup_epochs=-0\.1\)"),
        ({"warmup_epochs": 4.0}, "warmup_epochs < epochs"),
    ],
)
def test_one_step_past_a_bound_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"interval": 4},
        {"interval": 1},
        {"interval": 0},
        {"interval": 0.1},
        {"reports": 1},
        {"split": 0.0},
        {"split": 1.0},
        {"batch0": 1},
        {"batch0": 100},
        {"batch0": 50, "batch_max": 50},
        {"warmup_epochs": 3.99},
        {"momentum_share": 1.0, "law": NoiseLaw(momentum=0.5)},
        {"momentum_share": 0.0},
    ],
)
def test_a_bound_itself_is_allowed(changes: dict[str, object]) -> None:
    assert table(**changes).num_stages >= 1


def test_an_older_warmup_rises_by_tenths_of_an_epoch_under_the_curves_stages() -> None:
    warm = table(warmup_epochs=1, after_warmup=False)
    assert warm.start_S.tolist() == [*range(0, 101, 10), 200]
    assert warm.progress_S.tolist() == [0.0] * 11 + [0.5]
    assert warm.lr_S == pytest.approx([0.1 * (i + 1) / 11 for i in range(11)] + [0.05])
    assert warm.delta_S == pytest.approx(warm.lr_S / math.sqrt(10), rel=1e-14)


def test_a_warmup_in_between_has_equal_parts_of_at_most_a_tenth() -> None:
    warm = table(warmup_epochs=0.25, after_warmup=False)  # 3 parts of 1/12 epoch
    assert warm.start_S.tolist() == [0, 9, 17, 25, 200]
    assert warm.lr_S == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.05])


def test_a_decay_during_the_warmup_is_a_stage_of_its_own_or_a_part_of_it() -> None:
    # 11 parts; the decay at 1 is none of them.
    over = table(interval=1, warmup_epochs=1.05, after_warmup=False)
    assert len(over.start_S) == 12 + 1 + 2
    assert over.start_S.tolist()[10:13] == [96, 100, 105]
    assert over.progress_S.tolist()[10:] == [0.0, 0.25, 0.25, 0.5, 0.75]
    expected = [11 / 12, 0.75 * 11 / 12, 0.75, 0.5, 0.25]
    assert over.lr_S[10:] == pytest.approx(0.1 * np.array(expected))
    joint = table(interval=1, warmup_epochs=2, after_warmup=False)  # decays at 1 and 2 are parts
    assert joint.start_S.tolist() == [*range(0, 201, 10), 300]
    assert joint.lr_S[10] == pytest.approx(0.1 * 0.75 * 11 / 21)


# lr changes by r where (1 + x)/(1 + 4 x) = r^2, x = beta_hat K^2 b0 / ((1 + beta_hat) C^2):
# delta is to halve while the batch grows by four. At beta = 1/2, beta_hat = 3/2.
@pytest.mark.parametrize(("r", "is_refused"), [(0.9901, False), (0.9899, True), (0.6, True)])
def test_a_law_may_bend_lr_by_one_percent_under_split_batch(r: float, is_refused: bool) -> None:
    x = (1 - r**2) / (4 * r**2 - 1)
    law = NoiseLaw(name="shb", c2=1.0, k=math.sqrt(x * 2.5 / (1.5 * 10)), momentum=0.5)
    kwargs = {"split": 0.0, "law": law}
    if is_refused:
        message = (
            r"^the noise law shb cannot lower delta by the batch alone: lr would have to change "
            rf"by {100 * (1 - r):.0f}% under split=batch\. Use split=hybrid or split=lr\.$"
        )
        with pytest.raises(ValueError, match=message):
            table(**kwargs)
    else:
        assert table(**kwargs).lr_S == pytest.approx([0.1, 0.1 * r], rel=1e-12)
    assert table(**kwargs | {"split": 0.01}).num_stages == 2
    assert table(**kwargs | {"momentum_share": 0.5}).num_stages == 2


def test_momentum_alone_lowers_delta_to_its_floor() -> None:
    # delta = lr / ((1 - beta) sqrt(b)): 1 - beta = 0.4/d, at least 1: d = 1, 3/4, 1/2, 1/4.
    down = table(interval=1, momentum_share=1.0, law=NoiseLaw(momentum=0.6))
    assert down.momentum_S == pytest.approx([0.6, 1 - 0.4 / 0.75, 0.2, 0.0], abs=1e-12)
    assert down.lr_S.tolist() == [0.1] * 4
    assert down.batch_size_S.tolist() == [10] * 4
    assert down.floored_S.tolist() == [False, False, False, True]
    delta0 = 0.1 / 0.4 / math.sqrt(10)
    assert down.delta_S == pytest.approx([delta0 * d for d in (1, 0.75, 0.5, 0.4)], rel=1e-9)
    assert down.momentum_S[0] == 0.6  # the law's own, without rounding
    # Exactly at the floor nothing is lost.
    at = table(lambda u: 1 - 1.2 * u, momentum_share=1.0, law=NoiseLaw(momentum=0.6))
    assert at.momentum_S[1] == pytest.approx(0.0, abs=1e-9)
    assert at.floored_S.tolist() == [False, False]


def test_lr_and_batch_share_what_momentum_leaves() -> None:
    # w = 1/2, s = 1/2: lr = d^(1/4), b = d^(-1/2); d = 1/16 at stage 1.
    both = table(
        lambda u: 0.0625 ** (2 * u), split=0.5, momentum_share=0.5, law=NoiseLaw(momentum=0.9)
    )
    assert both.lr_S == pytest.approx([0.1, 0.05], rel=1e-14)
    assert both.batch_size_S.tolist() == [10, 40]
    # 1 - beta = (lr/lr0) / (sqrt(b/b0) d) * 0.1 = (1/2) / (2/16) * 0.1
    assert both.momentum_S == pytest.approx([0.9, 0.6], abs=1e-12)


def test_a_curve_is_read_within_a_rounding_of_one() -> None:
    assert table(lambda u: 1 + 9e-10 - u).num_stages == 2
    for start in (1 + 2e-9, 1 - 2e-9):
        with pytest.raises(ValueError, match=r"^a decay curve must start at d\(0\) = 1, but got"):
            table(lambda u, start=start: start - u)


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (lambda u: np.ones(3), r"one value per progress, but got shape \(3,\) for \(2,\)\.$"),
        (lambda u: 1 - 2 * u, r"must be positive and finite, but got 0\.0\.$"),
        (lambda u: 1 - 3 * u, r"must be positive and finite, but got -0\.5\.$"),
        (lambda u: np.where(u == 0, 1.0, np.inf), "must be positive and finite"),
        (lambda u: np.where(u == 0, 1.0, np.nan), "must be positive and finite, but got nan"),
    ],
)
def test_a_curve_that_is_none_is_refused(curve: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(curve)


def test_a_curve_may_return_whole_numbers() -> None:
    assert table(lambda u: np.ones(len(u), dtype=int)).lr_S == pytest.approx([0.1, 0.1])


def test_no_array_of_a_table_can_be_written() -> None:
    whole = table()
    arrays = [getattr(whole, field.name) for field in dataclasses.fields(whole)]
    arrays = [array for array in arrays if isinstance(array, np.ndarray)]
    assert len(arrays) == 8
    assert not any(array.flags.writeable for array in arrays)


def test_defaults_are_lr_alone_without_warmup_under_plain_sgd() -> None:
    given = table(split=1.0, momentum_share=0.0, law=NoiseLaw(), warmup_epochs=0.0, horizon=1.0)
    for field in dataclasses.fields(Schedule):
        np.testing.assert_array_equal(getattr(table(), field.name), getattr(given, field.name))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"split": 0.0, "train_examples": 1000, "interval": 0.7},
        {"split": 0.5, "interval": 0, "warmup_epochs": 1.0},
        {"split": 0.0, "reports": 7},
    ],
)
def test_a_step_by_its_number_is_the_one_that_a_walk_comes_to(changes: dict[str, object]) -> None:
    whole = table(**changes)
    walked = list(whole.steps())
    assert [whole.step_at(number) for number in range(whole.num_steps())] == walked
    counts = [len(whole.report_steps(k)) for k in range(1, whole.num_reports + 1)]
    assert whole.steps_at_reports == tuple(np.cumsum(counts).tolist())
    for number in (-1, len(walked)):
        with pytest.raises(ValueError, match=f"has {len(walked)} optimizer steps"):
            whole.step_at(number)
