"""Optimizers: the update rules by hand, and which keys each refuses."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

import trainables
from search_spaces.registry import lookup

OPTIMIZERS = {n: lookup("optimizer", n, trainables.OPTIMIZERS) for n in trainables.OPTIMIZERS}

torch.set_num_threads(1)

PLAIN = {"lr": 0.1, "momentum": 0.0, "nesterov": False, "weight_decay": 0.01}


def parameter(value=1.0):
    return nn.Parameter(torch.tensor([value], dtype=torch.float64))


def step(optimizer, weight, gradient):
    weight.grad = torch.full_like(weight, gradient)
    optimizer.step()
    return weight.item()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_keeps_lr_and_decays_all_parameters(name):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = OPTIMIZERS[name](model.parameters(), **PLAIN)
    (group,) = optimizer.param_groups
    assert group["lr"] == 0.1
    assert group["weight_decay"] == 0.01
    assert len(group["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_obeys_an_lr_that_changes_between_steps(name):
    weight = parameter()
    optimizer = OPTIMIZERS[name]([weight], **PLAIN)
    step(optimizer, weight, 1.0)
    optimizer.param_groups[0]["lr"] = 0.0
    before = weight.item()
    assert step(optimizer, weight, 1.0) == before


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_state_goes_on_where_it_was(name):
    weight = parameter()
    optimizer = OPTIMIZERS[name]([weight], **PLAIN)
    step(optimizer, weight, 1.0)
    twin = parameter(weight.item())
    resumed = OPTIMIZERS[name]([twin], **PLAIN)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert step(resumed, twin, -0.5) == step(optimizer, weight, -0.5)


def test_sgd_is_heavy_ball_with_decay_in_the_gradient():
    weight = parameter(1.0)
    options = {**PLAIN, "momentum": 0.9}
    optimizer = OPTIMIZERS["sgd"]([weight], **options)
    w1 = 1.0 - 0.1 * (2.0 + 0.01 * 1.0)
    assert step(optimizer, weight, 2.0) == pytest.approx(w1, abs=1e-15)
    w2 = w1 - 0.1 * (0.9 * 2.01 + 3.0 + 0.01 * w1)
    assert step(optimizer, weight, 3.0) == pytest.approx(w2, abs=1e-15)


def test_sgd_nesterov_looks_ahead():
    weight = parameter(0.0)
    options = {"lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 0.0}
    optimizer = OPTIMIZERS["sgd"]([weight], **options)
    assert step(optimizer, weight, 1.0) == pytest.approx(-0.1 * (1 + 0.5), abs=1e-15)


def test_adamw_decays_apart_from_the_gradient():
    weight = parameter(2.0)
    optimizer = OPTIMIZERS["adamw"]([weight], **PLAIN)
    expected = 2.0 * (1 - 0.1 * 0.01) - 0.1  # first Adam step: lr times the gradient's sign
    assert step(optimizer, weight, 5.0) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("change", [{"momentum": 0.9}, {"nesterov": True}])
def test_adamw_refuses_momentum(change):
    with pytest.raises(ValueError, match=r"^adamw has no momentum key"):
        OPTIMIZERS["adamw"]([parameter()], **{**PLAIN, **change})


def test_nesterov_needs_momentum():
    with pytest.raises(ValueError, match=r"^nesterov needs momentum > 0"):
        OPTIMIZERS["sgd"]([parameter()], **{**PLAIN, "nesterov": True})


STEPS = """
import sys, torch, trainables
from search_spaces.registry import lookup

for name in trainables.OPTIMIZERS:
    model = torch.nn.Linear(2, 1)
    make = lookup("optimizer", name, trainables.OPTIMIZERS)
    keys = {"lr": 0.1, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    optimizer = make(model.named_parameters(), **keys)
    optimizer.zero_grad()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""


@pytest.mark.slow
def test_no_optimizer_imports_the_compiler():
    assert subprocess.run([sys.executable, "-c", STEPS], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "torchs", "momentum"),
    [
        ("sgd", torch.optim.SGD, 0.0),
        ("sgd", torch.optim.SGD, 0.9),
        ("adamw", torch.optim.AdamW, 0),
    ],
)
def test_steps_are_those_of_torchs_own_bit_for_bit(name, torchs, momentum):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    twin = copy.deepcopy(model)
    settings = {"lr": 0.1, "weight_decay": 0.01}
    keys = {**settings, "momentum": momentum, "nesterov": momentum > 0}
    optimizer = OPTIMIZERS[name](model.named_parameters(), **keys)
    reference = torchs(twin.parameters(), fused=True, **(settings if name == "adamw" else keys))
    for _ in range(3):
        x = torch.randn(8, 5)
        for net, steps in ((model, optimizer), (twin, reference)):
            steps.zero_grad()
            net(x).square().mean().backward()
            steps.step()
    for w, expected in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(w, expected)
        assert not w.grad.requires_grad
