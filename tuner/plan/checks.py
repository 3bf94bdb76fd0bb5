"""Which single mistakes can be found before anything starts? Values, names, folders, addresses.

What needs the schedules themselves is checked in plan.py.
"""

from __future__ import annotations

import errno
import ipaddress
import operator
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from results.records.lock import check_free
from results.records.segments import MANIFEST_NAME
from results.records.store import check_run_name, describe_failure, is_full, is_unused
from results.storage.lease import LEASE_NAME, Lease
from results.storage.place import BucketError, Place, is_remote
from results.storage.twin import home_of
from search_spaces import FAMILIES
from search_spaces.metric import NAME, goal_of, make_metric
from search_spaces.records import RECORDED, REPORTED
from search_spaces.registry import DOWNLOADS, check_name, find_source, nearest, unknown_name
from trainables import (
    DATASETS,
    FUNCTION_MEASUREMENTS,
    MEASUREMENTS,
    MODELS,
    OPTIMIZERS,
    SOLVERS,
)
from trainables.data.encoded.downloads import find_download
from trainables.data.sources import (
    DataOptions,
    SourceInfo,
    describe,
    describe_function,
    resolve,
)
from trainables.functions.benchmark import FUNCTIONS
from trainables.functions.closed_forms import closed_form
from tuner.config.effects import check_effects, check_trackers
from tuner.config.schema import (
    KEYS,
    Config,
    ConfigError,
    StorageError,
    check_text,
    check_value,
    refusing,
    value_of,
)
from tuner.config.words import shell_word
from tuner.plan.host import PLACES, WISHES, find_ray_folder
from tuner.plan.usercode import check_trainable, code_digest
from tuner.version import is_of_job

ANSWER_SECONDS = 8.0  # of a cluster's head
PROBE_BYTES = 4096  # a block; a name alone fits on a full disk
RELATIONS = {"below": operator.lt, "at most": operator.le, "at least": operator.ge}
# What only our training of a network has, and what a user's own function decides besides.
OF_IMAGES = tuple(f"dataset.{f.name}" for f in fields(DataOptions))
OF_NETWORKS = (
    *("optimizer.weight_decay", "optimizer.clip_norm", "model.width"),
    *("label_smoothing", "micro_batch"),
)
OF_OURS = (
    *("dataset.path", "dataset.val_fraction", "precision", "smoothing", "optimizer.nesterov"),
    *OF_IMAGES,
    *OF_NETWORKS,
)


def check_surroundings(config: Config, run_dir: Path | None) -> None:
    """Check what lies outside the configuration: the cluster's address and the run folder.

    Args:
        run_dir: the run to be resumed; None makes a new one in runs_dir.

    Raises:
        StorageError: the disk is full.
    """
    address = cluster_address(config)
    if address is not None:
        key = "cluster.address" if config.cluster.address else "RAY_ADDRESS"
        check_address(address, key, is_open_allowed=config.cluster.auth == "disabled")
    else:
        find_ray_folder()
    if run_dir is None and is_remote(config.runs_dir):
        _check_bucket(config)
        return
    if run_dir is not None and (home := home_of(run_dir)) is not None:
        with refusing("resume: ", (ValueError, BucketError)):
            Lease(home=home).check()
    key, folder = ("resume", run_dir) if run_dir else ("runs_dir", Path(config.runs_dir))
    check_text("runs_dir", str(folder.absolute()))
    if is_of_job(folder):
        raise ConfigError(
            f"runs_dir={config.runs_dir}: lies in Ray's copy of your folder, which goes with the "
            "job; give a folder that all nodes share, for example runs_dir=/shared/runs"
        )
    try:
        _probe(folder)
        _check_name(config.name if run_dir is None else None, folder)
    except OSError as error:
        if is_full(error):
            raise StorageError(describe_failure(error, folder.absolute())) from None
        why = "is no folder" if error.errno == errno.EEXIST else error.strerror
        cure = "" if run_dir else "; runs_dir=DIR names another"
        raise ConfigError(f"{key}={folder}: not writable: {why}{cure}") from None


def _probe(folder: Path) -> None:
    """Make the folder and write a block there."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe-{os.getpid()}"
    try:
        with open(probe, "xb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    finally:
        probe.unlink(missing_ok=True)


def _check_name(name: str | None, folder: Path) -> None:
    if name is None or is_unused(folder / name):
        return
    with refusing(f"name={name}: "):
        check_free(folder / name)
    if (folder / name / MANIFEST_NAME).exists():
        raise ConfigError(
            f"name={name}: this run exists; use "
            f"{shell_word('resume', str(folder / name))} or another name"
        )
    raise ConfigError(f"name={name}: {folder / name} holds no run; use another name")


def _check_bucket(config: Config) -> None:
    """Raise ConfigError unless a run can be put there, under a name that no other has."""
    with refusing("runs_dir="):
        place = Place.parse(config.runs_dir)
    with refusing("runs_dir=", (BucketError,)):
        place.probe()
        files, folders = (place / config.name).entries() if config.name else ({}, [])
    if MANIFEST_NAME in files:
        raise ConfigError(
            f"name={config.name}: this run exists; use resume={place}/{config.name} "
            "or another name"
        )
    if folders or {*files} - {LEASE_NAME}:  # that of a start that was killed is nothing yet
        raise ConfigError(f"name={config.name}: {place}/{config.name} holds no run; use another")


def cluster_address(config: Config) -> str | None:
    """Of the cluster that the run joins; None = Ray is started on this machine.

    That is `cluster.address`, else RAY_ADDRESS, which Ray sets for a job and its containers: a
    job uses the cluster that it runs on. A dashboard's (http://) is `gradtune submit`'s.
    """
    if config.cluster.address is not None:
        return config.cluster.address
    address = os.environ.get("RAY_ADDRESS", "")
    return None if address in ("", "local") or "://" in address else address


def check_address(
    address: str, key: str = "cluster.address", *, is_open_allowed: bool = False
) -> None:
    """Raise ConfigError unless a cluster's head answers at this address, and asks for a token.

    Args:
        key: names the address in an error.
        is_open_allowed: it need not ask; on this machine's loopback it never need.
    """
    if address == "auto":
        places = filter(None, map(os.environ.get, WISHES))
        note = Path(next(places, PLACES[0])) / "ray" / "ray_current_cluster"  # of `ray start`
        address = os.environ.get("RAY_ADDRESS", "").removeprefix("auto")
        address = address or (note.read_text() if note.exists() else "")
        if not address:
            raise ConfigError(f"{key}=auto: no running Ray cluster found on this machine")
    if "@" in address:
        raise ConfigError(
            f"{key}: write host:port alone; the token comes from RAY_AUTH_TOKEN or "
            "~/.ray/auth_token"
        )
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise ConfigError(
            f"{key}={address}: write auto or host:port of the head "
            "(for example 10.0.0.1:6379; the Ray Client's ray:// is not supported)"
        )
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"{key}={address}: does not answer ({error})") from None
    import grpc

    # ray.init would wait without end for a port that accepts and stays silent. As Ray does, past
    # any proxy.
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=ANSWER_SECONDS)
        except grpc.FutureTimeoutError:
            problem = f"{key}={address}: what answers there is no Ray head"
            raise ConfigError(problem) from None
        if not is_open_allowed and not _is_loopback(host) and _answers_anybody(channel):
            raise ConfigError(
                f"{key}={address}: this cluster asks for no token: whoever reaches it "
                "can run code there, also as you. Start its nodes with RAY_AUTH_MODE=token, or "
                "say that you accept it: cluster.auth=disabled"
            )


def _is_loopback(host: str) -> bool:
    """True of an address that only this machine reaches."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _answers_anybody(channel: Any) -> bool:
    """True where the head answers a question that comes without a token."""
    import grpc

    ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
    try:
        ask(b"", timeout=ANSWER_SECONDS)
    except grpc.RpcError:  # unauthenticated, as it should be
        return False
    return True


def check_values(config: Config) -> None:
    """Raise ConfigError for the first value, name or pair of values that is not allowed."""
    for name in KEYS:
        check_value(name, value_of(config, name))
    check_trainable(config)
    none: dict[str, object] = {"none": None}
    known: dict[str, tuple[Mapping[str, object], Mapping[str, object]]] = {
        "network": (DATASETS, MODELS), "function": (FUNCTIONS, none), "user": (none, none)
    }  # fmt: skip
    datasets, models = known[config.trainer]
    for what, name, registry in (
        ("dataset", config.dataset.name, datasets),
        ("model", config.model.name, models),
        ("family", config.recipe.family, FAMILIES),
    ):
        with refusing():
            if registry is DATASETS and name.startswith(DOWNLOADS):
                find_download(name)
                continue
            check_name(what, name, registry)
            find_source(name)
    check_trackers(config.track)
    if is_remote(config.runs_dir):
        with refusing("runs_dir="):
            Place.parse(config.runs_dir)
    _check_objective(config)
    _check_measure(config)
    _check_pairs(config)
    check_effects(config)


def describe_data(config: Config) -> SourceInfo:
    """The facts of what is trained on: images, a function, or what only the user's code knows.

    What has to be downloaded is.

    Raises:
        ConfigError: see `describe` and `describe_function`.
    """
    if config.trainer == "user":
        return SourceInfo(
            name="none",
            path=None,
            num_train=config.dataset.train_examples or 0,
            num_test=0,
            num_classes=0,
            fingerprint=code_digest(config),
            channels=0,
            image_size=None,
        )
    with refusing("dataset: "):
        if config.trainer == "function":
            return describe_function(config.dataset.name, config.dataset.path)
        place = resolve(config.dataset.name, config.dataset.path)
        info = describe(place.name, place.path, data_options(config))
        return replace(info, notes=(*place.notes, *info.notes))


def data_options(config: Config) -> DataOptions:
    """How the images are taken: the keys of dataset. that not every data set has."""
    return DataOptions(**{f.name: getattr(config.dataset, f.name) for f in fields(DataOptions)})


def tell_notes(source: SourceInfo) -> None:
    """On stderr, a line each: how the data were taken."""
    for note in source.notes:
        print(f"note: dataset: {ConfigError(note)}", file=sys.stderr)


def _check_objective(config: Config) -> None:
    """A metric that this trainer reports, whose goal is known, and a min_effect in its unit."""
    name, goal = config.objective.name, config.objective.goal
    known = {"network": REPORTED[:2], "function": REPORTED[:1]}.get(config.trainer)
    if known is not None and name not in known:
        raise ConfigError(
            f"objective={name}: trainer={config.trainer} reports {' and '.join(known)}"
            f"{nearest(name, known)}"
        )
    if name.startswith("test_") or (name in RECORDED and name not in REPORTED):
        what = "the search may not see test data" if name.startswith("test_") else "no metric"
        raise ConfigError(
            f"objective={name}: {what}; name what your training reports, as val_loss"
        )
    if goal is None and NAME.fullmatch(name) and goal_of(name) is None:
        raise ConfigError(
            f"objective={name}: is lower or higher better? Add objective.goal=min or max"
        )
    with refusing("objective: "):
        metric = make_metric(name, goal)
    if metric.is_accuracy and config.min_effect is not None and config.min_effect >= 1:
        raise ConfigError(f"min_effect={config.min_effect:g}: allowed is below 1 of an accuracy")


def _check_measure(config: Config) -> None:
    """Known names, each once, and something that can be measured."""
    known = (*MEASUREMENTS, *FUNCTION_MEASUREMENTS)
    for name in config.measure:
        if name not in known:
            raise ConfigError(
                f"measure={name}: unknown{nearest(name, known)} (known: {', '.join(known)})"
            )
    if len(set(config.measure)) < len(config.measure):
        raise ConfigError(f"measure={','.join(config.measure)}: each may be named once")
    fitting = {"network": (*MEASUREMENTS,), "function": FUNCTION_MEASUREMENTS}
    for name in config.measure:
        if name not in fitting.get(config.trainer, ()):
            which = "known functions" if name in FUNCTION_MEASUREMENTS else "networks"
            raise ConfigError(f"measure={','.join(config.measure)}: only {which} can be measured")
    if "equivalence" in config.measure:
        with refusing():
            closed_form(config.dataset.name, config.smoothing)
    if "critical" in config.measure:
        _check_pair(config, "critical.min_epochs", "below", "epochs")
    if config.noise.estimator == "per_example" and config.noise.batch_norm == "train":
        raise ConfigError("noise.estimator=per_example: needs noise.batch_norm=eval")


def _check_pairs(config: Config) -> None:
    """Rules that tie two keys together."""
    _check_pair(config, "warmup_epochs", "below", "epochs")
    _check_pair(config, "recipe.interval", "at most", "epochs")
    _check_pair(config, "batch.max", "at least", "batch.initial")
    if config.optimizer.nesterov and config.optimizer.momentum == 0:
        raise ConfigError("optimizer.nesterov=true: needs optimizer.momentum above 0")
    gpus = config.resources.gpus_per_trial or 0.0
    if gpus > 1 and config.trainer != "user":
        raise ConfigError(
            f"resources.gpus_per_trial={gpus:g}: a network trains on one GPU (or a part of one)"
        )
    check_optimizer(config, config.optimizer.name)
    check_hours(config)
    if config.trainer != "network":
        _check_unused(config)
    if config.name is not None:
        with refusing("name: "):
            check_run_name(config.name)


def _check_pair(config: Config, key: str, relation: str, other: str) -> None:
    value, limit = value_of(config, key), value_of(config, other)
    if value is not None and not RELATIONS[relation](value, limit):
        raise ConfigError(f"{key}={value}: must be {relation} {other}={limit}")


def check_confirm(config: Config) -> None:
    """Raise ConfigError where `confirm.until=decided` cannot be kept."""
    if config.confirm.until != "decided":
        return
    _check_pair(config, "confirm.max_seeds", "at least", "confirm.seeds")
    if config.confirm.seeds == 0:
        raise ConfigError("confirm.until=decided: needs confirm.seeds of at least 1")


def check_hours(config: Config) -> None:
    """Raise ConfigError where the arms of a search that ends by the clock could not be equal."""
    if config.search.hours is not None and config.search.promote == "early":
        raise ConfigError(
            f"search.hours={config.search.hours:g}: needs search.promote=late (how many to "
            "promote early is not known of a search that ends by the clock)"
        )


def _check_unused(config: Config) -> None:
    """Keys that the trainer does not read keep their defaults."""
    is_user = config.trainer == "user"
    for key in OF_OURS if is_user else ("optimizer.momentum", *OF_NETWORKS, *OF_IMAGES):
        unsaid = "fp32" if key == "precision" else KEYS[key].default
        if value_of(config, key) != unsaid:
            why = "your own training decides it" if is_user else "only networks have it"
            raise ConfigError(f"{key}: {why}, not trainer={config.trainer}")


def check_optimizer(config: Config, name: str) -> None:
    """Raise ConfigError unless this optimizer is known and has the recipe's kind of momentum.

    Args:
        name: the recipe's optimizer, or an arm's own.
    """
    registry = dict.fromkeys(SOLVERS) if config.trainer == "function" else OPTIMIZERS
    with refusing():
        if config.trainer == "user" and name not in registry:  # a label for the noise law
            raise unknown_name("optimizer", name, registry)
        check_name("optimizer", name, registry)
        find_source(name)
    if name in ("shb", "nshb") and config.optimizer.nesterov:
        raise ConfigError(f"optimizer.nesterov: {name} has none; add optimizer.nesterov=false")
    if name == "adamw" and config.optimizer.momentum > 0:
        raise ConfigError(
            "optimizer.momentum: adamw has none; add optimizer.momentum=0 optimizer.nesterov=false"
        )
