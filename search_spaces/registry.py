"""How is a name (of a family, model, dataset, ...) turned into the thing it names?"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """'; did you mean X?' for the closest known name, or '' when none is close."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a name that no registry holds: names the nearest and lists all."""
    names = sorted(known)
    return ValueError(f"unknown {kind} {name!r}{nearest(name, names)} (known: {', '.join(names)})")


def is_import_path(name: str) -> bool:
    """True for `package.module:callable`."""
    return ":" in name


def import_callable(name: str) -> Callable[..., object]:
    """The callable that `package.module:callable` names.

    Raises:
        ValueError: when the module or the attribute is missing, or is not callable.
    """
    module_name, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"cannot import {name!r}: {error}") from error
    if not callable(found):
        raise ValueError(f"{name!r} is not callable.")
    return found  # type: ignore[no-any-return]


def check_name(kind: str, name: str, registry: Mapping[str, object]) -> None:
    """Raise ValueError unless `name` is registered or has the form package.module:callable."""
    if name not in registry and not is_import_path(name):
        raise unknown_name(kind, name, registry)


def lookup(kind: str, name: str, registry: Mapping[str, T]) -> T:
    """The registry's entry, or the user's own `package.module:callable`.

    Raises:
        ValueError: unknown name (nearest one offered) or failed import.
    """
    check_name(kind, name, registry)
    if name in registry:
        return registry[name]
    return import_callable(name)  # type: ignore[return-value]
