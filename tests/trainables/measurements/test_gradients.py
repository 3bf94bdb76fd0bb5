"""Gradients at one point: what they are, and that measuring them leaves no trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.fakes.gradients import (
    CROSS_ENTROPY,
    drawn_pairs,
    images,
    small_network,
)
from trainables.measurements.gradients import BatchNormMode, at_rest, flat_gradient
from trainables.measurements.noise import per_example_noise, two_batch_noise
from trainables.measurements.sampling import sample_noise

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

torch.set_num_threads(1)


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
