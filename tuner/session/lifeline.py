"""Is Ray still there? A thread that asks the cluster's head and this machine's node.

Ray itself notices the death of its head (gcs_server) after a minute, and of the own node
(raylet) sometimes not at all; both end this process with an essay and without its books closed.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Self

import ray

PROBE_SECONDS = 1.0  # between two probes, and for an answer
# Without an answer, before it counts as dead; a head that is restarted comes back within it.
DEAD_SECONDS = 8.0
HEAD, NODE = "the head of the cluster (gcs_server)", "the node of this machine (raylet)"


class Lifeline:
    """Calls `lost` with one line, once, from its thread, when what it asks does not answer.

    Only a refused connection counts: a slow network is Ray's own affair.

    Args:
        addresses: (host, port) by what listens there. lost: ends the run.
    """

    def __init__(
        self, addresses: Mapping[str, tuple[str, int]], lost: Callable[[str], None]
    ) -> None:
        self.addresses, self.lost = addresses, lost
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True, name="lifeline")

    def __enter__(self) -> Self:
        """Begin to ask."""
        if self.addresses:
            self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """No longer."""
        self.stopped.set()

    def verdict(self) -> str | None:
        """What has died, if something has; asked now."""
        for name, address in self.addresses.items():
            if _is_refused(address):
                return f"{name}, {address[0]}:{address[1]}, has died"
        return None

    def _watch(self) -> None:
        dead_since = None
        while not self.stopped.wait(PROBE_SECONDS):
            verdict = self.verdict()
            if verdict is None:
                dead_since = None
                continue
            dead_since = dead_since or time.monotonic()
            if time.monotonic() - dead_since >= DEAD_SECONDS and not self.stopped.is_set():
                self.lost(verdict)
                return


def addresses_of_ray() -> dict[str, tuple[str, int]]:
    """Where head and node of the cluster that this process has joined listen."""
    found: dict[str, tuple[str, int]] = {}
    if not ray.is_initialized():  # asked all the same, Ray would start
        return found
    with contextlib.suppress(Exception):  # of a Ray that tells it otherwise: nothing is asked
        context = ray.get_runtime_context()
        host, _, port = context.gcs_address.rpartition(":")
        found[HEAD] = (host, int(port))
        here = context.get_node_id()
        (node,) = (node for node in ray.nodes() if node["NodeID"] == here)
        found[NODE] = (node["NodeManagerAddress"], int(node["NodeManagerPort"]))
    return found


def _is_refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=PROBE_SECONDS).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False
