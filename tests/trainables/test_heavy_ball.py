"""Stochastic heavy ball and its normalised form: steps by hand, and against torch's SGD."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

from trainables.optimizers import HeavyBall, nshb, shb

FORMS = {"shb": shb, "nshb": nshb}
OPTIONS = {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
torch.set_num_threads(1)


def parameter(value: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.tensor([value], dtype=torch.float64))


def gradients(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, generator=generator, dtype=torch.float64)


def step(optimizer: torch.optim.Optimizer, weight: nn.Parameter, gradient: object) -> float:
    weight.grad = torch.as_tensor(gradient, dtype=weight.dtype).expand_as(weight).clone()
    optimizer.step()
    return weight[0].item()


def run(
    optimizer: torch.optim.Optimizer, weight: nn.Parameter, grads: torch.Tensor
) -> list[torch.Tensor]:
    path = []
    for gradient in grads:
        step(optimizer, weight, gradient)
        path.append(weight.detach().clone())
    return path


def vectors(count: int) -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(count)]


def set_group(optimizer: torch.optim.Optimizer, **values: float) -> None:
    for group in optimizer.param_groups:
        group.update(values)


def buffer(optimizer: torch.optim.Optimizer, weight: nn.Parameter) -> float:
    return float(optimizer.state[weight]["momentum_buffer"][0])


def test_shb_at_constant_parameters_by_hand() -> None:
    weight = parameter(1.0)
    optimizer = shb([weight], **OPTIONS | {"momentum": 0.5})
    # m: 2, 0.5*2 + 1 = 2, 0.5*2 - 3 = -2
    assert step(optimizer, weight, 2.0) == pytest.approx(0.8, abs=1e-15)
    assert step(optimizer, weight, 1.0) == pytest.approx(0.6, abs=1e-15)
    assert step(optimizer, weight, -3.0) == pytest.approx(0.8, abs=1e-15)


def test_nshb_at_constant_parameters_by_hand() -> None:
    weight = parameter(1.0)
    optimizer = nshb([weight], **OPTIONS | {"momentum": 0.5})
    # m: half of 2; 0.5*1 + 0.5*1 = 1; 0.5*1 - 0.5*3 = -1
    assert step(optimizer, weight, 2.0) == pytest.approx(0.9, abs=1e-15)
    assert step(optimizer, weight, 1.0) == pytest.approx(0.8, abs=1e-15)
    assert step(optimizer, weight, -3.0) == pytest.approx(0.9, abs=1e-15)


def test_shb_while_lr_and_momentum_change_by_hand() -> None:
    weight = parameter(0.0)
    optimizer = shb([weight], **OPTIONS)
    assert step(optimizer, weight, 1.0) == pytest.approx(-0.1, abs=1e-15)  # m = 1
    set_group(optimizer, momentum=0.5, lr=0.2)
    assert step(optimizer, weight, 2.0) == pytest.approx(-0.6, abs=1e-15)  # m = 0.5 + 2
    set_group(optimizer, momentum=0.2, lr=1.0)
    assert step(optimizer, weight, 0.0) == pytest.approx(-1.1, abs=1e-15)  # m = 0.2 * 2.5


def test_nshb_while_lr_and_momentum_change_by_hand() -> None:
    weight = parameter(0.0)
    optimizer = nshb([weight], **OPTIONS)
    assert step(optimizer, weight, 1.0) == pytest.approx(-0.01, abs=1e-15)  # m = 0.1
    set_group(optimizer, momentum=0.5, lr=0.2)
    assert step(optimizer, weight, 2.0) == pytest.approx(-0.22, abs=1e-15)  # m = 0.05 + 1
    set_group(optimizer, momentum=0.2, lr=1.0)
    assert step(optimizer, weight, 0.0) == pytest.approx(-0.43, abs=1e-15)  # m = 0.2 * 1.05


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_shb_is_torchs_sgd_without_dampening(momentum: float, weight_decay: float) -> None:
    ours, theirs = vectors(2)
    options = {"lr": 0.1, "momentum": momentum, "weight_decay": weight_decay}
    mine = run(shb([ours], nesterov=False, **options), ours, gradients(20))
    torchs = run(torch.optim.SGD([theirs], dampening=0, **options), theirs, gradients(20))
    for a, b in zip(mine, torchs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_nshb_is_shb_at_lr_times_one_minus_momentum(momentum: float, weight_decay: float) -> None:
    ours, theirs = vectors(2)
    options = {"momentum": momentum, "nesterov": False, "weight_decay": weight_decay}
    mine = run(nshb([ours], lr=0.1, **options), ours, gradients(20))
    others = run(shb([theirs], lr=0.1 * (1 - momentum), **options), theirs, gradients(20))
    for a, b in zip(mine, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-14)


def test_nshb_differs_from_torchs_dampening_by_its_first_buffer_alone() -> None:
    """torch begins with g, we with (1-beta) g: m differs by beta^t beta g in step t from 0."""
    beta, lr, grads = 0.8, 0.1, gradients(12)
    ours, theirs = vectors(2)
    mine = run(nshb([ours], **OPTIONS | {"momentum": beta}), ours, grads)
    sgd = torch.optim.SGD([theirs], lr=lr, momentum=beta, dampening=beta)
    torchs = run(sgd, theirs, grads)
    for t, (a, b) in enumerate(zip(mine, torchs, strict=True)):
        surplus = sum(beta**i for i in range(t + 1)) * beta * grads[0]
        torch.testing.assert_close(a - b, lr * surplus, rtol=1e-12, atol=1e-14)
    assert not torch.equal(mine[0], torchs[0])


def test_nshb_with_torchs_first_buffer_is_torchs_dampening() -> None:
    beta, grads = 0.8, gradients(12)
    ours, theirs = vectors(2)
    optimizer = nshb([ours], **OPTIONS | {"momentum": beta})
    step(optimizer, ours, grads[0])
    sgd = torch.optim.SGD([theirs], lr=0.1, momentum=beta, dampening=beta)
    step(sgd, theirs, grads[0])
    with torch.no_grad():
        ours.copy_(theirs)
        optimizer.state[ours]["momentum_buffer"].copy_(grads[0])
    for a, b in zip(
        run(optimizer, ours, grads[1:]), run(sgd, theirs, grads[1:]), strict=True
    ):  # fmt: skip
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", FORMS)
def test_the_buffer_is_zero_before_the_first_step_and_outlives_momentum_zero(name: str) -> None:
    weight = parameter(0.0)
    optimizer = FORMS[name]([weight], **OPTIONS | {"momentum": 0.0})
    step(optimizer, weight, 3.0)
    assert buffer(optimizer, weight) == 3.0
    assert weight.item() == pytest.approx(-0.3)
    step(optimizer, weight, 5.0)
    assert buffer(optimizer, weight) == 5.0
    set_group(optimizer, momentum=0.5)
    step(optimizer, weight, 1.0)
    # The last gradient at momentum 0 is remembered: 0.5 * 5 + (1 or 1/2) * 1.
    assert buffer(optimizer, weight) == {"shb": 3.5, "nshb": 3.0}[name]


@pytest.mark.parametrize("name", FORMS)
def test_at_momentum_zero_a_step_is_plain_gradient_descent(name: str) -> None:
    weight = parameter(1.0)
    optimizer = FORMS[name]([weight], **OPTIONS)
    step(optimizer, weight, 100.0)
    before = weight.item()
    set_group(optimizer, momentum=0.0)
    assert step(optimizer, weight, 2.0) == pytest.approx(before - 0.2, abs=1e-14)


@pytest.mark.parametrize("name", FORMS)
def test_weight_decay_is_added_to_the_gradient_which_stays_as_it_is(name: str) -> None:
    weight = parameter(2.0)
    optimizer = FORMS[name]([weight], **OPTIONS | {"momentum": 0.0, "weight_decay": 0.5})
    assert step(optimizer, weight, 3.0) == pytest.approx(2.0 - 0.1 * (3.0 + 0.5 * 2.0))
    assert weight.grad is not None
    assert weight.grad.item() == 3.0


@pytest.mark.parametrize("name", FORMS)
def test_every_group_has_its_own_values_and_a_parameter_without_gradient_rests(name: str) -> None:
    a, b, idle = parameter(0.0), parameter(0.0), parameter(7.0)
    groups = [{"params": [a, idle]}, {"params": [b], "lr": 0.5}]
    optimizer = FORMS[name](groups, **OPTIONS | {"momentum": 0.0})
    a.grad, b.grad = torch.ones_like(a), torch.ones_like(b)
    optimizer.step()
    assert (a.item(), b.item(), idle.item()) == (-0.1, -0.5, 7.0)
    assert "momentum_buffer" not in optimizer.state[idle]


@pytest.mark.parametrize("name", FORMS)
def test_a_state_read_back_from_a_file_goes_on_bit_identically(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    model = model.to(memory_format=torch.channels_last)
    x_NCHW = torch.randn(8, 3, 4, 4)

    def train(model: nn.Module, optimizer: torch.optim.Optimizer, betas: list[float]) -> None:
        for beta in betas:
            set_group(optimizer, momentum=beta)
            optimizer.zero_grad()
            model(x_NCHW).square().mean().backward()
            optimizer.step()

    optimizer = FORMS[name](model.parameters(), **OPTIONS | {"weight_decay": 0.01})
    train(model, optimizer, [0.9, 0.8, 0.0])
    twin = copy.deepcopy(model)
    resumed = FORMS[name](twin.parameters(), **OPTIONS)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert [g["momentum"] for g in resumed.param_groups] == [0.0]
    train(model, optimizer, [0.7, 0.3])
    train(twin, resumed, [0.7, 0.3])
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)
        assert torch.equal(
            optimizer.state[p]["momentum_buffer"], resumed.state[q]["momentum_buffer"]
        )


@pytest.mark.parametrize("name", FORMS)
def test_nesterov_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} has no nesterov form\. Set optimizer\.nest"):
        FORMS[name]([parameter()], **OPTIONS | {"nesterov": True})


def test_each_form_says_what_it_is() -> None:
    shb_, nshb_ = (form([parameter()], **OPTIONS) for form in FORMS.values())
    assert isinstance(shb_, HeavyBall)
    assert isinstance(nshb_, HeavyBall)
    assert (shb_.normalized, nshb_.normalized) == (False, True)
    assert shb_.param_groups[0]["momentum"] == nshb_.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize("form", FORMS)
def test_an_lr_on_the_device_is_the_same_lr(form: str) -> None:
    plain, kept = vectors(2)
    grads = gradients(5)
    expected = run(FORMS[form]([("w", plain)], **OPTIONS), plain, grads)
    lr = torch.tensor(0.1, dtype=torch.float64)
    path = run(FORMS[form]([("w", kept)], **OPTIONS | {"lr": lr}), kept, grads)
    torch.testing.assert_close(path, expected, rtol=1e-14, atol=0)
