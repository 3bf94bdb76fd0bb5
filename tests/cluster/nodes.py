"""A real Ray cluster on this machine: `ray start`, each node a process group of its own.

Ports, folder and token are its own, so that no other cluster of this machine is met; nodes are
ended by their process ids alone.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.conftest import ROOT
from tuner.session.cluster import ENVIRONMENT

PATIENCE = 180.0  # s; for what takes a few on an idle machine
START_SECONDS = 150.0  # for a node, on a busy machine
NUM_STARTS = 8
STORE_BYTES = 80_000_000
FOREIGN = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN_PATH")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_until(holds: Callable[[], Any], seconds: float, what: str) -> Any:
    """What `holds` returns as soon as it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := holds():
            return result
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


@dataclass
class Node:
    """One `ray start --block`."""

    name: str
    process: subprocess.Popen[bytes]
    had_raylet: bool = False

    def children(self, name: str) -> list[int]:
        """Its processes of this name (raylet, gcs_server)."""
        listing = subprocess.run(
            ["pgrep", "--parent", str(self.process.pid), name],
            capture_output=True,
            text=True,
            check=False,
        )
        return [int(pid) for pid in listing.stdout.split()]

    def has_lost_raylet(self) -> bool:
        """True once its raylet was there and is no more."""
        is_there = bool(self.children("raylet"))
        self.had_raylet = self.had_raylet or is_there
        return self.process.poll() is not None or (self.had_raylet and not is_there)

    def kill(self, *names: str) -> None:
        """SIGKILL its raylet, and what else is named: the machine is gone."""
        for pid in (pid for name in ("raylet", *names) for pid in self.children(name)):
            os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """In order, at the end of a test."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.kill("gcs_server")
            self.process.kill()
            self.process.wait(timeout=15)


@dataclass
class RealCluster:
    """A head and its nodes; as a context manager it ends them all."""

    head_cpus: int = 0
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    nodes: dict[str, Node] = field(default_factory=dict)

    def __enter__(self) -> RealCluster:
        # Short: paths of sockets are at most 107 bytes long.
        self.folder = Path(tempfile.mkdtemp(prefix="gtc-", dir="/tmp"))
        self.port, self.dashboard_port = free_port(), free_port()
        try:
            self._bring_up(
                "head",
                1,
                "--head",
                f"--port={self.port}",
                "--dashboard-host=127.0.0.1",
                f"--dashboard-port={self.dashboard_port}",
                f"--temp-dir={self.folder}",
                f"--ray-client-server-port={free_port()}",
                f"--num-cpus={self.head_cpus}",
            )
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for node in reversed(self.nodes.values()):
            node.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def dashboard(self) -> str:
        """As `address=` takes it."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Of the nodes, and of who talks to them."""
        kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        path = f"{Path(sys.executable).parent}:{kept.get('PATH', '')}"
        return (
            kept
            | ENVIRONMENT
            | {
                "RAY_AUTH_TOKEN": self.token,
                "PYTHONPATH": str(ROOT),  # GradTune, as if it were installed on every node
                "PATH": path,
            }
        )

    def add(self, name: str, cpus: int = 1) -> Node:
        """One more node."""
        options = (f"--address=127.0.0.1:{self.port}", f"--num-cpus={cpus}")
        return self._bring_up(name, self.num_alive() + 1, *options)

    def _bring_up(self, name: str, number: int, *options: str) -> Node:
        """Start a node, and again: a raylet gives its agent 15 s, too few if busy."""
        for _ in range(NUM_STARTS):
            node = self._start(name, *options)

            def is_settled(node: Node = node) -> bool:
                return node.has_lost_raylet() or self.num_alive() >= number

            wait_until(is_settled, START_SECONDS, f"node {name} joins")
            if not node.has_lost_raylet():
                return node
            node.end()
        errors = (self.folder / f"{name}.err").read_text()
        raise AssertionError(f"node {name} did not start: {errors[-2000:]}")

    def num_alive(self) -> int:
        """Nodes that the head takes for alive; 0 while it does not answer."""
        request = urllib.request.Request(
            f"{self.dashboard}/nodes?view=summary",
            headers={"Authorization": f"Bearer {self.token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                nodes = json.load(answer)["data"]["summary"]
        except (OSError, urllib.error.URLError, ValueError, KeyError):
            return 0
        return sum(node["raylet"].get("state") == "ALIVE" for node in nodes)

    def gradtune(self, *words: str, cwd: Path, token: str | None = None) -> subprocess.Popen[str]:
        """`gradtune WORDS`, in the background; with the cluster's token, or another one."""
        return subprocess.Popen(
            [sys.executable, "-m", "tuner.command", *words],
            cwd=cwd,
            env=self.environment | ({"RAY_AUTH_TOKEN": token} if token else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """`gradtune WORDS`, to its end."""
        process = self.gradtune(*words, cwd=cwd)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def _start(self, name: str, *options: str) -> Node:
        with (self.folder / f"{name}.err").open("wb") as errors:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.cluster.start_node", "start", "--block"),
                    *options,
                    f"--object-store-memory={STORE_BYTES}",
                    f"--dashboard-agent-listen-port={free_port()}",
                    f"--metrics-export-port={free_port()}",
                    # Named, or a raylet of a busy machine gives up waiting to hear which.
                    f"--dashboard-agent-grpc-port={free_port()}",
                    f"--runtime-env-agent-port={free_port()}",
                    "--disable-usage-stats",
                    "--include-log-monitor=false",
                ],
                cwd=self.folder,
                env=self.environment | {"GRADTUNE_TEST_NODE": name},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        self.nodes[name] = Node(name, process)
        return self.nodes[name]
