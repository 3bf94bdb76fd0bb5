"""A server that speaks Google Cloud Storage, in a process of its own: prints its address."""

from __future__ import annotations

import socket
import sys

from gcp_storage_emulator.server import create_server

BUCKET = "bucket"


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    port = free_port()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    server.start()
    print(f"http://127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    server.stop()
