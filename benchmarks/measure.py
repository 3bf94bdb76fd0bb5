"""How are two ways of doing one thing compared fairly? Interleaved, by ratios of pairs."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95
OUTCOMES = Path("runs") / "benchmarks"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """Median over the pairs of a/b, and its bootstrap interval (percentiles, 95%)."""

    median: float
    low: float
    high: float
    num_pairs: int

    def __str__(self) -> str:
        return f"{self.median:.2f}x [{self.low:.2f}, {self.high:.2f}], n={self.num_pairs}"


def interleave(arms: Mapping[str, Callable[[], float]], num_rounds: int) -> dict[str, list[float]]:
    """ABAB...: what each arm returned in each round; a loaded moment meets all arms alike."""
    values: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(num_rounds):
        for name, arm in arms.items():
            values[name].append(arm())
    return values


def median_ratio(a: Sequence[float], b: Sequence[float]) -> Ratio:
    """Of the pairs a[i]/b[i], measured next to each other."""
    ratios = np.asarray(a) / np.asarray(b)
    resampled = np.random.default_rng(0).choice(ratios, size=(NUM_RESAMPLES, len(ratios)))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(np.median(resampled, axis=1), [tail, 100 - tail])
    return Ratio(
        median=float(np.median(ratios)), low=float(low), high=float(high), num_pairs=len(ratios)
    )


def keep(name: str, columns: Mapping[str, Any]) -> Path:
    """Write what was measured, value by value, as runs/benchmarks/<name>.parquet; the path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    OUTCOMES.mkdir(parents=True, exist_ok=True)
    about = {"surroundings": surroundings("numpy"), "load": _load()}
    columns = {key: np.asarray(values).tolist() for key, values in columns.items()}
    made = pa.table({key: pa.array(values) for key, values in columns.items()})
    pq.write_table(made.replace_schema_metadata(about), OUTCOMES / f"{name}.parquet")
    return OUTCOMES / f"{name}.parquet"


def surroundings(*packages: str) -> str:
    """One line: date, machine, how busy it is, Python, versions of the packages that matter."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} x {_processor()}, {_load()}, "
        f"Python {platform.python_version()}, {versions}"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, columns aligned."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def _processor() -> str:
    """The CPU's model with its widest bf16 unit, no host name."""
    info = Path("/proc/cpuinfo")
    told = info.read_text() if info.exists() else ""
    model = re.search(r"^model name\s*: (.+)$", told, re.M)
    bf16 = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in told]
    return " with ".join([model[1] if model else platform.machine(), *bf16[:1]])


def _load() -> str:
    """Processes that wanted to run in the last minute, ours among them."""
    return f"load {os.getloadavg()[0]:.0f}"
