"""Claim: the records of ten thousand trials are written, read, compared and reported in seconds.

Made-up trainings: two arms, a recipe of so many epochs, five confirm seeds each. Rows are made
before they are timed; "written" ends when the last is on disk. Wall and CPU seconds of one process
(CPU also of its threads). The report is of another run, of short trainings. "Tune's files" are the
same rows as Tune's JSON logger writes them: a line an epoch, names and all, with its own columns.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import keep, surroundings, table
from results import load
from results.records.schema import epoch_row
from results.records.store import RunStore
from results.report import write_report
from tests.fakes.results import (
    make_epochs,
    make_recipe,
    make_space,
    make_trial,
    suggest,
    write_run,
)

# What Tune's logger adds to each line.
OF_TUNE = {
    **{"trial_id": "0123abcd_00000", "date": "2026-11-27_00-00-00", "timestamp": 1795737600},
    **{"training_iteration": 1, "time_this_iter_s": 0.55, "time_total_s": 110.0, "pid": 12345},
    **{"hostname": "machine", "node_ip": "10.0.0.1", "time_since_restore": 110.0},
    **{"iterations_since_restore": 200, "done": False, "experiment_tag": "1_p=0.9,interval=1"},
}


def main() -> None:
    """Print seconds and sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=300, help="of both arms, with epochs")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--report-trials", type=int, default=10_000)
    options = parser.parse_args()
    print(surroundings("pyarrow", "numpy"))
    timed: list[tuple[str, float, float]] = []
    with tempfile.TemporaryDirectory(prefix="gradtune-") as folder:
        run_dir, num_rows, tune_bytes = _ingest(Path(folder), options, timed)
        run = _time("load", timed, lambda: load(run_dir))
        key = run.epochs["trial_key"][0].as_py()
        _time("one curve", timed, lambda: _curve(run, key))
        ours = sum(path.stat().st_size for path in (run_dir / "epochs").glob("*.parquet"))
        short = write_run(
            Path(folder) / "short",
            trials=options.report_trials // 2,
            seeds=5,
            recipe=make_recipe(epochs=3),
        )
        _time(f"load {options.report_trials:,} trials of 3 epochs", timed, lambda: load(short))
        _time("compare them", timed, lambda: load(short).compare())
        page = Path(folder) / "report.html"
        _time("report of them", timed, lambda: write_report(load(short), page))
        megabytes = page.stat().st_size / 1e6
    print(f"{options.trials:,} trials x {options.epochs} epochs = {num_rows:,} rows")
    rows = [[name, f"{wall:.2f}", f"{cpu:.2f}"] for name, wall, cpu in timed]
    print(table(["", "wall s", "CPU s"], rows))
    _, wall, cpu = timed[0]
    print(
        f"written: {num_rows / wall:,.0f} rows/s by the clock, {num_rows / cpu:,.0f} by CPU time"
    )
    print(f"epochs: {ours / num_rows:.1f} bytes a row, 1/{tune_bytes / ours:.0f} of Tune's files")
    print(f"report: {megabytes:.1f} MB")
    names, walls, cpus = zip(*timed, strict=True)
    print(f"each: {keep('store', {'what': names, 'wall': walls, 'cpu': cpus})}")


def _ingest(
    folder: Path, options: argparse.Namespace, timed: list[tuple[str, float, float]]
) -> tuple[Path, int, int]:
    """The run's folder, its rows, and the bytes that Tune would have written."""
    recipe = make_recipe(epochs=options.epochs)
    params = suggest(make_space("poly", recipe), options.trials)
    trials = [make_trial("poly", some, recipe=recipe) for some in params]
    rows = [
        [epoch_row("run", trial, 1, record) for record in make_epochs(trial, 0.9)]
        for trial in trials
    ]
    line = len(json.dumps(OF_TUNE | rows[0][0], default=str)) + 1
    store = RunStore.create(folder / "run", {}, "")

    def write() -> None:
        for some in rows:
            store.add_epochs(some)
        store.close()

    _time("write the epochs", timed, write)
    num_rows = sum(map(len, rows))
    return folder / "run", num_rows, line * num_rows


def _curve(run: Any, key: str) -> int:
    import pyarrow.compute as pc

    return int(run.epochs.filter(pc.equal(run.epochs["trial_key"], key)).num_rows)


def _time(name: str, timed: list[tuple[str, float, float]], work: Callable[[], Any]) -> Any:
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    timed.append((name, time.perf_counter() - wall, time.process_time() - cpu))
    return found


if __name__ == "__main__":
    main()
