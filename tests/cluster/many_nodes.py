"""A search of trainings that cost nothing on eight simulated nodes; tells where they ran.

python -m tests.cluster.many_nodes RUNS_DIR TRIALS [NODES]

The last line is JSON: exit code, seconds, epochs by node, and of each quarter of the trainings
seconds and the driver's CPU seconds a training, and the most MB that the driver had held.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tuner.session.cluster import ENVIRONMENT

os.environ.update(ENVIRONMENT)
os.environ.pop("RAY_ADDRESS", None)

from benchmarks.noop import NoopTrainable, NoopTraining

EPOCH_SECONDS = 0.05


class PlacedTraining(NoopTraining):
    """One that lasts a little, and says on which node."""

    def run_epoch(self) -> Any:
        import ray

        time.sleep(EPOCH_SECONDS)
        node = ray.get_runtime_context().get_node_id()
        with open(os.environ["PLACES"], "a") as places:
            places.write(f"{node}\n")
        return super().run_epoch()


class PlacedTrainable(NoopTrainable):
    def make_training(self, config: dict[str, Any]) -> PlacedTraining:
        return PlacedTraining(self.trial)


class Watch(threading.Thread):
    """Looks each half second at how many epochs there are and what the driver has used."""

    def __init__(self, places: Path) -> None:
        super().__init__(daemon=True)
        self.places, self.is_over = places, threading.Event()
        self.looks: list[tuple[int, float, float, float]] = []

    def run(self) -> None:
        while not self.is_over.wait(0.5):
            num_epochs = len(self.places.read_bytes().split()) if self.places.exists() else 0
            held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
            self.looks.append((num_epochs, time.monotonic(), time.process_time(), held))

    def quarters(self, epochs: int) -> list[dict[str, float]]:
        """Between the looks nearest to 0, 1/4, ... of all epochs; three are a training."""
        ends = [
            min(self.looks, key=lambda look: abs(look[0] - epochs * part / 4)) for part in range(5)
        ]
        return [
            {
                "seconds": round(3 * (b[1] - a[1]) / max(1, b[0] - a[0]), 4),
                "cpu_seconds": round(3 * (b[2] - a[2]) / max(1, b[0] - a[0]), 4),
                "driver_mb": round(b[3]),
            }
            for a, b in itertools.pairwise(ends)
        ]


def main(runs_dir: str, trials: str, nodes: str = "8") -> int:
    os.environ["PLACES"] = f"{runs_dir}/places.txt"
    from ray.cluster_utils import Cluster

    from trainables import trainable
    from tuner import run

    head: dict[str, Any] = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(int(nodes) - 1):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    trainable.ScheduledTrainable = PlacedTrainable  # type: ignore[misc]
    begun, watch = time.monotonic(), Watch(Path(runs_dir) / "places.txt")
    watch.start()
    words = ["space=poly", f"trials={trials}", "epochs=3", "confirm.seeds=0", "baseline=false"]
    words += ["search.sampler=random", "display=none", "report=false", "name=many"]
    code = run.main([*words, f"runs_dir={runs_dir}", f"cluster.address={cluster.address}"])
    told: dict[str, Any] = {"code": code, "seconds": round(time.monotonic() - begun, 1)}
    watch.is_over.set()
    watch.join()
    by_node = Counter(watch.places.read_text().split())
    told |= {"nodes": sorted(by_node.values()), "quarters": watch.quarters(by_node.total())}
    print(json.dumps(told), flush=True)
    cluster.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
