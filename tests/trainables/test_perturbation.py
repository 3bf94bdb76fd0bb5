"""Explicit smoothing moves the weights: how far, by what, and back again."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables import SMOOTHINGS
from trainables.perturbation import moved


def displacement(model: nn.Module, radius: float, kind: str, seed: int, step: int) -> Tensor:
    before = flat(model)
    with moved(model, radius, kind, seed, step):
        return (flat(model) - before).double()


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def network() -> nn.Module:
    torch.manual_seed(5)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    return model.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", SMOOTHINGS)
def test_weights_and_random_state_are_put_back_bit_for_bit(kind: str) -> None:
    model, state = network(), torch.get_rng_state()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with moved(model, 3.0, kind, 1, 2):
        assert not torch.equal(model[0].weight, before["0.weight"])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)


def raise_moved(model: nn.Module) -> None:
    with moved(model, 3.0, "ball", 1, 2):
        raise RuntimeError("in between")


def test_weights_are_put_back_after_an_exception() -> None:
    model = network()
    before = flat(model)
    with pytest.raises(RuntimeError, match="in between"):
        raise_moved(model)
    assert torch.equal(flat(model), before)


def test_radius_0_moves_nothing() -> None:
    assert not displacement(network(), 0.0, "ball", 1, 2).any()


@pytest.mark.parametrize("kind", SMOOTHINGS)
def test_the_direction_depends_on_seed_and_step_alone(kind: str) -> None:
    first = displacement(network(), 1.0, kind, seed=1, step=2)
    model = network()
    with torch.no_grad():
        model[0].bias.zero_()
    torch.rand(10)
    torch.testing.assert_close(displacement(model, 1.0, kind, 1, 2), first, atol=1e-6, rtol=0)
    half = displacement(network(), 0.5, kind, 1, 2)
    torch.testing.assert_close(half, first / 2, atol=1e-6, rtol=0)
    for seed, step in [(1, 3), (2, 2)]:
        assert not torch.equal(displacement(network(), 1.0, kind, seed, step), first)


def lengths(kind: str, dimension: int, count: int) -> Iterator[float]:
    model = nn.Linear(dimension, 1, bias=False)
    nn.init.zeros_(model.weight)
    for step in range(count):
        yield displacement(model, 2.0, kind, 0, step).norm().item()


def test_the_ball_is_filled_uniformly_and_never_left() -> None:
    """In 2 dimensions P(|u| <= r) = r^2: mean 2/3, standard deviation sqrt(1/18)."""
    radii = np.array(list(lengths("ball", 2, 400))) / 2.0
    assert radii.max() <= 1 + 1e-6
    assert radii.mean() == pytest.approx(2 / 3, abs=4 * math.sqrt(1 / 18 / 400))
    assert (radii <= 0.5).mean() == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 400))


@pytest.mark.parametrize(("kind", "square"), [("gaussian", 100.0), ("gaussian_scaled", 1.0)])
def test_gaussian_lengths_are_those_of_chi_square(kind: str, square: float) -> None:
    """|u|^2 has mean P (or 1) and relative standard deviation sqrt(2/P), P = 100."""
    radii = np.array(list(lengths(kind, 100, 200))) / 2.0
    assert (radii**2).mean() == pytest.approx(square, rel=4 * math.sqrt(2 / 100 / 200))


def test_frozen_weights_are_not_moved() -> None:
    model = network()
    model[0].requires_grad_(False)
    kept = model[0].weight.clone()
    with moved(model, 1.0, "ball", 0, 0):
        assert torch.equal(model[0].weight, kept)
        assert not torch.equal(model[2].weight, network()[2].weight)
