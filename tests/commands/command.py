"""`python -m tuner.run` as a user types it, and what of its rows a clock decides."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import results
from tests.conftest import ROOT
from tests.fakes.processes import ready
from tuner.session.cluster import ENVIRONMENT

# 150 digits, width 4: a training of 3 epochs takes about 0.2 s.
SMALL = (
    "model.width=4",
    "dataset.train_examples=150",
    "epochs=3",
    "trials=4",
    "confirm.seeds=2",
    "display=plain",
    "max_concurrent=1",  # each worker imports torch
)
# What a clock, a host or the number of attempts decides.
UNREPRODUCIBLE = (
    *("run_id", "seconds", "eval_seconds", "images_per_second", "train_seconds", "wall_seconds"),
    "attempt",
    *("peak_memory_bytes", "started_at", "ended_at", "host"),
)


class Command:
    """`python -m tuner.run` with its own runs folder on the session's cluster."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address

    def start(self, *words: str, address: bool = True) -> subprocess.Popen[str]:
        """Start it in the background."""
        where = [f"cluster.address={self.address}"] if address else []
        if not any(w.startswith("resume=") for w in words):
            where.append(f"runs_dir={self.folder}")
            where.append("resources.cpus_per_trial=1")  # a thread each, as Inline trains
            where += [] if "report=true" in words else ["report=false"]
        return ready.popen(
            *("tuner.run", *words, *where),
            cwd=ROOT,
            # With a token of its own it cannot join the session's cluster by mistake.
            env=os.environ | ENVIRONMENT | ({} if address else {"RAY_AUTH_TOKEN": "0" * 64}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, *words: str, address: bool = True) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        process = self.start(*words, address=address)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def reproducible(run: results.Run) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Trials and epochs, sorted, without what only a clock or a host decides; nan as None."""
    trials, epochs = (
        [
            {k: None if v != v else v for k, v in row.items() if k not in UNREPRODUCIBLE}
            for row in table.to_pylist()
        ]
        for table in (run.trials, run.epochs)
    )
    trials.sort(key=lambda r: r["trial_key"])
    epochs.sort(key=lambda r: (r["trial_key"], r["epoch"]))
    return trials, epochs


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Read its output until a line holds `text`."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"{text!r} never came: {process.stderr.read()}")
