"""Can training begin before torch has imported its compiler? Yes: until something is compiled.

The first optimizer of a process imports torch._dynamo (2.4 s of CPU, as much as torch itself), to
mark functions that a compiler is to leave alone. Until somebody asks for more than these marks, a
module that has nothing else stands in its place; then it gives way to torch's own.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

NAME = "torch._dynamo"
_loading = threading.RLock()


class LateCompiler(ModuleType):
    """`torch._dynamo` as optimizers use it; anything else imports the real one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(load_compiler(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(load_compiler(), name, value)

    @staticmethod
    def disable(fn: Callable[..., Any], recursive: bool = True, **options: Any) -> Any:
        """The function itself: there is no compiler that it had to be hidden from."""
        return fn

    @staticmethod
    def graph_break(*message: str) -> None:
        """Nothing is being compiled."""


def postpone_compiler() -> None:
    """Let the optimizers of this process do without torch._dynamo until it is needed."""
    if NAME not in sys.modules:
        late = LateCompiler(NAME)
        late.__dict__["__spec__"] = importlib.util.find_spec(NAME)
        sys.modules[NAME] = late


def load_compiler() -> ModuleType:
    """torch's own torch._dynamo."""
    with _loading:
        if isinstance(sys.modules.get(NAME), LateCompiler):
            del sys.modules[NAME]
        return importlib.import_module(NAME)
