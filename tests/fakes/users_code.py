"""What a user might name as package.module:callable."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from trainables.data.images import ImageData, Normalization, TensorImages


def broken_model(*, num_classes: int, in_channels: int, width: int | None) -> nn.Module:
    raise RuntimeError("this model is broken")


def linear_model(*, num_classes: int, in_channels: int, width: int | None) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 16, num_classes))


def two_classes(path: str | None) -> ImageData:
    """4x4 images, dark or bright."""

    def part(count: int, seed: int) -> TensorImages:
        generator = torch.Generator().manual_seed(seed)
        labels_N = torch.arange(count) % 2
        noise = torch.randint(0, 100, (count, 4, 4, 1), generator=generator)
        return TensorImages(
            images_NHWC=(noise + 100 * labels_N[:, None, None, None]).to(torch.uint8),
            labels_N=labels_N,
            normalization=Normalization(mean=(0.4,), std=(0.25,)),
        )

    return ImageData(train=part(400, 0), test=part(100, 1), num_classes=2, channels=1)


def plain_sgd(
    params: Iterable[nn.Parameter],
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=lr)
