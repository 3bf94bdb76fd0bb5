"""Where does the run happen? Starts Ray here or joins a cluster, and counts what it holds."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import random
import secrets
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuner.config.schema import Config, ConfigError
from tuner.plan.checks import cluster_address
from tuner.plan.host import num_cpus, settle_home, settle_temporary, settle_token
from tuner.plan.plan import Plan

# Quiet Tune, our own signals, no worker before it is needed; token authentication always.
TOKEN = "token"
ENVIRONMENT = {
    "RAY_AUTH_MODE": TOKEN,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # How many trials wait for a worker is the searcher's to say (`Room`).
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",
    # A worker that does not end holds its CPUs, and a GPU's memory, for ten minutes.
    "TUNE_FORCE_TRIAL_CLEANUP_S": "60",
    # An agent of Ray's looks at every process each five seconds, for a dashboard that none sees.
    "REPORTER_UPDATE_INTERVAL_MS": str(24 * 3600 * 1000),
    # Each process would keep what it did for `ray list tasks`: 12 kB a trial in the driver.
    "RAY_task_events_report_interval_ms": "0",
    # Between snapshots, which nobody reads: one, at the end.
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
}
NUM_STARTS = 3
NOT_NEEDED = ("start_api_server", "start_monitor", "start_log_monitor")  # of Ray's node
BUSY_LOAD = 3.0  # processes that want to run, for each CPU
MAX_PAUSE_SECONDS = 2.0  # between them, at random
JOIN_SECONDS = 22.0  # ray.init itself may wait for minutes
ROOM_SECONDS = 2.0  # between two looks at what a cluster holds
NODE_SECONDS = 900.0  # for a node to come up: an autoscaler asks a cloud for it
JOIN_HINT = "every node and the driver need RAY_AUTH_MODE=token and the same ~/.ray/auth_token"
BF16_FLAGS = ("avx512_bf16", "amx_bf16")
Node = tuple[float, float]  # its CPUs and GPUs
MPS_FOLDER = "/tmp/nvidia-mps"  # where nothing else is said
GPUS_WITHOUT_BF16 = ("V100", "P100", "T4", "P4", "K80")


@dataclass(frozen=True, kw_only=True)
class Slots:
    """How trials are laid out on the cluster."""

    cpus_per_trial: float
    gpus_per_trial: float
    max_concurrent: int

    @property
    def device(self) -> str:
        """Device of every trial."""
        return "cuda" if self.gpus_per_trial else "cpu"


def check_ray() -> None:
    """Ray reads its variables once, when it is imported; a cluster of its own would refuse it.

    Raises:
        ConfigError: ray was imported too early, or a Ray of someone else's is running.
    """
    if "ray" not in sys.modules:
        return
    import ray

    if any(name not in os.environ for name in ENVIRONMENT):
        raise ConfigError(
            "ray was imported before tuner.search could set its variables: restart Python and "
            "call tuner.search first"
        )
    if ray.is_initialized():
        raise ConfigError("Ray is already running in this process: call ray.shutdown() first")


def set_environment(auth: str = TOKEN, *, is_own: bool = False) -> None:
    """Must come before the first import of ray, in any thread: ray reads its variables once.

    A driver that imported it earlier has no token, and its own cluster turns it away.

    RAY_AUTH_MODE=disabled of the environment is no consent, for it outlives what it was set for.

    Args:
        auth: disabled = the user has accepted a cluster that asks for no token.
        is_own: the cluster is to be one of our own, which never does without its token: whoever
            reaches its ports could run code here.

    Raises:
        ConfigError: ray was imported with a mode that is not followed.
    """
    mode = os.environ.get("RAY_AUTH_MODE", TOKEN)
    if not is_own and auth == "disabled":
        os.environ["RAY_AUTH_MODE"] = auth
    elif mode.lower() == "disabled" or (is_own and mode.lower() != TOKEN):
        if "ray" in sys.modules:  # which has read it
            raise ConfigError(f"RAY_AUTH_MODE={mode}: unset it and restart Python")
        why = "a run's own cluster asks for its token"
        why = why if is_own else "the consent is cluster.auth=disabled"
        print(f"note: RAY_AUTH_MODE={mode}: not followed, {why}", file=sys.stderr)
        os.environ["RAY_AUTH_MODE"] = TOKEN
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    settle_home()
    # In a notebook Ray and tqdm ask for widgets, which nobody uses here.
    logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="IProgress not found")


def start(
    address: str | None, auth: str = TOKEN, abandon: Callable[[], None] = lambda: None
) -> None:
    """Start Ray on this machine, or join the cluster whose head is at `address`.

    Args:
        auth: see `set_environment`. abandon: called before this process ends, for a head that
            answers and lets nobody in holds it in Ray's own code.

    Must run in the main thread: Ray's processes die with the thread that started them.

    Raises:
        ConfigError: the cluster does not let us in.
    """
    global _shared_with
    set_environment(auth, is_own=address is None)
    import ray

    if is_there(address, auth):
        return
    if _is_shared and ray.is_initialized():
        ray.shutdown()  # of a run elsewhere
    _shared_with = (address, auth)
    # What Ray's node says of each worker that has died, in colour: our recorder tells it.
    ray._private.worker._worker_logs_enabled = False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is None:
        folder = settle_temporary()
        settle_token(folder)
        keep_token()
        _start_here(options | {"num_cpus": num_cpus(), "_temp_dir": str(folder)})
        return
    watchdog = threading.Timer(JOIN_SECONDS, _give_up, [address, abandon])
    watchdog.daemon = True
    watchdog.start()
    try:
        ray.init(address=address, **options)
    except Exception as error:
        raise ConfigError(
            f"cluster.address={address}: {_first_line(error)} ({JOIN_HINT})"
        ) from None
    finally:
        watchdog.cancel()


_is_shared = False
_shared_with: tuple[str | None, str] = (None, TOKEN)  # address and auth of the last start


@contextlib.contextmanager
def shared() -> Iterator[None]:
    """Runs in here, one after the other, use the Ray that the first of them starts or joins."""
    global _is_shared
    _is_shared = True
    try:
        yield
    finally:
        _is_shared = False
        leave()


def is_there(address: str | None, auth: str) -> bool:
    """True where an earlier run of `shared` has started or joined this one."""
    if not _is_shared or _shared_with != (address, auth) or "ray" not in sys.modules:
        return False
    import ray

    return bool(ray.is_initialized())


def leave(*, for_good: bool = False) -> None:
    """End our Ray, or the connection to another; runs of `shared` leave that to its end.

    Args:
        for_good: no further run begins, as after a signal.
    """
    if (for_good or not _is_shared) and "ray" in sys.modules:
        import ray

        ray.shutdown()


def keep_token() -> None:
    """A token of the user's own for Ray, readable by nobody else; Ray would write one for all."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    path = Path.home() / ".ray" / "auth_token"
    with contextlib.suppress(OSError):  # a home that cannot be written: Ray says so
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            number, draft = tempfile.mkstemp(prefix=".auth_token.", dir=path.parent)  # mode 600
            with open(number, "w") as file:
                file.write(secrets.token_hex(32))
            with contextlib.suppress(FileExistsError):  # another run was faster
                os.link(draft, path)
            os.unlink(draft)
        path.chmod(0o600)  # one of Ray's own


def keep_secrets() -> None:
    """Tune sends AWS keys of the driver to its workers in a text that Ray writes into its logs.

    Here workers have the environment of the driver; on a cluster nodes have their own.
    """
    from ray.tune.execution import class_cache

    sent = class_cache.ENV_VARS_TO_PROPAGATE
    sent.difference_update({name for name in sent if name.startswith("AWS_")})


def _start_here(options: dict[str, Any]) -> None:
    """Two starts at the same moment may take each other's port: try again a little later."""
    import ray

    for attempt in range(NUM_STARTS):
        try:
            # "local": without it ray.init joins whatever cluster was started on this machine.
            with _only_what_is_needed():
                ray.init(address="local", include_dashboard=False, **options)
        except Exception as error:
            ray.shutdown()
            if attempt + 1 == NUM_STARTS:
                raise ConfigError(
                    f"Ray did not start on this machine: {_first_line(error)}{_busy()}"
                ) from None
            time.sleep(random.uniform(0.0, MAX_PAUSE_SECONDS))
        else:
            return


@contextlib.contextmanager
def _only_what_is_needed() -> Iterator[None]:
    """Ray's start without its API server, autoscaler and log monitor, which nobody asks here.

    Each is a Python of its own, 4 s of CPU in all, and Ray waits until the first has come up, with
    a dashboard or without one. No option spares them; a Ray with other methods starts all.
    """
    from ray._private.node import Node

    methods = {name: vars(Node)[name] for name in NOT_NEEDED if name in vars(Node)}
    for name in methods:
        setattr(Node, name, lambda self, **options: None)
    try:
        yield
    finally:
        for name, method in methods.items():
            setattr(Node, name, method)


def _busy() -> str:
    """The likely cause where much more wants to run here than can; Ray gives itself 30 s."""
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    if load < BUSY_LOAD * cpus:
        return ""
    return f" (load {load:.0f} on {cpus} CPUs: start again when less runs on this machine)"


def _first_line(error: Exception) -> str:
    """Its first line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _give_up(address: str, abandon: Callable[[], None]) -> None:
    with contextlib.suppress(Exception):
        abandon()
    print(
        f"\nerror: cluster.address={address}: no way in ({JOIN_HINT})", file=sys.stderr, flush=True
    )
    os._exit(2)


def lay_out(config: Config, may_wait: Callable[[], bool] = lambda: False) -> Slots:
    """How many trials fit, each with its share.

    Args:
        may_wait: True while a node may be waited for where not even one trial fits yet, as on a
            cluster: the node is asked for (an autoscaler brings it).

    Raises:
        ConfigError: not even one fits.
    """
    slots = slots_on(_nodes(), config)
    if not slots.max_concurrent and may_wait():
        _wait_for_node(slots, may_wait)
        slots = slots_on(_nodes(), config)  # the node that came may have GPUs
    if not slots.max_concurrent:
        raise ConfigError(_no_room(slots))
    return slots


def slots_on(nodes: Sequence[Node], config: Config) -> Slots:
    """The same on these nodes; max_concurrent=0 where they hold none.

    A trial has the CPUs that it asks for; else all those of its node over the trials that may be
    there at once, so that a lone one leaves none idle: of the node with the fewest. Not a known
    function, which has no use for them; not on a cluster, whose nodes come and go and whose CPUs
    others may hold.
    """
    per_cpu, per_gpu = config.resources.cpus_per_trial, config.resources.gpus_per_trial
    if per_gpu is None:
        per_gpu = 1.0 if any(gpus for _, gpus in nodes) else 0.0
    if per_cpu is None:
        held = [(cpus, num) for cpus, gpus in nodes if (num := _num_on(cpus, gpus, 1.0, per_gpu))]
        shares = [cpus // min(num, config.max_concurrent or num) for cpus, num in held]
        is_of_use = cluster_address(config) is None and config.trainer != "function"
        per_cpu = min(shares, default=1.0) if is_of_use else 1.0
    fits = sum(_num_on(cpus, gpus, per_cpu, per_gpu) for cpus, gpus in nodes)
    return Slots(
        cpus_per_trial=per_cpu,
        gpus_per_trial=per_gpu,
        max_concurrent=min(fits, config.max_concurrent or fits),
    )


def num_fitting(per_cpu: float, per_gpu: float) -> int:
    """Trials that the nodes that are there hold at once; a trial never spans two nodes."""
    return sum(_num_on(cpus, gpus, per_cpu, per_gpu) for cpus, gpus in _nodes())


def _num_on(cpus: float, gpus: float, per_cpu: float, per_gpu: float) -> int:
    """Trials on one node; no part of a GPU lies on two: 2 GPUs hold 4 trials of 0.4, not 5."""
    whole, part = divmod(gpus, 1.0)
    on_gpus = gpus / per_gpu if per_gpu else math.inf
    if 0 < per_gpu < 1:
        on_gpus = whole * int(1 / per_gpu + 1e-9) + int(part / per_gpu + 1e-9)
    return int(min(cpus / per_cpu, on_gpus) + 1e-9)


def sharing_note(gpus_per_trial: float) -> str | None:
    """A line where trials are to share the GPUs of this machine, and MPS is not running here.

    Source: NVIDIA's documentation of MPS (its daemon listens in the folder looked at).
    """
    pipes = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", MPS_FOLDER))
    if not 0 < gpus_per_trial < 1 or (pipes / "control").exists():
        return None
    return (
        f"note: resources.gpus_per_trial={gpus_per_trial:g}: without NVIDIA's MPS the trials on a "
        "GPU take turns; `nvidia-cuda-mps-control -d` before Ray starts lets them run together"
    )


class Room:
    """How many trials a cluster holds at once, now that nodes have come or gone.

    Args:
        changed: told the new number.
    """

    def __init__(self, slots: Slots, changed: Callable[[int], None]) -> None:
        self.slots, self.changed = slots, changed
        self.number, self.looked_at = slots.max_concurrent, time.monotonic()

    def __call__(self) -> int:
        """The number; at least 1, for what has no node now waits for one."""
        if time.monotonic() - self.looked_at >= ROOM_SECONDS:
            self.looked_at = time.monotonic()
            number = max(1, num_fitting(self.slots.cpus_per_trial, self.slots.gpus_per_trial))
            if number != self.number:
                self.number = number
                self.changed(number)
        return self.number


def _nodes() -> list[Node]:
    """CPUs and GPUs of every node that is alive."""
    import ray

    there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in there]


def _no_room(slots: Slots) -> str:
    """Which of both no node has enough of."""
    nodes, per_cpu, per_gpu = _nodes(), slots.cpus_per_trial, slots.gpus_per_trial
    for key, wanted, there in (
        ("cpus", per_cpu, [cpus for cpus, _ in nodes]),
        ("gpus", per_gpu, [gpus for _, gpus in nodes]),
    ):
        if wanted > max(there, default=0.0):
            largest = f"the largest of {len(there)} nodes has" if len(there) > 1 else "there are"
            return f"resources.{key}_per_trial={wanted:g}: {largest} {max(there, default=0.0):g}"
    return f"resources: no node has {per_cpu:g} CPUs and {per_gpu:g} GPUs"


def _wait_for_node(slots: Slots, may_wait: Callable[[], bool]) -> None:
    """Ask for a node that holds one trial, and wait until it is there."""
    from ray.util import placement_group, remove_placement_group

    minutes = f"for {NODE_SECONDS / 60:.0f} min at most"
    print(f"waiting for a node, {minutes}: {_no_room(slots)}", flush=True)
    deadline = time.monotonic() + NODE_SECONDS
    gpus = {"GPU": slots.gpus_per_trial} if slots.gpus_per_trial else {}
    wanted = placement_group([{"CPU": slots.cpus_per_trial, **gpus}])
    try:
        while may_wait() and time.monotonic() < deadline and not wanted.wait(1.0):
            pass
    finally:
        remove_placement_group(wanted)


def settle(plan: Plan, device: str, cpus_per_trial: float | None = None) -> Plan:
    """The plan with what depends on the hardware decided once, for all trials.

    Args:
        cpus_per_trial: its threads, where the configuration leaves them open; None = those of
            the recipe, as in a run that goes on, on a machine that may have more or fewer CPUs.
    """
    recipe = plan.recipe
    if recipe.precision == "auto":
        has_bf16 = cpu_has_bf16() if device == "cpu" else _gpus_have_bf16()
        recipe = replace(recipe, precision="bf16" if has_bf16 else "fp32")
    if plan.config.resources.cpus_per_trial is None and cpus_per_trial is not None:
        recipe = replace(recipe, num_threads=max(1, int(cpus_per_trial)))
    return replace(plan, recipe=recipe)


def cpu_has_bf16() -> bool:
    """True where this machine's CPU computes in bf16."""
    info = Path("/proc/cpuinfo")
    return info.exists() and any(flag in info.read_text() for flag in BF16_FLAGS)


def _gpus_have_bf16() -> bool:
    """True unless the cluster holds a GPU too old for bf16; outside a cluster, True."""
    import ray

    if not ray.is_initialized():
        return True
    kinds = [key for key in ray.cluster_resources() if key.startswith("accelerator_type:")]
    return not any(kind.endswith(old) for kind in kinds for old in GPUS_WITHOUT_BF16)
