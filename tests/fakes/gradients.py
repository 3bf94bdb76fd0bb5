"""Models whose gradients are known by formula, and a network, for tests of measurements."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from trainables.models import resnet8

CROSS_ENTROPY = nn.CrossEntropyLoss(reduction="sum")


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
