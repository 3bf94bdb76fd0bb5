"""Claim: on a CPU with bf16 arithmetic, one training runs at least twice as fast as the papers'
loop with the same maths; and no slower in equal arithmetic (fp32).

Both train the same model class on the same images with the same augmentation, lr table, batch,
momentum and weight decay; epochs of the arms alternate; validation and a first epoch of each are
not timed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

import numpy as np

from benchmarks.measure import interleave, median_ratio, surroundings, table
from benchmarks.plain_loop import PlainTraining
from benchmarks.trials import NOISE, timed_trial, with_precision
from search_spaces.trial import TrialConfig
from trainables.loop import NetworkTraining

PLAIN = "plain loop, fp32"
PRECISIONS = {"GradTune, bf16": "bf16", "GradTune, fp32": "fp32"}


def main() -> None:
    options = _options()
    print(surroundings("torch", "torchvision"))
    data = "CIFAR-10" if options.path else "noise of CIFAR-10's shape"
    print(f"{options.model}, batch 128, epochs of {options.images:,} images ({data})")
    rows = []
    for threads in options.threads:
        trial = timed_trial(
            options.model,
            num_images=options.images,
            epochs=options.pairs + 1,
            dataset="cifar10" if options.path else NOISE,
            dataset_path=options.path,
            num_threads=threads,
        )
        rows += measure(trial, options.pairs)
    print(table(["torch threads", "loop", "images/s (median)", "against plain, 95%"], rows))


def measure(trial: TrialConfig, num_pairs: int) -> list[list[str]]:
    """A row for each arm: its median rate and its ratio to the plain loop."""
    rates = interleave(_arms(trial), num_pairs + 1)
    rates = {name: values[1:] for name, values in rates.items()}  # the first is warm-up
    return [
        [
            str(trial.recipe.num_threads),
            name,
            f"{np.median(values):.0f}",
            "1" if name == PLAIN else str(median_ratio(values, rates[PLAIN])),
        ]
        for name, values in rates.items()
    ]


def _arms(trial: TrialConfig) -> dict[str, Callable[[], float]]:
    """Images per second of one more epoch, by arm."""
    ours = {
        name: NetworkTraining(with_precision(trial, precision))
        for name, precision in PRECISIONS.items()
    }
    plain = PlainTraining(trial.recipe, next(iter(ours.values())).train_set)
    lrs = iter(trial.schedule.lr_S)  # one stage per epoch

    def train_plain() -> float:
        num_images, seconds = plain.run_epoch(float(next(lrs)))
        return num_images / seconds

    arms: dict[str, Callable[[], float]] = {PLAIN: train_plain}
    for name, training in ours.items():
        arms[name] = lambda training=training: training.run_epoch().images_per_second
    return arms


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--path",
        default=os.environ.get("GRADTUNE_CIFAR10"),
        help="directory of CIFAR-10 in Parquet; default $GRADTUNE_CIFAR10, else noise",
    )
    parser.add_argument("--images", type=int, default=2_560, help="of one epoch")
    parser.add_argument("--pairs", type=int, default=5, help="epochs timed of each loop")
    parser.add_argument("--threads", type=int, nargs="+", default=[2], help="torch threads")
    parser.add_argument("--model", default="resnet20")
    return parser.parse_args()


if __name__ == "__main__":
    main()
