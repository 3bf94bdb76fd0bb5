"""A small run, and every way in which a file of it may be damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from results.records import store as store_module
from results.records.store import RunStore
from tests.fakes.results import make_recipe, make_space, make_trial, write_trial
from trainables.checkpoints import Checkpoints

RECIPE = make_recipe(epochs=2)
OPEN_KEY = make_trial(
    params={"p": 3.0}, recipe=RECIPE
).trial_key  # of the trial that was interrupted
NUM_TRIALS = 7


def write_small_run(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two segments or three a table, one trial interrupted, which has states."""
    monkeypatch.setattr(store_module, "SEGMENT_ROWS", 5)
    manifest = {
        "status": "completed",
        "spaces": [make_space("poly", RECIPE).to_dict()],
        "config": {"epochs": RECIPE.epochs},
        "chosen": {},
    }
    with RunStore.create(run_dir, manifest, f"epochs: {RECIPE.epochs}\n") as store:
        store.event("start", command="python -m tuner.run space=poly trials=6")
        for p in np.linspace(0.5, 2.5, NUM_TRIALS - 1):
            trial = make_trial(params={"p": float(p)}, recipe=RECIPE)
            write_trial(store, trial, accuracy=0.8 + p / 20)
            store.flush()
        trial = make_trial(params={"p": 3.0}, recipe=RECIPE)
        write_trial(store, trial, status="interrupted", epochs=1)
        store.event("end", status="interrupted")
    states = Checkpoints(run_dir / "checkpoints" / OPEN_KEY)
    for epoch in (1, 2, 3):
        states.save(epoch, {"records": list(range(epoch))})
    return run_dir


def truncated(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(path.read_bytes()[: int(rng.integers(1, path.stat().st_size - 1))])


def emptied(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(b"")


def zeroed(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flipped(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(content))


def missing(path: Path, rng: np.random.Generator) -> None:
    path.unlink()


def doubled(path: Path, rng: np.random.Generator) -> None:
    """The same again: beside it where files have numbers, else in the file."""
    if path.suffix == ".parquet":
        shutil.copy(path, path.with_name("00007.parquet"))
    elif path.suffix == ".pt":
        shutil.copy(path, path.with_name(f"00009{path.name[5:]}"))
    else:
        path.write_bytes(path.read_bytes() * 2)


def stale(path: Path, rng: np.random.Generator) -> None:
    """As something of its kind was at another time."""
    if path.suffix == ".parquet":
        other = {"00000": "00001", "00001": "00000"}[path.stem]
        shutil.copy(path.with_name(f"{other}.parquet"), path)
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4] + b"\n")


DAMAGES: dict[str, Callable[[Path, np.random.Generator], None]] = {
    function.__name__: function
    for function in (truncated, emptied, zeroed, flipped, missing, doubled, stale)
}
# Every kind of file that a run folder keeps records in.
FILES = {
    "manifest": "manifest.json",
    "configuration": "config.yaml",
    "events": "events.jsonl",
    "epochs": "epochs/00000.parquet",
    "last epochs": "epochs/00001.parquet",
    "trials": "trials/00000.parquet",
    "state": f"checkpoints/{OPEN_KEY}/00003-*.pt",
    "copy of the manifest": "copies/manifest.json",
    "copy of the trials": "copies/trials/00000.parquet",
}


def file_of(run_dir: Path, kind: str) -> Path:
    (path,) = run_dir.glob(FILES[kind])
    return path
