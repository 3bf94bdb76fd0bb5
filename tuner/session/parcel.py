"""What travels to the workers with a function that cannot be imported? How large, and can it?

A function of a script or notebook is pickled by value, with the globals and closure variables that
it and the functions it calls refer to, as they are at that moment.
"""

from __future__ import annotations

import dis
import functools
import io
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from ray import cloudpickle

from tuner.config.schema import ConfigError
from tuner.plan.usercode import MAIN

LARGE_BYTES = 100 * 2**20  # worth a line
MAX_NAMED = 4  # of what travels, the largest


def check_parcel(name: str, function: Callable[..., object]) -> str:
    """What to tell of the function before it is sent: a line, or '' where little travels.

    Args:
        name: of the function, as `trainable` tells it.

    Raises:
        ConfigError: something that it refers to cannot travel; its name is told.
    """
    sizes: dict[str, int] = {}
    for variable, value in carried(function):
        try:
            sizes[variable] = max(num_bytes(value), sizes.get(variable, 0))
        except Exception as error:  # pickling runs code of any object
            raise ConfigError(
                f"trainable={name}: its variable {variable!r} cannot travel to the workers "
                f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else '-'}); "
                "make it inside the function"
            ) from None
    if sum(sizes.values()) <= LARGE_BYTES:
        return ""
    largest = sorted(sizes, key=lambda variable: -sizes[variable])[:MAX_NAMED]
    listed = ", ".join(f"{variable} {_told(sizes[variable])}" for variable in largest)
    return (
        f"note: {name} refers to {_told(sum(sizes.values()))} ({listed}), copied once to Ray and "
        "once to each worker, whose trainings share arrays and tensors until they change them; "
        "data that the function loads itself is not copied"
    )


def carried(function: Callable[..., object]) -> Iterator[tuple[str, Any]]:
    """Name and value of every variable that the function takes along, also by its helpers."""
    yield from _carried(function, set())


def num_bytes(value: Any) -> int:
    """How much memory the value takes where it arrives, about: of arrays exactly."""
    known = getattr(value, "nbytes", None)  # NumPy, torch
    if isinstance(known, int):
        return known
    sink = Sink()
    buffers: list[Any] = []
    pickler = cloudpickle.CloudPickler(sink, protocol=5, buffer_callback=buffers.append)
    pickler.dump(value)
    return sink.num_bytes + sum(int(buffer.raw().nbytes) for buffer in buffers)


class Sink(io.RawIOBase):
    """Counts what is written to it and keeps nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes = 0

    def writable(self) -> bool:
        """It takes everything."""
        return True

    def write(self, data: Any) -> int:
        """Count it."""
        size = memoryview(data).nbytes
        self.num_bytes += size
        return size


def _carried(function: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if id(function) in seen:
        return
    seen.add(id(function))
    if isinstance(function, functools.partial):
        bound = {f"argument {place}": v for place, v in enumerate(function.args, 1)}
        yield from _each({**bound, **function.keywords}, seen)
        yield from _carried(function.func, seen)
        return
    if not isinstance(function, FunctionType):  # an object that is called, a method
        yield type(function).__name__, function
        return
    names = _globals(function.__code__)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    found = {name: function.__globals__[name] for name in names if name in function.__globals__}
    found |= {name: cell.cell_contents for name, cell in cells if _full(cell)}
    yield from _each(found, seen)


def _each(values: dict[str, Any], seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Modules and what can be imported by name travel as names; functions bring their own."""
    for name, value in values.items():
        if isinstance(value, ModuleType) or id(value) in seen:
            continue
        if isinstance(value, FunctionType):
            is_local = value.__module__ == MAIN or "<" in value.__qualname__
            yield from _carried(value, seen) if is_local else ()
            continue
        seen.add(id(value))
        yield name, value


def _globals(code: CodeType) -> set[str]:
    """Global variables that the code reads, functions inside it included."""
    inner = [_globals(const) for const in code.co_consts if isinstance(const, CodeType)]
    own = {op.argval for op in dis.get_instructions(code) if op.opname == "LOAD_GLOBAL"}
    return own.union(*inner)


def _full(cell: Any) -> bool:
    """False of a variable that is set only later."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _told(size: int) -> str:
    """ "2.0 GB", "310 MB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
