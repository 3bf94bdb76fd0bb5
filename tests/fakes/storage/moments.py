"""One run at two moments of its writing, as its store left the folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from results.records.events import EVENTS_NAME
from results.records.segments import COPIES, MANIFEST_NAME, TABLES
from results.records.store import RunStore
from tests.fakes.results import make_trial, write_trial

FIRST = "00000.parquet"
# The order in which a store brings the rows of a moment to the disk.
WRITTEN = (
    *(f"{folder}{table}/{FIRST}" for table in TABLES for folder in ("", f"{COPIES}/")),
    MANIFEST_NAME,
    f"{COPIES}/{MANIFEST_NAME}",
    EVENTS_NAME,
)


def two_moments(folder: Path) -> tuple[Path, Path]:
    """The run `one` with its first trial, still being written; and closed, with four more."""
    older, newer = folder / "older" / "one", folder / "newer" / "one"
    manifest = {"status": "running", "num_test": 100, "spaces": [], "config": {}}
    store = RunStore.create(newer, manifest, "epochs: 2\n")
    write_trial(store, make_trial("poly", run_seed=0), accuracy=0.5)
    assert store.flush()
    shutil.copytree(newer, older, ignore=lambda *_: [".lock"])
    for seed in range(1, 5):
        write_trial(store, make_trial("poly", run_seed=seed), accuracy=0.5)
    store.event("end")
    store.update_manifest(status="completed")
    store.close()
    return older, newer
