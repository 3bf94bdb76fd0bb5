"""The user's own training function, a trainable, in place of the networks'."""

from __future__ import annotations

from collections.abc import Callable

# trainable(schedule, seed, report): trains along the Schedule, calls the Report once an epoch.
# (Spelled out it would import torch, which the driver never does.)
Trainable = Callable[..., object]
