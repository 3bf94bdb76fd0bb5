"""How large may a batch grow on the GPUs of this cluster? Settled once, for a new run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

from search_spaces.space import SearchSpace
from search_spaces.trial import Recipe
from trainables import MODELS
from tuner.plan.plan import Plan
from tuner.session.cluster import Slots

ANSWER_SECONDS = 120.0  # of a worker that begins on a GPU, and imports torch
# (recipe, channels, rows of an image, GPUs of a training) -> see `largest_batch` of footprint.py.
Ask = Callable[[Recipe, int, int, float], int | None]


def ask_here(recipe: Recipe, channels: int, image_size: int, gpus: float) -> int | None:
    """In this process, which needs torch and sees a GPU."""
    from trainables.footprint import largest_batch

    return largest_batch(recipe, channels, image_size, gpus)


def ask_worker(recipe: Recipe, channels: int, image_size: int, gpus: float) -> int | None:
    """In a task on one of the cluster's GPUs; others may have less memory."""
    import ray

    task = ray.remote(num_cpus=0, num_gpus=gpus, max_retries=0)(ask_here)
    asked = task.remote(recipe, channels, image_size, gpus)
    try:
        answer: int | None = ray.get(asked, timeout=ANSWER_SECONDS)
    finally:
        ray.cancel(asked, force=True)  # where all GPUs are taken it would wait for one
    return answer


def cap_batches(plan: Plan, slots: Slots, ask: Ask = ask_worker) -> Plan:
    """The plan with `batch.max` set to what fits, where batches grow and nobody has said it.

    A run that goes on has the one that it began with, in its configuration and its trials. The
    cap is told. Only for our own models, on images of one known size, without micro batches.
    """
    recipe, size = plan.recipe, plan.source.image_size
    is_ours = recipe.trainer == "network" and recipe.model in MODELS and size is not None
    is_open = recipe.batch_max is None and recipe.micro_batch is None
    arms = [*plan.spaces, *([plan.baseline] if plan.baseline else [])]
    if slots.device != "cuda" or not (is_ours and is_open and any(map(_grows, arms))):
        return plan
    assert size is not None, "looked at above"
    try:
        batch = ask(recipe, plan.source.channels, size, slots.gpus_per_trial)
    except Exception as error:  # of Ray's or CUDA's: the run is worth more than its cap
        print(f"note: batch.max: no GPU told its memory ({type(error).__name__})", file=sys.stderr)
        return plan
    if batch is None or batch >= recipe.train_examples:
        return plan
    print(f"note: batch.max={batch}: more does not fit into a GPU's memory", file=sys.stderr)
    config = replace(plan.config, batch=replace(plan.config.batch, max=batch))
    return replace(plan, config=config, recipe=replace(recipe, batch_max=batch))


def _grows(space: SearchSpace) -> bool:
    """True where the batch has a share of the decay, and no cap of the space's own."""
    return space.ranges["split"].value != 1.0 and "batch_max" not in space.ranges
