"""WHO decides, runs and records. From Python: `tuner.search(...)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.api import search

__all__ = ["search"]


def __getattr__(name: str) -> Any:
    """`search` when it is asked for: `import tuner` stays cheap."""
    if name != "search":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tuner.api import search

    return search
