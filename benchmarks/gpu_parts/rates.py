"""How fast does a GPU train, and where does the time go? All of it needs one.

Rates are images per second of training alone, medians of interleaved epochs after one that warms
up. Arms: `plain` the papers' loop; `loop` ours, every step taken by Python; `graph` ours, small
batches replayed as CUDA graphs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_parts.outcome import Line
from benchmarks.gpu_parts.right import digest, trained, trial_of_digest
from benchmarks.measure import interleave, median_ratio
from benchmarks.plain_loop import PlainTraining
from benchmarks.trials import IMAGE_SIZE, NUM_VAL, timed_trial
from trainables.data.images import TensorImages
from trainables.loop import NetworkTraining

DEVICE = "cuda"
GIBI, TERA = 2**30, 1e12
GEMM_SIZE, GEMM_REPEATS, COPY_BYTES = 8192, 20, 2**32
NUM_ROUNDS = 3
PLAIN_IMAGES = 10_240  # of an epoch of the papers' loop, whose workers take 4 s for 45,000
# Model, batch size, images of an epoch (20 steps and more), their side in pixels.
CASES = (
    *(("resnet18", batch, 45_056, 32) for batch in (128, 512, 2048)),
    *(("resnet20", 128, 45_056, 32), ("wrn28x10", 512, 15_360, 32)),
    ("resnet34", 256, 5_120, 224),  # of resident uint8 images, 0.8 GB of them
)
NUM_PROFILED, NUM_KERNELS = 10, 12
# A schedule by the batch alone, 200 epochs of 45,000 images: its batch sizes, and a few of them.
NUM_SIZES, SIZES = 187, (136, 176, 232, 304, 400, 520, 680, 904)
STEPS_OF_SIZE, WHOLE_TRAINING = 5, 200 * 45_000
PACKED, PACKED_SECONDS, START_SECONDS = (1, 2, 4), 10.0, 60.0


def machine(images: int) -> Iterator[Line]:
    """What it is, and two rates that others are to be seen against."""
    about = torch.cuda.get_device_properties(0)
    pipes = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"))
    mps = "runs" if (pipes / "control").exists() else "does not run"
    cudnn = torch.backends.cudnn.version()
    yield _told(
        "machine",
        "GPU",
        f"{about.name}, {about.total_memory / GIBI:.0f} GiB, CUDA {torch.version.cuda}, "
        f"cuDNN {cudnn}, MPS {mps}",
    )
    a = torch.randn((GEMM_SIZE, GEMM_SIZE), device=DEVICE, dtype=torch.bfloat16)
    seconds = _seconds(lambda: a @ a, GEMM_REPEATS)
    yield _told("machine", f"{GEMM_SIZE}^3 bf16 product, TFLOP/s", 2e-12 * GEMM_SIZE**3 / seconds)
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    seconds = _seconds(lambda: target.copy_(source), GEMM_REPEATS)
    yield _told("machine", "copy, TB/s read and written", 2e-12 * COPY_BYTES / seconds)


def anatomy(images: int) -> Iterator[Line]:
    """One step of ResNet-18 at batch 128: who waits for whom; and the parts of an epoch."""
    training = _ours("resnet18", 128, 45_056, "loop")
    record = training.run_epoch()
    record = training.run_epoch()
    yield _told("anatomy", "evaluation of 100 images, ms", 1e3 * record.eval_seconds)
    batch = next(iter(_images(training).batches([training.stream.take(0, 128)])))
    step: Callable[[], None] = lambda: training.update(*batch, 0)  # noqa: E731
    yield _told("anatomy", "a step, ms", 1e3 * _seconds(step, NUM_PROFILED))
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(NUM_PROFILED):
        step()
    host = (time.perf_counter() - start) / NUM_PROFILED
    torch.cuda.synchronize()
    yield _told("anatomy", "a step, ms of Python alone", 1e3 * host)
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(NUM_PROFILED):
            step()
        torch.cuda.synchronize()
    kernels = [e for e in profile.key_averages() if str(e.device_type).endswith("CUDA")]
    kernels.sort(key=lambda event: -event.self_device_time_total)
    num = sum(event.count for event in kernels) / NUM_PROFILED
    total = sum(event.self_device_time_total for event in kernels)  # microseconds
    yield _told("anatomy", "kernels of a step", num)
    yield _told("anatomy", "a step, ms of kernels", total / 1e3 / NUM_PROFILED)
    for event in kernels[:NUM_KERNELS]:
        share = (
            f"{event.self_device_time_total / total:.0%}, {event.count / NUM_PROFILED:.0f} a step"
        )
        yield _told("anatomy", f"kernel {event.key[:60]}", share)
    start = time.perf_counter()
    training.state_dict()
    torch.cuda.synchronize()
    yield _told("anatomy", "a state, ms", 1e3 * (time.perf_counter() - start))


def solo(images: int) -> Iterator[Line]:
    """One training at a time."""
    for model, batch, num_images, size in CASES:
        try:
            yield from _case(model, batch, num_images, size)
        except RuntimeError as error:  # memory
            text = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            yield Line(part="solo", what=f"{model} {batch}", value=text, verdict="FAIL")


def _case(model: str, batch: int, num_images: int, size: int) -> Iterator[Line]:
    name = f"{model} {batch}"
    torch.cuda.reset_peak_memory_stats()
    arms: dict[str, Callable[[], float]] = {
        arm: _epoch_of(_ours(model, batch, num_images, arm, size)) for arm in ("loop", "graph")
    }
    if (model, batch) == ("resnet18", 128):
        arms["plain"] = _plain(model, batch)
    interleave(arms, 1)
    rates = interleave(arms, NUM_ROUNDS)
    for arm, values in rates.items():
        which = "images/s" if arm == "graph" else f"images/s of {arm}"
        yield _told("solo", f"{name}, {which}", float(np.median(values)))
    for arm in arms.keys() - {"graph"}:
        ratio = median_ratio(rates["graph"], rates[arm])
        yield Line(
            part="solo", what=f"{name}, graph against {arm}", value=str(ratio), number=ratio.median
        )
    peak, held = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    yield _told("solo", f"{name}, GiB allocated of both", peak / GIBI)
    yield _told("solo", f"{name}, GiB reserved of both", held / GIBI)


def batches(images: int) -> Iterator[Line]:
    """What a new batch size costs, and what that makes of a schedule with many."""
    training = _ours("resnet18", 128, 45_056, "graph")
    training.run_epoch()
    rate = training.run_epoch().images_per_second
    training.model.train()
    extra = []
    for size in SIZES:
        order = training.stream.take(0, size)
        seconds = []
        for _ in range(STEPS_OF_SIZE):
            batch = next(iter(_images(training).batches([order])))
            seconds.append(_seconds(lambda batch=batch: training.update(*batch, 0), 1, warm=0))
        extra.append(seconds[0] - float(np.median(seconds[2:])))
        yield _told("batches", f"first step of batch {size}, ms more", 1e3 * extra[-1])
    cost = float(np.median(extra))
    ratio = 1 + NUM_SIZES * cost * rate / WHOLE_TRAINING
    yield _told("batches", f"{NUM_SIZES} sizes against a constant batch, time", ratio)
    yield _told("batches", "GiB reserved after these sizes", torch.cuda.memory_reserved() / GIBI)


def packing(images: int) -> Iterator[Line]:
    """Several trainings of batch 128 on one GPU, each in its process."""
    alone, solo_digest = 0.0, digest(trained(trial_of_digest(images), DEVICE))
    torch.cuda.empty_cache()
    for model in ("resnet18", "resnet20"):
        for num in PACKED:
            told = _packed(model, num, images)
            total = sum(child["rate"] for child in told)
            alone = total if num == 1 else alone
            yield _told("packing", f"{num} x {model} 128, images/s in all", total)
            if num > 1:
                yield _told("packing", f"{num} x {model} 128 against one", total / alone)
            same = {child["digest"] for child in told} == {solo_digest}
            yield Line(
                part="packing",
                what=f"{num} x {model}: bits as alone, in other processes",
                value=f"weights {solo_digest}" if same else str(told),
                verdict="PASS" if same else "FAIL",
            )


def packed_child(model: str, start: float, images: int) -> None:
    """Of `packing`: trains from this moment on (time.time()) for PACKED_SECONDS."""
    weights = digest(trained(trial_of_digest(images), DEVICE))
    training = _ours(model, 128, 10_240, "graph")
    training.run_epoch()
    time.sleep(max(0.0, start - time.time()))
    num_images = 0
    begun = time.perf_counter()
    while (passed := time.perf_counter() - begun) < PACKED_SECONDS:
        before = training.samples_seen
        training.run_epoch()
        num_images += training.samples_seen - before
    passed = time.perf_counter() - begun
    print(json.dumps({"rate": num_images / passed, "digest": weights}))


def _packed(model: str, num: int, images: int) -> list[dict[str, Any]]:
    start = time.time() + START_SECONDS / 3
    words = [sys.executable, "-m", "benchmarks.gpu", "--child", model, "--start", str(start)]
    words += ["--images", str(images)]
    children = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(num)]
    told = [child.communicate(timeout=START_SECONDS + PACKED_SECONDS)[0] for child in children]
    return [json.loads(text.splitlines()[-1]) for text in told]


def _ours(
    model: str, batch: int, num_images: int, arm: str, size: int = IMAGE_SIZE
) -> NetworkTraining:
    trial = timed_trial(
        model,
        num_images=num_images,
        epochs=1000,
        batch_size=batch,
        precision="bf16",
        dataset_path=f"{num_images + NUM_VAL}x{size}",
    )
    training = NetworkTraining(trial, device=DEVICE)
    if arm == "loop":
        training.static = None
    return training


def _images(training: NetworkTraining) -> TensorImages:
    assert isinstance(training.train_set, TensorImages), "images of ours"
    return training.train_set


def _epoch_of(training: NetworkTraining) -> Callable[[], float]:
    return lambda: training.run_epoch().images_per_second


def _plain(model: str, batch: int) -> Callable[[], float]:
    trial = timed_trial(model, num_images=PLAIN_IMAGES, epochs=1, batch_size=batch)
    ours = NetworkTraining(trial)
    plain = PlainTraining(trial.recipe, _images(ours), device=DEVICE)

    def epoch() -> float:
        num_images, seconds = plain.run_epoch(trial.lr0)
        return num_images / seconds

    return epoch


def _seconds(work: Callable[[], object], repeats: int, warm: int = 3) -> float:
    """Of one repetition, with what the GPU still has to do at its end."""
    for _ in range(warm):
        work()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def _told(part: str, what: str, value: float | str) -> Line:
    if isinstance(value, str):
        return Line(part=part, what=what, value=value)
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return Line(part=part, what=what, value=text, number=value)
