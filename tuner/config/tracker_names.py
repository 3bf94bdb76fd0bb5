"""Which trackers are there, and is one's package installed? Nothing of theirs is imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from search_spaces.registry import unknown_name

# Name -> the package it needs, and what its process calls with the Destination.
TRACKERS = {
    "wandb": ("wandb", "tuner.recording.trackers:_Wandb"),
    "mlflow": ("mlflow", "tuner.recording.trackers:_Mlflow"),
    "tensorboard": ("tensorboardX", "tuner.recording.trackers:_Tensorboard"),
}


def check_trackers(names: Sequence[str]) -> None:
    """Raise ValueError for an unknown tracker, a repeated one, or one that is not installed."""
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)
        package = TRACKERS[name][0]
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:  # without origin: a mere folder, such as ./wandb
            raise ValueError(
                f"track=[{name}]: needs the package {package}; pip install 'gradtune[{name}]'"
            )
    if len(set(names)) < len(names):
        raise ValueError(f"track=[{','.join(names)}]: each may be named once")
