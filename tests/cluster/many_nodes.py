"""A search of trainings that cost nothing on eight simulated nodes; tells where they ran.

python -m tests.cluster.many_nodes RUNS_DIR TRIALS [NODES]
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
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
    begun = time.monotonic()
    words = ["space=poly", f"trials={trials}", "epochs=3", "confirm.seeds=0", "baseline=false"]
    words += ["search.sampler=random", "display=none", "report=false", "name=many"]
    code = run.main([*words, f"runs_dir={runs_dir}", f"cluster.address={cluster.address}"])
    with open(os.environ["PLACES"]) as places:
        by_node = Counter(places.read().split())
    told = {"code": code, "seconds": time.monotonic() - begun, "nodes": sorted(by_node.values())}
    print(json.dumps(told), flush=True)
    cluster.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
