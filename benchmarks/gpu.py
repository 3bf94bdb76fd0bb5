"""Claim: on a GPU, training is right (checks) and several times the papers' loop (table).

UNTESTED on a GPU so far: first run pending. Needs neither ray, optuna nor a network, only
search_spaces, trainables.loop and torch. Exit code 1 when a check fails. Without a CUDA device
the checks run on the CPU and there is no table.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import interleave, median_ratio, surroundings, table
from benchmarks.plain_loop import PlainTraining
from benchmarks.trials import IMAGE_SIZE, timed_trial
from search_spaces.trial import TrialConfig
from trainables.data.images import Augmentation, augment
from trainables.data.stream import NUM_DRAWS
from trainables.loop import NetworkTraining

NUM_PAIRS = 5
NUM_CHECKED = 640
GEMM_SIZE = 4096
GEMM_REPEATS = 50
BACKWARD_FACTOR = 3  # forward and backward cost three times the forward
LOSS_TOLERANCE = 1e-3  # relative, cuDNN deterministic; sums may be in another order
ROTATION_TOLERANCE = 1e-3  # share of pixels: cos and sin differ in the last bit between devices
GIBI, TERA = 2**30, 1e12


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One line of the table."""

    model: str
    batch_size: int
    num_images: int = 10_240


CASES = (
    Case(model="resnet18", batch_size=128),
    Case(model="resnet18", batch_size=512),
    Case(model="resnet18", batch_size=2048),
    Case(model="wrn28x10", batch_size=512, num_images=5_120),
    Case(model="resnet20", batch_size=128),
    Case(model="resnet20", batch_size=512),
)
HEAD = (
    "model",
    "batch",
    "ours bf16 images/s",
    "against plain fp32, 95%",
    "plain fp32 images/s",
    "ours + cudnn.benchmark",
    "of the GEMM rate",
    "GiB ours",
    "GiB plain",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=NUM_CHECKED, help="of an epoch of a check")
    images = parser.parse_args().images
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(surroundings("torch", "torchvision"))
    failed = [name for name, check in CHECKS.items() if not _passes(name, check, device, images)]
    if device == "cpu":
        print("no CUDA device here: the checks ran on the CPU, and there is no table")
    else:
        failed += _print_table()
    return 1 if failed else 0


# Checks ---------------------------------------------------------------------------------------


def losses_are_finite(device: str, images: int) -> str:
    """One epoch of ResNet-8 on synthetic images, in both arithmetics."""
    losses = []
    for precision in ("fp32", "bf16"):
        record = NetworkTraining(
            _small_trial(images, precision=precision), device=device
        ).run_epoch()
        assert math.isfinite(record.train_loss), f"{precision}: loss {record.train_loss}"
        assert math.isfinite(record.val_loss), f"{precision}: val_loss {record.val_loss}"
        losses.append(f"{precision} {record.train_loss:.4f}")
    return ", ".join(losses)


def interruption_changes_nothing(device: str, images: int) -> str:
    """An epoch after a saved and loaded state equals that of the training that went on."""
    torch.backends.cudnn.deterministic = True
    whole = NetworkTraining(_small_trial(images), device=device)
    whole.run_epoch()
    saved = io.BytesIO()
    torch.save(whole.state_dict(), saved)
    expected = whole.run_epoch().train_loss
    saved.seek(0)
    resumed = NetworkTraining(_small_trial(images), device=device)
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    loss = resumed.run_epoch().train_loss
    torch.backends.cudnn.deterministic = False
    tolerance = LOSS_TOLERANCE if device == "cuda" else 0.0
    assert abs(loss / expected - 1) <= tolerance, f"{loss} instead of {expected}"
    return f"relative difference {abs(loss / expected - 1):.1e}"


def augmentation_equals_the_cpus(device: str, images: int) -> str:
    """Crop and flip to the pixel, whole batch on the device against one by one on the CPU."""
    rng = np.random.default_rng(0)
    shape = (images, IMAGE_SIZE, IMAGE_SIZE, 3)
    pixels = torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8))
    index = torch.from_numpy(rng.permutation(len(pixels)))
    draws = torch.from_numpy(rng.random((len(pixels), NUM_DRAWS), dtype=np.float32))

    def differing(augmentation: Augmentation) -> float:
        there = augment(pixels.to(device), index.to(device), draws.to(device), augmentation).cpu()
        singles = zip(index.split(1), draws.split(1), strict=True)
        here = torch.cat([augment(pixels, i, d, augmentation) for i, d in singles])
        return (there != here).float().mean().item()

    assert differing(Augmentation(pad=4, flip=True)) == 0, "crop and flip differ"
    rotated = differing(Augmentation(pad=4, flip=True, max_degrees=15.0))
    assert rotated <= ROTATION_TOLERANCE, f"{rotated:.2%} of the rotated pixels differ"
    return f"crop and flip exactly; {rotated:.1e} of the rotated pixels differ"


def batch_size_may_change(device: str, images: int) -> str:
    """A schedule that decays delta by the batch alone uses every batch size of its table."""
    training = NetworkTraining(_small_trial(images, split=0.0, batch_size=32), device=device)
    while not training.finished:
        training.run_epoch()
    used = [record.batch_size for record in training.records]
    planned = training.schedule.batch_size_S.tolist()
    assert len(set(used)) > 1, f"the batch stayed {used}"
    assert used == planned, f"{used} instead of {planned}"
    assert not training.diverged, "the loss is not finite"
    return f"batches {used}"


CHECKS: dict[str, Callable[[str, int], str]] = {
    check.__name__: check
    for check in (
        losses_are_finite,
        interruption_changes_nothing,
        augmentation_equals_the_cpus,
        batch_size_may_change,
    )
}


def _passes(name: str, check: Callable[[str, int], str], device: str, images: int) -> bool:
    try:
        message, passed = check(device, images), True
    except AssertionError as error:
        message, passed = str(error), False
    print(f"{'ok  ' if passed else 'FAIL'} {name.replace('_', ' ')} ({device}): {message}")
    return passed


def _small_trial(
    images: int, *, precision: str = "fp32", split: float = 1.0, batch_size: int = 64
) -> TrialConfig:
    return timed_trial(
        "resnet8",
        num_images=images,
        epochs=3,
        batch_size=batch_size,
        dataset="synthetic",
        precision=precision,
        split=split,
    )


# Table ----------------------------------------------------------------------------------------


def _print_table() -> list[str]:
    """Prints a line per case that ran; returns the problems of those that did not."""
    start = time.perf_counter()
    gemm = _gemm_rate()
    print(f"{torch.cuda.get_device_name()}; {GEMM_SIZE}^3 bf16 GEMM: {gemm / TERA:.0f} TFLOP/s")
    rows, problems = [], []
    for case in CASES:
        try:
            rows.append(_row(case, gemm))
        except RuntimeError as error:  # memory of the device, or /dev/shm of the DataLoader
            problems.append(f"{case}: {error}")
            print(f"FAIL {problems[-1]}")
    print(table(HEAD, rows))
    print(f"medians of {NUM_PAIRS} interleaved epochs; {time.perf_counter() - start:.0f} s")
    return problems


def _row(case: Case, gemm: float) -> list[str]:
    trial = timed_trial(
        case.model,
        num_images=case.num_images,
        epochs=2 * (NUM_PAIRS + 1),
        batch_size=case.batch_size,
        precision="bf16",
    )
    ours = NetworkTraining(trial, device="cuda")
    plain = PlainTraining(trial.recipe, ours.train_set, device="cuda")
    arms = _arms(ours, plain)
    gibibytes = {name: _peak(arm) for name, arm in arms.items()}  # and warms up
    rates = interleave(arms, NUM_PAIRS)
    median = {name: float(np.median(values)) for name, values in rates.items()}
    share = median["ours"] * _training_flops(trial) / gemm
    return [
        case.model,
        str(case.batch_size),
        f"{median['ours']:,.0f}",
        str(median_ratio(rates["ours"], rates["plain"])),
        f"{median['plain']:,.0f}",
        f"{median['ours tuned']:,.0f}",
        f"{share:.0%}",
        f"{gibibytes['ours']:.2f}",
        f"{gibibytes['plain']:.2f}",
    ]


def _arms(ours: NetworkTraining, plain: PlainTraining) -> dict[str, Callable[[], float]]:
    """Images per second of one more epoch; "ours tuned" lets cuDNN time its algorithms first."""

    def train_ours(benchmark: bool) -> float:
        torch.backends.cudnn.benchmark = benchmark
        rate = ours.run_epoch().images_per_second
        torch.backends.cudnn.benchmark = False
        return rate

    def train_plain() -> float:
        num_images, seconds = plain.run_epoch(ours.trial.lr0)
        return num_images / seconds

    return {
        "ours": lambda: train_ours(False),
        "plain": train_plain,
        "ours tuned": lambda: train_ours(True),
    }


def _peak(arm: Callable[[], float]) -> float:
    """GiB that one epoch needs beyond what lay on the device before it."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    arm()
    return (torch.cuda.max_memory_allocated() - before) / GIBI


def _training_flops(trial: TrialConfig) -> float:
    """Floating point operations of one image, forward and backward."""
    model = NetworkTraining(trial).model.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros((1, 3, IMAGE_SIZE, IMAGE_SIZE)))
    return float(BACKWARD_FACTOR * counter.get_total_flops())


def _gemm_rate() -> float:
    """Floating point operations per second of a large bf16 product."""
    a = torch.randn((GEMM_SIZE, GEMM_SIZE), device="cuda", dtype=torch.bfloat16)
    rates = []
    for _ in range(NUM_PAIRS + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(GEMM_REPEATS):
            a @ a
        torch.cuda.synchronize()
        rates.append(2 * GEMM_SIZE**3 * GEMM_REPEATS / (time.perf_counter() - start))
    return float(np.median(rates[1:]))


if __name__ == "__main__":
    sys.exit(main())
