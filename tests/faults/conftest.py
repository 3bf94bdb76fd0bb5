"""The real command with a runs folder of its own, and the same without Ray's processes."""

from __future__ import annotations

from tests.commands.conftest import command, inline

__all__ = ["command", "inline"]
