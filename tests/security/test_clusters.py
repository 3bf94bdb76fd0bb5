"""With whom does a run talk? Heads that ask for a token, with one that nobody else can read."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from tests.conftest import ClusterProcess
from tuner.config.schema import ConfigError
from tuner.plan import checks
from tuner.plan.checks import check_address
from tuner.session.cluster import ENVIRONMENT, keep_secrets, keep_token, set_environment

pytestmark = pytest.mark.fault(
    "security", "clusters and tokens: open ones refused, ours closed to others"
)


class Head(grpc.GenericRpcHandler):
    """A head of a cluster, as far as its first question; notes the tokens that it is sent."""

    def __init__(self, *, is_open: bool) -> None:
        self.is_open = is_open
        self.tokens: list[object] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        self.tokens += [pair for pair in details.invocation_metadata if "auth" in pair[0]]
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if not self.is_open:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
        return b""


@pytest.fixture(params=[True, False], ids=["open", "closed"])
def head(request: pytest.FixtureRequest) -> Iterator[tuple[Head, str]]:
    """One on this machine, and its address."""
    handler = Head(is_open=request.param)
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler, f"127.0.0.1:{port}"
    server.stop(None)


def test_on_loopback_any_head_will_do(head: tuple[Head, str]) -> None:
    check_address(head[1])


@pytest.mark.slow
def test_elsewhere_a_head_must_ask_for_a_token(
    head: tuple[Head, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, address = head
    monkeypatch.setattr(checks, "_is_loopback", lambda host: False)
    if handler.is_open:
        refusal = r"asks for no token: .* cluster\.auth=disabled$"
        with pytest.raises(ConfigError, match=refusal):
            check_address(address)
    else:
        check_address(address)
    check_address(address, is_open_allowed=True)
    assert handler.tokens == []  # nobody is sent one to find that out


@pytest.mark.slow
def test_a_head_of_rays_asks_for_a_token(cluster: ClusterProcess) -> None:
    with grpc.insecure_channel(cluster.address) as channel:
        grpc.channel_ready_future(channel).result(timeout=20)
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
        with pytest.raises(grpc.RpcError) as caught:
            ask(b"", timeout=20)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert not checks._answers_anybody(channel)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *(("127.0.0.1", True), ("127.8.9.1", True), ("[::1]", True), ("localhost", True)),
        *(("10.0.0.1", False), ("0.0.0.0", False), ("127.0.0.1.evil.example", False)),
        ("head", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, expected: bool) -> None:
    assert checks._is_loopback(host) == expected


def test_an_address_holds_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="write host:port alone") as caught:
        check_address("me:c4n4ry@10.0.0.1:6379")
    assert "c4n4ry" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "auth", "after"),
    [
        *(
            (None, "token", "token"),
            ("disabled", "token", "token"),
            ("Disabled", "token", "token"),
        ),
        *(("token", "token", "token"), ("token", "disabled", "disabled")),
        ("k8s", "token", "k8s"),  # another way of asking for one
    ],
)
def test_the_environment_alone_opens_nothing(
    monkeypatch: pytest.MonkeyPatch, before: str | None, auth: str, after: str
) -> None:
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, "x")  # restored afterwards
        monkeypatch.delenv(name)
    if before is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", before)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    set_environment(auth)
    assert os.environ["RAY_AUTH_MODE"] == after


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of somebody who has no token yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_is_made_for_its_owner_alone(home: Path) -> None:
    before = os.umask(0)
    try:
        keep_token()
    finally:
        os.umask(before)
    path = home / ".ray" / "auth_token"
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    token = path.read_text()
    assert len(bytes.fromhex(token)) == 32
    keep_token()
    assert path.read_text() == token
    assert [*path.parent.iterdir()] == [path]


def test_a_token_of_rays_own_is_closed(home: Path) -> None:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("0" * 64)
    path.chmod(0o644)
    keep_token()
    assert (path.read_text(), mode(path)) == ("0" * 64, 0o600)


def test_three_starts_at_once_have_one_token(home: Path) -> None:
    threads = [threading.Thread(target=keep_token) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len((home / ".ray" / "auth_token").read_text()) == 64


def test_a_token_of_the_environment_or_a_home_that_cannot_be_written_is_left_to_ray(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    keep_token()
    assert not (home / ".ray").exists()
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("HOME", "/dev/null")
    keep_token()


@pytest.mark.slow  # imports Tune
def test_tune_sends_no_key_to_its_workers() -> None:
    from ray.tune.execution import class_cache

    from results.records.redaction import SECRET_NAME

    keep_secrets()
    assert not [name for name in class_cache.ENV_VARS_TO_PROPAGATE if SECRET_NAME.search(name)]
