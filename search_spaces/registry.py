"""How is a name (of a family, model, dataset, ...) turned into the thing it names?

Code that no registry holds is imported only by a name that somebody gave in this process, on the
command line or in Python (`allow_import`): a name that a file holds runs nothing, wherever the
file has it. Drivers hand the names on to the workers.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import gc
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any


def nearest(name: str, known: Iterable[str]) -> str:
    """'; did you mean X?' for the closest known name, or '' when none is close."""
    matches = difflib.get_close_matches(name, list(known), cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a name that no registry holds: names the nearest and lists all."""
    names = sorted(known)
    return ValueError(f"unknown {kind} {name!r}{nearest(name, names)} (known: {', '.join(names)})")


# Of data sets that lie elsewhere: `hf:owner/name`, `torchvision:MNIST`. No code is named so.
DOWNLOADS = ("hf:", "torchvision:")


def is_import_path(name: str) -> bool:
    """True for `package.module:callable` and `file.py:callable`."""
    return ":" in name and not name.startswith(DOWNLOADS)


def load_module(path: Path) -> ModuleType:
    """The module in a Python file, executed anew; it may import what lies beside it."""
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None, "a .py file always has an import spec"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def find_source(name: str) -> Path | None:
    """The file of the code that an import path names, found without running it.

    None for a registered name, and for code without a file of its own.

    Raises:
        ValueError: no such module or file.
    """
    if not is_import_path(name):
        return None
    source, _, attribute = name.rpartition(":")
    if source.endswith(".py"):
        path = Path(source)
        if not path.is_file():
            raise ValueError(f"cannot import {name!r}: no such file")
        return path
    try:
        spec = importlib.util.find_spec(source) if source and attribute else None
    except (ImportError, ValueError):
        spec = None
    except (Exception, SystemExit) as error:  # of the package around it, which is imported
        line = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"cannot import {name!r}: {line}") from None
    if spec is None:
        raise ValueError(f"cannot import {name!r}: write package.module:callable")
    path = Path(spec.origin or "")
    return path if path.is_file() else None


_allowed: set[str] = set()


def allow_import(*names: str) -> None:
    """These names were given by whoever uses this process, so what they name may run in it."""
    _allowed.update(names)


def allowed_imports() -> tuple[str, ...]:
    """All names that were given in this process, sorted."""
    return tuple(sorted(_allowed))


def check_allowed(name: str) -> None:
    """Raise ValueError unless this import path was given in this process."""
    if name not in _allowed:
        raise ValueError(
            f"{name!r} stands in a file, and would run code: name it again to allow that "
            f"(in Python: search_spaces.registry.allow_import({name!r}))"
        )


def import_callable(name: str) -> Callable[..., Any]:
    """The callable that `package.module:callable` or `file.py:callable` names.

    Raises:
        ValueError: when nobody has allowed it, the module or the attribute is missing, or it is
            not callable.
    """
    check_allowed(name)
    return _import(name)


@functools.cache
def _import(name: str) -> Callable[..., Any]:
    source, _, attribute = name.rpartition(":")
    try:
        module = (
            load_module(Path(source))
            if source.endswith(".py")
            else importlib.import_module(source)
        )
        named = getattr(module, attribute)
    except (ImportError, AttributeError, ValueError, OSError) as error:
        raise ValueError(f"cannot import {name!r}: {error}") from error
    except (Exception, SystemExit) as error:  # of the user's own code
        line = f"{type(error).__name__}: {error}"
        raise ValueError(f"cannot import {name!r}: {line}") from error
    if not callable(named):
        raise ValueError(f"{name!r} is not callable.")
    return named  # type: ignore[no-any-return]


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """For imports of large packages: what they make stays.

    Looking through all of it for garbage, again each time it has grown by a quarter, takes an
    eighth of the import of torch or Ray.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def check_name(kind: str, name: str, registry: Mapping[str, object]) -> None:
    """Raise ValueError unless `name` is registered or has the form package.module:callable."""
    if name not in registry and not is_import_path(name):
        raise unknown_name(kind, name, registry)


def lookup(
    kind: str, name: str, registry: Mapping[str, str | Callable[..., Any]]
) -> Callable[..., Any]:
    """The registry's entry, or the user's own `package.module:callable`.

    A registry may hold import paths itself, so that its names are known without importing
    what they name (torch).

    Raises:
        ValueError: unknown name (nearest one offered), a name of code that nobody has allowed
            (`allow_import`), or a failed import.
    """
    check_name(kind, name, registry)
    if name not in registry:
        return import_callable(name)
    entry = registry[name]
    if not isinstance(entry, str):
        return entry
    with collector_paused():
        return _import(entry)
