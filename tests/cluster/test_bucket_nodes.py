"""A run in a bucket on a real cluster: nodes that share no folder, and one of them dies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.laptop import Laptop, load_whole, num_redone, read_journal
from tests.cluster.nodes import RealCluster
from tests.fakes.storage.servers import serving_google
from tests.faults.counts import worst

pytest.importorskip("gcp_storage_emulator")
pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RealCluster]:
    """Nodes that find the bucket; what they copy lies in a cache that the laptop has not."""
    with serving_google():
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nodes"))
        with RealCluster() as made:
            made.add("a")
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "laptop"))
            yield made


@pytest.mark.fault(
    "6", "a node of a run in a bucket killed: its training goes on elsewhere from the bucket"
)
def test_a_training_whose_node_dies_goes_on_from_the_state_in_the_bucket(
    cluster: RealCluster, laptop: Laptop
) -> None:
    gate = laptop.shared / "gate"
    laptop.write_training(2.0, gate=str(gate))
    laptop.submit(cluster, "moved", "trials=4", "epochs=6", runs_dir="gs://bucket/runs")
    laptop.add_node(cluster)
    before = read_journal(laptop.journal)
    cluster.nodes["a"].kill()
    gate.touch()
    back = cluster.run(
        *("logs", f"address={cluster.dashboard}", "job=moved", "follow=true"), cwd=laptop.project
    )
    assert back.returncode == 0, back.stdout
    status = cluster.run("status", "gs://bucket/runs/moved", cwd=laptop.project)
    assert status.returncode == 0, status.stderr
    assert "completed" in status.stdout
    load_whole("gs://bucket/runs/moved", trials=4, epochs=6)
    victims = {line.trial for line in before if line.node == "a"}
    lines = read_journal(laptop.journal)
    moved = [
        line.epoch for line in lines[len(before) :] if line.node == "b" and line.trial in victims
    ]
    assert moved, "its training went on elsewhere"
    assert min(moved) > 1, "from the state in the bucket"
    worst("6", "epochs of 2 s trained again, states in a bucket", num_redone(lines), "")
    assert num_redone(lines) <= 2
