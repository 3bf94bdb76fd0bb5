"""How is the noise of a network's mini-batch gradients distributed at one point?

Legend: P trained parameters, B examples of a batch, M mini-batches; b batch size, g gradient of
the mean loss, omega = g_mini - g_full gradient noise.
Source: arXiv 2311.08745 figure 8, of one mini-batch and a full gradient one step later.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from search_spaces.trial import derive_seed
from trainables.data.images import Batch
from trainables.data.stream import NUM_DRAWS, Samples
from trainables.measurements.gradients import (
    BatchNormMode,
    Loss,
    at_rest,
    flat_gradient,
    mean_gradient,
    to_numpy,
)
from trainables.measurements.probe import BatchProbe, Subject

HISTOGRAM_LIMIT = 5.0  # standard deviations; a normal has 6e-7 of its mass beyond
NUM_BINS = 81  # of what is recorded
FULL_GRADIENT_BATCH = 500  # images


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """The noise omega of M mini-batches at one point, each described by itself.

    The P components are neither independent nor equally distributed (layers differ in scale):
    these numbers describe the histogram, no p-value follows.

    Attributes:
        batch_size: b, the same for all mini-batches. num_params: P.
        gradient_norm: ||g|| of the full gradient.
        norm_M: ||omega||.
        skewness_M, excess_kurtosis_M: of the components of each omega; 0 for a normal.
        ks_M: Kolmogorov-Smirnov distance in [0, 1] of the components of each omega from the
            normal of the same mean and standard deviation.
        edges: (bins + 1,), in standard deviations of an omega's own components from their mean.
        counts: (bins,), summed over the mini-batches; M * P less the components beyond the edges.
    """

    batch_size: int
    num_params: int
    gradient_norm: float
    norm_M: NDArray[np.float64]
    skewness_M: NDArray[np.float64]
    excess_kurtosis_M: NDArray[np.float64]
    ks_M: NDArray[np.float64]
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]


class SamplingProbe(BatchProbe):
    """The distribution of the gradient noise."""

    def measure(self, training: Subject, epoch: int) -> dict[str, Any]:
        """noise_sample: the Sampling of several batches against the whole training set, as JSON.

        The whole is augmented as its batches are: one pass with fresh augmentation draws. With
        BatchNorm in train mode, where a gradient depends on the batch that an image is in, the
        whole is the mean over random batches as large as the mini-batches: what their gradients
        are in the mean. Images that fill no batch are left out then.
        """
        rng = np.random.default_rng(derive_seed(training.trial.seed, "sampling", epoch))
        size, mode = len(training.train_set), self.batch_norm
        order_N, part = np.arange(size), FULL_GRADIENT_BATCH
        if mode == "train":
            part = self.batch_size(training)
            order_N = rng.permutation(size)[: size - size % part]
        full = training.train_set.batches(
            Samples(index_B, rng.random((len(index_B), NUM_DRAWS), dtype=np.float32))
            for index_B in (order_N[first : first + part] for first in range(0, size, part))
            if len(index_B)
        )
        mini = self.draw(training, rng)
        sample = sample_noise(training.model, training.loss, full, mini, mode, num_bins=NUM_BINS)
        fields = asdict(sample).items()
        values = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in fields}
        return {"noise_sample": json.dumps(values)}


def sample_noise(
    model: nn.Module,
    loss: Loss,
    full_batches: Iterable[Batch],
    mini_batches: Iterable[Batch],
    batch_norm: BatchNormMode = "train",
    *,
    num_bins: int = 101,
) -> Sampling:
    """omega = g_mini - g_full of each mini-batch at this very point, as norms, shape, histogram.

    Holds a handful of vectors of P float64, however many batches there are. Non-finite gradients
    and an omega without spread give nan.

    Args:
        full_batches: every example once, in batches of any sizes; each example weighs the same.
        mini_batches: equally large; drawn without replacement from the same N examples,
            E||omega||^2 is (N - b) / (N - 1) times C^2 / b (C^2 of divisor N).
        num_bins: odd, so that 0, where dead units pile up, is inside a bin.
        batch_norm: see `at_rest`; with "train", g_full depends on the sizes of `full_batches`:
            random ones as large as the mini-batches make it the mean of what those scatter about.

    Raises:
        ValueError: no full or no mini-batch, or mini-batches of unequal sizes.
    """
    edges = np.linspace(-HISTOGRAM_LIMIT, HISTOGRAM_LIMIT, num_bins + 1)
    counts = np.zeros(num_bins, dtype=np.int64)
    sizes, norms, shapes = set(), [], []
    with at_rest(model, batch_norm):
        g_P = mean_gradient(model, loss, full_batches)
        for x_B, y_B in mini_batches:
            sizes.add(len(y_B))
            omega_P = flat_gradient(model, loss, x_B, y_B).double() - g_P
            norms.append(omega_P.norm())
            shape, inside = _shape(omega_P, edges)
            shapes.append(shape)
            counts += inside
    if len(sizes) != 1:
        raise ValueError(f"Mini-batches must be of one size, but got (sizes={sorted(sizes)}).")
    skewness_M, kurtosis_M, ks_M = torch.stack(shapes).cpu().numpy().T
    return Sampling(
        batch_size=sizes.pop(),
        num_params=len(g_P),
        gradient_norm=g_P.norm().item(),
        norm_M=to_numpy(norms),
        skewness_M=skewness_M,
        excess_kurtosis_M=kurtosis_M,
        ks_M=ks_M,
        edges=edges,
        counts=counts,
    )


def _shape(omega_P: Tensor, edges: NDArray[np.float64]) -> tuple[Tensor, NDArray[np.int64]]:
    """Skewness, excess kurtosis and distance from a normal, (3,); counts between the edges."""
    P = len(omega_P)
    z_P = ((omega_P - omega_P.mean()) / omega_P.std(correction=0)).sort().values
    normal_P = torch.special.ndtr(z_P)
    step_P = torch.arange(P, dtype=torch.float64, device=z_P.device) / P
    ks = torch.maximum((normal_P - step_P).max(), (step_P + 1 / P - normal_P).max())
    moments = [z_P.pow(3).mean(), z_P.pow(4).mean() - 3]
    ranks = torch.searchsorted(z_P, torch.from_numpy(edges).to(z_P.device))
    return torch.stack([*moments, ks]), ranks.diff().cpu().numpy()
