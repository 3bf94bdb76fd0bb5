"""Which config is best, seen on trainings of several lengths? The one of highest worth.

Squeezed trainings of one config are independent looks at the same thing, each with its own luck:
a full training alone is one more look, not the truth. So with y = -log10(error) of an accuracy
(else y = the score), level_k of rung k and worth_c of config c,

    minimise  sum over trainings (y_ck - level_k - worth_c)^2 + PENALTY * sum_c worth_c^2

which shrinks the worth of configs seen once more than of those seen thrice (the best linear
unbiased prediction of a random effect with noise variance = PENALTY * variance of worths).
Arrays: T trainings, K rungs, C configs.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

Config = TypeVar("Config", bound=Hashable)

PENALTY = 0.5  # ours, chosen on the digits pool of benchmarks/search_efficiency
MIN_ERROR = 1e-3


def worths(
    rungs: Sequence[Mapping[Config, float]], *, is_accuracy: bool = True
) -> dict[Config, float]:
    """Worth of every config that has ended on some rung; higher is better, -inf: diverged.

    Args:
        rungs: score by config, of each rung: higher is better, -inf of a diverged training.
        is_accuracy: scores are accuracies.

    Example:
        >>> seen = worths([{7: 0.90, 8: 0.99}, {8: 0.995}])  # the lone 0.995 sets its level
        >>> round(seen[8], 9), round(seen[7], 9)
        (0.333333333, -0.333333333)
    """
    lost = {config for rung in rungs for config, score in rung.items() if score == -np.inf}
    if lost:
        kept = [{c: score for c, score in rung.items() if c not in lost} for rung in rungs]
        return worths(kept, is_accuracy=is_accuracy) | dict.fromkeys(lost, -np.inf)
    configs = list(dict.fromkeys(config for rung in rungs for config in rung))
    number = {config: i for i, config in enumerate(configs)}
    trainings = [
        (k, number[c], score) for k, rung in enumerate(rungs) for c, score in rung.items()
    ]
    if not trainings:
        return {}
    rung_T, config_T, score_T = (np.asarray(column) for column in zip(*trainings, strict=True))
    y_T = -np.log10(np.maximum(1 - score_T, MIN_ERROR)) if is_accuracy else score_T
    in_TK = (rung_T[:, None] == np.unique(rung_T)).astype(float)
    of_TC = (config_T[:, None] == np.arange(len(configs))).astype(float)
    # Given the levels, worth = sum of (y - level) / (trainings + PENALTY); that eliminates worth.
    share_CT = of_TC.T / (of_TC.sum(axis=0) + PENALTY)[:, None]
    rest_TK, rest_T = in_TK - of_TC @ (share_CT @ in_TK), y_T - of_TC @ (share_CT @ y_T)
    level_K = np.linalg.lstsq(in_TK.T @ rest_TK, in_TK.T @ rest_T)[0]
    worth_C = share_CT @ (y_T - in_TK @ level_K)
    return dict(zip(configs, worth_C.tolist(), strict=True))
