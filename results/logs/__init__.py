"""A verdict on logs that somebody already has: tables, TensorBoard folders, W&B exports."""

from __future__ import annotations

from results.logs.judged_paragraph import paragraph_of
from results.logs.judgment import Judgment, judge

__all__ = ["Judgment", "judge", "paragraph_of"]
