"""A folder from which jobs are sent, and trainings that write down where they run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import results
from tests.cluster.nodes import PATIENCE, RealCluster, wait_until

# Trainings that sleep; each takes the CPU that a node has.
TRAIN = (
    *("trainable=mine:train", "dataset.train_examples=60", "lr=0.1", "batch.initial=10"),
    *("space=poly", "baseline=false", "confirm.seeds=0", "report=false"),
)


class Laptop:
    """A folder that is no node's, from which jobs are sent; runs go to a folder that all share."""

    def __init__(self, folder: Path) -> None:
        self.project, self.shared = folder / "project", folder / "shared"
        self.project.mkdir()
        self.shared.mkdir()
        self.journal = self.shared / "journal.txt"
        (self.project / ".env").write_text("SECRET=1\n")

    def write_training(self, seconds: float, hang: int = 0, gate: str = "") -> None:
        """mine.py: `seconds` an epoch; epoch `hang` never ends; the third waits for a file."""
        code = TRAINING.format(journal=str(self.journal), seconds=seconds, hang=hang, gate=gate)
        (self.project / "mine.py").write_text(code)

    def submit(
        self, cluster: RealCluster, name: str, *words: str, runs_dir: str | None = None
    ) -> str:
        """Send a run of this name; returns the job's id."""
        runs_dir = runs_dir or str(self.shared)
        done = cluster.run(
            *("submit", f"address={cluster.dashboard}", f"runs_dir={runs_dir}"),
            *(f"name={name}", *TRAIN, *words),
            cwd=self.project,
        )
        assert done.returncode == 0, done.stderr
        (job,) = re.findall(r"^job (\S+) runs there: ", done.stdout, re.M)
        assert f"job {job} runs there: {runs_dir}/{name}" in done.stdout
        return str(job)

    def add_node(self, cluster: RealCluster) -> None:
        """Node b beside a, after its first epoch; returns when both have trained."""
        wait_until(lambda: read_journal(self.journal), PATIENCE, "the first epoch")
        cluster.add("b")
        wait_until(
            lambda: {line.node for line in read_journal(self.journal)} == {"a", "b"},
            PATIENCE,
            "an epoch on the added node",
        )


def load_whole(run_dir: Path | str, trials: int, epochs: int) -> results.Run:
    """A completed run, of whose epochs none is lost and none is there twice."""
    run = results.load(run_dir)
    (manifest,) = run.manifests.values()
    assert manifest["status"] == "completed"
    rows = run.trials.to_pylist()
    assert [row["status"] for row in rows] == ["completed"] * trials
    found = sorted((row["trial_key"], row["epoch"]) for row in run.epochs.to_pylist())
    keys = sorted(row["trial_key"] for row in rows)
    assert found == [(key, epoch) for key in keys for epoch in range(1, epochs + 1)]
    assert results.verify(run_dir) == []
    return run


# A training that writes down where and when each of its epochs was trained; {journal} is a file
# that all nodes share, {seconds} what an epoch takes, {hang} the epoch that never ends.
TRAINING = """
import os, time

def train(schedule, seed, report):
    who = os.environ["GRADTUNE_TEST_NODE"] + f" {{schedule.lr_S.sum():.12g}}-{{seed}}"
    done = report.state["done"] if report.state else 0
    for epoch in range(done + 1, schedule.num_reports + 1):
        time.sleep({seconds} if epoch != {hang} else 3600)
        while epoch == 3 and {gate!r} and not os.path.exists({gate!r}):
            time.sleep(0.1)
        with open({journal!r}, "a") as journal:
            journal.write(f"{{who}} {{epoch}} {{time.time()}}" + chr(10))
        score = 0.5 + 0.4 * epoch / schedule.num_reports
        report(val_accuracy=score, test_accuracy=score, state={{"done": epoch}})
"""


@dataclass(frozen=True)
class Line:
    """An epoch that was trained."""

    node: str
    trial: str
    epoch: int
    time: float


def read_journal(path: Path) -> list[Line]:
    """All epochs that were trained, in order."""
    lines = path.read_text().splitlines() if path.exists() else []
    fields = (line.split() for line in lines)
    return [Line(node, trial, int(epoch), float(at)) for node, trial, epoch, at in fields]


def num_redone(lines: Iterable[Line]) -> int:
    """Epochs trained more than once."""
    lines = list(lines)
    return len(lines) - len({(line.trial, line.epoch) for line in lines})
