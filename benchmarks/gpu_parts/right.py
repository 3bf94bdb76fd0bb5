"""Does a GPU train right? Checks, on the CPU where there is no GPU."""

from __future__ import annotations

import functools
import hashlib
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from benchmarks.gpu_parts.outcome import Line, checked
from benchmarks.trials import IMAGE_SIZE, REFERENCE_LR, timed_trial
from search_spaces.trial import TrialConfig
from trainables.data.images import Augmentation, TensorImages, augment
from trainables.data.stream import NUM_DRAWS
from trainables.failures import lasting
from trainables.graphs import Eager, StaticSteps
from trainables.loop import NetworkTraining
from trainables.training import count_memory_anew, pick_device

PART = "right"
NUM_EPOCHS = 4
NARROW = 4  # channels
ROTATION_TOLERANCE = 1e-3  # share of pixels: cos and sin differ in the last bit between devices
# Of the mean loss of 20 steps, against float64: 24 bits (no TF32), and 8.
# At a small lr: at 0.1 twenty steps make a part in a thousand of the last bit's difference.
LOSS_TOLERANCE, NUM_COMPARED, COMPARED_LR = {"fp32": 1e-4, "bf16": 2e-2}, 20, 0.01
LEAST_BATCH = 16  # the statistics of a few images would enlarge the last bits
HUGE = 2**45  # bytes: more than any GPU has
NUM_REUSED = 5  # trainings in one process


def right(images: int) -> Iterator[Line]:
    """All checks; those that need a GPU only there."""
    device = pick_device()
    checks: list[Callable[[str, int], str]] = [
        *(losses_are_those_of_float64, augmentation_equals_the_cpus, batch_size_may_change),
        *(a_rerun_gives_the_same_bits, a_resume_gives_the_same_bits),
        *(fixed_buffers_give_the_same_bits, a_state_goes_to_the_cpu_and_back),
    ]
    if device == "cuda":
        checks += [recordings_are_replayed, no_step_waits_for_the_gpu]
        checks += [what_does_not_fit_is_told_and_the_next_trains, a_used_process_keeps_no_memory]
    for check in checks:
        name = check.__name__.replace("_", " ")
        yield checked(PART, functools.partial(check, device, images), name)


def losses_are_those_of_float64(device: str, images: int) -> str:
    """One epoch of ResNet-8, 20 steps, in both arithmetics, against float64 on the CPU."""
    size = max(LEAST_BATCH, images // NUM_COMPARED)
    expected = in_double(NetworkTraining(small_trial(images, batch_size=size, lr=COMPARED_LR)))
    expected_loss = expected.run_epoch().train_loss
    told = []
    for precision, tolerance in LOSS_TOLERANCE.items():
        trial = small_trial(images, precision=precision, batch_size=size, lr=COMPARED_LR)
        loss = NetworkTraining(trial, device=device).run_epoch().train_loss
        assert math.isfinite(loss), f"{precision}: loss {loss}"
        off = abs(loss / expected_loss - 1)
        assert off <= tolerance, f"{precision}: loss {loss} instead of {expected_loss}"
        told.append(f"{precision} off by {off:.1e}")
    return ", ".join(told)


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
    training = trained(small_trial(images, split=0.0, batch_size=32), device)
    used = [record.batch_size for record in training.records]
    planned = training.schedule.batch_size_S.tolist()
    assert len(set(used)) > 1, f"the batch stayed {used}"
    assert used == planned, f"{used} instead of {planned}"
    assert not training.diverged, "the loss is not finite"
    return f"batches {used}"


def a_rerun_gives_the_same_bits(device: str, images: int) -> str:
    """Weights after two trainings of one trial; those of packed processes are compared too."""
    return _same(*(digest(trained(trial_of_digest(images), device)) for _ in range(2)))


def a_resume_gives_the_same_bits(device: str, images: int) -> str:
    """From a state after the first epoch, in bf16 too."""
    told = []
    for precision in LOSS_TOLERANCE:
        trial = small_trial(images, precision=precision)
        whole, first = trained(trial, device), trained(trial, device, num_epochs=1)
        resumed = NetworkTraining(trial, device=device)
        resumed.load_state_dict(saved(first))
        told.append(f"{precision} {_same(digest(whole), digest(finish(resumed)))}")
    return ", ".join(told)


def fixed_buffers_give_the_same_bits(device: str, images: int) -> str:
    """Recorded steps (on a GPU) against the same steps taken by Python; a training of 60 steps."""
    trial = small_trial(images, batch_size=max(1, images // 15))
    eager = NetworkTraining(trial, device=device)
    eager.static = static_steps(eager)
    return _same(digest(trained(trial, device)), digest(finish(eager)))


def a_state_goes_to_the_cpu_and_back(device: str, images: int) -> str:
    """A state is loaded by a training on the CPU, whose state is loaded on the device."""
    trial = small_trial(images)
    first = trained(trial, device, num_epochs=1)
    there, back = NetworkTraining(trial), NetworkTraining(trial, device=device)
    there.load_state_dict(saved(first))
    back.load_state_dict(saved(there))
    same = _same(digest(first), digest(back))
    return f"{same}; and then an epoch: loss {back.run_epoch().train_loss:.4f}"


def recordings_are_replayed(device: str, images: int) -> str:
    """That steps can be recorded at all; else Python takes each, and says nothing."""
    training = NetworkTraining(small_trial(images, batch_size=max(1, images // 15)), device=device)
    assert training.static is not None, "such a training takes its steps from fixed buffers"
    while not (training.finished or training.static.graphs.replays):
        training.run_epoch()
    assert training.static.graphs.problem is None, training.static.graphs.problem
    assert training.static.graphs.replays, "nothing was recorded"
    return f"{len(training.static.graphs.replays)} in use"


def no_step_waits_for_the_gpu(device: str, images: int) -> str:
    """CUDA's own alarm over five steps after the first ones."""
    training = NetworkTraining(small_trial(images, batch_size=8), device=device)
    assert training.static is not None, "such a training takes its steps from fixed buffers"
    steps = list(training.schedule.steps())[:8]
    training.model.train()
    training.static.recorder = Eager()
    training.static.begin()
    training.static.take(steps[:3])
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in steps[3:]:
            batch = training.static.images.batch(
                training.static.index_B[: step.batch_size],
                training.static.draws_BD[: step.batch_size],
            )
            training.set_rates(step.stage)
            training.update(*batch, step.stage)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "none of five"


def what_does_not_fit_is_told_and_the_next_trains(device: str, images: int) -> str:
    """Out of memory, by name; then a training in the same process."""
    status: str | None = "none was raised"
    try:
        torch.empty(HUGE, dtype=torch.uint8, device=device)
    except RuntimeError as error:
        status = lasting(error)
    assert status == "oom", f"{HUGE} bytes: {status}"
    loss = NetworkTraining(small_trial(images), device=device).run_epoch().train_loss
    assert math.isfinite(loss), f"loss {loss}"
    return "oom; then an epoch"


def a_used_process_keeps_no_memory(device: str, images: int) -> str:
    """What is allocated after each of several trainings, and the peak of each, stay the same."""
    held, peaks = [], []
    for _ in range(NUM_REUSED):
        training = trained(small_trial(images), device)
        peaks.append(torch.cuda.max_memory_allocated())
        del training
        torch.cuda.synchronize()
        held.append(torch.cuda.memory_allocated())
        count_memory_anew(torch.device(device))
    assert len({*held[1:]}) == 1, f"bytes held after each: {held}"
    assert max(peaks[1:]) <= 1.05 * min(peaks[1:]), f"peaks: {peaks}"
    return f"{held[-1] / 2**20:.0f} MiB held, peaks of {peaks[-1] / 2**20:.0f} MiB"


def small_trial(
    images: int,
    *,
    precision: str = "fp32",
    split: float = 1.0,
    batch_size: int = 64,
    lr: float = REFERENCE_LR,
) -> TrialConfig:
    """ResNet-8 on synthetic images; a narrow one on the CPU."""
    trial = timed_trial(
        "resnet8",
        num_images=images,
        epochs=NUM_EPOCHS,
        batch_size=min(batch_size, images),
        dataset="synthetic",
        precision=precision,
        num_threads=1,
        split=split,
        lr=lr,
    )
    width = None if pick_device() == "cuda" else NARROW
    return replace(trial, recipe=replace(trial.recipe, width=width))


def in_double(training: NetworkTraining) -> NetworkTraining:
    """Its weights, activations and gradients in float64 from here on, the loss in float32."""
    training.model.double()  # in place: the optimizer has these parameters
    training.model.register_forward_pre_hook(lambda _, images: (images[0].double(),))
    return training


def trial_of_digest(images: int) -> TrialConfig:
    """What trainings in several processes are compared by."""
    return small_trial(images, precision="bf16", split=0.5, batch_size=32)


def trained(trial: TrialConfig, device: str, num_epochs: int = NUM_EPOCHS) -> NetworkTraining:
    """From its start."""
    return finish(NetworkTraining(trial, device=device), num_epochs)


def finish(training: NetworkTraining, num_epochs: int = NUM_EPOCHS) -> NetworkTraining:
    """To its end, or so many epochs."""
    while not training.finished and len(training.records) < num_epochs:
        training.run_epoch()
    return training


def static_steps(training: NetworkTraining) -> StaticSteps:
    """Its steps from fixed buffers, none recorded."""
    assert isinstance(training.train_set, TensorImages), "images of ours"
    return StaticSteps(training, training.train_set, recorder=Eager())


def saved(training: NetworkTraining) -> dict[str, object]:
    """Its state, through a file's bytes, on the CPU."""
    data = io.BytesIO()
    torch.save(training.state_dict(), data)
    data.seek(0)
    state: dict[str, object] = torch.load(data, weights_only=True, map_location="cpu")
    return state


def digest(training: NetworkTraining) -> str:
    """Of all weights and buffers, bit for bit."""
    sha = hashlib.sha256()
    for tensor in training.model.state_dict().values():
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:12]


def _same(a: str, b: str) -> str:
    assert a == b, f"weights {a} and {b}"
    return f"weights {a}"
