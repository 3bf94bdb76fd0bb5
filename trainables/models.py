"""Which networks can be trained, and how is each built from torch's global random state?

All map images (B, in_channels, H, W) to logits (B, num_classes). `width`: channels of the first
stage, later stages in proportion; None = as published.

Legend of shapes: B images, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WRN_DEPTH = 28
WRN_WIDEN_FACTOR = 10
ONEDNN_BLOCK = 8  # channels; see _Conv1x1
WRN_STEM_CHANNELS = 16


def resnet8(*, num_classes: int, in_channels: int = 3, width: int | None = None) -> nn.Module:
    """CIFAR ResNet-8: 3 stages of 1 block, 16/32/64 channels. Source: arXiv 1512.03385, 4.2."""
    return CifarResNet(width or 16, (1, 1, 1), num_classes=num_classes, in_channels=in_channels)


def resnet20(*, num_classes: int, in_channels: int = 3, width: int | None = None) -> nn.Module:
    """CIFAR ResNet-20: 3 stages of 3 blocks, 16/32/64 channels. Source: arXiv 1512.03385, 4.2."""
    return CifarResNet(width or 16, (3, 3, 3), num_classes=num_classes, in_channels=in_channels)


def resnet18(*, num_classes: int, in_channels: int = 3, width: int | None = None) -> nn.Module:
    """ResNet-18 with a 3x3 stem and no max-pool, 64..512 channels; the papers' CIFAR network."""
    return CifarResNet(width or 64, (2, 2, 2, 2), num_classes=num_classes, in_channels=in_channels)


def resnet34(*, num_classes: int, in_channels: int = 3, width: int | None = None) -> nn.Module:
    """torchvision's ResNet-34 (7x7 stem, max-pool), untrained; the papers' ImageNet network.

    Under autocast the mean over pixels is torchvision's, in bf16.

    Raises:
        ValueError: when a width is given.
    """
    from torchvision.models import resnet34 as torchvision_resnet34

    if width is not None:
        raise ValueError(f"resnet34 has a fixed width, but got (width={width}). Leave it out.")
    model: nn.Module = torchvision_resnet34(num_classes=num_classes)
    last = model.get_submodule("fc")
    assert isinstance(last, nn.Linear), "torchvision's last layer"
    with torch.device("meta"):  # no number is drawn for it: it gets the weights that are there
        head = Head(last.in_features, num_classes)
    head.load_state_dict(last.state_dict(), assign=True)
    model.fc = head
    if in_channels != 3:
        model.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    return model


def wrn28x10(*, num_classes: int, in_channels: int = 3, width: int | None = None) -> nn.Module:
    """WideResNet-28-10 without dropout: pre-activation, 160/320/640. Source: arXiv 1605.07146."""
    first = width or WRN_STEM_CHANNELS * WRN_WIDEN_FACTOR
    return WideResNet(first, num_classes=num_classes, in_channels=in_channels)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, activation after the sum."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv3x3(in_channels, channels, stride),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            _conv3x3(channels, channels),
            nn.BatchNorm2d(channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:  # option B of arXiv 1512.03385
            self.shortcut = nn.Sequential(
                _Conv1x1(in_channels, channels, stride), nn.BatchNorm2d(channels)
            )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, channels, H/stride, W/stride)."""
        return F.relu(self.body(x_BCHW) + self.shortcut(x_BCHW), inplace=True)


class CifarResNet(nn.Module):
    """ResNet for small images: 3x3 stem, stages of strides 1, 2, 2, ..., average pool, linear.

    `width`: of the first stage, doubled in each next; `num_blocks`: of each stage. PyTorch's
    default initialisation.
    """

    def __init__(
        self, width: int, num_blocks: Sequence[int], *, num_classes: int, in_channels: int
    ) -> None:
        super().__init__()
        widths = [width * 2**stage for stage in range(len(num_blocks))]
        self.stem = nn.Sequential(
            _conv3x3(in_channels, width), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.blocks = nn.Sequential(*_stages(BasicBlock, width, widths, num_blocks))
        self.head = Head(widths[-1], num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, K)."""
        features_BCHW = self.blocks(self.stem(x_BCHW))
        logits_BK: Tensor = self.head(mean_over_pixels(features_BCHW))
        return logits_BK


class Head(nn.Linear):
    """The last layer, in float32 under autocast too.

    Logits of bf16 have 8 bits: classes tie, the lowest of them wins, and losses have 3 digits.
    """

    def forward(self, x_BF: Tensor) -> Tensor:
        """Logits (B, K)."""
        kind = x_BF.device.type
        if not torch.amp.is_autocast_available(kind):  # meta
            return super().forward(x_BF)
        with torch.autocast(kind, enabled=False):
            return super().forward(x_BF.to(self.weight.dtype))


def mean_over_pixels(x_BCHW: Tensor) -> Tensor:
    """(B, C), in float32 at least."""
    return x_BCHW.mean(dim=(2, 3), dtype=torch.promote_types(x_BCHW.dtype, torch.float32))


class PreActivationBlock(nn.Module):
    """BN-ReLU-conv twice; a shortcut that changes shape is fed from the pre-activated input."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.body = nn.Sequential(
            _conv3x3(in_channels, channels, stride),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            _conv3x3(channels, channels),
        )
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_channels != channels:
            self.shortcut = _Conv1x1(in_channels, channels, stride)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, channels, H/stride, W/stride)."""
        active_BCHW = F.relu(self.norm(x_BCHW))
        straight_BCHW = x_BCHW if self.shortcut is None else self.shortcut(active_BCHW)
        sum_BCHW: Tensor = self.body(active_BCHW) + straight_BCHW
        return sum_BCHW


class WideResNet(nn.Module):
    """WideResNet-28-k with 16k = `width` channels in the first group, doubled in each next.

    Initialisation: convolutions Kaiming normal (fan out, ReLU), linear bias 0.
    """

    def __init__(self, width: int, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        widths, num_blocks = [width, 2 * width, 4 * width], [(WRN_DEPTH - 4) // 6] * 3
        stem = _conv3x3(in_channels, WRN_STEM_CHANNELS)
        blocks = _stages(PreActivationBlock, WRN_STEM_CHANNELS, widths, num_blocks)
        self.body = nn.Sequential(stem, *blocks, nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True))
        self.head = Head(widths[-1], num_classes)
        self._initialize()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, K)."""
        logits_BK: Tensor = self.head(mean_over_pixels(self.body(x_BCHW)))
        return logits_BK

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.head.bias)


def _stages(
    block: Callable[[int, int, int], nn.Module],
    in_channels: int,
    widths: Sequence[int],
    num_blocks: Sequence[int],
) -> Iterator[nn.Module]:
    """The blocks of all stages; from the second stage on, the first of each halves the image."""
    for stage, (channels, count) in enumerate(zip(widths, num_blocks, strict=True)):
        for number in range(count):
            yield block(in_channels, channels, 2 if stage > 0 and number == 0 else 1)
            in_channels = channels


def _conv3x3(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)


class _Conv1x1(nn.Conv2d):
    """A pointwise convolution; strided ones of few channels read their pixels beforehand.

    oneDNN's gradient of a strided one over fewer than 8 channels (its block on AVX2) writes past
    its buffer: the process dies of a corrupted heap, or the gradient is wrong
    (github.com/uxlfoundation/oneDNN/issues/6035, open; torch 2.15).
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__(in_channels, channels, 1, stride=stride, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, channels, H/stride, W/stride)."""
        stride = self.stride[0]
        if stride == 1 or self.in_channels >= ONEDNN_BLOCK:
            return super().forward(x_BCHW)
        return F.conv2d(x_BCHW[:, :, ::stride, ::stride], self.weight)
