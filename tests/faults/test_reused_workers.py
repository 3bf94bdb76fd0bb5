"""A worker that has trained before trains as a fresh one: nothing leaks into the next training."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.faults.counts import only_full, tries

SPACES = ("poly", "cosine", "exp", "batch", "hybrid")
WORDS = (
    "seed=5",
    "optimizer=sgd optimizer.nesterov=false",
    "model.width=6",
    "lr=0.02",
    "label_smoothing=0.1",
)


def trial_words(rng: random.Random) -> dict[str, Any]:
    """What makes one of many different trainings."""
    return {
        "words": ["epochs=2", "dataset.train_examples=200", *rng.choice(WORDS).split()],
        "space": rng.choice(SPACES),
        "role": rng.choice(["search", "confirm"]),
        "replicate": rng.randrange(4),
    }


def start(folder: Path, trials: list[dict[str, Any]]) -> subprocess.Popen[str]:
    """A process that trains them one after the other, in one worker; it prints each's reports."""
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.faults.test_reused_workers",
            str(folder),
            json.dumps(trials),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


@only_full
@pytest.mark.fault("30")
@pytest.mark.slow
def test_a_worker_that_has_trained_before_trains_as_a_fresh_one(tmp_path: Path) -> None:
    rng, num = random.Random(30), 20
    trials = [trial_words(rng) for _ in range(num + 1)]
    used, _ = start(tmp_path / "used", trials).communicate(timeout=600)
    assert used.count("\n") == num + 1
    with tries() as once:
        for number, reused in list(enumerate(used.splitlines()))[1:]:
            with once("30", "trained after another, and in a fresh process: equal to the bit"):
                fresh = start(tmp_path / f"fresh{number}", trials[number : number + 1])
                assert fresh.communicate(timeout=600)[0].strip() == reused


def main(folder: str, trials: str) -> None:
    from tests.fakes.trials import TIMES, small_trial
    from trainables.trainable import ScheduledTrainable

    worker = None
    for number, made in enumerate(json.loads(trials)):
        trial = small_trial(*made.pop("words"), **made)
        config = {"trial": json.dumps(trial.to_dict()), "device": "cpu"}
        config["checkpoints"] = f"{folder}/{number}"
        if worker is None:
            worker = ScheduledTrainable(config)
        else:
            worker.reset(config)
        reports, done = [], False
        while not done:
            result = worker.train()
            done = result["done"]
            reports += [
                {k: v for k, v in record.items() if k not in TIMES} for record in result["records"]
            ]
        print(json.dumps([trial.trial_key, reports], default=str), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
