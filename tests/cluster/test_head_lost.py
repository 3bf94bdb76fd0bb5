"""The head dies with the job; the run goes on on another cluster, and nothing is lost or twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import results
from results.records.lock import lock_holder
from tests.cluster.laptop import Laptop, load_whole, num_redone, read_journal
from tests.cluster.nodes import PATIENCE, RealCluster, wait_until
from tests.faults.counts import worst

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture
def first() -> Iterator[RealCluster]:
    with RealCluster(head_cpus=1) as made:
        yield made


@pytest.fixture
def second() -> Iterator[RealCluster]:
    with RealCluster(head_cpus=1) as made:
        yield made


def is_released(run_dir: Path) -> bool:
    """True once nobody writes the run."""
    holder = lock_holder(run_dir)
    return holder is None or not holder.alive


@pytest.mark.fault("7", "the head killed: the run goes on on another cluster, <= 2 epochs again")
def test_a_run_whose_head_was_killed_goes_on_on_another_cluster(
    first: RealCluster, second: RealCluster, laptop: Laptop
) -> None:
    laptop.write_training(0.3)
    laptop.submit(first, "lost", "trials=3", "epochs=6")
    wait_until(
        lambda: len(read_journal(laptop.journal)) == 8, PATIENCE, "epoch 2 of the second training"
    )
    first.nodes["head"].kill("gcs_server")
    first.nodes["head"].process.wait(timeout=60)
    run_dir = laptop.shared / "lost"
    # The job's process is ended by Ray, or by what it finds missing; until then it is refused.
    wait_until(lambda: is_released(run_dir), PATIENCE, "the driver is gone with its head")
    (manifest,) = results.load(run_dir).manifests.values()
    assert manifest["status"] != "completed"
    again = second.run(
        *("submit", f"address={second.dashboard}", f"resume={run_dir}", "trainable=mine:train"),
        "follow=true",
        cwd=laptop.project,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    load_whole(run_dir, trials=3, epochs=6)
    lines = read_journal(laptop.journal)
    assert len({line.trial for line in lines}) == 3
    worst("7", "epochs trained again", num_redone(lines), f"of {len(lines)}")
    assert num_redone(lines) <= 2  # of one training at a time: at most what its state was behind
