"""How does a loop of the user's own follow a schedule? Adapters to what the loop is made of.

torch's scheduler and sampler here; those that need a library of their own in transformers.py,
lightning.py and timm.py.
"""

from __future__ import annotations

from trainables.adapters.batch_sampler import ScheduleBatchSampler
from trainables.adapters.exported import read_schedule
from trainables.adapters.torch_scheduler import ScheduleLR

__all__ = ["ScheduleBatchSampler", "ScheduleLR", "read_schedule"]
