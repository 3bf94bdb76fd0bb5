"""What a step keeps of an image, and which batch fits into a GPU's memory."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from benchmarks.trials import timed_trial
from search_spaces.trial import Recipe
from trainables.footprint import MOST_IMAGES, fitting_batch, kept_bytes, largest_batch


def recipe(model: str, precision: str = "bf16") -> Recipe:
    return timed_trial(model, num_images=44_900, epochs=2, precision=precision).recipe


# Measured apart, with saved_tensors_hooks on the CPU in bf16, weights not counted.
@pytest.mark.parametrize(("model", "megabytes"), [("resnet18", 2.35), ("wrn28x10", 9.25)])
def test_what_a_step_keeps_of_an_image(model: str, megabytes: float) -> None:
    assert kept_bytes(recipe(model), 3, 32) == pytest.approx(megabytes * 1e6, rel=0.01)
    assert kept_bytes(recipe(model, "fp32"), 3, 32) == pytest.approx(2e6 * megabytes, rel=0.01)
    state = torch.get_rng_state()
    kept_bytes(recipe("resnet8"), 3, 32)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_largest_batch_that_fits() -> None:
    def fits(memory: float, **changes: object) -> int | None:
        about = replace(recipe("resnet18"), **changes)
        return fitting_batch(about, channels=3, image_size=32, memory_bytes=memory)

    # 0.9 of 80 GB, less 11.2 M weights of 16 bytes and 45,000 images of 3 kB, over 1.25 * 2.36 MB.
    expected = (0.9 * 80e9 - 16 * 11.17e6 - 45_000 * 3072) / (1.25 * 2.36e6)
    batch = fits(80e9)
    assert batch is not None
    assert batch == pytest.approx(expected, rel=0.01)
    assert batch % 8 == 0
    assert fits(1e12) == MOST_IMAGES // 8 * 8
    assert fits(0.7e9) is None  # not even the first of 128
    assert fits(0.8e9, batch0=8) is not None
    assert fits(40e9) == pytest.approx(batch / 2, rel=0.01)


def test_a_part_of_a_gpu_holds_a_part_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    about = SimpleNamespace(total_memory=80e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: about)
    whole, half = (largest_batch(recipe("resnet18"), 3, 32, gpus) for gpus in (1.0, 0.5))
    assert half == fitting_batch(recipe("resnet18"), channels=3, image_size=32, memory_bytes=40e9)
    assert whole == largest_batch(recipe("resnet18"), 3, 32, 2.0)  # it trains on one
