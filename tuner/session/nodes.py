"""Has every node what a training needs? The run's folder, the data, the user's own code.

A small task looks on each node before the first trial, so that nothing is trained and lost; all
that is missing is one line, by node.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from results.storage.place import BucketError, Place
from trainables.data.sources import DataOptions
from tuner.config.schema import ConfigError, show
from tuner.plan.checks import data_options
from tuner.plan.codefiles import code_files, digests
from tuner.plan.plan import Plan
from tuner.plan.usercode import foreign_names

LOOK_SECONDS = 60.0  # for a node's answer, once its environment is there
ImagesAt = tuple[str, str, str, DataOptions]
VERSIONED = ("gradtune", "torch", "numpy", "pillow")
ENVIRONMENT_SECONDS = 900.0  # for an environment that a job brings (pip, uv)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a node is asked for.

    Attributes:
        folder: where runs are made. token: name and content of a file that the driver made there;
            of a bucket none, for which every node asks by itself.
        data: (name, path, fingerprint, options) of images at a path, or None.
        code: names of the user's own code -> digest of each file of it.
    """

    folder: str | Place
    token: str = ""
    data: ImagesAt | None = None
    code: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a node lacks, in words, and the versions that its results depend on."""

    lacks: list[str]
    versions: Mapping[str, str] = field(default_factory=dict)


def check_nodes(plan: Plan, folder: Path | Place) -> None:
    """Raise ConfigError unless every other node of the cluster has what a training needs.

    Args:
        folder: where the run's folder lies, or is going to.
    """
    nodes = other_nodes()
    if not nodes:
        return
    if isinstance(folder, Place):
        seen = _ask(nodes, wanted_of(plan, folder))
    else:
        token = f".seen-{secrets.token_hex(8)}"
        (folder / token).write_text(token)
        try:
            seen = _ask(nodes, wanted_of(plan, folder, token))
        finally:
            (folder / token).unlink(missing_ok=True)
    if lacks := {node: one.lacks for node, one in seen.items() if one.lacks}:
        raise ConfigError(describe_lacks(lacks, len(nodes)))
    for line in describe_versions({node: one.versions for node, one in seen.items()}):
        print(line, file=sys.stderr, flush=True)


def wanted_of(plan: Plan, folder: Path | Place, token: str = "") -> Wanted:
    """What the trainings of this plan need, wherever they run."""
    config, source = plan.config, plan.source
    names = foreign_names(config)
    if config.trainable_function is not None:  # travels with the trial
        names.pop("trainable", None)
    has_images = config.trainer == "network" and source.path is not None
    options = data_options(config)
    images = (source.name, str(source.path), source.fingerprint, options)
    return Wanted(
        folder=folder if isinstance(folder, Place) else str(folder),
        token=token,
        data=images if has_images else None,
        code={name: digests(code_files([name])) for name in names.values()},
    )


def look(wanted: Wanted) -> Seen:
    """What there is on this machine; runs on a node."""
    if isinstance(wanted.folder, Place):
        lacks = [*_bucket_lacks(wanted.folder)]
    else:
        lacks = [*_folder_lacks(Path(wanted.folder), wanted.token)]
    lacks += _data_lacks(wanted.data)
    for name, files in wanted.code.items():
        lacks += _code_lacks(name, files)
    return Seen(lacks=lacks, versions=_versions())


def other_nodes() -> dict[str, str]:
    """Id -> address and host of the nodes that may train, without the driver's own."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    return {
        node["NodeID"]: f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']})"
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] != here and node["Resources"].get("CPU")
    }


def describe_lacks(lacks: Mapping[str, list[str]], num_nodes: int) -> str:
    """One line: what each node lacks; nodes that lack the same together."""
    by_lack: dict[str, list[str]] = {}
    for node, missing in lacks.items():
        by_lack.setdefault(" and ".join(missing), []).append(node)
    parts = [f"{', '.join(nodes)}: {missing}" for missing, nodes in by_lack.items()]
    return f"{len(lacks)} of {num_nodes} other nodes cannot train this run. {'; '.join(parts)}"


def describe_versions(versions: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A line for each node whose results may differ from this one's."""
    here, lines = _versions(), []
    for node, there in versions.items():
        others = [f"{name} {v} (here {here.get(name)})" for name, v in there.items()
                  if v != here.get(name)]  # fmt: skip
        if others:
            lines.append(f"note: {node} has {', '.join(others)}; its numbers may differ")
    return lines


def _versions() -> dict[str, str]:
    """Of what trains."""
    found = {}
    for name in VERSIONED:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _ask(nodes: Mapping[str, str], wanted: Wanted) -> dict[str, Seen]:
    """What was seen on each node, by its address and host."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(look)
    answers = {
        node: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        ).remote(wanted)
        for node in nodes
    }
    patience = ENVIRONMENT_SECONDS if _brings_environment() else LOOK_SECONDS
    ready, _ = ray.wait(list(answers.values()), num_returns=len(answers), timeout=patience)
    seen: dict[str, Seen] = {}
    for node, answer in answers.items():
        if answer not in ready:
            seen[nodes[node]] = Seen(lacks=[f"no answer within {patience:.0f} s"])
            continue
        try:
            seen[nodes[node]] = ray.get(answer)
        except Exception as error:  # of a node that has not even this module
            seen[nodes[node]] = Seen(lacks=[_why(error)])
    return seen


def _brings_environment() -> bool:
    """True in a job whose packages are installed on each node first."""
    import ray

    asked: Mapping[str, Any] = ray.get_runtime_context().runtime_env or {}
    return not {"pip", "uv", "conda"}.isdisjoint(asked)


def _why(error: Exception) -> str:
    """Its last line; the usual one in words."""
    last = [line for line in str(error).splitlines() if line.strip()][-1:] or [repr(error)]
    if "No module named" in last[0]:
        return f"no GradTune there ({last[0].strip()})"
    return show(last[0].strip())


def _folder_lacks(folder: Path, token: str) -> Iterable[str]:
    try:
        is_same = (folder / token).read_text() == token
    except OSError:
        is_same = False
    if not is_same:
        yield f"{folder} is not the same folder there (runs_dir must be one that all nodes share)"
        return
    probe = folder / f"{token}-{socket.gethostname()}-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        yield f"{folder} cannot be written there ({error.strerror})"


def _bucket_lacks(place: Place) -> Iterable[str]:
    """A worker keeps the states of its trainings there itself."""
    try:
        place.probe()
    except BucketError as error:
        yield f"runs_dir={error}"


def _data_lacks(data: ImagesAt | None) -> Iterable[str]:
    if data is None:
        return
    from trainables.data.sources import describe

    name, path, fingerprint, options = data
    try:
        found = describe(name, path, options).fingerprint
    except (ValueError, OSError) as error:
        text = " ".join(str(error).split()).rstrip(".")
        yield text if path in text else f"dataset.path={path}: {text}"
        return
    if found != fingerprint:
        yield f"dataset.path={path}: other data (fingerprint {found[:12]}, not {fingerprint[:12]})"


def _code_lacks(name: str, files: Mapping[str, str]) -> Iterable[str]:
    try:
        found = digests(code_files([name]))
    except ValueError as error:
        text = str(error).rstrip(".")
        yield text if name in text else f"{name}: {text}"
        return
    if other := sorted(place for place, digest in files.items() if found.get(place) != digest):
        yield f"{name}: other code there ({show(', '.join(other))})"
