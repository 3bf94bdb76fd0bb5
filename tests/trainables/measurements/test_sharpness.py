"""Worst-case sharpness: against functions whose maximum over a box is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainables.measurements.sharpness import apgd_checkpoints, worst_case_sharpness
from trainables.models import resnet8

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

CROSS_ENTROPY = nn.CrossEntropyLoss(reduction="sum")
torch.set_num_threads(1)


class Polynomial(nn.Module):
    """sum_i x_i w_i^power as the only logit; its mean, by `summed`, has coefficients mean x."""

    def __init__(self, weights: list[float], power: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(weights))
        self.power = power

    def forward(self, x_BD: Tensor) -> Tensor:
        return (x_BD * self.w**self.power).sum(1, keepdim=True)


def summed(logits: Tensor, y: Tensor) -> Tensor:
    return logits.sum()


def batch(*rows: list[float]) -> tuple[Tensor, Tensor]:
    return torch.tensor(rows), torch.zeros(len(rows), dtype=torch.int64)


W = [2.0, -0.5, 0.0, 1.0]


@pytest.mark.parametrize(
    ("adaptive", "expected"),
    [
        (True, 0.1 * (3 * 2 + 4 * 0.5 + 1 * 0 + 2 * 1)),  # rho sum |g_i| |w_i|
        (False, 0.1 * (3 + 4 + 1 + 2)),  # rho sum |g_i|
    ],
)
@pytest.mark.parametrize("iterations", [20, 100])
def test_of_a_linear_loss_it_is_the_dual_norm(
    adaptive: bool, expected: float, iterations: int
) -> None:
    model = Polynomial(W, power=1)
    batches = [batch([3.0, -8.0, 2.0, -2.0], [3.0, 0.0, 0.0, -2.0])]  # mean 3, -4, 1, -2
    sharpness = worst_case_sharpness(
        model, summed, batches, rho=0.1, adaptive=adaptive, iterations=iterations
    )
    assert sharpness.loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("adaptive", "expected"),
    [
        (True, (1.1**2 - 1) * (3 * 4 + 1 * 0.25 + 2 * 1)),
        (False, 3 * (2.1**2 - 4) + 1 * (0.6**2 - 0.25) + 2 * (1.1**2 - 1)),
    ],
)
def test_of_a_separable_convex_quadratic_it_is_at_the_corner(
    adaptive: bool, expected: float
) -> None:
    model = Polynomial(W, power=2)
    batches = [batch([3.0, 1.0, 0.0, 2.0])]
    sharpness = worst_case_sharpness(model, summed, batches, rho=0.1, adaptive=adaptive)
    assert sharpness.loss == pytest.approx(expected, rel=1e-4)


def test_a_maximum_inside_the_box_is_found_by_halving_the_step() -> None:
    # -(w - t)^2 with t - w inside the box: the increase is (t - w)^2 per coordinate.
    model = Polynomial([1.0, 1.0], power=1)
    target = torch.tensor([1.037, 0.941])

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        return -(model.w - target).square().sum() + 0 * logits.sum()

    batches = [batch([1.0, 1.0])]
    sharpness = worst_case_sharpness(model, loss, batches, rho=0.1, iterations=100)
    assert sharpness.loss == pytest.approx(0.037**2 + 0.059**2, rel=1e-3)


FIVE_RISES = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("losses", "restarts"),
    [
        ([-9.0, -8.0, -7.0, -6.0], True),  # 3 of 4 rise, but step and best stay
        ([-6.0, -7.0, -8.0, 6.0], True),  # 1 of 4 rises
        ([-9.0, -8.0, -7.0, 6.0], False),  # 3 of 4 rise to a new best
    ],
)
def test_at_a_checkpoint_the_search_goes_back_to_the_best(
    losses: list[float], restarts: bool
) -> None:
    # The gradient always points up, so delta_k+1 = .75 r + .25 delta_k-1 (r = rho |w| = .1):
    # delta / r = 0, .75, .75, .9375, .9375, .984375 (5), .984375, .996.. (7, 8), .999.. (9).
    # Checkpoints of 20 iterations: 5 and 9.
    model, visited = Polynomial([1.0], power=1), []
    script = FIVE_RISES + losses + [0.0] * 11

    def scripted(logits: Tensor, y: Tensor) -> Tensor:
        visited.append(logits.item() - 1)
        return script[len(visited) - 1] + (logits - logits.detach()).sum()

    worst_case_sharpness(model, scripted, [batch([1.0])], rho=0.1)
    eighth = 0.75 + 0.25 * 0.984375
    best = 0.984375 if losses[-1] < 5 else 0.75 + 0.25 * eighth
    tenth = 0.75 + 0.25 * (best if restarts else eighth)
    assert visited[5] == pytest.approx(0.0984375, abs=2e-7)
    assert visited[10] == pytest.approx(0.1 * tenth, abs=2e-7)
    assert len(visited) == 21


def test_a_stationary_point_has_none() -> None:
    model = Polynomial([0.0, 0.0], power=2)
    sharpness = worst_case_sharpness(model, summed, [batch([-1.0, -2.0])], rho=0.1, adaptive=False)
    assert (sharpness.loss, sharpness.error) == (0.0, 0.0)


def test_every_batch_has_its_own_maximum_and_examples_weigh_the_same() -> None:
    # Three examples pull up, one down: the mean of maxima is rho, the maximum of the mean rho/2.
    model = Polynomial([1.0], power=1)
    batches = [batch([1.0], [1.0], [1.0]), batch([-1.0])]
    sharpness = worst_case_sharpness(model, summed, batches, rho=0.1)
    assert sharpness.loss == pytest.approx(0.1, rel=1e-4)
    unequal = worst_case_sharpness(model, summed, [batches[0], batch([-5.0])], rho=0.1)
    assert unequal.loss == pytest.approx(0.1 * (3 * 1 + 1 * 5) / 4, rel=1e-4)


def test_error_is_the_increase_at_the_worst_weights() -> None:
    # Logits (x, .99 x): within 10% the order flips. Label 0 becomes wrong, label 1 already is.
    model = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0], [0.99]]))
    right, wrong = torch.ones(3, 1), torch.ones(1, 1)
    batches = [
        (right, torch.zeros(3, dtype=torch.int64)),
        (wrong, torch.ones(1, dtype=torch.int64)),
    ]
    sharpness = worst_case_sharpness(model, CROSS_ENTROPY, batches, rho=0.1)
    assert sharpness.error == 0.75
    assert sharpness.loss > 0


def test_a_ragged_last_batch_counts_by_its_examples() -> None:
    model = Polynomial([1.0], power=1)
    one = worst_case_sharpness(model, summed, [batch([2.0], [2.0])] * 2, rho=0.1)
    two = worst_case_sharpness(model, summed, [batch([2.0]), batch(*[[2.0]] * 3)], rho=0.1)
    assert one.loss == pytest.approx(two.loss, rel=1e-6)


def rescaled(k: float) -> nn.Module:
    """One and the same function for any k > 0."""
    g = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(k * torch.randn(8, 6, generator=g))
        model[2].weight.copy_(torch.randn(3, 8, generator=g) / k)
    return model


def classes(N: int = 40) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(N, 6, generator=g), torch.randint(0, 3, (N,), generator=g)


def test_adaptive_sharpness_is_invariant_to_rescaling_and_plain_is_not() -> None:
    def sharpness(k: float, adaptive: bool) -> float:
        return worst_case_sharpness(
            rescaled(k), CROSS_ENTROPY, [classes()], rho=0.01, adaptive=adaptive
        ).loss

    assert sharpness(4.0, True) == pytest.approx(sharpness(1.0, True), rel=1e-5)
    assert sharpness(4.0, False) > 1.5 * sharpness(1.0, False)


def test_more_iterations_never_find_less_and_a_wider_box_finds_more() -> None:
    def sharpness(rho: float, iterations: int) -> float:
        return worst_case_sharpness(
            rescaled(1.0), CROSS_ENTROPY, [classes()], rho=rho, iterations=iterations
        ).loss

    assert 0 < sharpness(0.01, 1) <= sharpness(0.01, 20) < sharpness(0.05, 20)


@pytest.mark.parametrize(
    ("iterations", "expected"),
    [
        (20, [5, 9, 12, 15, 16, 18, 19, 20]),
        (100, [22, 41, 58, 70, 80, 87, 93, 99, 105]),
        (1, [1]),
    ],
)
def test_checkpoints_are_the_published_ones(iterations: int, expected: list[int]) -> None:
    assert apgd_checkpoints(iterations) == expected


def network() -> nn.Module:
    torch.manual_seed(2)
    model = resnet8(num_classes=10, in_channels=1, width=4).to(memory_format=torch.channels_last)
    model.train()
    model(images()[0])
    with torch.no_grad():
        next(model.parameters())[0, 0, 0, 0] = -0.0
    model.get_submodule("blocks.1").eval()
    next(model.parameters()).grad = torch.ones_like(next(model.parameters()))
    return model


def images(N: int = 24) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(3)
    x = torch.randn(N, 1, 8, 8, generator=g).contiguous(memory_format=torch.channels_last)
    return x, torch.randint(0, 10, (N,), generator=g)


def bits(model: nn.Module) -> list[bytes]:
    """Of weights, buffers and gradients; tells -0 from 0."""
    tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters())]
    return [b"none" if t is None else t.detach().numpy().tobytes() for t in tensors]


def test_of_a_network_it_is_positive_repeatable_and_leaves_no_trace() -> None:
    model, (x, y) = network(), images()
    before = bits(model), [m.training for m in model.modules()], torch.get_rng_state().tolist()
    batches = list(zip(x.split(10), y.split(10), strict=True))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        first = worst_case_sharpness(model, CROSS_ENTROPY, batches, rho=0.002, iterations=5)
    again = worst_case_sharpness(model, CROSS_ENTROPY, batches, rho=0.002, iterations=5)
    after = bits(model), [m.training for m in model.modules()], torch.get_rng_state().tolist()
    assert after == before
    assert first == again
    assert first.loss > 0
    assert -1 <= first.error <= 1


@pytest.mark.parametrize("calls", [1, 3])
def test_an_exception_puts_the_weights_back(calls: int) -> None:
    model, seen = network(), []
    before = bits(model), [m.training for m in model.modules()]

    def failing(logits: Tensor, y: Tensor) -> Tensor:
        seen.append(logits)
        if len(seen) == calls:
            raise KeyError
        return CROSS_ENTROPY(logits, y)

    with pytest.raises(KeyError):
        worst_case_sharpness(model, failing, [images()], rho=0.1)
    assert (bits(model), [m.training for m in model.modules()]) == before


def test_frozen_parameters_are_not_perturbed() -> None:
    model = rescaled(1.0)
    whole = worst_case_sharpness(model, CROSS_ENTROPY, [classes()], rho=0.01).loss
    model[0].requires_grad_(False)
    part = worst_case_sharpness(model, CROSS_ENTROPY, [classes()], rho=0.01).loss
    assert 0 < part < whole


@pytest.mark.parametrize("bad", [{"rho": 0.0}, {"iterations": 0}])
def test_values_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must hold, but got"):
        worst_case_sharpness(rescaled(1.0), CROSS_ENTROPY, [classes()], **bad)  # type: ignore[arg-type]


def test_no_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        worst_case_sharpness(rescaled(1.0), CROSS_ENTROPY, [])
