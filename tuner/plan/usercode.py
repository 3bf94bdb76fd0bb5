"""Which code of the user's own does a run import, can it be found, and is it still the same?"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CodeType
from typing import Any

from search_spaces.registry import check_allowed, find_source, is_import_path
from trainables.user import extra_arguments
from tuner.config.schema import NAMED, Config, ConfigError, refusing, value_of
from tuner.plan.codefiles import code_files, digests, essence

MAIN = "__main__"  # module of what is defined in a script or a notebook


def foreign_names(config: Config) -> dict[str, str]:
    """Keys whose value is a `package.module:callable`, i.e. names code to import."""
    names = {key: value_of(config, key).name for key in NAMED} | {"trainable": config.trainable}
    return {key: name for key, name in names.items() if is_import_path(name or "")}


def code_digest(config: Config) -> str:
    """Identifies what the user's own code does; '' without any."""
    parts = code_parts(config)
    return _digest(json.dumps(parts, sort_keys=True).encode()) if parts else ""


def code_parts(config: Config) -> dict[str, str]:
    """Digest of each file of the user's own code, and of a function that lives in none."""
    names = foreign_names(config)
    parts = {}
    if config.trainable_function is not None:
        parts[names.pop("trainable")] = _digest(essence(_source(config.trainable_function)))
    return parts | digests(code_files(names.values()))


def changed_parts(config: Config, manifest: Mapping[str, Any]) -> list[str]:
    """Which parts of the user's own code do something else than when this run began."""
    now = code_parts(config)
    before = (manifest.get("code") or {}).get("files")
    if before is None:  # written before the parts were kept
        digest = manifest["recipe"].get("code_digest", "")
        return [] if digest in (code_digest(config), earlier_digest(config)) else sorted(now)
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def code_folder(config: Config) -> Path | None:
    """Where the user's own code lies; None without any, or where it is in no file."""
    names = foreign_names(config)
    function = config.trainable_function
    if function is not None:
        del names["trainable"]
        code = getattr(function, "__code__", None)
        if code is not None and Path(code.co_filename).is_file():
            return Path(code.co_filename).resolve().parent
    files = code_files(names.values())
    return next(iter(files.values())).parent if files else None


def earlier_digest(config: Config) -> str:
    """As `code_digest` was before: of the bytes of the files that are named, and of no others."""
    names = foreign_names(config)
    content = b""
    if config.trainable_function is not None:
        del names["trainable"]
        content = _source(config.trainable_function)
    sources = [find_source(name) for name in names.values()]
    content += b"".join(source.read_bytes() for source in sources if source is not None)
    return _digest(content) if content else ""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def name_of(function: Callable[..., Any]) -> str:
    """`package.module:function` of a callable, whether or not it can be imported by that name."""
    inner = function.func if isinstance(function, functools.partial) else function
    named: Any = inner if hasattr(inner, "__qualname__") else type(inner)
    # "<lambda>" and "outer.<locals>.inner": a name that the command line could hold.
    return f"{named.__module__}:{re.sub('[<>]', '', named.__qualname__)}"


def check_trainable(config: Config) -> None:
    """Raise ConfigError unless the user's own training is named where it is the trainer.

    The function itself is imported by the workers alone.
    """
    name = config.trainable
    if config.trainer != "user":
        if name is not None:
            raise ConfigError(
                f"trainable={name}: workload={config.workload} trains by itself; leave one away"
            )
        return
    if name is None:
        raise ConfigError("trainable: give your own training, trainable=package.module:function")
    if config.trainable_function is None:
        if not is_import_path(name):
            raise ConfigError(f"trainable={name}: write package.module:function")
        if name.startswith(f"{MAIN}:"):
            raise ConfigError(
                f"trainable={name}: lives in a script or notebook; go on from there with "
                "tuner.search(trainable=...)"
            )
        with refusing("trainable: "):
            find_source(name)
    if config.dataset.train_examples is None:
        raise ConfigError("dataset.train_examples: give the samples of one epoch of your training")


# Run in a process of its own: the driver stays without torch, whatever the file does at import.
PROBE = """
import inspect, sys
from search_spaces.registry import allow_import, import_callable
from trainables.user import extra_arguments
allow_import(sys.argv[1])
function = import_callable(sys.argv[1])
if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
    raise TypeError("must be a plain function, not async and without yield")
extra = extra_arguments(function, dict.fromkeys(sys.argv[2:], 0.0))
inspect.signature(function).bind(None, 0, None, **extra)
print("ok")
"""
PROBE_SECONDS = 120.0


def check_import(config: Config, handed: Sequence[str] = ()) -> None:
    """Raise ConfigError unless `trainable` can be imported and takes what it is to be given.

    That is (schedule, seed, report), and `params` where values of these names are handed to it.
    """
    if config.trainable is None or config.trainable_function is not None:
        return
    with refusing("trainable: "):
        check_allowed(config.trainable)
    command = [sys.executable, "-c", PROBE, config.trainable, *handed]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"trainable={config.trainable}: its import took over {PROBE_SECONDS:.0f} s"
        ) from None
    if done.returncode or not done.stdout.endswith("ok\n"):
        lines = done.stderr.strip().splitlines() or [
            f"its import ended Python ({done.returncode})"
        ]
        raise ConfigError(f"trainable={config.trainable}: {lines[-1]}")


def check_handed(config: Config, function: Callable[..., object], handed: Sequence[str]) -> None:
    """Raise ConfigError where values of these names are handed to a function without `params`."""
    with refusing(f"trainable={config.trainable}: ", (TypeError,)):
        extra_arguments(function, dict.fromkeys(handed, 0.0))


def _source(function: Callable[..., Any]) -> bytes:
    if isinstance(function, functools.partial):
        arguments = (function.args, sorted(function.keywords.items()))
        try:
            bound = pickle.dumps(arguments)
        except (pickle.PicklingError, AttributeError, TypeError):  # a lambda, an open file
            bound = repr(arguments).encode()
        return _source(function.func) + bound
    code = getattr(function, "__code__", None)
    try:
        return inspect.getsource(function if code else type(function)).encode()
    except (OSError, TypeError):  # typed at a prompt
        return _instructions(code) if code else name_of(function).encode()


def _instructions(code: CodeType) -> bytes:
    """What the function does, without the addresses that the repr of inner functions holds."""
    inner = [_instructions(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return repr((code.co_code, code.co_names, inner)).encode()
