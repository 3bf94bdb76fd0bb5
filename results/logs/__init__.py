"""A verdict on logs that somebody already has: tables, TensorBoard folders, W&B exports."""

from __future__ import annotations

from results.logs.judgment import Judgment, judge

__all__ = ["Judgment", "judge"]
