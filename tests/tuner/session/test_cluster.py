"""Before Ray starts: what its environment says is followed, overruled, or passed by."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import ray

from tuner.config.schema import ConfigError
from tuner.plan import checks, host
from tuner.plan.checks import check_address
from tuner.session import cluster
from tuner.session.cluster import ENVIRONMENT, set_environment


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*ENVIRONMENT, *host.WISHES, "RAY_ADDRESS"):
        monkeypatch.setenv(name, "")  # to be restored
        monkeypatch.delenv(name)


@pytest.mark.parametrize("mode", ["disabled", "DISABLED", "k8s"])
def test_a_cluster_of_our_own_keeps_its_token_and_says_so(
    mode: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    set_environment(is_own=True)
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert capsys.readouterr().err == (
        f"note: RAY_AUTH_MODE={mode}: not followed, a run's own cluster asks for its token\n"
    )


def test_a_cluster_that_is_joined_does_without_a_token_only_by_consent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    set_environment("disabled")
    assert (os.environ["RAY_AUTH_MODE"], capsys.readouterr().err) == ("disabled", "")
    set_environment()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert capsys.readouterr().err == (
        "note: RAY_AUTH_MODE=disabled: not followed, the consent is cluster.auth=disabled\n"
    )
    monkeypatch.setenv("RAY_AUTH_MODE", "Token")
    set_environment(is_own=True)
    assert capsys.readouterr().err == ""


@pytest.mark.fault("29", "Ray imported without the cluster's token: refused with the cure")
def test_a_ray_that_was_imported_without_its_token_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", sys)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    said = r"^RAY_AUTH_MODE=disabled: unset it and restart Python$"
    with pytest.raises(ConfigError, match=said):
        set_environment(is_own=True)


@pytest.mark.parametrize(("load", "told"), [(1.0, False), (4.0, True)])
def test_a_machine_too_busy_for_ray_is_told_as_such(
    load: float, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setattr(os, "getloadavg", lambda: (load * (os.cpu_count() or 1), 0.0, 0.0))
    monkeypatch.setattr(cluster, "MAX_PAUSE_SECONDS", 0.0)
    with pytest.raises(ConfigError, match="timed out during startup") as caught:
        cluster._start_here({})
    assert ("start again when less runs on this machine" in str(caught.value)) is told


STARTS = """
from tuner.session import cluster
cluster.start(None)
import ray
from ray._private.worker import global_worker
print(*sorted(global_worker.node.all_processes))
print(ray.get(ray.remote(lambda: 40 + 2).remote()))
"""


@pytest.mark.slow
def test_a_ray_of_our_own_starts_no_process_that_nobody_asks() -> None:
    started = subprocess.run(
        [sys.executable, "-c", STARTS], capture_output=True, text=True, timeout=300, check=True
    )
    assert started.stdout.splitlines() == ["gcs_server raylet", "42"]


def test_rays_node_is_as_it_was_once_ours_has_started() -> None:
    from ray._private.node import Node

    methods = {name: vars(Node)[name] for name in cluster.NOT_NEEDED}  # this Ray has them all
    with cluster._only_what_is_needed():
        assert all(vars(Node)[name] is not method for name, method in methods.items())
    assert {name: vars(Node)[name] for name in cluster.NOT_NEEDED} == methods


def test_a_ray_whose_node_has_other_methods_starts_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.node import Node

    methods = dict(vars(Node))
    monkeypatch.setattr(cluster, "NOT_NEEDED", ("start_of_another_version",))
    with cluster._only_what_is_needed():
        assert dict(vars(Node)) == methods


@pytest.fixture
def head() -> Iterator[str]:
    """host:port of a server that speaks as the head of a cluster does."""
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "grpc_proxy"])
@pytest.mark.parametrize("no_proxy", [None, "example.com"])
def test_a_proxy_does_not_hide_a_living_cluster(
    name: str, no_proxy: str | None, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "ANSWER_SECONDS", 3.0)
    for spelled in (name, name.upper()):
        monkeypatch.setenv(spelled, "http://127.0.0.1:9")  # where nobody is
        monkeypatch.setenv("no_proxy", no_proxy or "")
    check_address(head)


@pytest.mark.fault("29", "run: nobody at the address, or somebody silent: one line within 25 s")
@pytest.mark.parametrize("listens", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_nobody_at_the_address_is_told_in_time(listens: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if listens:
            taken.listen()
        begun = time.monotonic()
        with pytest.raises(ConfigError, match=r"^cluster\.address=127\.0\.0\.1:\d+: [^\n]*$"):
            check_address(f"127.0.0.1:{taken.getsockname()[1]}")
        assert time.monotonic() - begun < 25


def test_a_cluster_started_elsewhere_than_in_tmp_is_found(
    head: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("t")
    monkeypatch.setenv("TMPDIR", str(folder))
    with pytest.raises(ConfigError, match="no running Ray cluster found"):
        check_address("auto")
    (folder / "ray").mkdir()
    (folder / "ray" / "ray_current_cluster").write_text(head)
    check_address("auto")


class OnceRay:
    """A Ray that notes its starts and ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.is_up = False
        for name in ("init", "shutdown", "is_initialized"):
            monkeypatch.setattr(ray, name, getattr(self, name))
        monkeypatch.setattr(cluster, "set_environment", lambda auth, is_own: None)

    def init(self, **options: object) -> None:
        assert not self.is_up, "ray.init refuses a second one"
        self.is_up = True
        self.calls.append("init")

    def shutdown(self) -> None:
        self.is_up = False
        self.calls.append("shutdown")

    def is_initialized(self) -> bool:
        return self.is_up


def run_two(address: str | None, once: OnceRay) -> None:
    """The first ends well."""
    for _ in range(2):
        cluster.start(address)
        cluster.leave()
    assert once.calls == ["init", "shutdown"] * 2 + ["init"]
    raise ValueError("of the second")


@pytest.mark.parametrize("address", [None, "head:1"])
def test_runs_of_one_command_share_a_ray_and_others_do_not(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = OnceRay(monkeypatch)
    for _ in range(2):
        cluster.start(address)
        cluster.leave()
    assert once.calls == ["init", "shutdown"] * 2
    with pytest.raises(ValueError, match="of the second"), cluster.shared():
        run_two(address, once)
    assert once.calls == ["init", "shutdown"] * 3
    cluster.start(address)
    cluster.leave()
    assert once.calls == ["init", "shutdown"] * 4


def test_runs_on_two_clusters_share_none_and_a_signal_ends_it_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once = OnceRay(monkeypatch)
    with cluster.shared():
        assert not cluster.is_there("head:1", "token")
        cluster.start("head:1")
        cluster.leave()
        assert cluster.is_there("head:1", "token")
        assert not cluster.is_there("head:2", "token")
        cluster.start("head:2")
        cluster.leave()
        assert once.calls == ["init", "shutdown", "init"]
        cluster.leave(for_good=True)
        assert once.calls == ["init", "shutdown"] * 2
