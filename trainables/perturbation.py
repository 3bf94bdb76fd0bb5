"""How is the loss of a network smoothed explicitly? By training at randomly moved weights.

The smoothed loss is f_radius(w) = E_u[f(w - radius * u)]; the gradient at w - radius * u with a
fresh u each step is an unbiased estimate of its gradient (arXiv 2412.11501, Algorithm 1 on
networks, which it reports not to help).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from search_spaces.trial import derive_seed


@contextmanager
def moved(model: nn.Module, radius: float, kind: str, seed: int, step: int) -> Iterator[None]:
    """The model at w - radius * u; afterwards at w again, bit for bit.

    Args:
        radius: >= 0, in the units of the weights; 0 does nothing.
        kind: ball (u uniform in the unit ball of all P weights), gaussian (N(0, I)) or
            gaussian_scaled (N(0, I/P)).
        seed, step: determine u.
    """
    if radius == 0:
        yield
        return
    params: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
    device = params[0].device
    generator = torch.Generator(device).manual_seed(derive_seed(seed, "smoothing", step))
    directions = [torch.randn(p.shape, generator=generator, device=device) for p in params]
    scale = radius * _length(directions, kind, generator)
    kept = [p.detach().clone() for p in params]
    with torch.no_grad():
        torch._foreach_addcmul_(params, directions, [-scale] * len(params))
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(params, kept)


def _length(directions: list[Tensor], kind: str, generator: torch.Generator) -> Tensor:
    """Factor that turns N(0, I) into u (a scalar on the device)."""
    num_weights = sum(d.numel() for d in directions)
    device = directions[0].device
    if kind == "gaussian":
        return torch.ones((), device=device)
    if kind == "gaussian_scaled":
        return torch.tensor(num_weights**-0.5, device=device)
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(directions)))
    uniform = torch.rand((), generator=generator, device=device, dtype=torch.float64)
    length: Tensor = torch.pow(uniform, 1.0 / num_weights).float() / norm
    return length
