"""The noise of gradients: against closed forms of linear models, and leaving no trace."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from trainables.measurements.noise import (
    HISTOGRAM_LIMIT,
    BatchNormMode,
    NoiseEstimate,
    at_rest,
    finite_population_factor,
    first_below,
    flat_gradient,
    per_example_noise,
    sample_noise,
    trained_parameters,
    two_batch_noise,
)
from trainables.models import resnet8

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

CROSS_ENTROPY = nn.CrossEntropyLoss(reduction="sum")
torch.set_num_threads(1)


def squared_loss(logits: Tensor, y: Tensor) -> Tensor:
    return 0.5 * (logits.squeeze(1) - y).square().sum()


def linear_loss(logits: Tensor, y: Tensor) -> Tensor:
    """The gradient of an example is the example itself."""
    return logits.sum()


def linear_model(d: int, seed: int = 0) -> nn.Linear:
    model = nn.Linear(d, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.randn(1, d, generator=torch.Generator().manual_seed(seed)))
    return model


def population(N: int, d: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(N, d, generator=g), torch.randn(N, generator=g)


def gradients_ND(model: nn.Linear, x: Tensor, y: Tensor) -> np.ndarray:
    """Of squared_loss, by formula: (w.x - y) x."""
    x64, y64 = x.double().numpy(), y.double().numpy()
    return (x64 @ model.weight.detach().double().numpy()[0] - y64)[:, None] * x64


def trace_of_covariance(g_ND: np.ndarray, divisor: int) -> float:
    return float(((g_ND - g_ND.mean(0)) ** 2).sum() / divisor)


def drawn_pairs(
    x: Tensor, y: Tensor, num_pairs: int, b: int, seed: int = 2
) -> Iterator[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]:
    """Batches drawn with replacement."""
    g = torch.Generator().manual_seed(seed)
    for _ in range(num_pairs):
        i, j = torch.randint(0, len(y), (2, b), generator=g)
        yield (x[i], y[i]), (x[j], y[j])


def standard_error(estimate: NoiseEstimate) -> float:
    return (estimate.high - estimate.c2) / stats.t.ppf(0.975, estimate.n - 1)


@pytest.mark.parametrize("b", [1, 8])
def test_two_batches_estimate_the_trace_of_the_covariance_at_any_batch_size(b: int) -> None:
    model, (x, y) = linear_model(5), population(30, 5)
    g_ND = gradients_ND(model, x, y)
    estimate = two_batch_noise(model, squared_loss, drawn_pairs(x, y, 1500, b))
    assert abs(estimate.c2 - trace_of_covariance(g_ND, 30)) < 4 * standard_error(estimate)
    assert estimate.n == 1500
    # <g_1, g_2> has the variance tr(S^2)/b^2 + 2 g S g / b, S the covariance of one gradient.
    S, mean = np.cov(g_ND.T, bias=True), g_ND.mean(0)
    error = math.sqrt(((S**2).sum() / b**2 + 2 * mean @ S @ mean / b) / 1500)
    assert abs(estimate.gradient_norm**2 - mean @ mean) < 4 * error


def test_disjoint_pairs_give_the_divisor_n_minus_1_exactly() -> None:
    model, (x, y) = linear_model(3), population(6, 3)
    g_ND = gradients_ND(model, x, y)
    c2 = trace_of_covariance(g_ND, 5)
    pairs = [
        ((x[list(a)], y[list(a)]), (x[list(b)], y[list(b)]))
        for a in itertools.combinations(range(6), 2)
        for b in itertools.combinations(sorted({*range(6)} - {*a}), 2)
    ]
    estimate = two_batch_noise(model, squared_loss, pairs)
    assert estimate.c2 == pytest.approx(c2, rel=1e-5)
    expected_norm2 = max(0.0, (g_ND.mean(0) ** 2).sum() - c2 / 6)
    assert estimate.gradient_norm**2 == pytest.approx(expected_norm2, rel=1e-4)


@pytest.mark.parametrize("b", [1, 2, 5, 6])
def test_finite_population_factor_is_that_of_all_subsets(b: int) -> None:
    g_ND = gradients_ND(linear_model(3), *population(6, 3))
    noise = np.mean(
        [
            ((g_ND[list(s)].mean(0) - g_ND.mean(0)) ** 2).sum()
            for s in itertools.combinations(range(6), b)
        ]
    )
    c2 = trace_of_covariance(g_ND, 6)
    assert noise == pytest.approx(c2 / b * finite_population_factor(b, 6), abs=1e-12)
    assert noise == pytest.approx(trace_of_covariance(g_ND, 5) / b * (1 - b / 6), abs=1e-12)


def test_a_population_of_one_has_no_noise() -> None:
    assert finite_population_factor(1, 1) == 0


@pytest.mark.parametrize(("b", "N"), [(0, 5), (6, 5)])
def test_a_batch_beyond_the_population_is_refused(b: int, N: int) -> None:
    with pytest.raises(ValueError, match=r"^`1 <= b <= N` must hold, but got \(b="):
        finite_population_factor(b, N)


def test_the_two_batch_interval_covers_about_as_often_as_it_says() -> None:
    model, (x, y) = linear_model(20), population(50, 20)
    c2 = trace_of_covariance(gradients_ND(model, x, y), 50)
    estimates = [
        two_batch_noise(model, squared_loss, drawn_pairs(x, y, 10, 16, seed))
        for seed in range(300)
    ]
    coverage = np.mean([e.low <= c2 <= e.high for e in estimates])
    assert 0.88 < coverage < 0.99  # binomial sd .013; the estimate is a little skewed


@pytest.mark.parametrize("chunk", [1, 7, 40, None])
def test_per_example_noise_is_the_sample_variance_whatever_the_chunk(chunk: int | None) -> None:
    model, (x, y) = linear_model(5), population(40, 5)
    g_ND = gradients_ND(model, x, y)
    estimate = per_example_noise(model, squared_loss, x, y, chunk)
    c2 = trace_of_covariance(g_ND, 39)
    assert estimate.c2 == pytest.approx(c2, rel=1e-5)
    norms = np.linalg.norm(g_ND, axis=1)
    assert estimate.max_gradient_norm == pytest.approx(norms.max(), rel=1e-5)
    norm2 = (g_ND.mean(0) ** 2).sum() - c2 / 40
    assert estimate.gradient_norm == pytest.approx(math.sqrt(max(0.0, norm2)), rel=1e-4)
    v_N = ((g_ND - g_ND.mean(0)) ** 2).sum(1) * 40 / 39
    low, high = stats.t.interval(0.95, 39, v_N.mean(), stats.sem(v_N))
    assert (estimate.low, estimate.high) == pytest.approx((low, high), rel=1e-4)
    assert estimate.n == 40


def test_per_example_noise_of_gaussian_data_is_unbiased() -> None:
    # g = (v.x - s e) x with v = w - w*: E||g||^2 - ||E g||^2 = ||v||^2 (d + 1) + s^2 d.
    d, s, v = 6, 0.5, linear_model(6).weight.detach()
    c2 = v.square().sum().item() * (d + 1) + s**2 * d
    estimates = []
    for seed in range(300):
        x, e = population(12, d, seed)
        estimates.append(per_example_noise(linear_model(d), squared_loss, x, s * e).c2)
    assert abs(np.mean(estimates) - c2) < 4 * stats.sem(estimates)


def test_noise_of_a_network_agrees_between_the_estimators() -> None:
    model, x, y = small_network(), *images(60)
    exact = per_example_noise(model, CROSS_ENTROPY, x, y)
    estimate = two_batch_noise(model, CROSS_ENTROPY, drawn_pairs(x, y, 40, 8))
    assert abs(estimate.c2 - exact.c2 * 59 / 60) < 5 * standard_error(estimate)
    assert estimate.max_gradient_norm < exact.max_gradient_norm


def test_the_interval_ends_at_zero() -> None:
    x, y = population(2, 3)
    same, other = (x[:1], y[:1]), (x[1:], y[1:])
    estimate = two_batch_noise(linear_model(3), squared_loss, [(same, same), (same, other)])
    assert estimate.low == 0 < estimate.c2 < estimate.high


@pytest.mark.parametrize("num_pairs", [0, 1])
def test_one_pair_is_refused(num_pairs: int) -> None:
    x, y = population(4, 3)
    with pytest.raises(ValueError, match=rf"At least 2 pairs must .* got \({num_pairs}\)"):
        two_batch_noise(linear_model(3), squared_loss, drawn_pairs(x, y, num_pairs, 2))


def test_one_example_is_refused() -> None:
    with pytest.raises(ValueError, match=r"At least 2 examples must .* got \(1\)"):
        per_example_noise(linear_model(3), squared_loss, *population(1, 3))


def test_unequal_batches_of_a_pair_are_refused() -> None:
    x, y = population(4, 3)
    with pytest.raises(ValueError, match=r"equally large, but got \(1, 3\)"):
        two_batch_noise(linear_model(3), squared_loss, [((x[:1], y[:1]), (x[1:], y[1:]))])


def test_sampled_noise_is_mini_minus_full_gradient_with_ragged_batches() -> None:
    model, (x, y) = linear_model(5), population(11, 5)
    g_ND = gradients_ND(model, x, y)
    full = [(x[:8], y[:8]), (x[8:], y[8:])]
    minis = [(x[i : i + 4], y[i : i + 4]) for i in range(3)]
    sample = sample_noise(model, squared_loss, full, minis)
    norms = [np.linalg.norm(g_ND[i : i + 4].mean(0) - g_ND.mean(0)) for i in range(3)]
    np.testing.assert_allclose(sample.norm_M, norms, rtol=1e-5)
    np.testing.assert_allclose(sample.scaled_norm_M, 2 * sample.norm_M)
    assert sample.gradient_norm == pytest.approx(np.linalg.norm(g_ND.mean(0)), rel=1e-5)
    assert (sample.batch_size, sample.num_params) == (4, 5)


def test_mean_square_of_the_scaled_norms_is_c2() -> None:
    model, (x, y) = linear_model(5), population(30, 5)
    minis = [pair[0] for pair in drawn_pairs(x, y, 600, 4)]
    sample = sample_noise(model, squared_loss, [(x, y)], minis)
    squares = sample.scaled_norm_M**2
    c2 = trace_of_covariance(gradients_ND(model, x, y), 30)
    assert abs(squares.mean() - c2) < 4 * stats.sem(squares)


@pytest.mark.parametrize("b", [1, 16])
def test_scaled_norm_concentrates_on_c_in_many_dimensions(b: int) -> None:
    # Gradients of linear_loss are the inputs N(0, I): C^2 = d; ||omega|| has sd C / sqrt(2 d b).
    d = 10_000
    x = torch.randn(8 * b, d, generator=torch.Generator().manual_seed(3))
    minis = [(x_B, x_B[:, 0]) for x_B in x.split(b)]
    zeros = torch.zeros(1, d)
    sample = sample_noise(linear_model(d), linear_loss, [(zeros, zeros[:, 0])], minis)
    np.testing.assert_allclose(sample.scaled_norm_M, math.sqrt(d), atol=5 / math.sqrt(2))


@pytest.mark.parametrize("kind", ["normal", "exponential"])
def test_shape_of_the_noise_is_that_of_scipy(kind: str) -> None:
    d = 4000
    rng = np.random.default_rng(5)
    x_ND = torch.from_numpy(getattr(rng, kind)(size=(3, d)).astype(np.float32))
    zeros = torch.zeros(1, d)
    full, minis = [(zeros, zeros[:, 0])], [(row[None], row[:1]) for row in x_ND]
    sample = sample_noise(linear_model(d), linear_loss, full, minis)
    z_ND = stats.zscore(x_ND.double().numpy(), axis=1)
    np.testing.assert_allclose(sample.skewness_M, stats.skew(z_ND, axis=1), rtol=1e-6)
    np.testing.assert_allclose(
        sample.excess_kurtosis_M, stats.kurtosis(z_ND, axis=1), rtol=1e-6, atol=1e-9
    )
    ks = [stats.kstest(z, "norm").statistic for z in z_ND]
    np.testing.assert_allclose(sample.ks_M, ks, rtol=1e-6)
    counts, edges = np.histogram(z_ND, 101, (-HISTOGRAM_LIMIT, HISTOGRAM_LIMIT))
    np.testing.assert_array_equal(sample.counts, counts)
    np.testing.assert_array_equal(sample.edges, edges)


def test_normal_noise_looks_normal_and_exponential_noise_does_not() -> None:
    d = 4000
    rng = np.random.default_rng(6)
    rows = torch.from_numpy(np.stack([rng.normal(size=d), rng.exponential(size=d)])).float()
    zeros = torch.zeros(1, d)
    minis = [(row[None], row[:1]) for row in rows]
    sample = sample_noise(linear_model(d), linear_loss, [(zeros, zeros[:, 0])], minis)
    assert abs(sample.skewness_M[0]) < 4 * math.sqrt(6 / d)
    assert abs(sample.excess_kurtosis_M[0]) < 4 * math.sqrt(24 / d)
    assert sample.ks_M[0] < 1.95 / math.sqrt(d)
    assert sample.skewness_M[1] > 1
    assert sample.ks_M[1] == pytest.approx(stats.norm.cdf(-1), abs=0.02)  # at the left end


def test_noise_without_spread_and_non_finite_noise_give_nan() -> None:
    x, y = population(2, 3)
    same = sample_noise(linear_model(3), squared_loss, [(x, y)], [(x, y)])
    broken = sample_noise(linear_model(3), squared_loss, [(x, y)], [(x * torch.inf, y)])
    assert same.norm_M[0] == 0
    for sample in (same, broken):
        assert np.isnan([sample.skewness_M, sample.excess_kurtosis_M, sample.ks_M]).all()
        assert sample.counts.sum() == 0


def test_no_full_batch_and_unequal_mini_batches_are_refused() -> None:
    model, (x, y) = linear_model(3), population(4, 3)
    with pytest.raises(ValueError, match="at least one batch"):
        sample_noise(model, squared_loss, [], [(x, y)])
    with pytest.raises(ValueError, match=r"sizes=\[2, 3\]"):
        sample_noise(model, squared_loss, [(x, y)], [(x[:2], y[:2]), (x[1:], y[1:])])


def test_flat_gradient_is_the_gradient_of_backward_in_logical_order() -> None:
    model, x, y = small_network(), *images(6)
    model.eval()
    g_P = flat_gradient(model, CROSS_ENTROPY, x, y)
    assert all(p.grad is None for p in model.parameters())
    (CROSS_ENTROPY(model(x), y) / 6).backward()
    expected = torch.cat([p.grad.contiguous().flatten() for p in model.parameters()])
    torch.testing.assert_close(g_P, expected)
    assert g_P.dtype == torch.float32
    assert not g_P.requires_grad


def test_frozen_parameters_do_not_count_and_unused_ones_have_no_gradient() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    model[0].requires_grad_(False)
    model.register_parameter("unused", nn.Parameter(torch.ones(2)))
    x, y = population(4, 3)
    g_P = flat_gradient(model, squared_loss, x, y)
    assert len(g_P) == sum(p.numel() for p in trained_parameters(model)) == 6
    assert torch.equal(g_P[:2], torch.zeros(2))
    g_NP = [
        flat_gradient(model, squared_loss, *one)
        for one in zip(x[:, None], y[:, None], strict=True)
    ]
    c2 = trace_of_covariance(torch.stack(g_NP).numpy(), 3)
    assert per_example_noise(model, squared_loss, x, y).c2 == pytest.approx(c2, rel=1e-5)


def images(N: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(7)
    x = torch.randn(N, 1, 8, 8, generator=g).contiguous(memory_format=torch.channels_last)
    return x, torch.randint(0, 10, (N,), generator=g)


def small_network() -> nn.Module:
    """A ResNet-8 in channels-last whose running statistics are not the initial ones."""
    torch.manual_seed(8)
    model = resnet8(num_classes=10, in_channels=1, width=4).to(memory_format=torch.channels_last)
    model.train()
    model(images(32)[0])
    return model


def trace(model: nn.Module) -> dict[str, object]:
    """Everything a measurement might leave behind."""
    return {
        "state": {name: t.clone() for name, t in model.state_dict().items()},
        "formats": [p.stride() for p in model.parameters()],
        "modes": [module.training for module in model.modules()],
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "grad_ids": [id(p.grad) for p in model.parameters()],
        "rng": torch.get_rng_state(),
        "grad_enabled": torch.is_grad_enabled(),
    }


def assert_untouched(model: nn.Module, before: dict[str, object]) -> None:
    torch.testing.assert_close(trace(model), before, rtol=0, atol=0)


def half_trained(model: nn.Module) -> nn.Module:
    """Some gradients set, some None; some modules in eval mode; a dropout that would draw."""
    model.add_module("dropout", nn.Dropout(0.5))
    model.train()
    model.get_submodule("blocks.1").eval()
    next(model.parameters()).grad = torch.ones_like(next(model.parameters()))
    return model


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
def test_measuring_leaves_no_trace(batch_norm: BatchNormMode) -> None:
    model, x, y = half_trained(small_network()), *images(24)
    before = trace(model)
    pairs = list(drawn_pairs(x, y, 2, 6))
    two_batch_noise(model, CROSS_ENTROPY, pairs, batch_norm)
    sample_noise(model, CROSS_ENTROPY, [(x, y)], [pairs[0][0]], batch_norm)
    per_example_noise(model, CROSS_ENTROPY, x, y)
    assert_untouched(model, before)


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
def test_an_exception_leaves_no_trace(batch_norm: BatchNormMode) -> None:
    model = half_trained(small_network())
    before = trace(model)

    def interrupted() -> None:
        with at_rest(model, batch_norm):
            model(images(8)[0]).sum().backward()
            torch.rand(3)
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert_untouched(model, before)


def test_train_mode_of_batch_norm_is_that_of_training_without_its_dropout() -> None:
    model, x, y = small_network(), *images(12)
    expected = flat_gradient(model.train(), CROSS_ENTROPY, x, y)
    model = nn.Sequential(model, nn.Dropout(0.5)).eval()
    with at_rest(model, "train"):
        assert torch.equal(flat_gradient(model, CROSS_ENTROPY, x, y), expected)
    with at_rest(model, "eval"):
        assert not torch.equal(flat_gradient(model, CROSS_ENTROPY, x, y), expected)


def test_measurements_are_float32_with_gradients_whatever_surrounds_them() -> None:
    model, x, y = small_network(), *images(12)
    pairs = list(drawn_pairs(x, y, 2, 6))
    expected = two_batch_noise(model, CROSS_ENTROPY, pairs)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert two_batch_noise(model, CROSS_ENTROPY, pairs) == expected


def test_an_unknown_batch_norm_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one of eval, train, but got \(batch_norm='frozen'\)"):
        two_batch_noise(linear_model(3), squared_loss, [], "frozen")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("norms", "before", "expected"),
    [
        ([4.0, 2.0, 0.0], (0.0, 0), 2),  # means 4, 3, 2
        ([4.0, 2.0, 0.1], (0.0, 0), None),
        ([3.0, 1.0], (5.0, 2), None),  # means 8/3, 9/4
        ([3.0, 0.0, 9.0], (5.0, 2), 1),  # means 8/3, 2, 17/5: the first counts
        ([2.0], (20.0, 10), 0),  # below already: this step is
        ([math.nan, 0.0, 0.0], (0.0, 0), None),
        ([], (0.0, 0), None),
    ],
)
def test_first_below_is_the_running_mean_since_step_0(
    norms: list[float], before: tuple[float, int], expected: int | None
) -> None:
    assert first_below(np.array(norms), 2.0, *before) == expected


def test_first_below_does_not_depend_on_how_the_steps_are_cut() -> None:
    norms = np.arange(100.0, 0.0, -1.0)  # mean after k steps: 100 - (k - 1) / 2
    whole = first_below(norms, 80.0, 0.0, 0)
    later = first_below(norms[30:], 80.0, norms[:30].sum(), 30)
    assert whole == 40
    assert later == 10
