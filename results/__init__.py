"""WHAT happened and what it means: the records of runs, their statistics and figures."""

from __future__ import annotations

from results.run import Run, load, verify

__all__ = ["Run", "load", "verify"]
