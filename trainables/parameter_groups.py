"""How far is the lr of each parameter group from the schedule's? A factor of its own, for good.

A schedule says one lr per step; head and backbone, or the layers of a network, may train at
different ones. Legend: base the optimizer's own lr (`optimizer.defaults["lr"]`), base_g the lr
with which group g was made (its own, else base), scale_g its `lr_scale` (timm's layer decay; else
1):

    factor_g = base_g / base * scale_g       lr of group g at a step = lr of the table * factor_g

So a group without an lr of its own has factor 1: what the table says and the records hold is what
it uses. Where all groups have one lr, it is the base, whatever the optimizer's own is.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, optim


def group_factors(
    optimizer: optim.Optimizer, base_lr: float | None = None, *, asked_lr: float | None = None
) -> list[float]:
    """factor_g of each parameter group, in the optimizer's order; all > 0 or 0 for a frozen group.

    Args:
        optimizer: as it was made, or with the `initial_lr` that torch's and timm's schedulers
            leave in its groups.
        base_lr: the lr that the schedule's takes the place of, > 0; None = the optimizer's own.
            Not needed where all groups have one lr.
        asked_lr: the lr that the optimizer was asked for, where that is known. If it is its own,
            it needs no group that trains at it.

    Raises:
        ValueError: no group trains at the optimizer's own lr, which of 0 none does, so that
            nothing says which lr the schedule's takes the place of.

    Example:
        >>> groups = [{"params": head}, {"params": backbone, "lr": 0.01}]
        >>> group_factors(torch.optim.SGD(groups, lr=0.1))
        [1.0, 0.1]
    """
    groups = optimizer.param_groups
    base_G = [float(group.get("initial_lr", group["lr"])) for group in groups]
    scale_G = [float(group.get("lr_scale", 1.0)) for group in groups]
    if base_lr is None and len(set(base_G)) == 1:
        return scale_G
    base = float(optimizer.defaults.get("lr", 0.0)) if base_lr is None else base_lr
    if base <= 0 or (base_lr is None and base not in (asked_lr, *base_G)):
        trained = ", ".join(str(lr) for lr in dict.fromkeys(base_G) if lr > 0)
        raise ValueError(
            f"no parameter group trains at the optimizer's own lr ({base}), but at {trained}: "
            "give the lr that the schedule takes the place of to the optimizer itself, "
            "SGD(groups, lr=0.1), or base_lr= to an adapter."
        )
    return [lr / base * scale for lr, scale in zip(base_G, scale_G, strict=True)]


def set_lrs(optimizer: optim.Optimizer, lr_G: Sequence[float]) -> None:
    """Write the lr of each parameter group; one that is kept as a tensor stays the same tensor."""
    for group, lr in zip(optimizer.param_groups, lr_G, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def set_momentum(optimizer: optim.Optimizer, momentum: float) -> None:
    """Write it, in [0, 1), into the groups that have one."""
    for group in optimizer.param_groups:
        if "momentum" in group:
            group["momentum"] = momentum
