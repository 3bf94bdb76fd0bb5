"""How does one talk to the head of a cluster? Ray's Jobs API; every trouble is one line."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ipaddress
import logging
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tuner.config.schema import ConfigError, show
from tuner.jobs.shipment import Shipment, largest_parts
from tuner.session.cluster import JOIN_HINT, set_environment

if TYPE_CHECKING:  # imported late: what is typed is checked first
    from ray.job_submission import JobSubmissionClient

ANSWER_SECONDS = 8.0
# Ray's client would take these in place of what was typed.
OVERRIDES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
TALKATIVE = (
    *("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"),
    *("ray._private.runtime_env.packaging", "ray._private.runtime_env.working_dir"),
    "ray.dashboard.utils",
)
NO_ENTRY = re.compile(r"status code 40[13]\b|[Uu]nauthorized|authentication token")
ENDED = {"SUCCEEDED": 0, "FAILED": 1, "STOPPED": 143}  # exit code of the follower


@dataclass(frozen=True, kw_only=True)
class Job:
    """One of a cluster's jobs.

    Attributes:
        status: PENDING | RUNNING | STOPPED | SUCCEEDED | FAILED.
        command: what was typed. run: its run's folder; None of a job that is not ours. again:
            words of `gradtune submit` that go on with it.
        begun, ended: seconds since the epoch, or None.
        code: exit code of its process, once it has failed.
    """

    id: str
    status: str
    command: str
    run: str | None
    again: str
    begun: float | None
    ended: float | None
    runtime_env: Mapping[str, Any]
    code: int | None = None


def find_address(given: str | None) -> str:
    """http(s)://host:port of the head's dashboard: as typed, else of the environment.

    Raises:
        ConfigError: none, or not of this form.
    """
    in_environment = [os.environ.get(name, "") for name in OVERRIDES]
    known = [address for address in in_environment if address.startswith(("http://", "https://"))]
    address = given or next(iter(known), None)
    if address is None:
        raise ConfigError(
            "address: give the head's dashboard, for example address=http://head:8265"
        )
    whole = address if "://" in address else f"http://{address}"
    parts = urlsplit(whole)
    try:
        is_right = parts.scheme in ("http", "https") and parts.hostname and parts.port is not None
    except ValueError:
        is_right = False
    if not is_right or parts.path.strip("/") or parts.query or parts.username:
        raise ConfigError(
            f"address={show(address)}: write http://host:port of the head's dashboard "
            "(8265 unless it was started with another port)"
        )
    return whole.rstrip("/")


class Head:
    """The head of a cluster whose Jobs API answers.

    Args:
        address: see `find_address`.
        is_open_accepted: talk also to another machine's cluster that asks nobody for a token.

    Raises:
        ConfigError: nobody there, another's token, or an open cluster.
    """

    def __init__(self, address: str, *, is_open_accepted: bool = False) -> None:
        self.address = address
        if _is_open(address) and not is_open_accepted and not _is_loopback(address):
            raise ConfigError(
                f"address={address}: runs the code of whoever reaches it (token authentication "
                "is off); start it with RAY_AUTH_MODE=token, or say that you accept it: "
                "cluster.auth=disabled"
            )
        set_environment()
        for name in OVERRIDES:
            os.environ.pop(name, None)
        from ray.job_submission import JobSubmissionClient

        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.ERROR)
        with self._talking():
            self.client: JobSubmissionClient = JobSubmissionClient(address)

    def submit(self, shipment: Shipment) -> str:
        """Send it; returns the job's id."""
        try:
            with self._talking():
                return str(
                    self.client.submit_job(
                        entrypoint=shipment.entrypoint,
                        submission_id=shipment.job,
                        runtime_env=dict(shipment.runtime_env),
                        metadata=dict(shipment.metadata),
                    )
                )
        except ConfigError as error:
            if "exceeds the maximum size" not in str(error):
                raise
            parts = largest_parts(shipment.folder, shipment.runtime_env["excludes"])
            raise ConfigError(
                f"{shipment.folder}: too much to send ({parts}); leave more of it here with "
                "'exclude=[pattern,...]'"
            ) from None

    def look(self, entrypoint: str, runtime_env: dict[str, Any]) -> str:
        """Run a command that only reads, in the environment of another job; returns its id."""
        with self._talking():
            return str(self.client.submit_job(entrypoint=entrypoint, runtime_env=runtime_env))

    def jobs(self) -> list[Job]:
        """Those that were submitted, the newest first."""
        with self._talking():
            known = [_job(details) for details in self.client.list_jobs() if details.submission_id]
        return sorted(known, key=lambda job: -(job.begun or 0.0))

    def find(self, job: str | None) -> Job:
        """The job of this id, or that begins so; None = the newest one of GradTune's.

        Raises:
            ConfigError: none, or several.
        """
        known = self.jobs()
        if job is None:
            found = [each for each in known if each.run][:1]
        else:
            found = [each for each in known if job and each.id.startswith(job)]
            # A name that was typed more than once: its newest job.
            named = [each for each in found if re.fullmatch(r"-[0-9a-f]{4}", each.id[len(job) :])]
            found = [each for each in found if each.id == job] or named[:1] or found
        if len(found) != 1:
            listed = ", ".join(each.id for each in known[:5])
            there = f" (there are {listed})" if listed else ""
            raise ConfigError(f"job={job or ''}: {len(found)} such jobs there{there}")
        return found[0]

    def stop(self, job: str) -> bool:
        """Ask it to stop; False where it has ended already."""
        with self._talking():
            return bool(self.client.stop_job(job))

    def status(self, job: str) -> str:
        """See `Job`."""
        with self._talking():
            return str(self.client.get_job_status(job).value)

    def printed(self, job: str) -> str:
        """All that it has printed."""
        with self._talking():
            return str(self.client.get_job_logs(job))

    def follow(self, job: str) -> int:
        """Print what it prints, until it ends; returns its exit code.

        Raises:
            ConfigError: the head is gone, or the way to it.
            KeyboardInterrupt: the reader has seen enough; the job goes on.
        """
        with self._talking():
            asyncio.run(self._tail(job))
            deadline = time.monotonic() + ANSWER_SECONDS  # its last line comes before its status
            while (ended := _job(self.client.get_job_info(job))).status not in ENDED:
                if time.monotonic() > deadline:
                    raise ConfigError(f"address={self.address}: job {job} says nothing more")
                time.sleep(0.2)
        code = ended.code or ENDED[ended.status]
        return code if code >= 0 else 128 - code  # as a shell tells the end by a signal

    def forget(self, job: str) -> None:
        """Remove an ended job from the head's list."""
        with contextlib.suppress(Exception):
            self.client.delete_job(job)

    async def _tail(self, job: str) -> None:
        async for text in self.client.tail_job_logs(job):
            print(text, end="", flush=True)

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        """Every trouble of Ray's client as one line."""
        try:
            yield
        except (ConfigError, BrokenPipeError):  # or else whoever reads what is printed has gone
            raise
        except Exception as error:
            raise ConfigError(f"address={self.address}: {_in_words(error)}") from None


def _job(details: Any) -> Job:
    about = details.metadata or {}
    status = str(details.status.value)
    return Job(
        id=str(details.submission_id),
        status=status,
        command=about.get("command", details.entrypoint),
        run=about.get("run"),
        again=about.get("again", ""),
        begun=details.start_time / 1000 if details.start_time else None,
        ended=details.end_time / 1000 if details.end_time else None,
        runtime_env=details.runtime_env or {},
        code=getattr(details, "driver_exit_code", None) if status == "FAILED" else None,
    )


def _in_words(error: Exception) -> str:
    """A line for what went wrong between here and the head."""
    # Of an answer that holds a traceback of the head's the last line says why.
    text = show(next(iter(reversed(str(error).strip().splitlines())), ""))
    kind = type(error).__name__
    if "uthentication" in kind or NO_ENTRY.search(str(error)):
        return f"the cluster does not know this token ({JOIN_HINT})"
    if "Connect" in kind or "Connect" in text:
        return "does not answer"
    if "exceeds the maximum size" in str(error):
        return "exceeds the maximum size"
    return text or kind


def _is_open(address: str) -> bool:
    """True where the list of jobs is given to anybody; also finds out whether anybody is there.

    Raises:
        ConfigError: nobody is, or something else.
    """
    try:
        with urllib.request.urlopen(f"{address}/api/jobs/", timeout=ANSWER_SECONDS) as answer:
            answer.read(1)
            is_json = "json" in answer.headers.get("Content-Type", "")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return False
        raise ConfigError(f"address={address}: no Ray dashboard ({error})") from None
    except http.client.HTTPException:
        raise ConfigError(f"address={address}: what answers there is no Ray dashboard") from None
    except (OSError, ValueError) as error:
        proxies = urllib.request.getproxies()
        via = " through the proxy of your environment (no_proxy leaves it out)" if proxies else ""
        reason: Any = getattr(error, "reason", error)
        raise ConfigError(f"address={address}: does not answer{via} ({show(reason)})") from None
    if not is_json:
        raise ConfigError(f"address={address}: what answers there is no Ray dashboard")
    return True


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
