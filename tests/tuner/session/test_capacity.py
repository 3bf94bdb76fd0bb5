"""batch.max from a GPU's memory: for whom it is settled, and that it is said and kept."""

from __future__ import annotations

from typing import Any

import pytest

from search_spaces.trial import Recipe
from tests.fakes.trials import small_plan
from tuner.config.schema import plain
from tuner.session.capacity import cap_batches
from tuner.session.cluster import Slots

GPU = Slots(cpus_per_trial=1.0, gpus_per_trial=0.5, max_concurrent=2)
CPU = Slots(cpus_per_trial=1.0, gpus_per_trial=0.0, max_concurrent=2)
GROWS = ("space=batch", "batch.initial=16")


class Gpu:
    """Tells this batch, or raises it."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, list[Any]()

    def __call__(self, recipe: Recipe, channels: int, size: int, gpus: float) -> int | None:
        self.asked.append((recipe.model, channels, size, gpus))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_growing_batch_is_capped_by_what_fits(capsys: pytest.CaptureFixture[str]) -> None:
    plan, gpu = small_plan(*GROWS), Gpu(64)
    capped = cap_batches(plan, GPU, gpu)
    assert gpu.asked == [("resnet8", 1, 8, 0.5)]
    assert (capped.recipe.batch_max, plain(capped.config)["batch"]["max"]) == (64, 64)
    assert capsys.readouterr().err == (
        "note: batch.max=64: more does not fit into a GPU's memory\n"
    )
    assert plan.recipe.batch_max is None
    assert cap_batches(capped, GPU, Gpu(32)) is capped  # as a run that goes on
    params = {"interval": 1, "delta0": 0.1, "split": 0.0, "factor": 0.1}
    table = capped.trial(capped.spaces[0], params).schedule
    assert table.batch_size_S.max() == 64
    assert table.capped_S[-1]


@pytest.mark.parametrize("answer", [None, 240, 100_000])
def test_what_fits_needs_no_cap(answer: int | None) -> None:
    plan = small_plan(*GROWS)
    assert plan.recipe.train_examples == 240
    assert cap_batches(plan, GPU, Gpu(answer)) is plan


@pytest.mark.parametrize(
    ("words", "slots"),
    [
        (GROWS, CPU),
        (("space=lr",), GPU),  # constant batch
        ((*GROWS, "batch.max=32"), GPU),
        ((*GROWS, "micro_batch=8"), GPU),
        ((*GROWS, "model=tests.fakes.users_code:linear_model", "model.width=null"), GPU),
    ],
)
def test_nobody_is_asked_where_it_is_said_or_does_not_matter(
    words: tuple[str, ...], slots: Slots
) -> None:
    plan, gpu = small_plan(*words), Gpu(32)
    assert cap_batches(plan, slots, gpu) is plan
    assert gpu.asked == []


def test_a_gpu_that_does_not_answer_costs_the_cap(capsys: pytest.CaptureFixture[str]) -> None:
    plan = small_plan(*GROWS)
    assert cap_batches(plan, GPU, Gpu(TimeoutError("60 s"))) is plan
    assert "no GPU told its memory (TimeoutError)" in capsys.readouterr().err
