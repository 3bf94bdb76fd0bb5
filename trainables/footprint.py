"""Which batch fits into the memory of a GPU? Told before anything is trained on it.

A batch that grows to all images does not fit: of ResNet-18 on 45,000 images in bf16 a step would
hold 106 GB, in the last epochs of a run that was paid for. What a step keeps for its backward
pass is counted on the CPU, for two images. Untested on a GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.registry import lookup
from search_spaces.trial import Recipe
from trainables import MODELS

NUM_TRACED = 2  # images
HEADROOM = 1.25  # gradients of what is kept, workspaces, blocks that fit nothing (estimated)
OF_MEMORY = 0.9  # the rest is CUDA's context and its libraries'
BYTES_OF_WEIGHT = 16  # weight, gradient, and AdamW's two averages, each float32
# Above, a tensor of 64 x 32 x 32 an image has over 2^31 elements, for which PyTorch's BatchNorm
# has no channels-last kernels.
MOST_IMAGES = 32_767


def fitting_batch(
    recipe: Recipe, *, channels: int, image_size: int, memory_bytes: float
) -> int | None:
    """The largest batch of a network of ours, a multiple of 8; None where not even the first fits.

    Args:
        channels, image_size: of an image, which is square.
        memory_bytes: that one training has.
    """
    model, kept = _trace(recipe, channels, image_size)
    num_weights = sum(p.numel() for p in model.parameters())
    data = recipe.pool_examples * channels * image_size**2  # resident, one byte a value
    free = OF_MEMORY * memory_bytes - BYTES_OF_WEIGHT * num_weights - data
    batch = min(MOST_IMAGES, int(free / (HEADROOM * kept))) // 8 * 8
    return batch if batch >= recipe.batch0 else None


def largest_batch(recipe: Recipe, channels: int, image_size: int, gpus: float) -> int | None:
    """The same for a training that has this much of this process's GPU."""
    memory = min(1.0, gpus) * torch.cuda.get_device_properties(0).total_memory
    return fitting_batch(recipe, channels=channels, image_size=image_size, memory_bytes=memory)


def kept_bytes(recipe: Recipe, channels: int, image_size: int) -> float:
    """Bytes that a step keeps of an image from its forward to its backward pass."""
    return _trace(recipe, channels, image_size)[1]


def _trace(recipe: Recipe, channels: int, image_size: int) -> tuple[nn.Module, float]:
    """The network and what a step keeps of an image; both of shapes alone, without numbers."""
    with torch.device("meta"):
        model: nn.Module = lookup("model", recipe.model, MODELS)(
            num_classes=recipe.num_classes, in_channels=channels, width=recipe.width
        )
        images = torch.empty((NUM_TRACED, channels, image_size, image_size))
    own = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = model(images)
    assert logits.requires_grad, "a graph, which keeps what was noted until here"
    share = 0.5 if recipe.precision == "bf16" else 1.0  # autocast keeps half as many bytes
    return model, share * sum(storage.nbytes() for storage in kept.values()) / NUM_TRACED
