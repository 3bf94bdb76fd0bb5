"""Talking to a cluster's head: whatever goes wrong is one line, and soon."""

from __future__ import annotations

import http.server
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from tuner.config.schema import ConfigError
from tuner.jobs import head
from tuner.jobs.head import Head, find_address

Answer = tuple[int, str, str]  # status, content type, body


@contextmanager
def server(
    answer: Callable[[str, str | None], Answer], host: str = "127.0.0.1"
) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """http://host:port that answers by path and Authorization, and what it was asked."""
    asked: list[tuple[str, str | None]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = self.headers.get("Authorization")
            asked.append((self.path, token))
            status, kind, body = answer(self.path, token)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *about: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((host, 0), Handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        try:
            yield f"http://{host}:{made.server_port}", asked
        finally:
            made.shutdown()


@pytest.fixture(autouse=True)
def _own_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    for name in head.OVERRIDES:
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("http://head:8265", "http://head:8265"),
        ("https://head:443/", "https://head:443"),
        ("head:8265", "http://head:8265"),
        ("http://[::1]:8265", "http://[::1]:8265"),
    ],
)
def test_an_address_is_that_of_the_dashboard(given: str, found: str) -> None:
    assert find_address(given) == found


@pytest.mark.parametrize(
    "given",
    [
        *("head", "ray://head:10001", "auto", "http://head", "http://head:x", "http://:8265"),
        *("http://user:secret@head:8265", "http://head:8265/api", "http://head:8265?a=b"),
        *("file:///etc/passwd", "", "http://head:99999999"),
    ],
)
def test_any_other_address_is_refused_with_the_form(given: str) -> None:
    with pytest.raises(ConfigError, match=r"^address"):
        find_address(given)


def test_the_environment_names_the_head_where_nothing_is_typed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match="for example address=http://head:8265"):
        find_address(None)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # of the cluster, no dashboard
    with pytest.raises(ConfigError, match=r"^address: give"):
        find_address(None)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://head:8265")
    assert find_address(None) == "http://head:8265"
    assert find_address("http://other:8265") == "http://other:8265"


@pytest.mark.fault("29", "submit: nobody at the address, one line at once")
def test_nobody_there_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"^address={address}: does not answer"):
            Head(address)


@pytest.mark.fault("29", "submit: a port that stays silent, one line")
def test_a_port_that_stays_silent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "ANSWER_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"does not answer \(timed out\)"):
            Head(address)


def test_a_proxy_of_the_environment_is_named_where_it_may_be_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="through the proxy of your environment"):
        Head("http://head.invalid:8265")


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer", [(404, "text/html", "no"), (200, "text/html", "<p>"), (500, "text/html", "")]
)
def test_what_is_no_dashboard_is_told_and_sees_no_token(answer: Answer) -> None:
    with server(lambda path, token: answer) as (address, asked):
        with pytest.raises(ConfigError, match="no Ray dashboard"):
            Head(address)
    assert [token for _, token in asked] == [None]


@pytest.mark.fault("29", "submit: another token, one line with the cure")
def test_another_token_than_the_clusters_is_one_line_with_the_cure() -> None:
    def refuse(path: str, token: str | None) -> Answer:
        return (403 if token else 401), "text/plain", "Unauthorized: Invalid authentication token"

    with server(refuse) as (address, _):
        with pytest.raises(ConfigError, match=r"does not know this token .*auth_token") as caught:
            Head(address)
    assert "\n" not in str(caught.value)


def open_cluster(path: str, token: str | None) -> Answer:
    body = {"/api/jobs/": [], "/api/version": {"version": "4", "ray_version": "2.60.0"}}
    return 200, "application/json", json.dumps(body[path])


@pytest.mark.slow
def test_an_open_cluster_of_another_machine_needs_consent_before_it_sees_the_token() -> None:
    with server(open_cluster, "0.0.0.0") as (address, asked):  # this machine, but not loopback
        with pytest.raises(ConfigError, match=r"is off.*cluster.auth=disabled"):
            Head(address)
        assert [token for _, token in asked] == [None]
        assert Head(address, is_open_accepted=True).jobs() == []


@pytest.mark.slow
def test_what_was_typed_counts_more_than_what_ray_would_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Ray's client takes these in place of its argument.
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    with server(open_cluster) as (address, _):
        assert Head(address).client.get_address() == address
    assert "RAY_ADDRESS" not in os.environ


def listed(path: str, token: str | None) -> Answer:
    """Three jobs: two of ours, of which b is the newer, and one of somebody's."""
    if path != "/api/jobs/":
        return open_cluster(path, token)
    jobs = [
        {
            "type": "SUBMISSION",
            "submission_id": name,
            "status": "FAILED",
            "entrypoint": "python x.py",
            "metadata": {"run": f"/s/{name}", "command": "gradtune run", "again": "resume=/s"}
            if name != "other"
            else {},
            "start_time": start,
            "end_time": start + 5000,
            "driver_exit_code": 4,
        }
        for name, start in (("aa-1", 1000), ("ab-2", 3000), ("other", 9000))
    ]
    return 200, "application/json", json.dumps(jobs)


@pytest.mark.slow
def test_a_job_is_found_by_the_beginning_of_its_id_or_is_the_newest_of_ours() -> None:
    with server(listed) as (address, _):
        talk = Head(address)
        assert [job.id for job in talk.jobs()] == ["other", "ab-2", "aa-1"]
        newest = talk.find(None)
        assert (newest.id, newest.run, newest.begun, newest.ended) == ("ab-2", "/s/ab-2", 3.0, 8.0)
        assert (newest.code, newest.again) == (4, "resume=/s")
        assert talk.find("aa").id == "aa-1"
        assert talk.find("other").run is None
        with pytest.raises(ConfigError, match=r"^job=a: 2 such jobs there \(there are other, "):
            talk.find("a")
        with pytest.raises(ConfigError, match=r"^job=zz: 0 such jobs"):
            talk.find("zz")
        with pytest.raises(ConfigError, match=r"^job=: 0 such jobs"):
            talk.find("")


@pytest.mark.slow
def test_a_name_that_was_typed_twice_is_its_newest_job(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(open_cluster) as (address, _):
        talk = Head(address)
    names = ("exp2-0123", "exp-89ab", "exp-4567")  # newest first
    jobs = [SimpleNamespace(id=name, run="/s") for name in names]
    monkeypatch.setattr(talk, "jobs", lambda: jobs)
    assert talk.find("exp").id == "exp-89ab"
    assert talk.find("exp2").id == "exp2-0123"
    assert talk.find("exp-4567").id == "exp-4567"


def test_whoever_stops_reading_is_no_trouble_of_the_clusters() -> None:
    with server(open_cluster) as (address, _):
        talk = Head(address)
    with pytest.raises(BrokenPipeError), talk._talking():
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Request failed with status code 403: no", "the cluster does not know this token"),
        ("job 20261126T114032Z-poly-401a does not exist", "job 20261126T114032Z-poly-401a does"),
        ("a broken driver", "a broken driver"),
        (
            "Request failed with status code 400: Traceback (most recent call last):\n"
            '  File "a.py", line 1\n'
            "ValueError: Job with submission_id x already exists\n",
            "ValueError: Job with submission_id x already exists",
        ),
    ],
)
def test_what_ray_says_is_told_by_the_line_that_says_why(text: str, line: str) -> None:
    with server(open_cluster) as (address, _):
        talk = Head(address)
    with pytest.raises(ConfigError) as caught, talk._talking():
        raise RuntimeError(text)
    assert str(caught.value).startswith(f"address={address}: {line}")


@pytest.mark.slow
@pytest.mark.parametrize(("code", "follower"), [(4, 4), (-9, 137), (None, 1)])
def test_who_follows_a_failed_job_gets_its_code_as_a_shell_tells_it(
    code: int | None, follower: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tail(job: str) -> None:
        """It prints nothing."""

    status = SimpleNamespace(value="FAILED")
    details = SimpleNamespace(
        **dict.fromkeys(("metadata", "start_time", "end_time", "runtime_env", "entrypoint")),
        submission_id="x",
        status=status,
        driver_exit_code=code,
    )
    with server(open_cluster) as (address, _):
        talk = Head(address)
    monkeypatch.setattr(talk, "_tail", tail)
    monkeypatch.setattr(talk.client, "get_job_info", lambda job: details)
    assert talk.follow("x") == follower
