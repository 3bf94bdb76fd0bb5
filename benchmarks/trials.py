"""Which training do the benchmarks time? One recipe for all: the papers' CIFAR recipe."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from search_spaces.registry import allow_import
from search_spaces.trial import Recipe, TrialConfig
from trainables.data.cifar import cifar10
from trainables.data.images import Augmentation, ImageData, Normalization, TensorImages

NOISE = "benchmarks.trials:noise_images"
allow_import(NOISE)
NUM_VAL = 100  # validation is not timed
IMAGE_SIZE = 32
NUM_CLASSES = 10
REFERENCE_LR = 0.1


def noise_images(path: str | None) -> ImageData:
    """`path` = N or NxS: that many random images of S x S pixels (32), treated as CIFAR-10 is."""
    num_images, _, side = (path or "1000").partition("x")
    size = int(side or IMAGE_SIZE)
    rng = np.random.default_rng(0)
    train, test = (
        TensorImages(
            images_NHWC=torch.from_numpy(
                rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
            ),
            labels_N=torch.from_numpy(np.arange(count) % NUM_CLASSES),
            normalization=Normalization(mean=cifar10.mean, std=cifar10.std),
            augmentation=Augmentation(pad=4, flip=True),
        )
        for count in (int(num_images), NUM_VAL)
    )
    return ImageData(train=train, test=test, num_classes=NUM_CLASSES, image_size=size)


def timed_trial(
    model: str,
    *,
    num_images: int,
    epochs: int,
    batch_size: int = 128,
    dataset: str = NOISE,
    dataset_path: str | None = None,
    precision: str = "fp32",
    num_threads: int = 2,
    split: float = 1.0,
    lr: float = REFERENCE_LR,
) -> TrialConfig:
    """Polynomial decay (p=0.9) every epoch, by split 1 of the lr alone, by 0 of the batch alone.

    Without a path, noise and synthetic images are made as many as needed.
    """
    pool = num_images + NUM_VAL
    recipe = Recipe(
        workload="benchmark",
        dataset=dataset,
        dataset_path=dataset_path or str(pool),
        data_fingerprint="",
        pool_examples=pool,
        train_examples=num_images,
        num_classes=NUM_CLASSES,
        model=model,
        width=None,
        optimizer="sgd",
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
        clip_norm=None,
        label_smoothing=0.0,
        epochs=epochs,
        warmup_epochs=0.0,
        batch0=batch_size,
        batch_max=None,
        precision=precision,
        num_threads=num_threads,
    )
    return TrialConfig(
        space="poly",
        family="poly",
        params={
            "p": 0.9,
            "interval": 1,
            "split": split,
            "delta0": recipe.law.delta(lr, batch_size),
        },
        lr0=lr,
        recipe=recipe,
    )


def with_precision(trial: TrialConfig, precision: str) -> TrialConfig:
    """The same training in other arithmetic."""
    return replace(trial, recipe=replace(trial.recipe, precision=precision))
