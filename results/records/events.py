"""What happened to a run, line by line? Its events.jsonl, and what was typed to train it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from results.records.redaction import redact, visible
from results.records.sealing import read_lines

EVENTS_NAME = "events.jsonl"
UNCHANGING = ("resume", "display", "max_concurrent", "report", "track")  # keys of a resume


def read_events(run_dir: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The events of a run that are as they were written, and a sentence for each that is not."""
    try:
        return read_lines((run_dir / EVENTS_NAME).read_bytes())
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"it cannot be read: {error.strerror}"]


def read_commands(run_dir: Path) -> list[str]:
    """What was typed to train a run: how it began, then what it went on with and changed.

    A resume that only finished what was begun is left out. Empty where it is not recorded.
    """
    commands: list[str] = []
    for event in read_events(run_dir)[0]:
        told = event.get("command") if event.get("kind") == "start" else None
        if isinstance(told, str) and (not commands or _changes(told)):
            commands.append(visible(redact(told), in_a_line=True))
    return list(dict.fromkeys(commands))


def _changes(command: str) -> bool:
    """True of a resume that asks for something else; code is named again to allow its import."""
    try:
        words = shlex.split(command)
    except ValueError:
        return True
    pairs = [word.partition("=") for word in words if "=" in word and not word.startswith("--")]
    return any(key not in UNCHANGING and ":" not in value for key, _, value in pairs)
