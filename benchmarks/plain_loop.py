"""How do the papers train? Their loop, as a baseline with the same maths as ours.

Source: iiduka-researches/igo-aaai25 main.py: fp32, channels first, torchvision's PIL
augmentation in a DataLoader of two worker processes, `.item()` on loss and accuracy every batch.
Kinder than the original: no wandb, no console bar, and the workers live on between epochs (the
papers start them anew, which weighs more on our short epochs than on theirs).
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from search_spaces.registry import lookup
from search_spaces.trial import Recipe
from trainables import MODELS
from trainables.data.images import Augmentation, Normalization, TensorImages

NUM_WORKERS = 2
START_METHOD = "fork"  # as on Linux when the papers' code was written


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images kept as arrays and augmented one by one through PIL, as torchvision's CIFAR10."""

    def __init__(
        self,
        images_NHWC: NDArray[np.uint8],
        labels_N: NDArray[np.int64],
        transform: Callable[[Image.Image], Tensor],
    ) -> None:
        self.images_NHWC, self.labels_N, self.transform = images_NHWC, labels_N, transform

    def __len__(self) -> int:
        return len(self.labels_N)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images_NHWC[index])
        return self.transform(image), int(self.labels_N[index])


class PlainTraining:
    """The papers' loop on the same images, model, optimizer and lr table as `NetworkTraining`.

    `images`: in memory; their augmentation and normalization are rebuilt from torchvision's.
    """

    def __init__(self, recipe: Recipe, images: TensorImages, *, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.model = lookup("model", recipe.model, MODELS)(
            num_classes=recipe.num_classes, width=recipe.width
        )
        self.model.to(self.device)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=0.1,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )
        images_NHWC = images.to(torch.device("cpu")).images_NHWC
        size = images_NHWC.shape[1]
        dataset = PilImages(
            images_NHWC.numpy(),
            images.labels_N.numpy(),
            _transform(images.augmentation, images.normalization, size),
        )
        self.loader = DataLoader(
            dataset,
            batch_size=recipe.batch0,
            shuffle=True,
            num_workers=NUM_WORKERS,
            persistent_workers=True,
            pin_memory=self.device.type == "cuda",
            multiprocessing_context=multiprocessing.get_context(START_METHOD),
        )

    def run_epoch(self, lr: float) -> tuple[int, float]:
        """Train one epoch at this lr; images and seconds."""
        start = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        criterion = nn.CrossEntropyLoss()
        self.model.train()
        loss_sum, num_correct, num_images = 0.0, 0, 0
        for images, labels in self.loader:
            images, labels = images.to(self.device), labels.to(self.device)
            self.optimizer.zero_grad()
            logits = self.model(images)
            loss = criterion(logits, labels)
            loss.backward()
            self.optimizer.step()
            loss_sum += loss.item()
            num_correct += logits.max(1)[1].eq(labels).sum().item()
            num_images += len(labels)
        return num_images, time.perf_counter() - start


def _transform(augmentation: Augmentation, normalization: Normalization, size: int) -> Any:
    from torchvision import transforms  # seconds, which a process that only collects tests spares

    steps: list[Any] = [transforms.RandomCrop(size, padding=augmentation.pad)]
    if augmentation.flip:
        steps.append(transforms.RandomHorizontalFlip())
    if augmentation.max_degrees:
        steps.append(transforms.RandomRotation(augmentation.max_degrees))
    steps += [transforms.ToTensor(), transforms.Normalize(normalization.mean, normalization.std)]
    return transforms.Compose(steps)
