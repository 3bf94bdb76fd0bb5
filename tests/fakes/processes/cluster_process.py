"""A Ray cluster of two CPUs in its own process; prints its address, lives until stdin ends."""

from __future__ import annotations

import sys

from tuner.session.cluster import ENVIRONMENT

if __name__ == "__main__":
    import os

    os.environ.update(ENVIRONMENT)
    from ray.cluster_utils import Cluster

    # Neither shows nor copies anything: nobody reads it here.
    quiet = {"include_dashboard": False, "include_log_monitor": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, **quiet})
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()
