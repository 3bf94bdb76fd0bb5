"""How is a schedule read that `python -m results export` wrote? Back into the same table."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.schedule import Schedule


def read_schedule(folder: str | Path) -> Schedule:
    """The table in the schedule.json and schedule.csv of an export, to the last digit.

    Raises:
        ValueError: no such files, or a broken table.
    """
    folder = Path(folder)
    try:
        totals = json.loads((folder / "schedule.json").read_text())
        rows = list(csv.DictReader((folder / "schedule.csv").read_text().splitlines()))
        return _table(totals, rows)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"no schedule can be read in {folder}: {error!r}. `python -m results export RUN "
            "--schedule best` writes one."
        ) from error


def _table(totals: dict[str, Any], rows: Sequence[dict[str, str]]) -> Schedule:
    def column(name: str, dtype: type, read: Callable[[str], Any]) -> NDArray[Any]:
        return np.array([read(row[name]) for row in rows], dtype=dtype)

    if not rows or rows[0]["start_sample"] != "0" or len(rows) != totals["num_stages"]:
        raise ValueError("the table is cut off")
    return Schedule(
        start_S=column("start_sample", np.int64, int),
        progress_S=column("progress", np.float64, float),
        lr_S=column("lr", np.float64, float),
        batch_size_S=column("batch_size", np.int64, int),
        momentum_S=column("momentum", np.float64, float),
        delta_S=column("delta", np.float64, float),
        capped_S=column("capped", np.bool_, lambda text: text == "True"),
        floored_S=column("floored", np.bool_, lambda text: text == "True"),
        total_samples=totals["total_samples"],
        epoch_samples=totals["epoch_samples"],
        report_samples=totals["report_samples"],
    )
