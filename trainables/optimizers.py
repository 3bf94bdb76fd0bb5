"""Which optimizers can be asked for, and what do their keys mean to each?

Each treats all parameters alike: weight decay spares none, as in the papers. One of your own may
make groups of them by name; a group with an lr of its own keeps its distance from `lr`
(parameter_groups.py). The loop writes lr and momentum into the parameter groups before each step;
buffers outlive every such change.
sgd and adamw are fused: for ResNet-18's 11 M weights on one core a step of SGD with momentum
took 4.6 ms, against 9.4 one by one and 12.0 with foreach.
All leave out the decorators with which torch hides its optimizers from a compiler: the first call
of one imports torch._dynamo, 2 s in every process that trains.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn, optim

# model.named_parameters(): pairs of name and parameter, which torch.optim takes as they are.
Parameters = Iterable[tuple[str, nn.Parameter]]


class Uncompiled(optim.Optimizer):
    """The methods of torch's optimizers as they are under their decorators."""

    add_param_group = inspect.unwrap(optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(optim.Optimizer.load_state_dict)


class SGD(Uncompiled, optim.SGD):
    """torch.optim.SGD, bit for bit."""

    step = torch.no_grad()(inspect.unwrap(optim.SGD.step))


class AdamW(Uncompiled, optim.AdamW):
    """torch.optim.AdamW, bit for bit."""

    step = torch.no_grad()(inspect.unwrap(optim.AdamW.step))


def sgd(
    params: Parameters, *, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> optim.Optimizer:
    """torch.optim.SGD: heavy ball u = momentum*u + g, w -= lr*u; decay is added to g.

    Raises:
        ValueError: nesterov without momentum.
    """
    if nesterov and momentum <= 0:
        raise ValueError(
            f"nesterov needs momentum > 0, but got (momentum={momentum}). "
            "Set optimizer.momentum or optimizer.nesterov=false."
        )
    return SGD(
        params, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=True
    )


class HeavyBall(Uncompiled):
    """m <- beta m + weight g, w <- w - lr m, m = 0 before the first step; beta may change.

    weight is 1 (stochastic heavy ball) or, `normalized`, 1 - beta (NSHB, no bias correction).
    weight_decay * w is added to g. torch's SGD agrees with the former at constant beta; with
    dampening = beta it differs from the latter in its first buffer, and it leaves the buffer
    behind in steps with beta = 0.

    Raises:
        ValueError: nesterov is set.

    Source: arXiv 2412.11501, SHB and NSHB.
    """

    def __init__(
        self,
        params: Parameters,
        *,
        lr: float,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
        normalized: bool,
    ) -> None:
        if nesterov:
            name = "nshb" if normalized else "shb"
            raise ValueError(f"{name} has no nesterov form. Set optimizer.nesterov=false.")
        self.normalized = normalized
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        assert closure is None, "no closure is needed"
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads = [p.grad for p in params]
            if group["weight_decay"]:
                grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
            for p in params:
                if "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            buffers = [self.state[p]["momentum_buffer"] for p in params]
            beta = group["momentum"]
            torch._foreach_mul_(buffers, beta)
            torch._foreach_add_(buffers, grads, alpha=1.0 - beta if self.normalized else 1.0)
            lr = group["lr"]
            if isinstance(lr, Tensor):  # on the device, where Python cannot see it
                torch._foreach_sub_(params, torch._foreach_mul(buffers, lr))
            else:
                torch._foreach_add_(params, buffers, alpha=-lr)


# The papers' SHB: effective lr is lr / (1 - momentum).
shb = functools.partial(HeavyBall, normalized=False)
# Normalized: effective lr is lr; NSHB(lr) = SHB(lr (1 - momentum)).
nshb = functools.partial(HeavyBall, normalized=True)


def adamw(
    params: Parameters, *, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> optim.Optimizer:
    """torch.optim.AdamW with its default betas (0.9, 0.999) and decoupled weight decay.

    Raises:
        ValueError: momentum or nesterov is set.
    """
    if momentum != 0 or nesterov:
        raise ValueError(
            f"adamw has no momentum key (its betas are fixed), but got (momentum={momentum}, "
            f"nesterov={nesterov}). Set optimizer.momentum=0 and optimizer.nesterov=false."
        )
    return AdamW(params, lr=lr, weight_decay=weight_decay, fused=True)
